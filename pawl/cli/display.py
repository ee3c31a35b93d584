"""What a person sees while a run trains: one live line of progress, a line for each step.

On a terminal rich draws a progress bar with its ETA below the step lines; anywhere else lines are
plain. Progress goes to standard error, the last line and `--json` records to standard output.
`NO_COLOR` and terminals that are not UTF-8 are respected. A reader that goes away (`| head`) ends
the display, not the run. Left out: the text of the lines (`line`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pawl.cli.line import EPOCH_HEAD, epoch_row, eval_line, number, seconds, step_line
from pawl.cli.show import printable, shortened
from pawl.config.options import RunConfig
from pawl.store.display import Display, Record, Silent
from pawl.store.files import dumps
from pawl.store.read import count

SMOOTHING = 0.3  # weight of the newest step in the ETA


@contextmanager
def open_display(quiet: bool, as_json: bool, places: Mapping[str, str]) -> Iterator[Display]:
    """The display that the options ask for; `places` say where each option was set."""
    if as_json:
        yield JsonLines(sys.stdout)
    elif quiet:
        yield LastLine(sys.stdout)
    else:
        terminal = Terminal(sys.stderr, sys.stdout, places)
        try:
            yield terminal
        finally:
            terminal.stop()


class Output:
    """Lines on a stream, which fall silent when its reader goes away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def line(self, text: str) -> None:
        """Write one line at once."""
        if self._stream is None:
            return
        try:
            self._stream.write(printable(text, self._stream.encoding) + "\n")
            self._stream.flush()
        except BrokenPipeError:  # what is still buffered must not fail at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None


class LastLine(Silent):
    """`--quiet`: the summary alone."""

    def __init__(self, stream: TextIO) -> None:
        self._out = Output(stream)

    def close(self, summary: str) -> None:
        """Print the last line."""
        self._out.line(summary)


class JsonLines(Silent):
    """`--json`: every step record as it stands in steps.jsonl, one line each."""

    def __init__(self, stream: TextIO) -> None:
        self._out = Output(stream)

    def step(self, record: Record) -> None:
        """Print one record."""
        self._out.line(dumps(record))


class Notes(Silent):
    """Notes alone: for commands that are not training."""

    def __init__(self, stream: TextIO) -> None:
        self._out = Output(stream)

    def note(self, text: str) -> None:
        """Print one line for a person."""
        self._out.line(text)


@dataclass(slots=True)
class Pace:
    """Seconds a step takes, everything between two steps included, smoothed."""

    last: float = field(default_factory=time.monotonic)
    per_step: float | None = None

    def tick(self, step_s: float | None) -> float:
        """Note that a step ended now; returns the smoothed seconds of a step.

        step_s: the step's own time, which starts the average (set-up and first evaluation aside).
        """
        now = time.monotonic()
        took, self.last = now - self.last, now
        if self.per_step is None:
            self.per_step = took if step_s is None else step_s
        else:
            self.per_step += SMOOTHING * (took - self.per_step)
        return self.per_step


class Terminal:
    """Step lines, epoch rows and notes above a progress bar; plain lines without a terminal."""

    def __init__(self, err: TextIO, out: TextIO, places: Mapping[str, str]) -> None:
        self._places = places
        self._err, self._out = Output(err), Output(out)
        self._pace = Pace()
        self._total = 0
        self._before: Record | None = None
        self._rows = 0
        bar, text = BarColumn(bar_width=24), TextColumn("{task.description}")
        console = Console(file=err, highlight=False)
        columns = (bar, MofNCompleteColumn(), text)
        plain = not err.isatty()
        self._bar = Progress(*columns, console=console, transient=True, disable=plain)
        self._task = self._bar.add_task("starting", total=None)

    def start(self, cfg: RunConfig, total_steps: int, diff_from_defaults: Sequence[Record]) -> None:
        """Print the difference from the defaults and start the bar."""
        self._total = total_steps
        self._line(f"run {cfg.name}: {total_steps} steps; options that differ from the defaults:")
        for row in diff_from_defaults:
            place = self._places.get(str(row["path"]), row["from"])
            before, value = (shortened(dumps(row[key])) for key in ("default", "value"))
            self._line(f"  {row['path']}: {before} -> {value}  ({place})")
        self._bar.update(self._task, total=total_steps)
        self._bar.start()

    def phase(self, name: str) -> None:
        """Show what the loop is doing."""
        pace = self._pace.per_step
        done = count(self._before, "step") if self._before else 0
        eta = f"eta {seconds(pace * (self._total - done))}  " if pace is not None else ""
        self._bar.update(self._task, description=f"{eta}{name}")

    def step(self, record: Record) -> None:
        """Print the step line and move the bar."""
        done = count(record, "step")
        per_step = self._pace.tick(number(record, "time/step_s"))
        eta = per_step * max(0, self._total - done)
        self._line(step_line(record, self._total, self._before, eta))
        self._before = record
        self._bar.update(self._task, completed=done)

    def epoch(self, record: Record) -> None:
        """Print the epoch's row, under a heading the first time and every ten rows."""
        if self._rows % 10 == 0:
            self._line(EPOCH_HEAD)
        self._rows += 1
        self._line(epoch_row(record))

    def eval(self, record: Record) -> None:
        """Print one evaluation."""
        if "eval/problems" in record:
            self._line(eval_line(record))

    def note(self, text: str) -> None:
        """Print one line for a person."""
        self._line(text)

    def close(self, summary: str) -> None:
        """Stop the bar and print the last line."""
        self.stop()
        self._out.line(summary)

    def stop(self) -> None:
        """Take the bar off the terminal, so that an error can be printed."""
        self._bar.stop()

    def _line(self, text: str) -> None:
        if self._bar.live.is_started:
            console = self._bar.console
            console.print(printable(text, console.encoding), markup=False, soft_wrap=True)
        else:
            self._err.line(text)

"""What the Hugging Face Trainer prints: one dictionary a log, among progress bars and other lines.

    {'loss': 0.0123, 'grad_norm': 0.5, ..., 'epoch': 0.1}

Since transformers 5 the numbers are printed as texts of four digits. The step is not printed; it is
read off the progress bar before it, else rows are counted. A closing summary ends a run, so that a
file may hold several. Notebooks (.ipynb) hold the same lines as texts; the tables that they show
instead are read by `read_notebook`. Source: transformers 5.23 trainer_callback.py
(PrinterCallback, ProgressCallback).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pawl.errors import PawlError
from pawl.logs import trl
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

FORMAT = "console output of TRL or the Hugging Face Trainer"
FAR = 1 << 23  # characters in which the first dictionary is looked for
LONGEST = 1 << 20  # characters of a line
DICTIONARY = re.compile(r"\{'[^{}]{1,30000}\}")
PAIR = re.compile(r"'([^'\n]{1,200})': (?:'([^'\n]{0,80})'|(?:[\w.]{1,40}\()?([-+\w.]{1,40}))")
SIGNS = ("'loss':", "'eval_loss':", "'train_runtime':", "'objective/kl':")
BAR = re.compile(r"(\d{1,9})/(\d{1,9}) \[[\d:?]{1,12}<")
BARS = 64  # progress bars that are followed


@dataclass(slots=True)
class Run:
    """One training under construction. bars: what they showed at each row, total -> done."""

    table: Table = field(default_factory=Table)
    bars: list[Mapping[int, int]] = field(default_factory=list)
    trains: list[bool] = field(default_factory=list)


def looks_like(path: Path, head: str) -> bool:
    """Whether a text holds such a dictionary, at the latest after some megabytes of other lines."""
    start = head.lstrip("\ufeff \t\r\n")
    if "\0" in head or (start[:1] in ("{", "[") and not start.startswith(("{'", "[INFO"))):
        return False
    if any(True for line in head.splitlines() for _ in _printed(line)):
        return True
    if len(head) < 1 << 15:
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(True for line in file.read(FAR).splitlines() for _ in _printed(line))


def _printed(line: str) -> Iterator[tuple[str, Row]]:
    """The dictionaries of the Trainer in a line, each with what stands before it."""
    if "'epoch':" not in line or not any(sign in line for sign in SIGNS):
        return
    at = 0
    for found in DICTIONARY.finditer(line):
        row: Row = {}
        for name, quoted, bare in PAIR.findall(found[0]):
            row[name] = None if bare == "None" else quoted or bare
        if "epoch" in row and any(sign in found[0] for sign in SIGNS):
            yield line[at : found.start()], row
            at = found.end()


def read(path: Path) -> list[Raw]:
    """The runs of a file; raises PawlError when nothing was printed."""
    with path.open(encoding="utf-8", errors="replace") as file:
        raws = [finished(path, FORMAT, run) for run in runs(_lines(file))]
    if not raws:
        raise PawlError("the Trainer printed nothing here", str(path))
    return raws


def _lines(file: Iterable[str]) -> Iterator[str]:
    """Lines, long ones in pieces."""
    for line in file:
        for at in range(0, len(line), LONGEST):
            yield line[at : at + LONGEST]


def runs(lines: Iterable[str]) -> Iterator[Run]:
    """Runs in the order of the file; bars that stand still are shared between rows."""
    run, bars = Run(), dict[int, int]()
    for line in lines:
        for before, row in _printed(line):
            bars = _bars(bars, before)
            if "train_runtime" in row:
                if run.table.n:
                    yield run
                run, bars = Run(), {}
                continue
            if any(name.startswith("eval_") for name in row):
                del row["epoch"]  # that of the training row of the step
            run.table.add(trl.with_nan(row))
            run.bars.append(bars)
            run.trains.append("loss" in row)
        bars = _bars(bars, line)
    if run.table.n:
        yield run


def _bars(bars: dict[int, int], line: str) -> dict[int, int]:
    """What the progress bars show after a line: the same object when nothing moved."""
    found = BAR.findall(line) if "/" in line and "<" in line else []
    if not found:
        return bars
    moved = {**bars, **{int(total): int(done) for done, total in found}}
    return moved if len(moved) <= BARS else dict(list(moved.items())[-BARS:])


def finished(path: Path, format_: str, run: Run) -> Raw:
    """A run as a raw log, with steps where a progress bar gives them."""
    raw = Raw(path, format_, "trl", run.table)
    total = _total(run)
    if total:
        steps = np.array([seen[total] for seen in run.bars], np.float64)
        run.table.put("step", np.arange(len(steps), dtype=np.int64), steps)
        raw.config["max_steps"] = total
    elif "step" not in run.table.columns:
        raw.notes.append("the steps are not printed: rows keep their order")
    return trl.complete(raw)


def _total(run: Run) -> int:
    """Length of the bar that counts steps: it moves from row to row of training; 0 for none."""
    if not run.bars:
        return 0
    for total in sorted(set.intersection(*(set(seen) for seen in run.bars)), reverse=True):
        done = [seen[total] for seen in run.bars]
        trained = [n for n, trains in zip(done, run.trains, strict=True) if trains]
        rises = all(a <= b for a, b in zip(done, done[1:], strict=False))
        if rises and len(set(trained)) == len(trained) and trained:
            return total
    return 0

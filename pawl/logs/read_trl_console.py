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
from itertools import pairwise
from pathlib import Path

import numpy as np

from pawl.logs.console import lines, opening
from pawl.logs.log import Raw
from pawl.logs.read_trl import add_row, complete
from pawl.logs.table import Row, Table

FORMAT = "console output of TRL or the Hugging Face Trainer"
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


def read(path: Path, head: str) -> list[Raw] | None:
    """The runs of a text that shows such a dictionary, maybe after megabytes of other lines."""
    if not any(True for line in opening(path, head).splitlines() for _ in _printed(line)):
        return None
    return [finished(path, FORMAT, run) for run in runs(line for line, _ in lines(path))]


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


def runs(text: Iterable[str]) -> Iterator[Run]:
    """Runs in the order of the lines; bars that stand still are shared between rows."""
    run, bars = Run(), dict[int, int]()
    for line in text:
        for before, row in _printed(line):
            bars = _bars(bars, before)
            if add_row(run.table, row):
                run.bars.append(bars)
                run.trains.append("loss" in row)
                continue
            if run.table.n:
                yield run
            run, bars = Run(), {}
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
    return complete(raw)


def _total(run: Run) -> int:
    """Length of the bar that counts steps: it moves from row to row of training; 0 for none."""
    for total in sorted(set.intersection(*(set(seen) for seen in run.bars)), reverse=True):
        done = [seen[total] for seen in run.bars]
        trained = [n for n, trains in zip(done, run.trains, strict=True) if trains]
        if trained and len(set(trained)) == len(trained) and all(a <= b for a, b in pairwise(done)):
            return total
    return 0

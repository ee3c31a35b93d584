"""What the Hugging Face Trainer prints or shows: dictionaries in a console, tables in a notebook.

    {'loss': 0.0123, 'grad_norm': 0.5, ..., 'epoch': 0.1}

Since transformers 5 the numbers are printed as texts of four digits. The step is not printed; it is
read off the progress bar before it, else rows are counted. A closing summary ends a run, so that a
file may hold several. The outputs of a notebook (.ipynb) hold the same lines as texts, or an HTML
table that grows by a row at each log: Step, Training Loss, and with Unsloth every column of TRL
("rewards / NAME"). Sources: transformers 5.23 trainer_callback.py (PrinterCallback,
ProgressCallback), utils/notebook.py; published notebooks of unslothai/notebooks. Left out: other
outputs of a notebook; charts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from pawl.errors import PawlError
from pawl.logs.console import lines, opening
from pawl.logs.json_stream import whole
from pawl.logs.read_trl import add_row, complete
from pawl.logs.table import Raw, Row, Table

FORMAT = "console output of TRL or the Hugging Face Trainer"
DICTIONARY = re.compile(r"\{'[^{}]{1,30000}\}")
PAIR = re.compile(r"'([^'\n]{1,200})': (?:'([^'\n]{0,80})'|(?:[\w.]{1,40}\()?([-+\w.]{1,40}))")
SIGNS = ("'loss':", "'eval_loss':", "'train_runtime':", "'objective/kl':")
BAR = re.compile(r"(\d{1,9})/(\d{1,9}) \[[\d:?]{1,12}<")
BARS = 64  # progress bars that are followed
PRINTED = "notebook, printed by the Trainer"
SHOWN = "notebook, table shown by the Trainer"
TABLE = re.compile(r"<table[^>]{0,200}>(.*?)</table>", re.DOTALL)
LINE = re.compile(r"<tr[^>]{0,200}>(.*?)</tr>", re.DOTALL)
CELL = re.compile(r"<t[hd][^>]{0,200}>(.*?)</t[hd]>", re.DOTALL)
NAMES = {"Step": "step", "Epoch": "epoch", "Training Loss": "loss", "Validation Loss": "eval_loss"}


@dataclass(slots=True)
class Run:
    """One training under construction. rows: the bars at each, total -> done; and if it trained."""

    table: Table = field(default_factory=Table)
    rows: list[tuple[Mapping[int, int], bool]] = field(default_factory=list)


def read(path: Path, head: str) -> list[Raw] | None:
    """The runs of a notebook, or of a text that shows such a dictionary, maybe after megabytes."""
    if head.lstrip().startswith("{") and '"cells"' in head and '"cell_type"' in head:
        return _notebook(path)
    if not any(True for line in opening(path, head).splitlines() for _ in _printed(line)):
        return None
    return [_finished(path, FORMAT, run) for run in _runs(line for _, line, _ in lines(path))]


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


def _runs(text: Iterable[str]) -> Iterator[Run]:
    """Runs in the order of the lines; bars that stand still are shared between rows."""
    run, bars = Run(), dict[int, int]()
    for line in text:
        for before, row in _printed(line):
            bars = _bars(bars, before)
            if add_row(run.table, row):
                run.rows.append((bars, "loss" in row))
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


def _finished(path: Path, format_: str, run: Run) -> Raw:
    """A run as a raw log, with steps where a progress bar gives them."""
    raw = Raw(path, format_, "trl", run.table)
    total = _total(run)
    if total:
        steps = np.array([seen[total] for seen, _ in run.rows], np.float64)
        run.table.put("step", np.arange(len(steps), dtype=np.int64), steps)
        raw.config["max_steps"] = total
    elif "step" not in run.table.columns:
        raw.notes.append("the steps are not printed: rows keep their order")
    return complete(raw)


def _total(run: Run) -> int:
    """Length of the bar that counts steps: it moves from row to row of training; 0 for none."""
    for total in sorted(set.intersection(*(set(seen) for seen, _ in run.rows)), reverse=True):
        done = [seen[total] for seen, _ in run.rows]
        trained = [seen[total] for seen, trains in run.rows if trains]
        if trained and len(set(trained)) == len(trained) and all(a <= b for a, b in pairwise(done)):
            return total
    return 0


def _notebook(path: Path) -> list[Raw]:
    """A log for each training in a notebook; raises PawlError when there is none."""
    found = list(_outputs(whole(path)))
    texts = (output.get("text", "") + output.get("text/plain", "") for output in found)
    printed = chain.from_iterable(text.splitlines() for text in texts)
    raws = [_finished(path, PRINTED, run) for run in _runs(printed)]
    tables = chain.from_iterable(TABLE.findall(output.get("text/html", "")) for output in found)
    raws += [raw for table in tables if (raw := _shown(path, table))]
    if not raws:
        raise PawlError("no training log among the notebook's outputs", str(path))
    return raws


def _outputs(notebook: object) -> Iterator[dict[str, str]]:
    """The texts of each output of the cells in their order, by kind; maybe stored as lines."""
    for cell in _listed(notebook, "cells"):
        for output in _listed(cell, "outputs"):
            data = output.get("data")
            texts = {**(data if isinstance(data, Mapping) else {}), "text": output.get("text")}
            yield {
                kind: "".join(map(str, text)) if isinstance(text, list) else str(text or "")
                for kind, text in texts.items()
            }


def _listed(value: object, name: str) -> list[Mapping[str, object]]:
    """The objects in a list of an object."""
    rows = value.get(name) if isinstance(value, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _shown(path: Path, part: str) -> Raw | None:
    """The rows of a table of the Trainer, None for any other table."""
    lines = [[_cell(cell) for cell in CELL.findall(line)] for line in LINE.findall(part)]
    if not lines or not {"Step", "Training Loss"} <= set(lines[0]):
        return None
    names = [NAMES.get(name, name.replace(" / ", "/")) for name in lines[0]]
    raw = Raw(path, SHOWN, "trl", Table())
    for line in lines[1:]:
        row = dict(zip(names, line, strict=False))
        raw.table.add({k: v for k, v in row.items() if v.lower() not in ("", "no log")})
    return complete(raw) if raw.table.columns else None


def _cell(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]{0,200}>", "", text)).strip()

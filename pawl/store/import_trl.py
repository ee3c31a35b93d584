"""TRL and the Hugging Face Trainer: trainer_state.json, or its `log_history` alone.

The list is read object by object, so a file of any length needs no more memory than its numbers.
Left out: the folder around it (`import_trl_folder`), what a console showed (`import_trl_console`),
TensorBoard, W&B and Trackio files of the same runs (importers of their own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pawl.store import trl
from pawl.store.log import Raw
from pawl.store.table import Table

FORMAT = "trainer_state.json of TRL or the Hugging Face Trainer"
BARE = "log_history of TRL or the Hugging Face Trainer"
CHUNK = 1 << 20
TAIL = 1 << 16  # bytes at the end in which the settings behind the list stand
LATE = 1 << 26  # bytes in which a list that does not begin at once is looked for
SEPARATOR = re.compile(r"[\s,]*")
HISTORY = re.compile(r'"log_history"\s*:\s*\[')
LIST = re.compile(r"^\s*\[")
SETTING = re.compile(r'"(max_steps|num_train_epochs|logging_steps|save_steps)"\s*:\s*(-?\d+)')


def looks_like(path: Path, head: str) -> bool:
    """Whether a file holds a log history, or begins with a list of its rows."""
    start = head.lstrip("\ufeff \t\r\n")[:1]
    if start == "[":
        return _is_bare(head)
    return start == "{" and (bool(HISTORY.search(head)) or _comes_late(path, head))


def _is_bare(head: str) -> bool:
    """Whether the first objects of a list have columns of TRL."""
    decoder, at, names = json.JSONDecoder(), head.index("[") + 1, set[str]()
    for _ in range(3):
        gap = SEPARATOR.match(head, at)
        try:
            row, at = decoder.raw_decode(head, gap.end() if gap else at)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            return False
        names |= set(row)
    return trl.is_trl(names)


def _comes_late(path: Path, head: str) -> bool:
    """Whether the list begins behind the head of a file that is one large object."""
    if path.suffix != ".json" or len(head) < TAIL:
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        text = ""
        for _ in range(LATE // CHUNK):
            piece = file.read(CHUNK)
            if HISTORY.search(text[-200:] + piece):
                return True
            if not piece:
                break
            text = piece
    return False


def read(path: Path) -> Raw:
    """The history as a table; a file that breaks off gives what came before, with a note."""
    table, notes = Table(), list[str]()
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(CHUNK).lstrip("\ufeff \t\r\n")
        start = LIST if head.startswith("[") else HISTORY
        file.seek(0)
        add_rows(objects(file, start, notes), table, notes)
    raw = Raw(path, BARE if start is LIST else FORMAT, "trl", table, notes=notes)
    if start is HISTORY:
        raw.config = dict(_settings(path))
    return trl.complete(raw)


def add_rows(rows: Iterator[dict[str, object]], table: Table, notes: list[str]) -> None:
    """Fill a table with the rows of a history; the closing summary is no step."""
    summaries = 0
    for row in rows:
        if "train_runtime" in row:
            summaries += 1
            continue
        if any(name.startswith("eval_") for name in row):
            row.pop("epoch", None)  # that of the training row of the step
        table.add(trl.with_nan(row))
    if summaries > 1:
        notes.append(f"{summaries} closing summaries: the run was ended and continued")


def _settings(path: Path) -> Iterator[tuple[str, object]]:
    """Length and intervals of the run, which stand around the list."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for place in {0, max(0, size - TAIL)}:
            file.seek(place)
            text = file.read(TAIL).decode("utf-8", "replace")
            yield from ((name, int(value)) for name, value in SETTING.findall(text))


def objects(file: TextIO, start: re.Pattern[str], notes: list[str]) -> Iterator[dict[str, object]]:
    """The objects of the list that `start` opens, one at a time; what breaks off is noted."""
    decoder, text, at = json.JSONDecoder(), "", -1
    while True:
        piece = file.read(CHUNK)
        text += piece
        if at < 0:
            opened = start.search(text)
            if opened is None:
                if not piece:
                    notes.append("the file ends before its list of rows begins")
                    return
                continue
            at = opened.end()
        while True:
            gap = SEPARATOR.match(text, at)
            assert gap is not None, "the pattern fits nothing too"
            place = gap.end()
            if text[place : place + 1] == "]":
                return
            try:
                row, at = decoder.raw_decode(text, place)
            except ValueError:
                break
            if isinstance(row, dict):
                yield row
        if not piece:
            notes.append("the file breaks off in its list of rows; what came before was read")
            return
        text, at = text[place:], 0

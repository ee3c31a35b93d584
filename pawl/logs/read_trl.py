"""TRL and the Hugging Face Trainer: trainer_state.json, or its `log_history` alone.

The list is read object by object, so a file of any length needs no more memory than its numbers.
Left out: the folder around it (`read_trl_folder`), what a console showed (`read_trl_console`),
TensorBoard, W&B and Trackio files of the same runs (importers of their own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pawl.logs import trl
from pawl.logs.json_stream import objects
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

FORMAT = "trainer_state.json of TRL or the Hugging Face Trainer"
BARE = "log_history of TRL or the Hugging Face Trainer"
EDGE = 1 << 16  # bytes at both ends in which the settings around the list stand
PIECE, LATE = 1 << 20, 1 << 26  # bytes in which a list that does not begin at once is looked for
HISTORY = re.compile(r'"log_history"\s*:\s*\[')
LIST = re.compile(r"^\s*\[")
SETTING = re.compile(r'"(max_steps|num_train_epochs|save_steps)"\s*:\s*(-?\d{1,12})\b')


def looks_like(path: Path, head: str) -> bool:
    """Whether a file holds a log history, or begins with a list of its rows."""
    start = head.lstrip("\ufeff \t\r\n")[:1]
    if start == "[":
        names = _first_names(head)
        return trl.is_trl(names) and not {"_step", "_timestamp"} & names
    return start == "{" and (bool(HISTORY.search(head)) or _comes_late(path, head))


def _first_names(head: str) -> set[str]:
    """The names in the first objects of a list."""
    decoder, at, names = json.JSONDecoder(), head.index("[") + 1, set[str]()
    for _ in range(3):
        while head[at : at + 1] in (" ", "\t", "\r", "\n", ","):
            at += 1
        try:
            row, at = decoder.raw_decode(head, at)
        except (ValueError, RecursionError):
            break
        names |= set(row) if isinstance(row, dict) else set()
    return names


def _comes_late(path: Path, head: str) -> bool:
    """Whether the list begins behind the head of a file that is one large object."""
    if len(head) < EDGE or "\n{" in head:
        return False
    pattern, before = re.compile(HISTORY.pattern.encode()), b""
    with path.open("rb") as file:
        while file.tell() < LATE and (piece := file.read(PIECE)):
            if pattern.search(before[-100:] + piece):
                return True
            before = piece
    return False


def read(path: Path) -> Raw:
    """The history as a table; a file that breaks off gives what came before, with a note."""
    return trl.complete(load(path))


def load(path: Path) -> Raw:
    """The same without what follows from version and options."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        bare = file.read(1_000).lstrip()[:1] == "["
    raw = Raw(path, BARE if bare else FORMAT, "trl", Table())
    add_rows(raw, objects(path, LIST if bare else HISTORY, raw.notes))
    if not bare:
        raw.config = dict(_settings(path))
    return raw


def add_rows(raw: Raw, rows: Iterable[Row]) -> None:
    """Fill the table with the rows of a history; the closing summary is no step."""
    summaries, names, ends, evaluates = 0, tuple[str, ...](), False, False
    for row in rows:
        if tuple(row) != names:
            names = tuple(row)
            ends = "train_runtime" in names
            evaluates = any(name.startswith("eval_") for name in names)
        if ends:
            summaries += 1
            continue
        if evaluates:
            row.pop("epoch", None)  # that of the training row of the step
        raw.table.add(trl.with_nan(row))
    if summaries > 1:
        raw.notes.append(f"{summaries} closing summaries: the run was ended and continued")


def _settings(path: Path) -> Iterator[tuple[str, int]]:
    """Length and intervals of the run, which stand around the list."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for place in (0, max(0, size - EDGE)):
            file.seek(place)
            text = file.read(EDGE).decode("utf-8", "replace")
            yield from ((name, int(value)) for name, value in SETTING.findall(text))

"""TRL and the Hugging Face Trainer: trainer_state.json, or its `log_history` alone.

The list is read object by object, so a file of any length needs no more memory than its numbers.
Left out: TensorBoard events and W&B files of the same runs (importers of their own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pawl.store.log import Raw
from pawl.store.table import Table

FORMAT = "trainer_state.json of TRL or the Hugging Face Trainer"
CHUNK = 1 << 20
SEPARATOR = re.compile(r"[\s,]*")
HISTORY = re.compile(r'"log_history"\s*:\s*\[')


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds a log history."""
    return path.suffix == ".json" and bool(HISTORY.search(head))


def read(path: Path) -> Raw:
    """The history as a table; a file that breaks off gives what came before, with a note."""
    table, notes = Table(), list[str]()
    with path.open(encoding="utf-8", errors="replace") as file:
        for row in objects(file, HISTORY, notes):
            table.add(row)
    return Raw(path, FORMAT, "trl", table, notes=notes)


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

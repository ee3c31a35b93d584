"""Rows of the Hugging Face Trainer as JSON lines: LLaMA-Factory, ms-swift, or a plain history.

LLaMA-Factory writes trainer_log.jsonl (current_steps, total_steps, loss, accuracy, lr), ms-swift
logging.jsonl (TRL's columns and "global_step/max_steps": "5/93"). Built from the sources
(LLaMA-Factory src/llamafactory/train/callbacks.py, ms-swift swift/plugin/callback.py), and read on
published logs. Left out: other columns in JSON lines (`read_plain`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pawl.logs import read_trl, trl
from pawl.logs.json_stream import lines
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

FACTORY = "trainer_log.jsonl of LLaMA-Factory"
SWIFT = "logging.jsonl of ms-swift"
HISTORY = "log history of TRL or the Hugging Face Trainer (JSON lines)"
RATIO = "global_step/max_steps"
TEXTS = ("percentage", "elapsed_time", "remaining_time", "cur_time")


def looks_like(path: Path, head: str) -> bool:
    """Whether the first lines are such rows."""
    return _kind(_first(head)) != ""


def _first(head: str) -> set[str]:
    """The names in the first lines that are whole objects."""
    names = set[str]()
    for line in islice(head.splitlines(), 5):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        names |= set(row) if isinstance(row, dict) else set()
    return names


def _kind(names: set[str]) -> str:
    if {"current_steps", "total_steps"} <= names:
        return FACTORY
    if RATIO in names:
        return SWIFT
    return HISTORY if trl.is_trl(names) and not {"_step", "_timestamp"} & names else ""


def read(path: Path) -> Raw:
    """The rows; a closing summary is no step."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        kind = _kind(_first(file.read(1 << 16)))
    raw = Raw(path, kind, "trl", Table())
    read_trl.add_rows(raw, _rows(path, raw))
    return trl.complete(raw)


def _rows(path: Path, raw: Raw) -> Iterator[Row]:
    for row in lines(path, raw.notes):
        for name in TEXTS:
            row.pop(name, None)
        total = row.pop("total_steps", None)
        step, sign, most = str(row.pop(RATIO, "")).partition("/")
        if sign and step.isdecimal():
            row, total = {"step": int(step), **row}, most
        if isinstance(total, int | str) and str(total).isdecimal():
            raw.config["max_steps"] = int(total)
        yield row

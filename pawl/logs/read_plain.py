"""Plain files: JSON lines, a JSON list of records or object of named numbers, CSV.

Column names are taken as they are; a map given by the user, or a plain spelling, says what they
mean. An object may hold its numbers under one more name ("metrics"), its config beside them, its
records in a list, or a list of numbers for each name. Left out: formats of particular libraries,
which have importers of their own; what stands in JSON without any number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pawl.logs import delimited, json_shapes
from pawl.logs.json_stream import LIST, lines, objects, whole
from pawl.logs.log import Raw
from pawl.logs.table import Row, Table

LIST_WITHIN = re.compile(r'"[^"\\]*"\s*:\s*\[(?=\s*\{)')
EARLY = 1 << 22  # bytes in which the list of a large object has to begin
WITHOUT = 10_000  # rows without a number, after which none is expected
OPENS = re.compile(r'\s*(?:\[\s*(?:\{|$)|\{\s*(?:"|$))')


def read(path: Path, head: str) -> list[Raw] | None:
    """The records of JSON, or of a table with a header."""
    start = head.lstrip()[:1]
    between = delimited.sign(head) if start not in ("{", "[") else ""
    if not between and not OPENS.match(head):
        return None
    raw = Raw(path, "JSON list of records", "any", Table())
    if between:
        raw.format = delimited.fill(path, between, raw.table, raw.notes)
    elif start == "[":
        _fill(raw.table, objects(path, LIST, raw.notes))
    else:
        raw.format, raw.config = _object(path, head, raw.table, raw.notes)
    if raw.table.dropped:
        raw.notes.append("the file has too many columns; the first 2000 were read")
    return [raw]


def _object(path: Path, head: str, table: Table, notes: list[str]) -> tuple[str, Row]:
    """Fill the table from JSON lines or from one object: what it was, and its config."""
    body = whole(path) if not _is_lines(head) else None
    if isinstance(body, Mapping):
        return json_shapes.fill(body, table)
    said = list[str]()
    _fill(table, lines(path, said))
    if table.n:
        notes += said
        return "JSON lines", {}
    _fill(table, objects(path, LIST_WITHIN, notes, EARLY))
    return "JSON object with a list of records", {}


def _fill(table: Table, rows: Iterable[Row]) -> None:
    """Add rows; many without a single number are a data set and no log."""
    for row in rows:
        table.add(row)
        if table.n == WITHOUT and not table.columns:
            return


def _is_lines(head: str) -> bool:
    """Whether a first line that is closed is followed by another object."""
    return bool(re.match(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{", head))

"""Plain files: JSON lines, a JSON list of records or object of named numbers, CSV.

Column names are taken as they are; a map given by the user, or a plain spelling, says what they
mean. An object may hold its numbers under one more name ("metrics"), its config beside them, its
records in a list, or a list of numbers for each name. Left out: formats of particular libraries,
which have readers of their own; what stands in JSON without any number.
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
LINES = re.compile(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")  # an object, closed, before another one
OPENS = re.compile(r'\s*(?:\[\s*(?:\{|$)|\{\s*(?:"|$))')


def read(path: Path, head: str) -> list[Raw] | None:
    """The records of JSON, or of a table with a header."""
    start = head.lstrip()[:1]
    between = delimited.sign(head) if start not in ("{", "[") else ""
    if not between and not OPENS.match(head):
        return None
    raw = Raw(path, "JSON list of records", "any", Table())
    if between:
        delimited.fill(raw, between)
    elif start == "[":
        _fill(raw, objects(path, LIST, raw.notes))
    elif not LINES.match(head) and isinstance(body := whole(path), Mapping):
        raw.format, raw.config = json_shapes.fill(body, raw.table)
    else:
        said = list[str]()
        _fill(raw, lines(path, said))
        if raw.table.n:
            raw.format = "JSON lines"
            raw.notes += said
        else:
            raw.format = "JSON object with a list of records"
            _fill(raw, objects(path, LIST_WITHIN, raw.notes, EARLY))
    if raw.table.dropped:
        raw.notes.append("the file has too many columns; the first 2000 were read")
    return [raw]


def _fill(raw: Raw, rows: Iterable[Row]) -> None:
    """Add rows; many without a single number are a data set and no log."""
    for row in rows:
        raw.table.add(row)
        if raw.table.n == WITHOUT and not raw.table.columns:
            return

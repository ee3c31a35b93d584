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

from pawl.errors import PawlError
from pawl.logs import delimited, json_shapes
from pawl.logs.json_stream import lines, objects, whole
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

LIST = re.compile(r"^\s*\[")
LIST_WITHIN = re.compile(r'"[^"\\]*"\s*:\s*\[(?=\s*\{)')
EARLY = 1 << 22  # bytes in which the list of a large object has to begin
WITHOUT = 10_000  # rows without a number, after which none is expected
HINT = "docs/doctor.md lists the formats"


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file is JSON or a table with a header."""
    first = head.lstrip("\ufeff \t\r\n")[:2]
    if first[:1] == "[":
        return bool(re.match(r"\[\s*(\{|$)", head.lstrip("\ufeff \t\r\n")))
    if first[:1] == "{":
        return bool(re.match(r'\{\s*("|$)', head.lstrip("\ufeff \t\r\n")))
    return bool(delimited.sign(head))


def read(path: Path) -> Raw:
    """The records of the file; raises PawlError when it holds none."""
    table, notes, config = Table(), list[str](), Row()
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.read(1 << 16)
    start = head.lstrip()[:1]
    if start == "[":
        kind = "JSON list of records"
        _fill(table, objects(path, LIST, notes))
    elif start == "{":
        kind, config = _object(path, head, table, notes)
    else:
        kind = delimited.fill(path, delimited.sign(head), table, notes)
    if not table.columns:
        raise PawlError("no records with numbers", str(path), HINT)
    if table.dropped:
        notes.append("the file has too many columns; the first 2000 were read")
    return Raw(path, kind, "any", table, config=config, notes=notes)


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

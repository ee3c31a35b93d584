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
from pawl.store import delimited
from pawl.store.json_stream import lines, objects, whole
from pawl.store.log import Raw, Row
from pawl.store.table import Table

CONFIGS = ("config", "args", "arguments", "hyperparameters", "hparams", "params", "settings")
LIST = re.compile(r"^\s*\[")
LIST_WITHIN = re.compile(r'"[^"\\]*"\s*:\s*\[(?=\s*\{)')
HELD_OUT = ("eval", "val", "valid", "test", "held")
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
        return _one(body, table)
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


def _one(body: Mapping[str, object], table: Table) -> tuple[str, Row]:
    """Fill the table from one object that was read whole."""
    config, rest = Row(), dict(body)
    for name in CONFIGS:
        inner = rest.get(name)
        if isinstance(inner, Mapping):
            config |= flat(inner)
            del rest[name]
    while (inner := _only_part(rest)) is not None:
        rest = dict(inner)
    lists = {k: v for k, v in rest.items() if isinstance(v, list)}
    records = {k: rows for k, v in lists.items() if (rows := _records(v))}
    if records:
        _merge(records, table)
        return "JSON object with a list of records", config
    columns = {k: v for k, v in lists.items() if v and not any(map(_is_nested, v))}
    if columns:
        for i in range(max(map(len, columns.values()))):
            table.add({k: v[i] for k, v in columns.items() if i < len(v)})
        return "JSON object of columns", config
    table.add(rest)
    return "JSON object of named numbers", config


def _only_part(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """The one inner object that holds all numbers of a body; None when there are others."""
    parts = [v for v in body.values() if isinstance(v, Mapping)]
    others = [v for v in body.values() if isinstance(v, int | float | list)]
    return parts[0] if len(parts) == 1 and not others else None


def _records(value: list[object]) -> list[Mapping[str, object]]:
    return [row for row in value if isinstance(row, Mapping)]


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list | str)


def _merge(records: Mapping[str, list[Mapping[str, object]]], table: Table) -> None:
    """Rows of the longest list, then those of held-out lists under the list's name."""
    main = max(records, key=lambda name: (not _is_held_out(name), len(records[name])))
    for row in records[main]:
        table.add(row)
    for name, rows in records.items():
        if name != main and _is_held_out(name):
            for row in rows:
                steps = {k: v for k, v in row.items() if k in ("step", "epoch", "global_step")}
                rest = {f"{name}/{k}": v for k, v in row.items() if k not in steps}
                table.add({**steps, **rest})


def _is_held_out(name: str) -> bool:
    return name.lower().startswith(HELD_OUT)


def flat(body: Mapping[str, object], outer: str = "", depth: int = 0) -> Row:
    """Nested options under dotted names."""
    found = Row()
    for key, value in body.items():
        if isinstance(value, Mapping) and depth < 8:
            found |= flat(value, f"{outer}{key}.", depth + 1)
        else:
            found[f"{outer}{key}"] = value
    return found

"""JSON of no particular library: lines, a list of records, or one object in a shape of its own.

Column names are taken as they are; a map given by the user, or a plain spelling, says what they
mean. An object holds its records in a list, or under `epoch_1`, `epoch_2` or `1`, `2`; a list of
numbers, of [step, value] or a `{"1": value}` for each name; or one record; each of them maybe under
one more name ("metrics"), and beside a config. Left out: formats of particular libraries, which
have readers of their own; what stands in JSON without any number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from pawl.logs.json_stream import LIST, lines, objects, whole
from pawl.logs.table import Raw, Row, Table
from pawl.store.files import flat

LIST_WITHIN = re.compile(r'"[^"\\]*"\s*:\s*\[(?=\s*\{)')
EARLY = 1 << 22  # bytes in which the list of a large object has to begin
WITHOUT = 10_000  # rows without a number, after which none is expected
LINES = re.compile(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")  # an object, closed, before another one
OPENS = re.compile(r'\s*(?:\[\s*(?:\{|$)|\{\s*(?:"|$))')
CONFIGS = ("config", "args", "arguments", "hyperparameters", "hparams", "params", "settings")
HELD_OUT = ("eval", "val", "valid", "test", "held")
PLACE = re.compile(r"(?:(epoch|step|iteration|iter|update)s?[ _-]*)?(\d+)", re.IGNORECASE)
FEW = 3  # rows that make columns of an object that also has plain numbers
Body = Mapping[str, object]
AXES = ("step", "epoch", "global_step")


def read(path: Path, head: str) -> list[Raw] | None:
    """The records of a file of JSON."""
    if not OPENS.match(head):
        return None
    raw = Raw(path, "JSON list of records", "any", Table())
    if head.lstrip().startswith("["):
        _fill(raw, objects(path, LIST, raw.notes))
    elif not LINES.match(head) and isinstance(body := whole(path), Mapping):
        raw.format = _fill_from_object(raw, body)
    else:
        said = list[str]()
        _fill(raw, lines(path, said))
        if raw.table.n:
            raw.format = "JSON lines"
            raw.notes += said
        else:
            raw.format = "JSON object with a list of records"
            _fill(raw, objects(path, LIST_WITHIN, raw.notes, EARLY))
    return [raw]


def _fill(raw: Raw, rows: Iterable[Row]) -> None:
    """Add rows; many without a single number are a data set and no log."""
    for row in rows:
        raw.table.add(row)
        if raw.table.n == WITHOUT and not raw.table.columns:
            return


def _fill_from_object(raw: Raw, body: Body) -> str:
    """Add the rows, and the config beside them; what the object was, in words."""
    rest = dict(body)
    for name in CONFIGS:
        if isinstance(rest.get(name), Mapping):
            raw.config |= flat(rest.pop(name))
    while (only := _only_part(rest)) is not None:
        rest = dict(only)
    lists = {k: v for k, v in rest.items() if isinstance(v, list)}
    records = {k: [row for row in v if isinstance(row, Mapping)] for k, v in lists.items()}
    if any(records.values()):
        _merge(records, raw.table)
        return "JSON object with a list of records"
    single = any(isinstance(value, int | float) for value in rest.values())
    rows = _by_place(rest) or ([] if single else _columns_by_place(rest)) or _columns(lists)
    if len(rows) < FEW and single:
        rows = []  # a pair of bounds beside the numbers that count
    for row in rows or [rest]:
        raw.table.add(row)
    return "JSON object of columns" if rows else "JSON object of named numbers"


def _only_part(body: Body) -> Body | None:
    """The one inner object that holds all numbers of a body; None when there are others."""
    parts = [v for v in body.values() if isinstance(v, Mapping)]
    others = [v for v in body.values() if isinstance(v, int | float | list)]
    return parts[0] if len(parts) == 1 and not others else None


def _merge(records: Mapping[str, list[Body]], table: Table) -> None:
    """Rows of the longest list, then those of held-out lists under the list's name."""
    main = max(records, key=lambda name: (not _is_held_out(name), len(records[name])))
    for row in records[main]:
        table.add(row)
    for name, rows in records.items():
        if name != main and _is_held_out(name):
            for row in rows:
                table.add({k if k in AXES else f"{name}/{k}": v for k, v in row.items()})


def _is_held_out(name: str) -> bool:
    return name.lower().startswith(HELD_OUT)


def _places(names: Iterable[str]) -> tuple[str, dict[str, int]]:
    """Axis and place of names such as `epoch_3` or `3`; nothing unless all are, on one axis."""
    found = {name: PLACE.fullmatch(name.strip()) for name in names}
    axes = {(match[1] or "step").lower() for match in found.values() if match}
    if len(found) < 2 or not all(found.values()) or len(axes) > 1:
        return "", {}
    axis = "epoch" if axes == {"epoch"} else "step"
    return axis, {name: int(match[2][:18]) for name, match in found.items() if match}


def _by_place(body: Body) -> list[Row]:
    """Records under the names of their places."""
    parts = {name: value for name, value in body.items() if isinstance(value, Mapping)}
    axis, places = _places(parts)
    return [{axis: places[name], **parts[name]} for name in sorted(places, key=places.__getitem__)]


def _columns_by_place(body: Body) -> list[Row]:
    """Columns whose values stand under their places, or beside them as [place, value]."""
    rows: dict[int, Row] = {}
    axis = ""
    for name, value in body.items():
        if isinstance(value, Mapping):
            axis, places = _places(value)
            pairs = [(places[key], value[key]) for key in places]
        elif isinstance(value, list):
            pairs = [(pair[0], pair[1]) for pair in value if _is_pair(pair)]
            if any(b[0] <= a[0] for a, b in pairwise(pairs)):  # no steps
                continue
        else:
            continue
        for at, one in pairs:
            rows.setdefault(at, {axis or "step": at})[name] = one
    return [rows[at] for at in sorted(rows)]


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int


def _columns(lists: Mapping[str, list[object]]) -> list[Row]:
    """Rows of lists of numbers, the n-th values together."""
    odd = {k for k, v in lists.items() if any(isinstance(x, Mapping | list | str) for x in v)}
    columns = {k: v for k, v in lists.items() if k not in odd}
    longest = max(map(len, columns.values()), default=0)
    return [{k: v[i] for k, v in columns.items() if i < len(v)} for i in range(longest)]

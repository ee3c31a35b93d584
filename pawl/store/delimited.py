"""Tables of text: CSV with commas, semicolons, tabs or bars, wide or long.

A long table (a row for each value: step, name, value) is turned into a wide one. Left out: JSON
(`import_plain`), tables of Markdown (`import_markdown`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TextIO

from pawl.errors import PawlError
from pawl.store.table import Table

SIGNS = (",", "\t", ";", "|")
NAMES = ("tag", "metric", "name", "key", "metric_name")
EMPTY = ("", "-", "N/A", "None", "null")
WIDEST = 1 << 16  # characters of a line; a longer one is no row of a table


def sign(head: str) -> str:
    """The sign between the columns of a text that begins with a header; "" when it is no table.

    The header is words, and the first rows under it have as many cells, some of them numbers.
    """
    rows = [x for x in head.lstrip("\ufeff").splitlines()[:20] if x.strip() and x[0] != "#"]
    for one in SIGNS:
        cells = [next(csv.reader([line], delimiter=one), []) for line in rows[:6]]
        if len(cells) < 2 or len(cells[0]) < 2 or not _is_header(cells[0]):
            continue
        same = [row for row in cells[1:] if len(row) == len(cells[0])]
        whole = len(same) >= len(cells[1:]) - 1  # the last line of the head may be cut
        if same and whole and any(number(cell) is not None for row in same for cell in row):
            return one
    return ""


def _is_header(cells: list[str]) -> bool:
    words = [cell for cell in cells if re.search(r"[^\W\d_]", cell) and number(cell) is None]
    return len(words) * 2 > len(cells) and all(len(cell) < 200 for cell in cells)


def number(cell: str) -> float | None:
    """The number of a cell, a decimal comma allowed; None for anything else."""
    try:
        return float(cell)
    except ValueError:
        if re.fullmatch(r"\s*-?\d+,\d+(e-?\d+)?\s*", cell, re.IGNORECASE):
            return float(cell.replace(",", "."))
        return None


def fill(path: Path, between: str, table: Table, notes: list[str]) -> str:
    """Fill a table from a file: what kind it was; raises PawlError when it cannot be read."""
    odd = 0
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(_lines(file), delimiter=between or ",")
        try:
            header = [name.strip() for name in next(rows, [])]
            body = _wide(header, rows)
            for row in _from_long(body) if _is_long(header) else body:
                table.add(row)
                odd += not row
        except csv.Error as e:
            if not table.n:
                raise PawlError(f"no table that can be read ({e})", str(path)) from e
            notes.append(f"the file cannot be read to its end ({e})")
    if odd:
        notes.append(f"{odd} lines have no cell under any name")
    kind = {"\t": "TSV", ";": "CSV with semicolons", "|": "CSV with bars"}.get(between, "CSV")
    return kind


def _lines(file: TextIO) -> Iterator[str]:
    """Lines without those that are comments, too long for a row, or hold a NUL."""
    while line := file.readline(WIDEST):
        if line.strip() and line[0] != "#" and "\0" not in line:
            yield line


def _wide(header: list[str], rows: Iterator[list[str]]) -> Iterator[dict[str, object]]:
    for row in rows:
        cells = {k: v for k, v in zip(header, row, strict=False) if k and v.strip() not in EMPTY}
        yield {k: v if (x := number(v)) is None else x for k, v in cells.items()}


def _is_long(header: list[str]) -> bool:
    """Whether a header is that of a row for each value."""
    low = [name.lower() for name in header]
    return "value" in low and "step" in low and any(name in low for name in NAMES)


def _from_long(rows: Iterator[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """Rows of a long table by their step; values of one step that follow each other are a row."""
    now: dict[str, object] = {}
    for row in chain(rows, [{}]):
        low = {key.lower(): value for key, value in row.items()}
        name = next((str(low[key]) for key in NAMES if key in low), "")
        step = low.get("step")
        if now and (step != now["step"] or name in now or not row):
            yield now
            now = {}
        if name and step is not None:
            now = {**now, "step": step, name: low.get("value")}

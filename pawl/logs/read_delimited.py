"""Tables of text: CSV with commas, semicolons, tabs or bars, or columns aligned by spaces.

A long table (a row for each value: step, name, value) and one with a column for each epoch or step
are turned into one with a row for each. Left out: JSON (`read_json`), tables of Markdown
(`read_markdown`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from pawl.logs.read_markdown import by_columns
from pawl.logs.table import Raw, Row, Table
from pawl.logs.table import number as plain_number

KINDS = {
    ",": "CSV",
    "\t": "TSV",
    ";": "CSV with semicolons",
    "|": "CSV with bars",
    " ": "columns aligned by spaces",
}
MOST_METRICS = 2_000  # rows of a table with a column for each epoch
NAMES = ("tag", "metric", "name", "key", "metric_name")
EMPTY = ("", "-", "N/A", "None", "null", "NaN")
WIDEST = 1 << 16  # characters of a line; a longer one is no row of a table


def read(path: Path, head: str) -> list[Raw] | None:
    """The rows of a table with a header."""
    between = sign(head) if head.lstrip()[:1] not in ("{", "[") else ""
    if not between:
        return None
    raw, odd = Raw(path, KINDS[between], "any", Table()), 0
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = _rows(file, between)
        try:
            header = [name.strip() for name in next(rows, [])]
            for row in _records(header, rows):
                raw.table.add(row)
                odd += not row
        except csv.Error as e:
            raw.notes.append(f"the file cannot be read to its end ({e})")
    if odd:
        raw.notes.append(f"{odd} lines have no cell under any name")
    return [raw]


def sign(head: str) -> str:
    """The sign between the columns of a text that begins with a header; "" when it is no table.

    The header is words, and the first rows under it have as many cells, some of them numbers.
    """
    rows = [x for x in head.lstrip("\ufeff").splitlines()[:20] if x.strip() and x[0] != "#"]
    for one in (",", "\t", ";", "|"):
        cells = [next(csv.reader([line], delimiter=one), []) for line in rows[:6]]
        if len(cells) < 2 or len(cells[0]) < 2 or not _is_header(cells[0]):
            continue
        same = [row for row in cells[1:] if len(row) == len(cells[0])]
        whole = len(same) >= len(cells[1:]) - 1  # the last line of the head may be cut
        if same and whole and any(number(cell) is not None for row in same for cell in row):
            return one
    return " " if _is_aligned(rows[:6]) else ""


def _is_aligned(rows: list[str]) -> bool:
    """Whether rows of numbers stand under a header, between spaces; an index may come first."""
    body = [line.split() for line in rows[1:]]
    names = _aligned(rows[0]) if rows else []
    more = {len(row) - len(names) for row in body}
    numbers = all(number(cell) is not None or cell in EMPTY for row in body for cell in row)
    return len(body) > 1 and len(names) > 1 and more <= {0, 1} and numbers and _is_header(names)


def _aligned(line: str) -> list[str]:
    """The names of a header between spaces; two or more part names that hold one themselves."""
    names = re.split(r"\s{2,}", line.strip())
    return names if len(names) > 1 else line.split()


def _is_header(cells: list[str]) -> bool:
    words = [cell for cell in cells if re.search(r"[^\W\d_]", cell) and number(cell) is None]
    return len(words) * 2 > len(cells) and all(len(cell) < 200 for cell in cells)


def number(cell: str) -> float | None:
    """The number of a cell, a decimal comma allowed; None for anything else."""
    if "," in cell and re.fullmatch(r"\s*-?\d+,\d+(e-?\d+)?\s*", cell, re.IGNORECASE):
        cell = cell.replace(",", ".")
    return plain_number(cell)


def _rows(file: TextIO, between: str) -> Iterator[list[str]]:
    """The cells of every line, the header's first."""
    if between != " ":
        yield from csv.reader(_lines(file), delimiter=between)
        return
    names: list[str] = []
    for line in _lines(file):
        cells = line.split() if names else _aligned(line)
        names = names or cells
        yield cells[len(cells) - len(names) :] if len(cells) > len(names) else cells


def _records(header: list[str], rows: Iterator[list[str]]) -> Iterator[Mapping[str, object]]:
    """Rows by name, whichever way the table lies."""
    first = list(islice(rows, MOST_METRICS))
    part = by_columns(header, first) if header else None
    if part is not None and part.rows:
        yield from ({part.axis: at, **values} for at, values in part.rows.items())
        return
    body, names = _wide(header, chain(first, rows)), {name.lower() for name in header}
    is_long = {"value", "step"} <= names and not names.isdisjoint(NAMES)
    yield from _from_long(body) if is_long else body


def _lines(file: TextIO) -> Iterator[str]:
    """Lines without those that are comments, too long for a row, or hold a NUL."""
    while line := file.readline(WIDEST):
        if line.strip() and line[0] != "#" and "\0" not in line:
            yield line


def _wide(header: list[str], rows: Iterator[list[str]]) -> Iterator[Row]:
    for row in rows:
        cells = ((k, v) for k, v in zip(header, row, strict=False) if k and v.strip() not in EMPTY)
        yield {k: v if (x := number(v)) is None else x for k, v in cells}


def _from_long(rows: Iterator[Row]) -> Iterator[Row]:
    """Rows of a long table: neighbours of one step are one, until a name repeats."""
    now = Row()
    for row in rows:
        low = {key.lower(): value for key, value in row.items()}
        name, step = next((str(low[key]) for key in NAMES if key in low), ""), low.get("step")
        if not name or step is None:
            continue
        if now and (step != now["step"] or name in now):
            yield now
            now = {}
        now |= {"step": step, name: low.get("value")}
    if now:
        yield now

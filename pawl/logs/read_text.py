"""Lines of named numbers in free text: what a training loop prints, such as
`[Epoch 0.28] loss=-0.0469 reward=0.102 +/- 0.077` or `step 10/100 | Avg reward: 0.3 | KL: 0.01`.

A line with two numbers or more is a row; a line with a step or epoch alone opens one, and lines
with one number each join it. Names that come only once are left out. Left out: the consoles of
particular libraries, which have importers of their own; numbers without a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from pawl.errors import PawlError
from pawl.logs.log import Raw
from pawl.logs.spelling import plain
from pawl.logs.table import Table

NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)\b"
AXIS = re.compile(
    r"(?:global |train(?:ing)? )?(epoch|step|iter|iteration|update)\s*[:=#]?\s*"
    r"(\d+(?:\.\d+)?)(?![.\d]|\s*[-\u2013]\s*\d)(?:\s*(?:/|of)\s*\d+)?:?",
    re.IGNORECASE,
)
BETWEEN = re.compile(r"\s*[|,;\[\](){}]\s*|\s{2,}|\s-+\s(?!\.?\d)")
PAIR = re.compile(
    rf"([A-Za-z][\w/.@ -]{{0,60}}?)\s*[=:]\s*({NUMBER})\s*(%?)"
    r"(?:\s*(?:\u00b1|\+/?-).*|[a-zA-Z]{0,3})"
)
PAIRS = re.compile(rf"([A-Za-z][\w/.@-]{{0,60}})[=:]\s?({NUMBER})(%?)(?![\w:])")
METRICS = re.compile(r"reward|loss|\bkl|entropy|accuracy|score|return")
LONGEST = 1 << 14  # characters of a line that are looked at
MOST = 300_000  # rows that are read
FEW = 3  # rows that a log has at least
PLACES = {"step", "epoch"}
Row = dict[str, object]


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file has three rows or more, with a metric of training in them."""
    rows = list(_rows(head.splitlines()))
    names = Counter(plain(name) for row in rows for name in row)
    return any(n >= FEW and METRICS.search(name) for name, n in names.items())


def read(path: Path) -> Raw:
    """The rows of a text; raises PawlError when no name comes twice."""
    table = Table()
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        rows = list(islice(_rows(_lines(file)), MOST))
    names = Counter(name for row in rows for name in row)
    placed = 2 * sum(map(_is_placed, rows)) >= len(rows)
    before = Row()
    for row in rows:
        known = {k: v for k, v in row.items() if names[k] > 1}
        if placed and not _is_placed(row):  # a line in between adds, it replaces nothing
            known = {k: v for k, v in known.items() if k not in before}
        if set(known) - PLACES:
            table.add(known)
            before = before | known if placed and not _is_placed(row) else known
    if not table.n:
        raise PawlError("no lines of named numbers", str(path))
    notes = [f"only the first {MOST} rows were read"] if len(rows) == MOST else []
    return Raw(path, "lines of named numbers in a text", "any", table, notes=notes)


def _is_placed(row: Row) -> bool:
    return bool(PLACES & set(row))


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(LONGEST):
        yield line


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a text, one for each line or for each block of lines under a step."""
    block: Row | None = None
    for line in lines:
        found = _pairs(line[:LONGEST])
        axis = found.keys() & PLACES
        if len(found) - len(axis) >= 2 or (axis and len(found) > len(axis)):
            yield from [block] if block and len(block) > 1 else []
            block = None
            yield found
        elif axis:
            yield from [block] if block and len(block) > 1 else []
            block = dict(found)
        elif found and block is not None:
            block |= {k: v for k, v in found.items() if k not in block}
    yield from [block] if block and len(block) > 1 else []


def _pairs(line: str) -> Row:
    """The named numbers of a line."""
    found = Row()
    if not any(sign in line for sign in "=:") and not AXIS.search(line):
        return found
    for field in BETWEEN.split(re.sub(r"[*`#]", "", line).strip(" \t\r\n-")):
        axis = AXIS.match(field)
        if axis:
            word = axis.group(1).lower()
            found.setdefault("epoch" if word == "epoch" else "step", float(axis.group(2)))
            field = field[axis.end() :].lstrip(" :-")
        one = PAIR.fullmatch(field)
        pairs = [one.groups()] if one else [pair.groups() for pair in PAIRS.finditer(field)]
        for name, number, percent in pairs:
            found.setdefault(name.strip(), float(number) / (100.0 if percent else 1.0))
    return found

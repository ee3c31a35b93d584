"""Lines of named numbers in free text: what a training loop prints, such as
`[Epoch 0.28] loss=-0.0469 reward=0.102 +/- 0.077` or `step 10/100 | Avg reward: 0.3 | KL: 0.01`.

A line with two numbers or more is a row; a line with a step or epoch alone opens one, and lines
with one number each join it. Names that come only once are left out. Left out: the consoles of
particular libraries, which have readers of their own; numbers without a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from pawl.logs.names import plain
from pawl.logs.table import Raw, Row, Table

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


def read(path: Path, head: str) -> list[Raw] | None:
    """The rows of a text whose start has three rows or more, with a metric of training in them.

    Names that come only once are left out.
    """
    shown = Counter(plain(name) for row in _rows(head.splitlines()) for name in row)
    if not any(n >= FEW and METRICS.search(name) for name, n in shown.items()):
        return None
    raw = Raw(path, "lines of named numbers in a text", "any", Table())
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        rows = list(islice(_rows(iter(lambda: file.readline(LONGEST), "")), MOST))
    if len(rows) == MOST:
        raw.notes.append(f"only the first {MOST} rows were read")
    names = Counter(name for row in rows for name in row)
    placed = 2 * sum(map(_is_placed, rows)) >= len(rows)
    before = Row()
    for row in rows:
        known = {k: v for k, v in row.items() if names[k] > 1}
        between = placed and not _is_placed(row)
        if between:  # it adds, and replaces nothing
            known = {k: v for k, v in known.items() if k not in before}
        if set(known) - PLACES:
            raw.table.add(known)
            before = before | known if between else known
    return [raw]


def _is_placed(row: Row) -> bool:
    return bool(PLACES & set(row))


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of a text, one for each line or for each block of lines under a step."""
    block = Row()
    for line in lines:
        found = _pairs(line[:LONGEST])
        axis = found.keys() & PLACES
        whole = len(found) - len(axis) >= (1 if axis else 2)
        if axis or whole:
            yield from [block] if len(block) > 1 else []
            block = Row() if whole else found
            yield from [found] if whole else []
        elif block:
            block |= {k: v for k, v in found.items() if k not in block}
    yield from [block] if len(block) > 1 else []


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

"""Tables of metrics by epoch or step in a page of Markdown, as people paste them.

A table may have a row for each epoch, or a column for each ("Metric | Epoch 1 | Epoch 2"). Marks
around a number are dropped (bold, arrows, ~, units, "+/- 0.1"), 30% is 0.3, and a range or a
change is no number. Tables of plans, settings and assessments are left out, as is all text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs.table import Raw, Table

LONGEST = 1 << 24  # characters of a page that are read
RULER = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
AXIS = r"(epoch|step|iteration|iter|update|round|ep|e)"
HEAD = re.compile(rf"(?:global|training|train)?\s*{AXIS}s?\.?(?:\s*(?:#|no\.?|number))?", re.I)
PLACE = re.compile(rf"{AXIS}s?\.?\s*[#:]?\s*(\d[\d,]*(?:\.\d+)?)(k?)", re.I)
NUMBER = re.compile(
    r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?:e[+-]?\d+)?", re.I
)
NOT_ONE = re.compile(r"\s*(?:-|to\b|\.\.|->|=>|vs\b|[a-z]*\s*\d)", re.I)
SCALES = {"%": 100.0, "k": 1e-3, "m": 1e-6}  # what a number is divided by
DASHES = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2192": "->", "\u00a0": " "})


Rows = Mapping[float, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Part:
    """What one table says. axis: epoch or step; rows: place on the axis -> name -> value."""

    axis: str
    rows: Rows


def read(path: Path, head: str) -> list[Raw] | None:
    """The page's tables by epoch or step as one log; raises PawlError when it has none.

    A file is a page when its name or a table of metrics says so. The largest table counts, and
    others along the same axis that do not contradict it.
    """
    named = path.suffix.lower() in (".md", ".markdown")
    if head.lstrip()[:1] in ("{", "[") or not (named or parts(head)):
        return None
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(LONGEST)
    found = sorted(parts(text), key=lambda part: -sum(map(len, part.rows.values())))
    if not found:
        hint = "a table needs a row, or a column, for each epoch or step"
        raise PawlError("no table of metrics by epoch or step", str(path), hint)
    axis, rows, others = found[0].axis, dict[float, dict[str, float]](), 0
    for part in found:
        if part.axis != axis or _contradict(part.rows, rows):
            others += 1
            continue
        for place, values in part.rows.items():
            rows.setdefault(place, {}).update(values)
    raw = Raw(path, f"Markdown table by {axis}", "any", Table())
    if others:
        raw.notes.append(
            f"{others} other tables by epoch or step are of other runs and were left out"
        )
    for place, values in rows.items():
        raw.table.add({axis: place, **values})
    return [raw]


def _contradict(a: Rows, b: Rows) -> bool:
    """Whether two tables give different values to one name at one place."""
    return any(b.get(at, {}).get(k, v) != v for at, row in a.items() for k, v in row.items())


def parts(text: str) -> list[Part]:
    """Every table of a page that holds metrics by epoch or step."""
    found = (by_columns(header, rows) or _by_rows(header, rows) for header, rows in _tables(text))
    return [part for part in found if part is not None and part.rows]


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of every table."""
    lines = text.splitlines()
    for i in range(1, len(lines)):
        if "|" in lines[i - 1] and "-" in lines[i] and RULER.match(lines[i]):
            body = takewhile(lambda line: "|" in line, islice(lines, i + 1, None))
            yield _cells(lines[i - 1]), [_cells(line) for line in body]


def _cells(line: str) -> list[str]:
    """The cells of a line, without marks of Markdown and HTML."""
    line = line.strip().removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return [_bare(cell) for cell in re.split(r"(?<!\\)\|", line)]


def _bare(cell: str) -> str:
    text = re.sub(r"</?[a-z][^>]{0,40}>|[*`\\]|~~|&nbsp;", " ", cell.translate(DASHES))
    return re.sub(r"\s+", " ", text).strip(" _")


def by_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Part | None:
    """A table with a column for each epoch or step; None when it is none."""
    places = {i: place for i, cell in enumerate(header) if i and (place := _place(cell))}
    axis = next((axis for axis, _ in places.values()), "")
    head = HEAD.fullmatch(header[0].split("\\")[-1].split("/")[-1].strip())
    if not places and head and all(value(cell) is not None for cell in header[1:]):
        axis = _axis(head.group(1))
        places = {i: (axis, value(cell) or 0.0) for i, cell in enumerate(header) if i}
    if len(places) < 2 or len({at for _, at in places.values()}) < len(places):
        return None
    found: dict[float, dict[str, float]] = {at: {} for _, at in places.values()}
    for row in rows:
        for i, (_, at) in places.items():
            if i < len(row) and row[0] and (number := value(row[i])) is not None:
                found[at][row[0]] = number
    return Part(axis, {at: values for at, values in found.items() if values})


def _by_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Part | None:
    """A table with a row for each epoch or step; None when it is none."""
    heads = [i for i, cell in enumerate(header) if HEAD.fullmatch(cell)]
    heads.sort(key=lambda i: "step" not in header[i].lower())  # a step tells more than an epoch
    column = heads[0] if heads else 0
    if not heads and sum(_place(row[0]) is not None for row in rows) * 2 <= len(rows):
        return None
    match = HEAD.fullmatch(header[column])
    axis = _axis(match.group(1)) if match else ""
    found: dict[float, dict[str, float]] = {}
    for row in rows:
        place = _place(row[column]) if column < len(row) else None
        at = place[1] if place else value(row[column]) if column < len(row) and heads else None
        axis = axis or (place[0] if place else "")
        known = {k: x for i, (k, v) in enumerate(zip(header, row, strict=False))
                 if i != column and k and (x := value(v)) is not None}  # fmt: skip
        if at is not None and known:
            found.setdefault(at, {}).update(known)
    return Part(axis or "step", found)


def _axis(word: str) -> str:
    return "epoch" if word.lower().startswith("e") else "step"


def _place(cell: str) -> tuple[str, float] | None:
    """Axis and place of a cell such as "Epoch 3" or "step 1,000"; None for any other."""
    found = PLACE.fullmatch(cell)
    if found is None:
        return None
    scale = 1e3 if found.group(3) else 1.0
    return _axis(found.group(1)), float(found.group(2).replace(",", "")) * scale


def value(cell: str) -> float | None:
    """The one number of a cell, None for a text, a range or a change.

    30% is 0.3, 6/20 is 0.3, 12k is 12000; of "0.26 +/- 0.02" it is 0.26; a unit of time is dropped.
    """
    text = _bare(cell)
    if text.startswith(("<", ">", "\u2264", "\u2265")):  # a bound
        return None
    text = re.sub(r"^[^\w+.-]+", "", text)
    if text.lower() in ("nan", "inf", "-inf"):
        return float(text)
    found = NUMBER.match(text)
    if found is None:
        return None
    number, rest = _float(found.group()), text[found.end() :]
    over = re.match(r"\s*/\s*(\d+(?:\.\d+)?)", rest)
    if over:
        return number / float(over.group(1)) if float(over.group(1)) else None
    rest = re.split(r"\u00b1|\+/?-|\(|\[", rest)[0]
    if NOT_ONE.match(rest) or re.search(r"\d", rest) or len(rest.split()) > 4:
        return None
    unit = re.match(r"\s*(%|[kK](?![a-zA-Z])|M(?![a-zA-Z]))", rest)
    return number / SCALES[unit.group(1).lower()] if unit else number


def _float(text: str) -> float:
    """A number with thousands' commas or a decimal comma."""
    thousands = re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text)
    return float(text.replace(",", "" if thousands else "."))

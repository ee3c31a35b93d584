"""A hand-written analysis in Markdown as statements.

Statements are sentences, list items, headings, table cells and log lines, each with the line it
stands in and the headings above it. Left out: figures (`claims_figures`), what words mean
(`claims_terms`) and whether they are true (`claims`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pawl.doctor.claims_figures import LONGEST, place

Kind = Literal["text", "heading", "cell", "log", "code"]
FENCE = re.compile(r"^\s*(```|~~~)\s*(\w*)")
ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(?:\[[ xX]\]\s+)?")
JOINED = 40  # lines of one paragraph that are read
CELLS = 64  # of a table's row that are read
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
MARKS = re.compile(r"[*`]|(?<![\w])_+|_+(?![\w])|^\s*#+\s*|^\s*>\s?")
PICTURES = re.compile("[\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f300-\U0001faff]")
ASCII: dict[int, str] = {
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212), "-"),
    **{0x2192: "->", 0x21D2: "->", 0x2264: "<=", 0x2265: ">="},
}
RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
PAIR = re.compile(r"\b[A-Za-z_][\w/@.-]*\s*=\s*[-+]?[\d.]")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"(])")


@dataclass(frozen=True, slots=True)
class Statement:
    """line: from 1; label, column: of a table cell; headings: from the top down; lead: the item or
    bold label that it stands under."""

    text: str
    line: int
    kind: Kind
    headings: tuple[str, ...] = ()
    label: str = ""
    column: str = ""
    lead: str = ""


def plain(text: str) -> str:
    """Text without Markdown's marks, pictures and doubled blanks; minus signs in ASCII."""
    text = MARKS.sub("", LINK.sub(r"\1", text)).translate(ASCII)
    return " ".join(PICTURES.sub("", text).split())


def statements(text: str) -> Iterator[Statement]:
    """Every statement of a document, in order; what a line has beyond 2,000 characters is left."""
    lines = [line[:LONGEST] for line in text.splitlines()]
    headings: list[tuple[int, str]] = []
    at, lead = 0, ""
    while at < len(lines):
        line = lines[at]
        above = tuple(title for _, title in headings)
        fence = FENCE.match(line)
        if fence:
            end = next((i for i in range(at + 1, len(lines)) if FENCE.match(lines[i])), len(lines))
            yield from _code(lines[at + 1 : end], at + 2, fence[2].lower(), above)
            at = end + 1
        elif "|" in line and at + 1 < len(lines) and RULE.match(lines[at + 1].strip()):
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            yield from _table(lines[at:end], at + 1, above)
            at = end
        elif re.match(r"^#{1,6}\s", line):
            level = len(line) - len(line.lstrip("#"))
            headings = [(n, title) for n, title in headings if n < level]
            title = re.sub(r"^[\d.]+\s*", "", plain(line))
            yield Statement(title, at + 1, "heading", tuple(t for _, t in headings))
            headings.append((level, title))
            lead, at = "", at + 1
        elif not line.strip() or RULE.match(line.strip()):
            at += 1
        else:
            end = at + 1
            while end < len(lines) and _goes_on(lines[end]):
                end += 1
            own = plain(ITEM.sub("", line))
            outer = lead if line[:1].isspace() else ""
            yield from _sentences(lines[at:end], at + 1, above, outer)
            if not line[:1].isspace():
                lead = own if own.endswith(":") or ITEM.match(line) or "**" in line else ""
            at = end


def _goes_on(line: str) -> bool:
    """Whether a line continues the paragraph or item before it."""
    stops = not line.strip() or line.lstrip()[0] in "#|>" or ITEM.match(line) or FENCE.match(line)
    return not stops and not line.lstrip().startswith("**")


def _sentences(
    lines: list[str], first: int, headings: tuple[str, ...], lead: str
) -> Iterator[Statement]:
    joined, starts = "", list[int]()
    for line in lines[:JOINED]:
        starts.append(len(joined))
        joined += plain(ITEM.sub("", line)) + " "
    at = 0
    for sentence in SENTENCE.split(joined.strip()):
        place = joined.find(sentence, at)
        at = place + len(sentence)
        number = first + sum(start <= place for start in starts) - 1
        yield Statement(sentence, number, "text", headings, lead=lead)


def _code(
    lines: list[str], first: int, language: str, headings: tuple[str, ...]
) -> Iterator[Statement]:
    """Log lines of a block without a language count as measured, other code as code."""
    for i, line in enumerate(lines):
        pairs = len(PAIR.findall(line))
        named = re.match(r"^\s*[A-Z][\w /-]{2,40}:\s*[-+]?[\d.]+%?\s*$", line)
        log = language in ("", "text", "log", "console") and (pairs >= 2 or named)
        if line.strip():
            yield Statement(plain(line), first + i, "log" if log else "code", headings)


def _table(lines: list[str], first: int, headings: tuple[str, ...]) -> Iterator[Statement]:
    """Cells under (row's label, column's title); a table turned around is turned back."""
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")[:CELLS]] for line in lines]
    head = rows[0]
    turned = any(place(row[0]) or re.fullmatch(r"\d+", row[0]) for row in rows[2:3])
    for i, row in enumerate(rows[2:]):
        for name, cell in list(zip(head, row, strict=False))[1:]:
            if not cell:
                continue
            if turned:
                where = row[0] if place(row[0]) else f"{head[0]} {row[0]}"
                yield Statement(cell, first + 2 + i, "cell", headings, name, where)
            else:
                yield Statement(cell, first + 2 + i, "cell", headings, row[0], name)

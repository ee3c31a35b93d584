"""A hand-written analysis in Markdown as statements, and the figures in a statement.

Statements are sentences, list items, headings, table cells and log lines, each with the line it
stands in and the headings above it. Figures are values, changes ("0.2 -> 0.4"), relative changes
("+9%"), ranges, limits ("< 0.1") and deviations ("+- 0.07"); places ("epoch 3") and counts ("200
samples") are told apart from them. Left out: what the words mean (`claims_terms`) and whether they
are true (`claims`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "heading", "cell", "log", "code"]
LONGEST = 2_000  # characters of one statement that are read
FENCE = re.compile(r"^\s*(```|~~~)\s*(\w*)")
ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(?:\[[ xX]\]\s+)?")
RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
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


FigureKind = Literal["value", "change", "relative", "range", "limit", "deviation"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number or two as written. a, b: values (b nan unless change or range); digits: after the
    point, which is how exactly they are meant; percent: written with %; op: of a limit."""

    kind: FigureKind
    a: float
    b: float
    digits: int
    percent: bool
    start: int
    end: int
    op: str = ""


def plain(text: str) -> str:
    """Text without Markdown's marks, pictures and doubled blanks; minus signs in ASCII."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[*`]|(?<![\w])_+|_+(?![\w])|^\s*#+\s*|^\s*>\s?", "", text)
    text = (
        re.sub("[\u2212\u2010-\u2012]", "-", text).replace("\u2192", "->").replace("\u21d2", "->")
    )
    text = re.sub("[\u2013\u2014]", "-", text).replace("\u2264", "<=").replace("\u2265", ">=")
    text = re.sub("[\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f300-\U0001faff]", "", text)
    return re.sub(r"\s+", " ", text).strip()


def statements(text: str) -> Iterator[Statement]:
    """Every statement of a document, in order."""
    lines = text.splitlines()
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
        elif "|" in line and at + 1 < len(lines) and RULE.match(lines[at + 1]):
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
        elif not line.strip() or RULE.match(line):
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
    for line in lines:
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
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")] for line in lines]
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


NUMBER = r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
N = rf"(?<![\w.$#\u00b1])({NUMBER})"
DATE = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?|\b\d\d?:\d\d(?::\d\d)?\b"
)
PLACE = re.compile(
    r"\b(epochs?|steps?|iterations?|E)\s*[-#]?\s*(\d+(?:\.\d+)?)"
    r"(?:\s*(?:-|->)\s*(?:\1\s*)?(\d+(?:\.\d+)?)|\s+(?:to|and)\s+(?:\1\s+)?(\d+)(?!\.?\d))?",
    re.I,
)
COUNT = re.compile(
    rf"{N}\s*(?:-\s*{NUMBER}\s*)?\+?\s*(?:steps?|epochs?|samples?|examples?|prompts?|problems?|hours?|"
    r"days?|weeks?|GB|MB|tokens?|chars?|characters?|lines?|generations?|param\w*|pairs?|times|"
    r"points?|bits?|[BMKxX]\b|cycles|batch\w*|questions?|tasks?|seeds?|runs?)",
    re.I,
)
NAMED = re.compile(r"\b(?:priority|phase|option|action|tier|stage|part|level)\s+[A-Z\d.]+\b", re.I)
RATING = re.compile(rf"{N}\s*/\s*10\b")
OPS = {
    "below": "<", "under": "<", "less than": "<", "at most": "<=", "above": ">", "over": ">",
    "exceed": ">", "exceeds": ">", "exceeding": ">", "at least": ">=", "more than": ">",
    "greater than": ">", "reach": ">=", "=<": "<=", "=>": ">=",
}  # fmt: skip
OP = r"(<=|>=|<|>|\b(?:" + "|".join(k for k in OPS if k.isascii() and k[0].isalpha()) + r")\b)"
DOWN = re.compile(
    r"\b(?:down|fell|fallen|decreas|declin|dropp?|lost|regress|worse|reduc|lower)", re.I
)
MOVED = (
    r"by|up|down|rose|fell|risen|fallen|(?:increas|decreas|improv|declin)\w+|dropped|drop of|grew|"
    r"gained|lost|regress\w+|gain of|jump\w*|rise of"
)
FORMS: tuple[tuple[FigureKind, re.Pattern[str]], ...] = (
    ("deviation", re.compile(rf"(?:\u00b1|\+/?-)\s*({NUMBER})(%?)")),
    ("change", re.compile(rf"(?:\bfrom\s+)?{N}(%?)\s*(?:->|=>)\s*({NUMBER})(%?)", re.I)),
    ("change", re.compile(rf"\bfrom\s+{N}(%?)\s+to\s+({NUMBER})(%?)", re.I)),
    ("limit", re.compile(rf"{OP}\s*{N}\s*(%?)", re.I)),
    ("range", re.compile(rf"{N}(%?)\s*(?:-|to|\.\.\.?|and)\s*({NUMBER})(%?)(?![\w])", re.I)),
    ("relative", re.compile(r"(?<![\w.])([-+]\d+(?:\.\d+)?)\s*(%)")),
    (
        "relative",
        re.compile(rf"\b(?:{MOVED})\s+(?:by\s+)?(?:about |roughly |~)?([\d.]+)\s*(%)", re.I),
    ),
    ("value", re.compile(rf"{N}\s*(%?)(?![\w]|\.\d)")),
)


def place_of(f: Figure, text: str) -> str:
    """The part of a text that tells a figure's place: its own clause where it names one, the whole
    where only one place is named, else nothing."""
    others = figures(text)
    start = max((g.end for g in others if g.end <= f.start), default=0)
    end = min((g.start for g in others if g.start >= f.end), default=len(text))
    for part in (text[f.end : end], text[start : f.start]):
        if PLACE.search(part):
            return part
    return text if len(PLACE.findall(text)) <= 1 else ""


def place(text: str) -> tuple[str, float, float | None] | None:
    """("epoch" or "step", from, to) of the first place that a text names."""
    found = re.search(r"\bE(\d+)\s*(?:->|-|to)\s*E?(\d+)\b", text)
    if found:
        return "epoch", float(found[1]), float(found[2])
    found = PLACE.search(text)
    if not found:
        return None
    kind = "step" if found[1].lower().startswith(("step", "iter")) else "epoch"
    end = found[3] or found[4]
    return kind, float(found[2]), float(end) if end else None


def figures(text: str) -> list[Figure]:
    """The figures of a text from left to right; places, counts and ratings are none."""
    text = text[:LONGEST]
    rest = re.sub(r"\bE\d+\s*(?:->|-|to)\s*E?\d+\b", _blank, text)
    for pattern in (DATE, PLACE, NAMED, RATING, COUNT):
        rest = pattern.sub(_blank, rest)
    found = list[Figure]()
    for kind, pattern in FORMS:
        for m in pattern.finditer(rest):
            found.append(_figure(kind, m))
        rest = pattern.sub(_blank, rest)
    return sorted(found, key=lambda f: f.start)


def _blank(m: re.Match[str]) -> str:
    return " " * (len(m[0]) - 1) + "\x00"


def _figure(kind: FigureKind, m: re.Match[str]) -> Figure:
    one, two, op = m[1], "", ""
    if kind == "limit":
        op, one = OPS.get(m[1].lower(), m[1]), m[2]
    elif kind in ("change", "range"):
        two = m[3]
    digits = max(_digits(one), _digits(two))
    a = float(one.replace(",", ""))
    b = float(two.replace(",", "")) if two else float("nan")
    if kind == "relative" and one[0] not in "+-":
        op = "by"
        a = -a if DOWN.search(m.string[: m.end()]) else a
    return Figure(kind, a, b, digits, "%" in m[0], m.start(), m.end(), op)


def _digits(number: str) -> int:
    """Decimal places that a number was written with; 3.58e-06 has eight."""
    if not number:
        return 0
    mantissa, _, exponent = number.lower().partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)

"""The figures of a sentence, and the places of a run that it names.

Figures are values, changes ("0.2 -> 0.4"), relative changes ("+9%"), ranges, limits ("< 0.1") and
deviations ("+- 0.07"); places ("epoch 3") and counts ("200 samples") are told apart from them.
Left out: whether a figure is true (`claims_values`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MOST = 40  # figures of one statement
LONGEST = 2_000  # characters of one statement that are read
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
    rf"{N}\s*(?:-\s*{NUMBER}\s*)?\+?\s*(?:steps?|epochs?|samples?|examples?|prompts?|problems?|"
    r"hours?|days?|weeks?|GB|MB|chars?|characters?|lines?|generations?|param\w*|pairs?|times|"
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
    return sorted(found, key=lambda f: f.start)[:MOST]


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

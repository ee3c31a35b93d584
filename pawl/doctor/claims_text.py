"""An analysis in Markdown as statements, and what stands in one: figures, places, metrics.

Statements are sentences, list items and table cells, each with its line and the headings above it.
Figures are values, ranges and limits ("< 0.1"); changes ("0.2 -> 0.4", "+9%"), deviations, places
("epoch 3") and counts ("200 samples") are told apart from them. A word for a metric means its
canonical names and every column whose source name fits; a column's own name means that column.
Left out: code blocks, headings as statements, and whether anything is true (`claims`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

from pawl.logs.log import Log, Series

FENCE = re.compile(r"^\s*(?:```|~~~)")
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
POWER = re.compile("\\s?\u00d7\\s?10([\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)")
RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"(]|[a-z]+_)")  # a column's name may open one


@dataclass(frozen=True, slots=True)
class Statement:
    """line: from 1; label, column: of a table cell; headings: from the top down; lead: the item or
    bold label that it stands under."""

    text: str
    line: int
    kind: Literal["text", "cell"]
    headings: tuple[str, ...] = ()
    label: str = ""
    column: str = ""
    lead: str = ""


def plain(text: str) -> str:
    """Text without Markdown's marks, pictures and doubled blanks; minus signs and powers of ten
    in ASCII."""
    text = MARKS.sub("", LINK.sub(r"\1", text)).translate(ASCII)
    text = POWER.sub(lambda m: "e" + normalize("NFKC", m[1]).translate(ASCII), text)
    return " ".join(PICTURES.sub("", text).split())


def statements(text: str) -> Iterator[Statement]:
    """Every statement of a document, in order; what a line has beyond 2,000 characters is left."""
    lines = [line[:LONGEST] for line in text.splitlines()]
    headings: list[tuple[int, str]] = []
    at, lead = 0, ""
    while at < len(lines):
        line = lines[at]
        above = tuple(title for _, title in headings)
        if FENCE.match(line):
            end = next((i for i in range(at + 1, len(lines)) if FENCE.match(lines[i])), len(lines))
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
            headings.append((level, re.sub(r"^[\d.]+\s*", "", plain(line))))
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
    texts = [plain(ITEM.sub("", line)) + " " for line in lines[:JOINED]]
    starts = [0, *itertools.accumulate(map(len, texts[:-1]))]
    joined, at = "".join(texts), 0
    for sentence in SENTENCE.split(joined.strip()):
        place = joined.find(sentence, at)
        at = place + len(sentence)
        number = first + sum(start <= place for start in starts) - 1
        yield Statement(sentence, number, "text", headings, lead=lead)


def _table(lines: list[str], first: int, headings: tuple[str, ...]) -> Iterator[Statement]:
    """Cells under (row's label, column's title); a table turned around is turned back."""
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")[:CELLS]] for line in lines]
    head = rows[0]
    turned = any(place(row[0]) or re.fullmatch(r"\d+", row[0]) for row in rows[2:3])
    for i, row in enumerate(rows[2:]):
        for name, cell in list(zip(head, row, strict=False))[1:]:
            if not cell:
                continue
            label, column = row[0], name
            if turned:
                label, column = name, row[0] if place(row[0]) else f"{head[0]} {row[0]}"
            yield Statement(cell, first + 2 + i, "cell", headings, label, column)


MOST = 40  # figures of one statement
LONGEST = 2_000  # characters of one statement that are read


@dataclass(frozen=True, slots=True)
class Figure:
    """A number or two as written. a, b: values (b nan unless a range); digits: after the point,
    which is how exactly they are meant; percent: written with %; op: of a limit."""

    kind: Literal["value", "range", "limit"]
    a: float
    b: float
    digits: int
    percent: bool
    start: int
    end: int
    op: str = ""


NUMBER = r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
N = rf"(?<![\w.$#@\u00b1])({NUMBER})"  # the 1 of pass@1 is no figure
UNIT = r"(?:\s?(?:s|sec|seconds?)\b)?"
DATE = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?|\b\d\d?:\d\d(?::\d\d)?\b"
)
PLACE = re.compile(  # an epoch may be 0.28, a step may not: "last-step 0.76" is a value
    r"\b(?P<unit>(?P<epoch>epochs?|E)|steps?|iterations?)\s*[-#]?\s*"
    r"(?P<at>\d+(?:,\d{3})*(?(epoch)(?:\.\d+)?|(?!\.?\d)))(?:\s*(?:-|->)\s*(?:(?P=unit)\s*)?"
    r"(?P<end>\d+(?:\.\d+)?)|\s+(?:to|and)\s+(?:(?P=unit)\s*)?(?P<other>\d+)(?!\.?\d))?",
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
DEVIATION = re.compile(  # 0.1 in "+-0.1", both ends of an interval or a set: [0.1, 0.3], {0, 1}
    rf"(?:\u00b1|\+/?-)\s*{NUMBER}%?|[\[{{]\s*{NUMBER}\s*,\s*{NUMBER}\s*[\]}}]"
)
CHANGE = re.compile(
    rf"{N}(?:%|{UNIT})\s*(?:->|=>)\s*~?{NUMBER}(?:%|{UNIT})|"
    rf"\bfrom\s+~?{N}(?:%|{UNIT})\s+to\s+~?{NUMBER}(?:%|{UNIT})",
    re.I,
)
MOVED = re.compile(
    r"(?<![\w.])[-+]\d+(?:\.\d+)?\s*%|\b(?:by|up|down|rose|fell|risen|fallen|dropped|drop of|grew|"
    r"(?:increas|decreas|improv|declin)\w+|gained|lost|regress\w+|gain of|jump\w*|rise of)"
    r"\s+(?:by\s+)?(?:about |roughly |~)?[\d.]+\s*%|"
    r"[\d.]+\s*% (?:reduc|increas|decreas|improv|drop|gain|high|low|fast|slow|more|less)",
    re.I,
)
OPS = {
    "below": "<", "under": "<", "less than": "<", "at most": "<=", "above": ">", "over": ">",
    "exceed": ">", "exceeds": ">", "exceeding": ">", "at least": ">=", "more than": ">",
    "greater than": ">", "reach": ">=",
}  # fmt: skip
OP = rf"(<=|>=|<|(?<![-=])>|\b(?:{'|'.join(OPS)})\b)"  # the head of an arrow is no limit
LIMIT = re.compile(rf"{OP}\s*{N}\s*(%?)", re.I)
RANGE = re.compile(rf"{N}(?:%|{UNIT})\s*(?:-|to|\.\.\.?|and)\s*({NUMBER})(?:%|{UNIT})(?!\w)", re.I)
VALUE = re.compile(
    rf"{N}(?:\s*%|{UNIT})(?!\w|\.\d|\s+for (?:all|\w+ of)\b)"
)  # "0.0 for 9 of 12" counts


def place_of(f: Figure, text: str) -> str:
    """The words of a text that tell a figure's place: those right behind it or before it, with no
    other figure between, or the only ones; else nothing."""
    others = figures(text)
    start = max((g.end for g in others if g.end <= f.start), default=0)
    end = min((g.start for g in others if g.start >= f.end), default=len(text))
    behind, before = (list(PLACE.finditer(t)) for t in (text[f.end : end], text[start : f.start]))
    if behind or before:
        return behind[0][0] if behind else before[-1][0]
    return text if len(PLACE.findall(text)) <= 1 else ""


def place(text: str) -> tuple[str, float, float | None] | None:
    """("epoch" or "step", from, to) of the first place that a text names."""
    found = PLACE.search(text)
    if not found:
        return None
    end = found["end"] or found["other"]
    at = float(found["at"].replace(",", ""))
    return "epoch" if found["epoch"] else "step", at, float(end) if end else None


def figures(text: str) -> list[Figure]:
    """The values, ranges and limits of a text from left to right; a place, a count, a rating, a
    deviation or a change is none, and no part of one is a value."""
    rest = text[:LONGEST]
    for pattern in (DATE, PLACE, NAMED, RATING, COUNT, DEVIATION, CHANGE):
        rest = pattern.sub(_blank, rest)
    found = [_figure("limit", m, m[2], op=m[1]) for m in LIMIT.finditer(rest)]
    rest = LIMIT.sub(_blank, rest)
    found += [_figure("range", m, m[1], m[2]) for m in RANGE.finditer(rest)]
    rest = MOVED.sub(_blank, RANGE.sub(_blank, rest))
    found += [_figure("value", m, m[1]) for m in VALUE.finditer(rest)]
    return sorted(found, key=lambda f: f.start)[:MOST]


def _blank(m: re.Match[str]) -> str:
    return " " * (len(m[0]) - 1) + "\x00"


def _figure(
    kind: Literal["value", "range", "limit"], m: re.Match[str], a: str, b: str = "", op: str = ""
) -> Figure:
    one, two = (float(x.replace(",", "")) if x else float("nan") for x in (a, b))
    digits = max(_digits(number) for number in (a, b) if number)
    return Figure(kind, one, two, digits, "%" in m[0], *m.span(), OPS.get(op.lower(), op))


def _digits(number: str) -> int:
    """Decimal places that a number was written with; 3.58e-06 has eight, 6.1e11 has -10."""
    mantissa, _, exponent = number.lower().partition("e")
    return max(-300, len(mantissa.partition(".")[2]) - int(exponent or 0))


# words -> canonical metrics, and what the source's names look like; the first that fits wins
TERMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r"best[- ]of[- ](?:n|\d+)(?: reward)?", ("reward/best_of_n",), r"best_of"),
    (r"(?:frac\w*|fraction of|share of)?[ _]*(?:reward_)?zero[_ -](?:reward[_ -])?(?:std|variance)"
     r"(?: fraction| groups)?|groups?(?: that)? (?:with|produc\w+|have|has|carry|carr\w+|yield\w*) "
     r"(?:zero|no) (?:advantage|gradient|signal|variance|spread)",
     ("group/zero_std_frac",), r"zero_std"),
    (r"coefficient of variation|\bCV\b", ("cv",), ""),
    (r"rewards? \(?(?:std|standard deviation|variance|spread)\)?|reward_std|std(?:ev)? of (?:the )?"
     r"rewards?|variance of (?:the )?rewards?", ("reward/within_std", "reward/spread",
     "reward/std"), r"reward.*std|std.*reward"),
    (r"chosen(?: rewards?| mean| score)?", ("preference/chosen_reward",),
     r"(?<!log)chosen_?(mean|r)"),
    (r"rejected(?: rewards?| mean| score)?", ("preference/rejected_reward",),
     r"rejected_?(mean|r)"),
    (r"(?:reward |score )?(?:difference|margin|gap)s?", ("preference/margin",), r"margin"),
    (r"(?:eval\w*|held-?out|validation|test|probe) (?:preference )?accuracy",
     ("eval/preference_accuracy", "eval/pass_at_1"), r"eval.*accuracy"),
    (r"(?:eval\w*|held-?out|validation|test) rewards?", ("eval/reward_mean",), r"eval.*reward"),
    (r"(?:eval\w*|held-?out|validation|test) loss", ("eval/loss",), r"eval.*loss"),
    (r"preference accuracy|(?:ranking|pairwise) accuracy",
     ("preference/accuracy", "eval/preference_accuracy"), r"preference_accuracy|accurac"),
    (r"pass@1|pass_at_1|pass rate", ("eval/pass_at_1", "verifier/pass_frac"), r"pass"),
    (r"\baccuracy", ("preference/accuracy", "eval/preference_accuracy", "eval/pass_at_1"),
     r"accuracy"),
    (r"(?:value|critic)(?: function)? loss", ("value/loss",), r"value_loss|vf_loss"),
    (r"explained variance", ("value/explained_variance",), r"explained_var"),
    (r"(?:ppo|policy|training|train|average|mean|total|gradient)?[ _]?\bloss(?:es)?\b",
     ("loss/total",), r"^(train/)?loss(:\w+)?$|ppo_loss"),
    (r"clip(?:ping)?[_ ](?:frac\w*|ratio)", ("policy/clip_frac",), r"clip_?(frac|ratio)"),
    (r"\bKL(?: divergence| distance)?\b(?![ _](?:penalty|coef\w*|weight|loss weight))",
     ("policy/kl_ref", "policy/kl_ref_sequence"), r"(^|[/_])kl$|kl_mean|mean_kl"),
    (r"\bentropy", ("policy/entropy",), r"entropy"),
    (r"grad(?:ient)?s?[ _-]?(?:norms?|magnitude)|\bgrad\b", ("optim/grad_norm",), r"grad_norm"),
    (r"gradients?(?= (?:explo|vanish|spik))|(?:explod|vanish)\w+ gradients?", ("optim/grad_norm",),
     r"grad_norm"),
    (r"learning[ _]rates?|\blr\b", ("optim/lr",), r"learning_rate|(^|/)lr$"),
    (r"truncat\w*(?: rate| ratio| fraction)?|clipped[_ ]ratio|cut off",
     ("length/truncated_frac",), r"clipped_ratio|truncat"),
    (r"(?:mean |average |response |completion |output )+lengths?", ("length/mean",),
     r"mean_length"),
    (r"\b(?:(?:time|minutes|seconds) per (?:epoch|step)|step times?)\b", ("time/step_s",),
     r"minutes|(^|[/_])time|runtime|duration|seconds"),
    (r"(?:code |sample |output )?(?:diversity|similarity)", ("group/distinct_frac",),
     r"similarity|diversity|distinct"),
    (r"(?:average |mean |avg |train(?:ing)? )*rewards?\b(?! (?:model|function|signal|structure|"
     r"shaping|bug|hack|normali|clip|threshold|branch|bonus|component|mean\b))(?:[ _]\(?mean\)?)?",
     ("reward/mean",), r"^(train/)?reward(_mean)?$"),
)  # fmt: skip
COMPILED = tuple((re.compile(words, re.I), names, source) for words, names, source in TERMS)


@dataclass(frozen=True, slots=True)
class Term:
    """A mention of a metric. name: canonical, logged or not; series: the columns it can mean."""

    name: str
    start: int
    end: int
    series: tuple[Series, ...]
    text: str


def terms(text: str, log: Log) -> list[Term]:
    """The metrics that a text speaks of, from left to right, none inside another."""
    text = text[:LONGEST]
    found = list[Term]()
    taken = [False] * len(text)

    def add(m: re.Match[str], name: str, series: tuple[Series, ...]) -> None:
        if m.end() > m.start() and not any(taken[m.start() : m.end()]):
            taken[m.start() : m.end()] = [True] * (m.end() - m.start())
            found.append(Term(name, m.start(), m.end(), series, m[0]))

    own = [*log.series.values(), *log.unknown.values()]
    called = [(name, one) for one in own for name in (one.source, _core(one.source))]
    for name, one in sorted(called, key=lambda c: -len(c[0])):
        if len(name) > 3:
            for m in re.finditer(rf"(?<![\w/]){re.escape(name)}(?![\w/])", text, re.I):
                if re.search(r"[_/:]", name) or text[m.end() : m.end() + 1] == "=":
                    add(m, one.name, (one,))
    for pattern, names, source in COMPILED:
        for m in pattern.finditer(text):
            series = _columns(log, names, source)
            logged = [s.name for s in series if s.name in names]
            add(m, logged[0] if logged else names[0], series)
    return sorted(found, key=lambda t: t.start)


def _columns(log: Log, names: Sequence[str], source: str) -> tuple[Series, ...]:
    """The log's columns under these canonical names, then those whose source name fits."""
    first = [log.series[name] for name in names if name in log.series]
    fits = re.compile(source or "(?!)", re.I)  # "" fits nothing
    own = (*log.series.values(), *log.unknown.values())
    return (*first, *(one for one in own if fits.search(one.source) and one not in first))


def _core(source: str) -> str:
    """What is left of rewards/pnl_reward_fn/mean in prose: pnl_mean; "" where nothing is."""
    words = [re.sub(r"(?<=.)_(?:reward_)?(?:fn|func|function)$", "", w) for w in source.split("/")]
    return "_".join(words[-2:]) if len(words) > 2 else ""

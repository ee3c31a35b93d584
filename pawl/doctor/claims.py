"""A hand-written analysis checked against the run's data: every checkable claim gets an answer.

Claims are figures (values, changes, ranges, limits, forecasts), words for a course (improving,
diverging, stable) and statements about causes and options. Answers come from the log, from the
doctor's statistics and causes, and from a table of known misreadings. What cannot be checked gets
no answer. Left out: prose about anything that is not in a log.

    pawl doctor RUN --check ANALYSIS.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pawl.doctor import claims_known, claims_norms, claims_trend, claims_values
from pawl.doctor.claims_about import LATER, first_of, nearest, planned, subject, whole
from pawl.doctor.claims_figures import PLACE, Figure, figures, place, place_of
from pawl.doctor.claims_parse import Statement, statements
from pawl.doctor.claims_terms import Term, terms
from pawl.doctor.claims_values import Judged, Verdict
from pawl.doctor.diagnose import Diagnosis

LINKS = re.compile(
    r"[\s(:=~,]*(?:(?:in|at|for|after|by|of|on|the|was|is|were|are|stood|stands|only|a|value|"
    r"reached|equals?|averaged?|mean|over|run|last|first|final)\b[\s(:=~,]*)*",
    re.I,
)
ROUGHLY = re.compile(
    r"(?:\b(?:about|around|roughly|nearly|almost|approximately|some|near)|~)\s*$", re.I
)
WANTED = re.compile(r"\b(?:needs? to|should|will|would|is expected to|must)\b", re.I)
FUTURE = re.compile(r"\b(?:should|will|would|expect\w*|climb\w*|reach)\b", re.I)
CLAUSE = re.compile(r"[,;]\s*(?:so|therefore|hence|thus|which means)\b|;", re.I)
STOPS = re.compile(r"\b(?:stop|red flags?|alarm|abort|kill|still)\b", re.I)
STATED = re.compile(
    r"(?:[:=]|\bis|\bwas|\bof|\bat|\bwere|\bare|\bstands at|\baveraged)\s*~?\(?\s*$"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """claim: as it stands in the document; line: from 1; metric: canonical, "" for none."""

    claim: str
    line: int
    verdict: Verdict
    reason: str
    metric: str


def check(text: str, diagnosis: Diagnosis) -> list[Answer]:
    """Answers to the claims of an analysis (Markdown) about this run, in the document's order."""
    found = dict[tuple[int, str, str], Answer]()
    for statement in statements(text):
        for answer in _answers(statement, diagnosis):
            found.setdefault((answer.line, answer.claim, answer.reason), answer)
    return list(found.values())


def _answers(s: Statement, d: Diagnosis) -> Iterator[Answer]:
    claim = f"{s.label}, {s.column}: {s.text}" if s.kind == "cell" else s.text

    def answer(judged: Judged, metric: str) -> Answer:
        return Answer(claim, s.line, judged[0], judged[1], metric if "/" in metric else "")

    said = list(claims_known.misread(claim, d)) if s.kind != "log" else []
    for reading, judged in said:
        yield answer(judged, reading.metric)
    warm = claims_norms.warming(claim, d)
    if warm:
        yield answer(warm, "optim/lr")
    if s.kind == "code":
        return
    cut = claims_norms.cut_off(claim, d) if not planned(s) else None
    if cut:
        yield answer(cut, "length/truncated_frac")
    answered = bool(said or warm or cut)
    for f in figures(s.text):
        term = nearest(f, s.text, terms(s.text, d.log)) or subject(f, s, d)
        if f.percent and claims_norms.CHANCE.search(s.text):
            term = term if term and "accuracy" in term.name else terms("accuracy", d.log)[0]
        if term is None:
            continue
        one = _figure(f, term, s, d, bool(said))
        if one:
            answered |= f.kind == "limit"
            yield answer(one, term.name)
    course = _course(s, d)
    if course and not (said and course[0][1].startswith("the log does not")):
        yield answer(*course)
    elif not answered and s.kind == "text" and WANTED.search(s.text) and claims_trend.word(s.text):
        term = first_of((s.text,), d)
        if term and term.series and term.name != "optim/lr":
            yield answer(claims_norms.unmoved(term, d), term.name)
    elif not answered and not planned(s):
        levelled = _level(s, d)
        if levelled:
            yield answer(*levelled)


def _level(s: Statement, d: Diagnosis) -> tuple[Judged, str] | None:
    """The answer to a word for a level (too low, healthy) beside a metric."""
    term = first_of((s.text, s.label) if s.kind == "cell" else (s.text,), d)
    judged = claims_norms.level(s.text, term, d) if term else None
    return (judged, term.name) if judged and term else None


def _figure(f: Figure, term: Term, s: Statement, d: Diagnosis, answered: bool) -> Judged | None:
    """The answer to one figure; None when there is nothing to check it with."""
    wished = planned(s)
    if f.kind == "deviation":
        return _deviation(f, term, s, d)
    if claims_norms.is_chance(s.text, f):
        return None
    chance = claims_norms.against_chance(s.text, f, term, d)
    if chance:
        return chance
    where = s.column if s.kind == "cell" else place_of(f, s.text)
    if f.kind == "limit":
        if answered or (wished and term.name == "optim/lr"):
            return None
        if not wished:
            return claims_values.held(f, term, s.text[: f.start])
        return claims_norms.limit(f, term, d, bool(STOPS.search(" ".join((*s.headings, s.text)))))
    if f.kind == "relative":
        return _relative(f, term, s.text, d) if not wished else None
    if f.kind == "change":
        measured = claims_values.change(f, term, d.log)
        ends = claims_values.spread(f, term)
        if ends and ends[0] == "supported" and (measured is None or measured[0] != "supported"):
            return ends
        if measured:
            return _with_noise(measured, f, term, d)
        if wished:
            return None if answered else claims_norms.forecast(f, term, d)
        return _not_logged(f, term)
    if f.kind == "range":
        if not wished:
            return claims_values.spread(f, term)
        if answered or term.name == "optim/lr":
            return None
        later = LATER.search(s.column) or re.search(r"\breach|increase|improve", s.text, re.I)
        one = claims_norms.forecast if later else claims_norms.limit
        return one(f, term, d)
    if s.kind == "cell" and LATER.search(s.column):
        return None if answered else claims_norms.forecast(f, term, d)
    own = s.kind in ("cell", "log") or bool(STATED.search(s.text[: f.start]))
    strong = own and not wished and (s.kind == "cell" or _named(f, s, d))
    if wished and not answered and s.kind != "cell" and FUTURE.search(s.text):
        logged = claims_values.value(f, term, where, d.log, strong=False)
        own_term = nearest(f, s.text, terms(s.text, d.log))
        if own_term is not None and term.name != "optim/lr":
            return logged or claims_norms.forecast(f, term, d)
    rough = bool(ROUGHLY.search(s.text[: f.start]))
    return claims_values.value(f, term, where, d.log, strong and not rough, rough)


def _deviation(f: Figure, term: Term, s: Statement, d: Diagnosis) -> Judged | None:
    """What stands behind +-: the spread of the metric before it, where the log has one."""
    if term.name != "reward/mean":
        return None
    spread = terms("reward std", d.log)[0]
    return claims_values.value(replace(f, kind="value"), spread, s.text, d.log, strong=False)


def _named(f: Figure, s: Statement, d: Diagnosis) -> bool:
    """Whether a metric of its own stands right before a figure: "loss: 0.3", "reward of 0.2"."""
    before = [t for t in terms(s.text, d.log) if t.end <= f.start]
    return bool(before) and bool(LINKS.fullmatch(PLACE.sub("", s.text[before[-1].end : f.start])))


def _relative(f: Figure, term: Term, where: str, d: Diagnosis) -> Judged | None:
    found = claims_values.relative(f, term, where, d.log)
    return found[0] if found else None


def _not_logged(f: Figure, term: Term) -> Judged | None:
    if not term.series:
        return "unsupported", f"the log does not hold {term.name}"
    x_N = term.series[0].finite()
    if not len(x_N):
        return None
    return (
        "unsupported",
        f"{term.series[0].source} does not go from {f.a:g} to {f.b:g}: it lies between "
        f"{float(x_N.min()):.4g} and {float(x_N.max()):.4g}",
    )


def _with_noise(measured: Judged, f: Figure, term: Term, d: Diagnosis) -> Judged:
    """A change that is logged, with the word whether it is more than noise."""
    pair = _pair(f, term)
    if measured[0] != "supported" or pair is None:
        return measured
    word = "up" if f.b > f.a else "down"
    verdict, reason = claims_trend.judge(word, term.series[0], pair)
    return "supported", f"{measured[1]}; {reason}" if verdict != "supported" else measured[1]


def _pair(f: Figure, term: Term) -> tuple[int, int] | None:
    """The two points that a change runs between."""
    if not term.series:
        return None
    x_N = term.series[0].finite()
    first = [i for i, v in enumerate(x_N) if claims_values.agrees(v, f.a, f.digits, f.percent)]
    then = [i for i, v in enumerate(x_N) if claims_values.agrees(v, f.b, f.digits, f.percent)]
    return (first[0], then[-1]) if first and then and first[0] < then[-1] else None


def _course(s: Statement, d: Diagnosis) -> tuple[Judged, str] | None:
    """The answer to a word for a course: which metric, between which points."""
    first = replace(s, text=CLAUSE.split(s.text)[0])
    course = claims_trend.word(first.text)
    if course is None or planned(first) or (s.kind == "cell" and place(s.column)):
        return None
    term = first_of((s.text,), d) or whole(s, d)
    if term is None:
        return None
    if not term.series:
        return ("unsupported", f"the log does not hold {term.name}"), term.name
    pair = None
    for f in figures(s.text):
        if f.kind == "change":
            pair = pair or _pair(f, term)
        elif f.kind == "relative":
            found = claims_values.relative(f, term, s.text, d.log)
            pair = pair or (found[1] if found else None)
    return claims_trend.judge(course[0], term.series[0], pair), term.name

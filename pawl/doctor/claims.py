"""A hand-written analysis checked against the run's log: the claims that it can answer.

Claims are figures (values, extremes, ranges, limits that held) and words for a course (up, down,
flat) beside the name of a metric. What the log cannot answer gets no answer: causes, advice,
plans, judgements of good and bad.

    pawl doctor RUN --check ANALYSIS.md
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from pawl.doctor import claims_values
from pawl.doctor.claims_text import (
    PLACE,
    Figure,
    Statement,
    Term,
    figures,
    place,
    place_of,
    statements,
    terms,
)
from pawl.doctor.claims_values import Judged, Verdict
from pawl.doctor.diagnose import Diagnosis

SHOWN = 100  # characters of a claim on a terminal
LINKS = re.compile(
    r"[\s(:=~,]*(?:(?:in|at|for|after|by|of|on|the|was|is|were|are|stood|stands|only|a|value|"
    r"reached|equals?|averaged?|mean|over|run|last|first|final)\b[\s(:=~,]*)*",
    re.I,
)
STATED = re.compile(
    r"(?:[:=]|\bis|\bwas|\bof|\bat|\bwere|\bare|\bstands at|\baveraged)\s*~?\(?\s*$"
)
CLAUSE = re.compile(r"[,;]\s*(?:so|therefore|hence|thus|which means)\b|;", re.I)
ASSIGNED = re.compile(r"[\w./:@]+\s*=\s*$")  # "temperature=0" is of no metric beside it
MEAN = re.compile(r"\b(?:mean|average\w*|avg)\b[^.,;\d]{0,30}$", re.I)
NOTES = re.compile(r"\b(?:notes?|remarks?|comments?)\b", re.I)
PLANNED = re.compile(
    r"\b(?:should|will|would|expect\w*|target\w*|potential\w*|goals?|aim\w*|hope\w*|estimate\w*|"
    r"success (?:metrics?|criteria)|healthy|ideal\w*|reach|must|trajectory|criteri\w+|"
    r"red flags?|sweep|green lights?|monitor\w*|contingency|recommend\w*|next steps|action plan|"
    r"fixes|if|after phase|after fixes|what to (?:check|watch)|to watch|"
    r"optimistic|conservative estimate|progression)\b",
    re.I,
)
ORDER = re.compile(
    r"^(?:\w+ ?\d*: )?(?:increase|reduce|raise|lower|add|use|try|consider|monitor|track|check|"
    r"watch|apply|stop|adjust|train|set|implement|improve|fix|ensure|validate|compare|look|start|"
    r"keep|decrease|optimi[sz]e|accelerate|stabili[sz]e)\b",
    re.I,
)
OTHER = re.compile(  # columns that hold no measured value of their rows' metrics
    r"expected|target|healthy|goal|threshold|limit|ideal|normal|%|share|total|"
    r"^(?:after|phase|predicted|forecast|projected|future|next)\b",
    re.I,
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
    for s in statements(text):
        if _planned(s):
            continue
        claim = f"{s.label}, {s.column}: {s.text}" if s.kind == "cell" else s.text
        for (verdict, reason), term in _answers(s, diagnosis):
            metric = term.name if "/" in term.name else ""
            answer = Answer(claim, s.line, verdict, reason, metric)
            found.setdefault((s.line, claim, reason), answer)
    return list(found.values())


def lines(answers: Sequence[Answer]) -> Iterator[str]:
    """`LINE: verdict: claim`, the reason below it, and a count at the end."""
    for one in answers:
        claim = one.claim if len(one.claim) <= SHOWN else f"{one.claim[: SHOWN - 3]}..."
        metric = f" [{one.metric}]" if one.metric else ""
        yield f"{one.line}: {one.verdict}{metric}: {claim}"
        yield f"    {one.reason}"
    count = Counter(one.verdict for one in answers)
    yield "claims: " + ", ".join(f"{count[word]} {word}" for word in get_args(Verdict))


def _answers(s: Statement, d: Diagnosis) -> Iterator[tuple[Judged, Term]]:
    named = terms(s.text, d.log)
    for f in figures(s.text):
        other = ASSIGNED.search(s.text[: f.start])
        if other and not any(t.end > other.start() for t in named if t.end <= f.start):
            continue
        term = _nearest(f, s.text, named)
        if term is None and s.kind == "cell":  # the first that its headings name
            term = next((t for text in (s.label, s.column) for t in terms(text, d.log)), None)
        judged = _figure(f, term, s, named, d) if term else None
        if judged and term:
            yield judged, term
    course = claims_values.course_of(CLAUSE.split(s.text)[0])
    part = " ".join((*s.headings[-1:], s.column, s.text))
    if course and not place(part) and not claims_values.PARTLY.search(part):
        kind, start, end = course
        # the last metric before the word, or one right behind it
        before = [t for t in named if t.end <= start][-1:]
        for term in before or [t for t in named if end <= t.start <= end + 12][:1]:
            if term.series:
                yield claims_values.course(kind, term.series[0]), term


def _figure(f: Figure, term: Term, s: Statement, named: list[Term], d: Diagnosis) -> Judged | None:
    """The answer to one figure; None when there is nothing to check it with."""
    before, behind = s.text[: f.start], s.text[f.end :]
    if f.kind == "limit":
        return claims_values.held(f, term, before, behind)
    if f.kind == "range":
        return claims_values.spread(f, term, before)
    if s.kind == "cell":
        stated, where = not NOTES.search(s.column), s.column
        before = f"{s.label} {s.column} {before}"
    else:
        stated, where = _stated(f, s.text, named), place_of(f, s.text)
    judged = claims_values.value(f, term, where, d.log, stated, bool(MEAN.search(before)))
    if judged and judged[0] == "wrong":
        return judged
    return claims_values.extreme(f, term, before, behind, d.log) or judged


def _stated(f: Figure, text: str, named: list[Term]) -> bool:
    """Whether a figure is said of the metric right before it: "loss: 0.3", "reward of 0.2"."""
    before = [t for t in named if t.end <= f.start]
    if not before or not STATED.search(text[: f.start]):
        return False
    return bool(LINKS.fullmatch(PLACE.sub("", text[before[-1].end : f.start])))


def _nearest(f: Figure, text: str, found: list[Term]) -> Term | None:
    """The metric that a figure of a text belongs to: the last before it, or one right behind it."""
    before = [t for t in found if t.end <= f.start]
    joint = [t for t in before if re.match("margin|gap|difference", t.text, re.I)]
    if joint and len(before) - before.index(joint[-1]) <= 3:  # "gap between chosen and rejected"
        return joint[-1]
    later = next((t for t in found if f.end <= t.start <= f.end + 40), None)
    if not before:
        return later
    if later is not None and later.start <= f.end + 12:
        joined = text[f.end : later.start].strip() in ("of", "of the", "of all")
        if joined or f.start - before[-1].end > 40:
            return later
    return before[-1]


def _planned(s: Statement) -> bool:
    """Whether a statement is about what ought to be or may come, not about what was measured."""
    if s.kind == "cell":
        return bool(OTHER.search(s.column))
    above = any(PLANNED.search(h) or ORDER.search(h) for h in (*s.headings[1:], s.lead))
    return above or bool(PLANNED.search(s.text) or ORDER.search(s.text))

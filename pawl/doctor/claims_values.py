"""Whether figures and words for a course are those of the log.

A figure agrees when the log's value rounds to it at the precision it was written with; percentages
agree with shares. A course (up, down, flat) is held to the doctor's own tests: first against last
quarter with confirmation, noise around neighbours. Left out: what a sentence speaks of (`claims`).
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from pawl.doctor.claims_text import Figure, Term, place
from pawl.doctor.diagnose import within_noise
from pawl.logs.log import Log, Series
from pawl.logs.table import Floats
from pawl.rules import statistics

Verdict = Literal["supported", "unsupported", "wrong"]
Judged = tuple[Verdict, str]
WHOLE_PERCENT = -0.302  # digits of ends in whole percent, where people cut as well as round
ENOUGH = 15  # points of the later half below which no plateau is seen
HIGH = r"peak(?:s|ed|ing)?|highest|greatest|maximum|max|all-time high"
LOW = r"lowest|smallest|minimum|min|all-time low"
BEFORE = re.compile(rf"\b(?:({HIGH})|({LOW}))\b[^.,;:()\d]{{0,30}}:?\s*~?$", re.I)
BEHIND = re.compile(
    r"[\s,(-]*(?:(?:at|in|on) (?:step|epoch|iteration) [\d.]*\d[\s,(-]*)?(?:which (?:is|was) )?"
    rf"(?:its|the)\s+(?:single |run's |new |overall |all-time )*(?:({HIGH})|({LOW}))\b",
    re.I,
)
PARTLY = re.compile(r"\b(?:phase|stage|act|half|quarter|section|so far|until|window)\b", re.I)
EVER = re.compile(r"\ball-time|\bever\b|\brecorded\b|\b(?:run|training)\b", re.I)
COURSES = (
    ("flat", r"plateau\w*|flat(?:lin\w*)?\b|stagnat\w*|stuck|not (?:improv|mov|chang)\w*|"
     r"saturat\w*|(?:is|was|stay\w*|remain\w*|nearly|almost) constant\b|unchanged"),
    ("up", r"increas\w*|ris(?:es|ing)|rose|climb\w*|grew|grow(?:s|ing)|jump\w*|upward|went up|"
     r"higher than|doubl(?:e|es|ed|ing)\b|tripl(?:es|ed|ing)"),
    ("down", r"decreas\w*|drop\w*|f(?:a|e)ll(?:s|ing)?\b|vanish\w*|shrink\w*|lower than|declin\w*|"
     r"downward|went down|halved"),
)  # fmt: skip
COMPILED = tuple((kind, re.compile(rf"\b(?:{words})", re.I)) for kind, words in COURSES)
NOT = re.compile(
    r"\b(?:no|not|without|never|isn't|is not|no signs? of|room for|instead of|rather than)\s+"
    r"(?:\w+\s+){0,3}$",
    re.I,
)


def agrees(value: float, quoted: float, digits: float, percent: bool = False) -> bool:
    """Whether a logged value rounds to the quoted one (half a unit of its last digit)."""
    half = 0.5 * 10.0**-digits * 1.001 + 1e-12
    return abs(value - quoted) <= half or (percent and abs(100.0 * value - quoted) <= half)


def at_place(text: str, series: Series, log: Log) -> tuple[Floats, str] | None:
    """The series' values at the epoch or step that a text names; None when it names none."""
    where = place(text)
    if where is None or where[2] is not None:
        return None
    kind, at, _ = where
    rows = np.flatnonzero(np.isclose(log.step_N, at))
    if kind == "epoch":
        epochs = log.series.get("epoch") or log.unknown.get("epoch")
        if epochs is None:
            return None
        rows = epochs.row_N[np.isclose(epochs.value_N, at)]
    fine = np.isin(series.row_N, rows) & np.isfinite(series.value_N)
    return (series.value_N[fine], f"{kind} {at:g}") if len(rows) else None


def value(
    f: Figure, term: Term, where: str, log: Log, stated: bool, averaged: bool = False
) -> Judged | None:
    """A single value against the log. Wrong only at a named step or epoch where it is stated of
    this metric: elsewhere it may be a figure of another run, an average or a setting.
    averaged: it is called a mean, which is looked at before single values."""
    for one in term.series:
        placed = at_place(where, one, log)
        x_N, spot = placed or (one.finite(), "")
        mean = len(x_N) > 1 and agrees(float(x_N.mean()), f.a, f.digits, f.percent)
        hits = [v for v in x_N if agrees(v, f.a, f.digits, f.percent)]
        if hits and not (mean and averaged):
            at = f" at {spot}" if spot else _when(one, hits[0], log)
            return "supported", f"logged as {one.source}{at}"
        if mean:
            return "supported", f"the mean of {one.source} over {len(x_N)} points"
    placed = at_place(where, term.series[0], log) if stated and term.series else None
    if not placed or not len(placed[0]):
        return None
    logged = ", ".join(f"{v:.4g}" for v in placed[0][:4])
    return "wrong", f"the log has {term.series[0].source} {logged} at {placed[1]}, not {f.a:g}"


def _when(series: Series, hit: float, log: Log) -> str:
    at = int(series.row_N[int(np.flatnonzero(series.value_N == hit)[0])])
    return f" at step {log.step_N[at]:g}" if len(series.row_N) > 1 else ""


def extreme(f: Figure, term: Term, before: str, behind: str, log: Log) -> Judged | None:
    """A value that is called the highest or the lowest, by the words before or behind it.

    Wrong only where the log holds the value and another beyond it: a figure that it does not hold
    may be a bound or of another run.
    """
    said = BEFORE.search(before) or BEHIND.match(behind)
    if not said or not term.series:
        return None
    if PARTLY.search(before + behind) and not EVER.search(said[0] + behind):
        return None
    one = term.series[0]
    x_N = one.finite()
    if not any(agrees(v, f.a, f.digits, f.percent) for v in x_N):
        return None
    name, end = ("greatest", float(x_N.max())) if said[1] else ("least", float(x_N.min()))
    text = f"the {name} value of {one.source} is {end:.4g}{_when(one, end, log)}"
    return ("supported", text) if agrees(end, f.a, f.digits, f.percent) else ("wrong", text)


def spread(f: Figure, term: Term, before: str) -> Judged | None:
    """A range: supported when it is that of the log; unsupported when it goes beyond, wrong when
    it falls short, where it is called one: elsewhere "3-5" may be of anything."""
    low, high = min(f.a, f.b), max(f.a, f.b)
    said = list[str]()
    inside = True
    digits = WHOLE_PERCENT if f.percent and f.digits == 0 else f.digits
    for one in term.series:
        x_N = one.finite()
        if not len(x_N):
            continue
        ends = float(x_N.min()), float(x_N.max())
        if all(agrees(v, q, digits, f.percent) for v, q in zip(ends, (low, high), strict=True)):
            return "supported", f"the least and the greatest value of {one.source}"
        if all(any(agrees(v, q, f.digits, f.percent) for v in x_N) for q in (low, high)):
            course = f"which goes {ends[0]:.4g} to {ends[1]:.4g}"
            return "supported", f"both are values of {one.source}, {course}"
        said.append(f"{one.source} lies between {ends[0]:.4g} and {ends[1]:.4g}")
        scale = 100.0 if f.percent and ends[1] <= 1.0 else 1.0
        inside &= low <= scale * ends[0] and scale * ends[1] <= high
    if not said or not re.search(r"\b(?:rang\w+|between)\b", before, re.I):
        return None
    return ("unsupported" if inside else "wrong"), f"in this log {said[0]}"


def held(f: Figure, term: Term, before: str, behind: str) -> Judged | None:
    """A limit stated as a fact ("stays below 0.3"): by how many of the values it holds.

    before, behind: the words around it; "never exceeds" turns it round, and "throughout" makes
    one value beyond it an error.
    """
    always = re.search(r"\b(?:never|always|throughout|at all times)\b", before + behind, re.I)
    turned = bool(re.search(r"\b(?:never|not|does not|did not)\s+\w*\s*$", before, re.I))
    for one in term.series:
        x_N = one.finite() * (100.0 if f.percent else 1.0)
        if not len(x_N):
            continue
        met = int((x_N < f.a).sum() if f.op.startswith("<") else (x_N > f.a).sum())
        met = len(x_N) - met if turned else met
        sign = f"{'not ' if turned else ''}{f.op}"
        text = f"{met} of {len(x_N)} values of {one.source} are {sign} {f.a:g}"
        if met == len(x_N):
            return "supported", text
        return ("unsupported" if met and not always else "wrong"), text
    return None


def course_of(text: str) -> tuple[str, int, int] | None:
    """The course that a text claims (up, down or flat; what is not said to rise is flat) and the
    place of the word."""
    for kind, pattern in COMPILED:
        m = pattern.search(text)
        if m and not NOT.search(text[: m.start()]):
            return kind, *m.span()
        if m and kind == "up":
            return "flat", *m.span()
    return None


def course(kind: str, series: Series) -> Judged:
    """Whether a series goes up, down or nowhere."""
    x_N = series.finite()
    n = len(x_N)
    if n < 2:
        points = "point says" if n == 1 else "points say"
        return "unsupported", f"{n} {points} nothing about a course of {series.source}"
    if kind == "flat":
        return _flat(x_N, series)
    t = statistics.trend(x_N)
    if not t.significant:
        return "unsupported", within_noise(t, series.source)
    moved = f"{series.source} went {t.direction}, {t.first:.4g} to {t.last:.4g} (p {t.p:.2g})"
    return ("supported" if t.direction == kind else "wrong"), moved


def _flat(x_N: Floats, series: Series) -> Judged:
    """No movement in the later half, and enough points to have seen a quarter of the level."""
    late_N = x_N[len(x_N) // 2 :]
    t = statistics.trend(late_N)
    if t.significant:
        return "wrong", f"{series.source} still goes {t.direction} in its later half (p {t.p:.2g})"
    level = abs(float(late_N.mean())) or float(late_N.std())
    if len(late_N) < ENOUGH or t.detectable > max(0.25 * level, 1e-12):
        return "unsupported", "no movement is seen, but " + within_noise(t, series.source)
    return "supported", f"{series.source} does not move in its last {len(late_N)} points"

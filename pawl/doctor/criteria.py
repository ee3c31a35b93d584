"""When to stop and when to go on, in numbers, stated before the numbers are in.

A criterion names metric, side, level and the step by which it counts; a later call reads those of
an earlier report and says of each: met, missed or open. A criterion that is still open stays as it
was stated, so that nobody moves it. Left out: acting on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import FiniteFloat, PositiveInt, TypeAdapter

from pawl.doctor.forecast import Forecast, persistence, window_of
from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.metrics import CATALOGUE
from pawl.rules.signals import Signals

Status = Literal["met", "missed", "open"]
Side = Literal[">=", "<="]
LIMITS = (
    ("policy/kl_ref", 10.0, "a policy that far from its reference does not come back"),
    ("length/truncated_frac", 0.5, "half of the completions end at the limit, not at their end"),
    ("group/zero_std_frac", 0.95, "hardly a group has a signal left"),
)
"""Levels that no run should pass, where it stands below them now."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """kind, then: the mean of `points` values of `metric` up to step `step` is op value.

    op: >= or <=; since: the step at which it was stated, only later values count.
    """

    kind: Literal["stop", "continue"]
    metric: str
    op: Side
    value: FiniteFloat
    step: FiniteFloat
    points: PositiveInt
    since: FiniteFloat
    why: str

    def text(self) -> str:
        """The criterion in words."""
        mean = f"mean of {self.points} points" if self.points > 1 else "a point"
        level = f"{self.metric} {self.op} {self.value:.4g}"
        return f"{self.kind} if {level} by step {self.step:.10g} ({mean})"


CRITERIA = TypeAdapter(list[Criterion])


@dataclass(frozen=True, slots=True)
class Answer:
    """How a criterion stands: value, what it was judged by, None before there is one."""

    criterion: Criterion
    status: Status
    value: float | None
    at: float | None

    def text(self) -> str:
        """Status, criterion, its value, and what it means."""
        stop = {"met": ": stop", "missed": ": no reason to stop"}
        go_on = {"met": ": go on", "missed": ": stop, or change something"}
        means = (stop if self.criterion.kind == "stop" else go_on).get(self.status, "")
        at = "" if self.at is None else f" at step {self.at:.10g}"
        figure = "no value since" if self.value is None else f"{self.value:.4g}{at}"
        return f"{self.status}{means}: {self.criterion.text()}; {figure}"


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier report said. report: which; criteria: what became of its own; changed:
    options that differ now, as "name: before -> now"."""

    report: str
    verdict: str
    criteria: tuple[Answer, ...]
    changed: tuple[str, ...]


def stated(s: Signals, forecast: Forecast | None) -> Iterator[Criterion]:
    """The criteria of a run by the forecast of its goal; none where there is no forecast."""
    if forecast is None:
        return
    since = float(s.log.step_N[-1])
    yield from _of_goal(s, forecast, since)
    for name, limit, why in LIMITS:
        if s.has(name) and s.late(name).value < limit:
            points = window_of(len(s.values(name)))
            yield Criterion("stop", name, ">=", limit, forecast.step, points, since, why)
    if s.has("eval/gain_high"):
        why = "the held-out problems got worse, beyond the interval of paired differences"
        yield Criterion("stop", "eval/gain_high", "<=", 0.0, forecast.step, 1, since, why)


def _of_goal(s: Signals, f: Forecast, since: float) -> Iterator[Criterion]:
    """Beyond the band of no change, or inside the band of the established trend."""
    known = CATALOGUE[s.goal]
    up = known.direction != "down" and s.goal != "loss/total"
    band = persistence(s.values(s.goal), f.points)
    good, bad = (band.high, band.low) if up else (band.low, band.high)
    why = "more than noise alone would give"
    if f.method == "extrapolation" and (s.trend(s.goal).direction == "up") == up:
        good, why = (f.low if up else f.high), "the course so far would give at least this"
    better: Side = ">=" if up else "<="
    worse: Side = "<=" if up else ">="
    if known.unit != "share" or 0.0 < good < 1.0:
        yield Criterion("continue", s.goal, better, good, f.step, f.points, since, why)
    why = "worse than noise around the present level would give"
    if known.unit != "share" or 0.0 < bad < 1.0:
        yield Criterion("stop", s.goal, worse, bad, f.step, f.points, since, why)


def judged(criterion: Criterion, log: Log) -> Answer:
    """How a criterion stands in a later log: a stop counts at once, a continue at its step."""
    series = log.series.get(criterion.metric)
    ended = bool(len(log.step_N)) and float(log.step_N[-1]) >= criterion.step
    if series is None:
        return Answer(criterion, "open", None, None)
    step_N, value_N = log.step_N[series.row_N], series.value_N
    counts = (step_N > criterion.since) & (step_N <= criterion.step) & np.isfinite(value_N)
    step_N, value_N = step_N[counts], value_N[counts]
    if not len(value_N):
        return Answer(criterion, "open", None, None)
    value = float(value_N[-criterion.points :].mean())
    holds = value >= criterion.value if criterion.op == ">=" else value <= criterion.value
    status: Status = "open"
    if ended:
        status = "met" if holds else "missed"
    elif criterion.kind == "stop" and holds and len(value_N) >= criterion.points:
        status = "met"
    return Answer(criterion, status, value, float(step_N[-1]))


def kept(new: Sequence[Criterion], answers: Sequence[Answer]) -> tuple[Criterion, ...]:
    """Criteria to state now: those still open as they were stated, then what is new."""
    old = [answer.criterion for answer in answers if answer.status == "open"]
    taken = {(c.kind, c.metric) for c in old}
    return (*old, *(c for c in new if (c.kind, c.metric) not in taken))


def before(path: Path, log: Log) -> Before:
    """What an earlier JSON report said, judged by the log; raises PawlError when it is none."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(body, dict) or body.get("schema") != 1 or "criteria" not in body:
            raise ValueError("no report of one log, schema 1")
        criteria = CRITERIA.validate_python(body["criteria"])
        config = body["log"]["config"]
        verdict = str(body["verdict"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        hint = "`pawl doctor RUN --json > FILE` writes one"
        why = " ".join(str(e).split()).partition(" [type=")[0]
        raise PawlError(f"not a report of the doctor ({why})", str(path), hint) from e
    return since(str(path), verdict, criteria, config, log)


def since(
    where: str, verdict: str, criteria: Sequence[Criterion], config: Mapping[str, object], log: Log
) -> Before:
    """What became of criteria that were stated of an earlier state of a log, and of its options."""
    answers = tuple(judged(criterion, log) for criterion in criteria)
    return Before(where, verdict, answers, tuple(_changes(config, log.config)))


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if str(a) != str(b):
            yield f"{name}: {'unset' if a is None else a} -> {'unset' if b is None else b}"

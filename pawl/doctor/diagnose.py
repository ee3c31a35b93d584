"""The diagnosis of a log: rules, then causes, then the verdict, in that order and no other.

A broken invariant silences every prescription that rests on metrics: what a broken measurement
says is no reason to change anything. Left out: reading files (`pawl.store`), words (`report_*`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from pawl.checks import CAUSES
from pawl.doctor.against import against
from pawl.doctor.causes import Cause, experiment, ranked
from pawl.doctor.criteria import Before, Criterion, stated
from pawl.doctor.forecast import Forecast, Target, forecast, own_target
from pawl.logs.log import Log
from pawl.rules.catalogue import RULES
from pawl.rules.finding import Finding, Severity, Supports
from pawl.rules.rule import Rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import Trend, lag1, points_needed

Verdict = Literal[
    "INVALID RUN", "FAULT", "CANNOT TELL", "CONVERGED", "HEALTHY BUT UNUSUAL", "HEALTHY"
]
CRITICAL: tuple[tuple[str, Verdict], ...] = (("invalid", "INVALID RUN"), ("fault", "FAULT"))
EXPLAINED_BY = {  # by which findings' causes
    "INVALID RUN": ("invalid", "fault"),
    "FAULT": ("fault",),
    "CONVERGED": ("converged",),
}
FEW = 30  # points below which only broken invariants, non-finite values and destruction count


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A rule that could not be judged, and why."""

    code: str
    name: str
    because: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """verdict and the sentence that says why; findings by severity; causes likeliest first.

    experiment: what would tell the first two causes apart; trend: of the goal metric; detectable:
    the smallest change that would have been seen; needed: points for a tenth of the goal's level;
    quiet: rules that were judged and found nothing; forecast, criteria: none from a broken
    measurement; before: what an earlier report said, where one was given; target: the forecast of
    a target that is another metric than the goal.
    """

    log: Log
    verdict: Verdict
    reason: str
    findings: list[Finding]
    causes: list[Cause]
    experiment: str
    not_checked: list[Unchecked]
    goal: str
    trend: Trend | None
    needed: int
    quiet: tuple[Rule, ...] = ()
    forecast: Forecast | None = None
    criteria: tuple[Criterion, ...] = ()
    before: Before | None = None
    target: Forecast | None = None


@np.errstate(over="ignore", invalid="ignore")  # what overflows is no evidence, nor a warning
def diagnose(log: Log, target: Target | None = None) -> Diagnosis:
    """Run every rule that applies and weigh what they found; target: what the forecast is for."""
    s = Signals(log)
    findings, not_checked, quiet = list[Finding](), list[Unchecked](), list[Rule]()
    for rule in RULES:
        if rule.kinds and log.kind not in rule.kinds:
            continue
        lacks = rule.lacks(s)
        if lacks:
            because = f"the log has no {' and no '.join(x.replace('|', ' or ') for x in lacks)}"
            not_checked.append(Unchecked(rule.code, rule.name, because))
        else:
            hits = rule.run(s)
            findings += hits
            quiet += [] if hits else [rule]
    counted = [f for f in findings if s.n >= FEW or f.early or f.supports in ("unusual", "nothing")]
    verdict, reason = _verdict(s, counted)
    findings = [
        replace(f, prescription=None) if _silenced(f, f in counted, verdict) else f
        for f in findings
    ]
    order, speaks = get_args(Severity), get_args(Supports)
    findings.sort(key=lambda f: (order.index(f.severity), speaks.index(f.supports), f.code))
    causes = [
        replace(cause, against=against(s, cause.id, quiet))
        for cause in ranked([f for f in counted if f.supports in EXPLAINED_BY.get(verdict, ())])
    ]
    if not causes:
        word = "noise-only" if verdict == "CANNOT TELL" else "none"
        causes = [Cause(word, 1.0, CAUSES[word], (reason,))]
    trend = s.trend(s.goal) if s.goal else None
    trusted = verdict != "INVALID RUN"
    aim = target or own_target(s)
    other = aim is not None and aim.metric != s.goal
    ahead = forecast(s, None if other else aim) if trusted else None
    beside = forecast(s, aim) if trusted and other else None
    return Diagnosis(
        log,
        verdict,
        reason,
        findings,
        causes,
        experiment(causes),
        not_checked,
        s.goal,
        trend,
        _needed(s),
        tuple(quiet),
        ahead,
        tuple(stated(s, ahead)),
        target=beside,
    )


def _silenced(f: Finding, weighed: bool, verdict: str) -> bool:
    """Whether a finding may not suggest what it would: after a broken invariant all others, and a
    change of an option (not advice) where it was not weighed."""
    change = f.prescription is not None and bool(f.prescription.option)
    return (change and not weighed) or (verdict == "INVALID RUN" and f.supports != "invalid")


def _needed(s: Signals) -> int:
    """Points from which on a change of a tenth of the goal's level would be seen."""
    if s.n < 4:
        return 0
    x_N = s.values(s.goal)
    level = abs(float(x_N.mean())) or float(x_N.std())
    return points_needed(0.1 * level, s.trend(s.goal).noise, lag1(x_N))


def _verdict(s: Signals, findings: Sequence[Finding]) -> tuple[Verdict, str]:
    """The verdict by precedence, and one sentence for it."""
    for supports, verdict in CRITICAL:
        hits = [f for f in findings if f.supports == supports and f.severity == "critical"]
        if hits:
            return verdict, hits[0].summary
    converged = [f for f in findings if f.supports == "converged"]
    if not s.goal:
        return "CANNOT TELL", "the log holds no reward, accuracy or loss"
    trend = s.trend(s.goal)
    if converged:
        return "CONVERGED", converged[0].summary
    if not trend.significant:
        return "CANNOT TELL", _unseen(s, trend)
    if s.worse:  # too short for a fault, or nothing confirms it
        return "CANNOT TELL", (
            f"{s.goal} went the wrong way, {trend.first:.3g} to {trend.last:.3g} over {trend.n} "
            f"points (p {trend.p:.2g}), and nothing else says whether chance or a fault did it"
        )
    odd = [f for f in findings if f.supports == "unusual"]
    moved = (
        f"{s.goal} went {trend.direction}, {trend.first:.3g} to {trend.last:.3g} (change "
        f"{trend.difference:+.3g}, 95% interval {trend.low:+.3g} to {trend.high:+.3g})"
    )
    return ("HEALTHY BUT UNUSUAL", f"{moved}; {odd[0].summary}") if odd else ("HEALTHY", moved)


def _unseen(s: Signals, trend: Trend) -> str:
    if trend.n < 4:
        return f"{trend.n} points of {s.goal} say nothing about its course"
    if abs(trend.difference) >= trend.detectable > 0:
        return (
            f"{s.goal} changed by {trend.difference:+.3g} from the first to the last quarter, but "
            f"without a steady course (p {trend.p:.2g}, over block means {trend.confirm_p:.2g})"
        )
    return within_noise(trend, s.goal)


def within_noise(t: Trend, name: str) -> str:
    """That no change of a metric is seen, and what could have been."""
    by = f"the change of {name}, {t.difference:+.3g}," if math.isfinite(t.difference) else "it"
    seen = f"nothing smaller than {t.detectable:.3g} could have been seen"
    seen = seen if math.isfinite(t.detectable) else "too few to see anything"
    return f"{by} is within noise: over {t.n} points {seen}"

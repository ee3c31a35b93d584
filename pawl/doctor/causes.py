"""From findings to causes: which ones would explain them, how well, and what would tell them apart.

A cause's weight is 1 - product(1 - w) over the findings that point to it, broken invariants first.
Left out: the findings (`rules_*.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pawl.doctor.rule import Rule
from pawl.types import CAUSES, Finding

EXPERIMENTS: dict[frozenset[str], str] = {}
"""The cheapest experiment that two causes predict different outcomes of."""

PROBES: dict[str, str] = {
    "completion-cap": "double the completion limit for 20 steps: truncation falls and reward rises "
    "under this cause alone",
    "reward-bug": "score ten reference solutions and ten broken ones by hand: the order must hold",
    "dead-component": "score reference solutions: a component that stays constant is not reachable",
    "sampler-mismatch": "score one sampled batch with the trainer before any update: ratios must "
    "be 1, at equal temperature and without top-p",
    "reference-mismatch": "measure the KL before the first update: it must be 0",
    "lr-too-high": "fork from the last good checkpoint at a third of the learning rate, 20 steps",
    "lr-too-low": "fork at three times the learning rate, 20 steps: the KL must grow",
    "policy-collapsed": "sample one prompt 16 times: few distinct completions under this cause",
    "zero-signal-groups": "count groups that all pass and that all fail, apart",
    "reward-floor": "sample 16 completions of 64 problems: does any one earn more than the floor",
}
"""What confirms one cause where a pair has no experiment of its own."""


@dataclass(frozen=True, slots=True)
class Cause:
    """id of CAUSES, weight in 0..1; evidence for (code and text) and against it."""

    id: str
    weight: float
    meaning: str
    evidence: tuple[str, ...]
    against: tuple[str, ...] = ()


def ranked(findings: Sequence[Finding]) -> list[Cause]:
    """All causes that findings name, likeliest first."""
    miss: dict[str, float] = {}
    said: dict[str, list[str]] = {}
    for f in findings:
        boost = {"invalid": 1.0, "fault": 0.95, "converged": 0.9}.get(f.argues, 0.6)
        for cause, weight, why in f.causes:
            miss[cause] = miss.get(cause, 1.0) * (1.0 - min(weight * boost, 0.999))
            said.setdefault(cause, []).append(f"{f.code} {why or f.summary}")
    order = sorted(miss, key=lambda cause: (miss[cause], list(CAUSES).index(cause)))
    return [
        Cause(cause, round(1.0 - miss[cause], 3), CAUSES[cause], tuple(said[cause]))
        for cause in order
    ]


def doubted(causes: Sequence[Cause], quiet: Sequence[Rule]) -> list[Cause]:
    """The causes with one thing more against each: rules that would name it and found nothing."""
    silent = [(rule.names(), f"{rule.code} {rule.name}: found nothing") for rule in quiet]
    real = [cause for cause in causes if cause.id not in ("none", "noise-only")]
    told = {c.id: tuple(text for ids, text in silent if c.id in ids) for c in real}
    return [replace(c, against=(*c.against, *told.get(c.id, ()))) for c in causes]


def experiment(causes: Sequence[Cause]) -> str:
    """The cheapest experiment that tells the first two causes apart; "" when there are not two."""
    if len(causes) < 2:
        return PROBES.get(causes[0].id, "") if causes else ""
    pair = frozenset(cause.id for cause in causes[:2])
    return EXPERIMENTS.get(pair) or next((PROBES[c.id] for c in causes[:2] if c.id in PROBES), "")

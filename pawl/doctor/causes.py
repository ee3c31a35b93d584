"""From findings to causes: which ones would explain them, how well, and what would tell them apart.

A cause's weight is 1 - product(1 - w) over the findings that point to it, broken invariants first;
contrary evidence (`against.py`) halves it.
Left out: the findings (`rules_*.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pawl.doctor import against
from pawl.doctor.signals import Signals
from pawl.types import CAUSES, Finding

EXPERIMENTS: dict[frozenset[str], str] = {
    frozenset(pair): text
    for pair, text in (
        (
            ("completion-cap", "reward-floor"),
            "sample 64 completions with four times the limit, without training: if any earns more "
            "than the floor, the limit was the cause",
        ),
        (
            ("completion-cap", "sampler-mismatch"),
            "score one sampled batch with the trainer before any update (minutes): a ratio of 1 "
            "leaves the limit; then double the limit for 20 steps",
        ),
        (
            ("sampler-mismatch", "reference-mismatch"),
            "score one batch three times before any update: sampler, trainer, reference; whichever "
            "pair differs names the cause",
        ),
        (
            ("dead-component", "reward-bug"),
            "score ten reference solutions: where the component pays them, the policy does not "
            "reach it; where it does not, its parser is wrong",
        ),
        (
            ("format-only", "dead-component"),
            "score reference solutions: a task component that pays them is alive, only not learned",
        ),
        (
            ("premature-convergence", "policy-collapsed"),
            "sample 16 completions of 16 problems at the best and at the last checkpoint: few "
            "distinct ones at the last alone is a collapse",
        ),
        (
            ("converged", "premature-convergence"),
            "pass@16 of the base model on these problems: where it is above today's reward, more "
            "was reachable",
        ),
        (
            ("premature-convergence", "regression-after-peak"),
            "evaluate the best and the last checkpoint on the same held-out problems, paired",
        ),
        (
            ("lr-too-high", "policy-collapsed"),
            "fork from before the fall at a third of the learning rate, 20 steps, beside an "
            "unchanged fork",
        ),
        (
            ("lr-too-low", "optimiser-detached"),
            "one update at ten times the learning rate: weights that do not move are not held by "
            "the optimiser",
        ),
        (
            ("stale-weights", "sampler-mismatch"),
            "restart the sampler and score its first batch: agreement at step 0 and drift later "
            "means old weights",
        ),
        (
            ("reward-floor", "zero-signal-groups"),
            "sample 64 problems 16 times: problems that are sometimes solved give signal to larger "
            "groups, a floor gives none",
        ),
        (
            ("algebraic-identity", "degenerate-pairs"),
            "count pairs with equal token ids, and compare old and new log-probs by identity",
        ),
    )
}
"""The cheapest experiment of which two causes predict different outcomes."""

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


def ranked(findings: Sequence[Finding], s: Signals) -> list[Cause]:
    """All causes that findings name, likeliest first; contrary evidence halves a weight."""
    miss: dict[str, float] = {}
    said: dict[str, list[str]] = {}
    for f in findings:
        boost = {"invalid": 1.0, "fault": 0.95, "converged": 0.9}.get(f.argues, 0.6)
        for cause, weight, why in f.causes:
            miss[cause] = miss.get(cause, 1.0) * (1.0 - min(weight * boost, 0.999))
            said.setdefault(cause, []).append(f"{f.code} {why or f.summary}")
    causes = []
    for cause, rest in miss.items():
        contrary = against.evidence(s, cause)
        weight = (1.0 - rest) * (0.5 if contrary else 1.0)
        texts = (contrary,) if contrary else ()
        causes.append(Cause(cause, round(weight, 3), CAUSES[cause], tuple(said[cause]), texts))
    order = list(CAUSES)
    return sorted(causes, key=lambda c: (-c.weight, order.index(c.id)))


def experiment(causes: Sequence[Cause]) -> str:
    """The cheapest experiment that tells the first two causes apart; "" when there are not two."""
    if len(causes) < 2:
        return PROBES.get(causes[0].id, "") if causes else ""
    pair = frozenset(cause.id for cause in causes[:2])
    return EXPERIMENTS.get(pair) or next((PROBES[c.id] for c in causes[:2] if c.id in PROBES), "")

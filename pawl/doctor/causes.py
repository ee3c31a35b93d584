"""From findings to causes: which ones would explain them, how well, and what would tell them apart.

A cause's weight is 1 - product(1 - w) over the findings that point to it, broken invariants first.
Left out: the findings (`pawl.rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pawl.checks import CAUSES
from pawl.rules.finding import Finding

EXPERIMENTS: dict[tuple[str, str], str] = {
    ("sampler-mismatch", "reference-mismatch"): "score one sampled batch with trainer, sampler and "
    "reference before any update: under the first cause trainer and sampler differ, under the "
    "second trainer and reference",
    ("sampler-mismatch", "stale-weights"): "compare log-probs of sampler and trainer at the start "
    "and right after a sync: stale weights agree there, a mismatch does not",
    ("completion-cap", "zero-signal-groups"): "double the completion limit for 5 steps: rewards "
    "of a group stay equal if the cap is not why",
    ("completion-cap", "reward-floor"): "sample 64 problems with twice the limit: some rewards "
    "leave the floor under a cap",
    ("completion-cap", "sampler-mismatch"): "score one batch before any update, then sample it "
    "again with twice the limit: only the cap changes with the limit",
    ("dead-component", "reward-bug"): "score ten reference solutions: a component that stays still "
    "for them is a bug",
    ("dead-component", "format-only"): "score ten reference solutions: if the task's component "
    "pays them, only form was learned",
    ("zero-signal-groups", "reward-floor"): "sample 16 completions of 64 problems: mixed groups "
    "appear unless it is a floor",
    ("zero-signal-groups", "converged"): "count groups that all pass and that all fail, apart",
    ("policy-collapsed", "lr-too-high"): "fork from the last good checkpoint, one branch with a "
    "third of the learning rate: entropy falls in both unless the rate was why",
    ("premature-convergence", "regression-after-peak"): "evaluate the checkpoint at the peak on "
    "held-out problems: only a true regression shows there too",
    ("premature-convergence", "converged"): "sample 16 completions a problem at a higher "
    "temperature: better ones exist unless the set is solved",
    ("regression-after-peak", "lr-too-high"): "fork from the peak, unchanged and at a third of the "
    "learning rate: both fall unless the rate was why",
    ("lr-too-high", "random-walk"): "fork at a third of the learning rate: the reward rises only "
    "if the rate was why",
    ("optimiser-detached", "reference-mismatch"): "compare weights before and after one update: "
    "unmoved under the first cause",
    ("optimiser-detached", "algebraic-identity"): "compare weights before and after one update "
    "with random advantages: they move unless the optimiser is detached",
    ("reward-bug", "converged"): "score ten known-broken answers: they earn nothing unless the "
    "reward is wrong",
    ("error-as-reward", "reward-bug"): "let the judge fail once on purpose and read the sample's "
    "score: it must be missing",
    ("algebraic-identity", "degenerate-pairs"): "compare token ids of chosen and rejected in 100 "
    "pairs: equal ones are data, not code",
}
"""The cheapest experiment that two causes, in either order, predict different outcomes of."""

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
    "optimiser-detached": "compare every trained tensor before and after one update",
    "stale-weights": "sample after a sync and score with the trainer: log-probs must agree",
    "algebraic-identity": "compute the metric by hand for two batches: it must differ",
    "group-integrity": "print problem and seed of every row of one group",
    "judge-outage": "score one completion a hundred times and read the reasons of failures",
    "error-as-reward": "let the judge fail once on purpose: the score must be missing",
    "converged": "evaluate on held-out problems of the next difficulty",
    "regression-after-peak": "evaluate the checkpoint at the peak on held-out problems",
    "premature-convergence": "sample the base model 16 times a problem: is better within reach",
    "format-only": "score reference solutions in the wanted form and in another",
    "degenerate-pairs": "compare token ids of chosen and rejected in 100 pairs",
    "random-walk": "fork at a third of the learning rate, 20 steps: the reward must move",
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
        boost = {"invalid": 1.0, "fault": 0.95, "converged": 0.9}.get(f.supports, 0.6)
        for cause, weight, why in f.causes:
            miss[cause] = miss.get(cause, 1.0) * (1.0 - min(weight * boost, 0.999))
            said.setdefault(cause, []).append(f"{f.code} {why or f.summary}")
    order = sorted(miss, key=lambda cause: (miss[cause], list(CAUSES).index(cause)))
    return [
        Cause(cause, round(1.0 - miss[cause], 3), CAUSES[cause], tuple(said[cause]))
        for cause in order
    ]


def experiment(causes: Sequence[Cause]) -> str:
    """The cheapest experiment that tells the first two causes apart; "" when there are not two."""
    if len(causes) < 2:
        return PROBES.get(causes[0].id, "") if causes else ""
    a, b = causes[0].id, causes[1].id
    told = EXPERIMENTS.get((a, b)) or EXPERIMENTS.get((b, a)) or PROBES.get(a)
    return told or PROBES.get(b, "")

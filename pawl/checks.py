"""What must hold of a run, and what a violation points to: the list of causes, and a check's row.

Preflight, calibration, rules and the doctor name causes by these ids. What each check of the
preflight looks for stands in `checks.toml`. Left out: what the doctor finds in a log
(`pawl.rules.finding`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pawl.errors import PawlError

CAUSES: dict[str, str] = {
    "none": "nothing is wrong",
    "noise-only": "differences are within noise",
    "reward-bug": "the reward function credits what it should not, or errors",
    "reward-floor": "the reward is constant or at its floor: no variance to learn from",
    "dead-component": "a reward component is always or never earned: parser, template, scale",
    "format-only": "only format components improve; the task component does not",
    "error-as-reward": "failures were scored as answers",
    "judge-outage": "scores cannot be had: sandbox, judge or reward fails",
    "judge-biased": "the judge pays for canaries, length or place instead of the answer",
    "judge-drift": "the judge grades the same answers otherwise than at the start",
    "judge-noisy": "the judge's noise is as large as the differences that it finds",
    "judge-prompt": "the judge reads something else than task, answer and rubric",
    "stale-verdict": "a verdict is used that was given for something else",
    "uncounted-cost": "what a judge costs is not counted, so that no budget holds",
    "completion-cap": "completions end at the token cap; the cap decides the reward",
    "zero-signal-groups": "the rewards of a group are equal: no advantage",
    "group-integrity": "rows, rewards and advantages of a group do not belong together",
    "leakage": "evaluation problems stand in the training set",
    "data-order": "problems are not drawn as the seed says: repeated, skipped or out of order",
    "template-or-eos": "the model reads or ends text in another form than it was trained on",
    "padding-side": "a row's numbers depend on its neighbours: padding or positions",
    "non-finite": "a number is NaN or infinite",
    "sampler-mismatch": "sampler and trainer log-probs disagree",
    "stale-weights": "the sampler does not get the trained weights",
    "reference-mismatch": "the reference is not the policy's starting point",
    "loss-covers-prompt": "loss or KL include prompt or padding tokens",
    "algebraic-identity": "a metric is constant by algebra: a tensor compared with itself",
    "optimiser-detached": "the optimiser does not move the weights that are trained",
    "schedule-never-warm": "the learning rate never reaches its target",
    "lr-too-high": "the update destroyed or froze the policy",
    "lr-too-low": "nothing moves",
    "policy-collapsed": "the policy is deterministic; exploration is gone",
    "premature-convergence": "converged far below what was reachable",
    "converged": "solved, or at a plateau without remaining signal",
    "random-walk": "KL grows, reward does not",
    "regression-after-peak": "the policy is worse than its best so far",
    "value-useless": "the critic explains nothing of the return",
    "preference-fails": "preference accuracy stays at or below chance while the loss falls",
    "disk-full": "the disk has no room for what the run writes",
    "degenerate-pairs": "chosen equals rejected, equal scores counted as errors",
}
"""The one list of causes: id -> what is wrong. Preflight and reports name causes by these ids."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of preflight.jsonl: what must hold before the first step, and what was seen.

    name: stable; `train.override` takes it. problem: which one, "" for the run as a whole. passed:
    None when there was nothing to check it with. cause: id of CAUSES that a violation points to.
    refuses: a violation refuses the run; False for a statistic that only warns. overridden: it
    failed and the config lets the run start all the same.
    """

    name: str
    problem: str
    expected: str
    observed: str
    passed: bool | None
    meaning: str
    tolerance: float = 0.0
    cause: str = "none"
    refuses: bool = True
    overridden: bool = False


@cache
def described() -> dict[str, dict[str, Any]]:
    """Name of a check -> when it holds, or warns and refuses, and the causes it points to."""
    return tomllib.loads(Path(__file__).with_name("checks.toml").read_text(encoding="utf-8"))


def require_checks(names: Sequence[str]) -> None:
    """Raise PawlError for a name in train.override that is no check's."""
    for name in names:
        if name not in described():
            near = get_close_matches(name, described(), n=1)
            hint = f"did you mean {near[0]}?" if near else "`pawl explain` lists the checks"
            raise PawlError(f"`train.override` names no check: {name}", "train.override", hint)


def overridden(checks: Sequence[Check], names: Sequence[str], kind: str = "") -> list[Check]:
    """The checks; those that would refuse the run and are named in `names` (train.override) marked.

    kind: the one name that all of them go by; "" for their own.
    """
    return [
        replace(c, overridden=c.passed is False and c.refuses and (kind or c.name) in names)
        for c in checks
    ]


def require_passed(checks: Sequence[Check]) -> None:
    """Raises PawlError when a check refuses the run."""
    failed = refusing(checks)
    if not failed:
        return
    lines = [f"{c.name} [{c.cause}]: expected {c.expected}; observed {c.observed}" for c in failed]
    first = failed[0]
    raise PawlError(
        f"preflight refuses the run, {len(failed)} of {len(checks)} checks failed\n"
        + "\n".join(f"  {line}" for line in lines),
        first.cause,
        f"{first.meaning}; to start all the same: train.override=[{first.name}]",
    )


def refusing(checks: Sequence[Check]) -> list[Check]:
    """Those that refuse the run."""
    return [c for c in checks if c.passed is False and c.refuses and not c.overridden]

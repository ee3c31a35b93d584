"""Figures of an evaluation: success, pass@k, intervals, paired gains.

Left out: sampling what they are computed from (`heldout.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pawl.config.options import EvalConfig, RolloutConfig
from pawl.rollout.engine import SamplingParams
from pawl.train.record import standard_error
from pawl.train.success import PASS, Success
from pawl.types import Problem, Score


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem. values: success of each scored sample that has it; rewards: their totals.

    passes: of the `judged` scored samples on which tests were run; missing: scores that are. gap:
    the judge's mean grade of the samples less its grade of the reference, None without them.
    """

    problem_id: str
    difficulty: str
    values: tuple[float, ...]
    rewards: tuple[float, ...]
    passes: int
    judged: int
    missing: int
    gap: float | None = None

    @property
    def success(self) -> float:
        """Mean success; call it only where there are values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def rate(self) -> float:
        """Share of judged samples that pass; call it only where there are some."""
        return self.passes / self.judged


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval over n problems."""

    value: float
    low: float
    high: float
    n: int


def sampling_params(cfg: EvalConfig, rollout: RolloutConfig, greedy: bool) -> SamplingParams:
    """The evaluation's own sampling; 0 max_tokens falls back to the rollout's."""
    own = cfg.sampling.model_dump()
    own["max_tokens"] = own["max_tokens"] or rollout.max_tokens
    return SamplingParams(**own | ({"temperature": 0.0} if greedy else {}), stop=rollout.stop)


def outcome(problem: Problem, scores: Sequence[Score], success: Success) -> Outcome:
    """Count one problem's samples; missing scores stand in no figure."""
    known = [s for s in scores if s.total is not None]
    judged = [s for s in known if s.verdict is not None]
    values = [success.of(s) for s in known]
    gaps = [s.teacher[0] - s.teacher[1] for s in known if s.teacher is not None]
    return Outcome(
        problem.id,
        problem.difficulty,
        tuple(v for v in values if v is not None),
        tuple(s.total for s in known if s.total is not None),
        sum(s.passed for s in judged),
        len(judged),
        len(scores) - len(known),
        math.fsum(gaps) / len(gaps) if gaps else None,
    )


def pass_at_k(outcomes: Sequence[Outcome], k: int) -> Interval | None:
    """Unbiased pass@k, mean over problems with at least k judged samples, with its 95% interval.

    1 - C(n - c, k) / C(n, k) for each problem (arXiv 2107.03374, equation 1); the interval is
    Student's t over problems, cut to [0, 1]. None when no problem has k judged samples.
    """
    many = [o for o in outcomes if o.judged >= k]
    values = [1.0 - math.comb(o.judged - o.passes, k) / math.comb(o.judged, k) for o in many]
    return mean_interval(values, 0.0, 1.0) if values else None


def mean_success(outcomes: Sequence[Outcome], success: Success) -> Interval | None:
    """Mean success over problems with its 95% interval; None when nothing was scored."""
    values = [o.success for o in outcomes if o.values]
    return mean_interval(values, success.low, success.high) if values else None


def mean_interval(values: Sequence[float], low: float, high: float) -> Interval:
    """Mean with Student's t 95% interval, cut to [low, high]; one value gives the whole range."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, low, high, n)
    from scipy.special import stdtrit  # scipy.stats takes a second to import for the same number

    half = float(stdtrit(n - 1, 0.975)) * standard_error(values)
    return Interval(mean, max(low, mean - half), min(high, mean + half), n)


def paired_gain(
    before: Sequence[Outcome], after: Sequence[Outcome], success: Success
) -> Interval | None:
    """Mean gain in success over the problems scored both times, with its paired 95% interval."""
    start = {o.problem_id: o for o in before if o.values}
    pairs = [(start[o.problem_id], o) for o in after if o.values and o.problem_id in start]
    gains = [b.success - a.success for a, b in pairs]
    width = success.high - success.low
    return mean_interval(gains, -width, width) if gains else None


def eval_metrics(
    outcomes: Sequence[Outcome], start: Sequence[Outcome], success: Success
) -> dict[str, float | None]:
    """The eval/* entries of a step record, None where nothing was scored; pass@1 with tests."""
    rates = [o.rate for o in outcomes if o.judged]
    level = [o.success for o in outcomes if o.values]
    rewards = [math.fsum(o.rewards) / len(o.rewards) for o in outcomes if o.rewards]
    means = [
        ("eval/success", "eval/success_se", level),
        ("eval/reward_mean", "eval/reward_mean_se", rewards),
    ]
    if rates or success.name == PASS:
        means.insert(0, ("eval/pass_at_1", "eval/pass_at_1_se", rates))
    if gaps := [o.gap for o in outcomes if o.gap is not None]:
        means.append(("eval/teacher_gap", "eval/teacher_gap_se", gaps))
    found: dict[str, float | None] = {}
    for name, error, values in means:
        found[name] = float(np.mean(values)) if values else None
        found[error] = standard_error(values) if values else None
    gain = paired_gain(start, outcomes, success)
    scored, lost = sum(len(o.rewards) for o in outcomes), sum(o.missing for o in outcomes)
    return found | {
        "eval/gain": gain.value if gain else None,
        "eval/gain_low": _finite(gain.low) if gain else None,
        "eval/gain_high": _finite(gain.high) if gain else None,
        "eval/missing_frac": lost / max(1, scored + lost),
        "eval/problems": len(outcomes),
    }


def _finite(value: float) -> float | None:
    """An end of an interval, None where nothing bounds it."""
    return value if math.isfinite(value) else None

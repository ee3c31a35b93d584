"""Evaluation on held-out problems: success, pass@k, intervals, paired gains, failure stages.

Every figure comes with the sampling that gave it. Samples of an evaluation use their own RNG
streams (step 0 of eval.seed; training steps start at 1), the same before and after, so that a gain
is paired. Left out: choosing what to evaluate and printing (the loop and the CLI do).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pawl.config.options import EvalConfig, RewardConfig, RolloutConfig
from pawl.models.text import PromptEncoder
from pawl.rewards.grader import Grader
from pawl.rollout.engine import Engine, SamplingParams
from pawl.store.samples import stage_of
from pawl.train.record import standard_error
from pawl.train.rollouts import Payment, Rollouts, collect
from pawl.train.success import PASS, Success
from pawl.types import Problem, Score

EVAL_STEP = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem. values: success of each scored sample that has it; rewards: their totals.

    passes: of the `judged` scored samples on which tests were run; missing: scores that are.
    """

    problem_id: str
    difficulty: str
    family: str
    values: tuple[float, ...]
    rewards: tuple[float, ...]
    passes: int
    judged: int
    missing: int

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
    s = cfg.sampling
    return SamplingParams(
        temperature=0.0 if greedy else s.temperature,
        max_tokens=s.max_tokens or rollout.max_tokens,
        stop=rollout.stop,
        top_p=s.top_p,
        top_k=s.top_k,
        repetition_penalty=s.repetition_penalty,
        no_repeat_ngram_size=s.no_repeat_ngram_size,
    )


def run_evaluation(
    engine: Engine,
    grader: Grader,
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    samples: int,
    params: SamplingParams,
    seed: int,
    reward: RewardConfig,
) -> Rollouts:
    """Sample, measure and pay `samples` completions of each problem; greedy takes one."""
    n = 1 if params.temperature == 0 else samples
    drawn, payment = [(p, 0) for p in problems], Payment(reward)
    return collect(engine, grader, encoder, drawn, n, params, seed, EVAL_STEP, payment)


def outcomes_of(rollouts: Rollouts, success: Success) -> list[Outcome]:
    """One outcome for each group, in order."""
    found, at = [], 0
    for group in rollouts.groups:
        n = len(group.samples)
        found.append(outcome(group.problem, rollouts.scores_S[at : at + n], success))
        at += n
    return found


def outcome(problem: Problem, scores: Sequence[Score], success: Success) -> Outcome:
    """Count one problem's samples; missing scores stand in no figure."""
    known = [s for s in scores if s.total is not None]
    judged = [s for s in known if s.verdict is not None]
    values = [success.of(s) for s in known]
    return Outcome(
        problem.id,
        problem.difficulty,
        problem.family,
        tuple(v for v in values if v is not None),
        tuple(s.total for s in known if s.total is not None),
        sum(s.passed for s in judged),
        len(judged),
        len(scores) - len(known),
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


def stages(rollouts: Rollouts) -> Counter[str]:
    """How many samples ended at which stage ("pass", "wrong", "types", "syntax", ...)."""
    return Counter(
        stage(score, sample.finish)
        for score, sample in zip(rollouts.scores_S, rollouts.samples_S, strict=True)
    )


def stage(score: Score, finish: str) -> str:
    """The first thing that went wrong: truncated, syntax, types, compile, a verdict, or pass."""
    return stage_of(score.status, score.verdict, score.reason, finish)


def eval_metrics(
    outcomes: Sequence[Outcome], start: Sequence[Outcome], success: Success
) -> dict[str, float | None]:
    """The eval/* entries of a step record, None where nothing was scored; pass@1 with tests."""
    values = [o.success for o in outcomes if o.values]
    rates = [o.rate for o in outcomes if o.judged]
    rewards = [math.fsum(o.rewards) / len(o.rewards) for o in outcomes if o.rewards]
    gain = paired_gain(start, outcomes, success)
    scored = sum(len(o.rewards) for o in outcomes)
    lost = sum(o.missing for o in outcomes)
    found: dict[str, float | None] = {}
    if rates or success.name == PASS:
        found["eval/pass_at_1"] = float(np.mean(rates)) if rates else None
        found["eval/pass_at_1_se"] = standard_error(rates) if rates else None
    found |= {
        "eval/success": float(np.mean(values)) if values else None,
        "eval/success_se": standard_error(values) if values else None,
        "eval/reward_mean": float(np.mean(rewards)) if rewards else None,
        "eval/reward_mean_se": standard_error(rewards) if rewards else None,
        "eval/gain": gain.value if gain else None,
        "eval/gain_low": _finite(gain.low) if gain else None,
        "eval/gain_high": _finite(gain.high) if gain else None,
        "eval/missing_frac": lost / max(1, scored + lost),
        "eval/problems": len(outcomes),
    }
    return found


def _finite(value: float) -> float | None:
    """An end of an interval, None where nothing bounds it."""
    return value if math.isfinite(value) else None

"""Evaluation on held-out problems: pass@1, pass@k, intervals, paired gains, failure stages.

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
from scipy import stats

from pawl.config.options import EvalConfig, RolloutConfig
from pawl.models.text import PromptEncoder
from pawl.rewards.pool import ScorerPool
from pawl.rollout.engine import Engine, SamplingParams
from pawl.store.samples import stage_of
from pawl.train.rollouts import Rollouts, collect
from pawl.types import Problem, Score

EVAL_STEP = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One problem: passes among the n scored samples, and how many scores are missing."""

    problem_id: str
    difficulty: str
    family: str
    passes: int
    n: int
    missing: int

    @property
    def rate(self) -> float:
        """Share of scored samples that pass; call it only when n > 0."""
        return self.passes / self.n


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
    pool: ScorerPool,
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    samples: int,
    params: SamplingParams,
    seed: int,
) -> tuple[list[Outcome], Rollouts]:
    """Sample and score `samples` completions of each problem; greedy takes one."""
    n = 1 if params.temperature == 0 else samples
    drawn = [(p, 0) for p in problems]
    rollouts = collect(engine, pool, encoder, drawn, n, params, seed, EVAL_STEP)
    outcomes = [outcome(p, rollouts.scores_S[i * n : (i + 1) * n]) for i, p in enumerate(problems)]
    return outcomes, rollouts


def outcome(problem: Problem, scores: Sequence[Score]) -> Outcome:
    """Count one problem's passes; missing scores are left out of n."""
    known = [s for s in scores if s.status == "scored"]
    return Outcome(
        problem.id,
        problem.difficulty,
        problem.family,
        sum(s.passed for s in known),
        len(known),
        len(scores) - len(known),
    )


def pass_at_k(outcomes: Sequence[Outcome], k: int) -> Interval | None:
    """Unbiased pass@k, mean over problems with at least k scored samples, with its 95% interval.

    1 - C(n - c, k) / C(n, k) for each problem (arXiv 2107.03374, equation 1); the interval is
    Student's t over problems, cut to [0, 1]. None when no problem has k scored samples.
    """
    values = [1.0 - math.comb(o.n - o.passes, k) / math.comb(o.n, k) for o in outcomes if o.n >= k]
    return mean_interval(values, 0.0, 1.0) if values else None


def mean_interval(values: Sequence[float], low: float, high: float) -> Interval:
    """Mean with Student's t 95% interval, cut to [low, high]; one value gives the whole range."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, low, high, n)
    half = float(stats.t.ppf(0.975, n - 1)) * standard_error(values)
    return Interval(mean, max(low, mean - half), min(high, mean + half), n)


def standard_error(values: Sequence[float]) -> float:
    """Standard deviation (n - 1) / sqrt(n); 0 for one value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def paired_gain(before: Sequence[Outcome], after: Sequence[Outcome]) -> Interval | None:
    """Mean gain in pass rate over the problems scored both times, with its paired 95% interval."""
    start = {o.problem_id: o for o in before if o.n}
    gains = [o.rate - start[o.problem_id].rate for o in after if o.n and o.problem_id in start]
    return mean_interval(gains, -1.0, 1.0) if gains else None


def stages(rollouts: Rollouts) -> Counter[str]:
    """How many samples ended at which stage ("pass", "wrong", "types", "syntax", ...)."""
    return Counter(
        stage(score, sample.finish)
        for score, sample in zip(rollouts.scores_S, rollouts.samples_S, strict=True)
    )


def stage(score: Score, finish: str) -> str:
    """The first thing that went wrong: truncated, syntax, types, compile, a verdict, or pass."""
    return stage_of(score.status, score.verdict, score.reason, finish)


def eval_metrics(outcomes: Sequence[Outcome], start: Sequence[Outcome]) -> dict[str, float | None]:
    """The eval/* entries of a step record; None where nothing was scored."""
    rates = [o.rate for o in outcomes if o.n]
    gain = paired_gain(start, outcomes)
    scored = sum(o.n for o in outcomes)
    lost = sum(o.missing for o in outcomes)
    return {
        "eval/pass_at_1": float(np.mean(rates)) if rates else None,
        "eval/pass_at_1_se": standard_error(rates) if rates else None,
        "eval/gain": gain.value if gain else None,
        "eval/gain_low": gain.low if gain else None,
        "eval/gain_high": gain.high if gain else None,
        "eval/missing_frac": lost / max(1, scored + lost),
        "eval/problems": len(outcomes),
    }

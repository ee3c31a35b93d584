"""Sample and score at the same time: completions are judged while others are still being written.

`collect` serves training and evaluation alike. The order of results is (group, member), whatever
order samples and scores arrived in. Left out: what to do with missing scores (the callers decide).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pawl.errors import Exit, PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.pool import ScorerPool
from pawl.rollout.engine import Engine, SamplingParams
from pawl.types import Completion, Group, Problem, Prompt, Sample, Score


@dataclass(frozen=True, slots=True)
class Rollouts:
    """groups in batch order; scores_S in (group, member) order; wall-clock seconds."""

    groups: tuple[Group, ...]
    scores_S: tuple[Score, ...]
    generate_s: float
    score_wait_s: float

    @property
    def samples_S(self) -> tuple[Sample, ...]:
        """All samples in (group, member) order."""
        return tuple(s for g in self.groups for s in g.samples)


def collect(
    engine: Engine,
    pool: ScorerPool,
    encoder: PromptEncoder,
    drawn: Sequence[tuple[Problem, int]],
    group_size: int,
    params: SamplingParams,
    seed: int,
    step: int,
) -> Rollouts:
    """Generate `group_size` completions of each drawn (problem, stream) and score them all."""
    prompts = [
        Prompt(problem.id, i, encoder.encode(problem), stream)
        for i, (problem, stream) in enumerate(drawn)
    ]
    began = time.perf_counter()
    samples: dict[tuple[int, int], Sample] = {}
    scores: dict[Hashable, Score] = {}
    for sample in engine.generate(prompts, group_size, params, seed, step):
        key = (sample.group, sample.member)
        samples[key] = sample
        completion = Completion(sample.problem_id, sample.text, len(sample.tokens), sample.finish)
        pool.submit(key, drawn[sample.group][0], completion)
        scores.update(pool.poll(0.0))
    generated = time.perf_counter()
    while len(scores) < len(samples):
        scores.update(pool.poll(1.0))
    done = time.perf_counter()
    members = range(group_size)
    groups = tuple(
        Group(drawn[i][0], prompts[i], tuple(samples[i, m] for m in members))
        for i in range(len(drawn))
    )
    scores_S = tuple(scores[i, m] for i in range(len(drawn)) for m in members)
    return Rollouts(groups, scores_S, generated - began, done - generated)


def require_scored(scores_S: Sequence[Score], limit: float, run: str) -> None:
    """Raise PawlError (exit 4, resumable) when a larger share than `limit` is missing."""
    reasons = Counter(s.reason for s in scores_S if s.status == "missing")
    lost = sum(reasons.values()) / len(scores_S)
    if lost > limit:
        detail = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        raise PawlError(
            f"{lost:.0%} of the scores are missing, the limit is {limit:.0%}: {detail}",
            run,
            f"repair the cause, then: pawl train --resume {run} (limit: reward.max_missing_frac)",
            Exit.STOPPED,
        )

"""Sample and score at the same time: completions are judged while others are still being written.

`collect` serves training and evaluation alike. The order of results is (group, member), whatever
order samples and scores arrived in. Left out: what to do with missing scores (the callers decide).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from pawl.errors import Exit, PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.pool import ScorerPool
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.sampling import require_kept
from pawl.train.data import draw
from pawl.train.session import Session
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
        require_kept(sample, params)
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


@dataclass(frozen=True, slots=True)
class Batch:
    """Rollouts of a step; used: places of the groups to train on; drawn: prompts drawn for it."""

    rollouts: Rollouts
    used: tuple[int, ...]
    drawn: int


def gather(s: Session, first: int, step: int) -> Batch:
    """The batch of step `step`, drawn after `first` earlier prompts.

    algo.zero_signal: "keep" trains on every group, "skip" on those whose known rewards differ,
    "refill" draws whole batches anew until P such groups are there, at most algo.refill_max times
    (dynamic sampling, arXiv 2503.14476, section 3.2). All that was sampled is kept in the run.
    """
    p, g, algo = s.cfg.rollout.prompts, s.cfg.rollout.group_size, s.cfg.algo
    rounds = 1 + (algo.refill_max if algo.zero_signal == "refill" else 0)
    whole, used = Rollouts((), (), 0.0, 0.0), list[int]()
    for i in range(rounds):
        new = draw(first, p * (i + 1), len(s.train), s.cfg.seed)[p * i :]
        drawn = [(s.train[index], stream) for index, stream in new]
        part = collect(s.engine, s.pool, s.encoder, drawn, g, s.params, s.cfg.seed, step)
        require_scored(part.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
        keep = algo.zero_signal == "keep"
        used += [p * i + k for k in range(p) if keep or has_signal(part.scores_S[k * g :][:g])]
        whole = joined(whole, part)
        if len(used) >= p:
            break
    return Batch(whole, tuple(used[:p]), len(whole.groups))


def has_signal(scores_G: Sequence[Score]) -> bool:
    """True when the known rewards of a group differ."""
    return len({s.total for s in scores_G if s.total is not None}) > 1


def joined(a: Rollouts, b: Rollouts) -> Rollouts:
    """Both, with b's groups numbered on from a's."""
    by = len(a.groups)
    moved = tuple(
        Group(
            group.problem,
            replace(group.prompt, group=group.prompt.group + by),
            tuple(replace(sample, group=sample.group + by) for sample in group.samples),
        )
        for group in b.groups
    )
    return Rollouts(
        a.groups + moved,
        a.scores_S + b.scores_S,
        a.generate_s + b.generate_s,
        a.score_wait_s + b.score_wait_s,
    )


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

"""Sample and score at the same time: completions are judged while others are still being written.

`collect` serves training and evaluation alike. The order of results is (group, member), whatever
order samples and scores arrived in. Left out: what to do with missing scores (the callers decide).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pawl.config.options import RewardConfig
from pawl.errors import Exit, PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.compose import repay
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.sampling import require_kept
from pawl.train.curriculum import stage_reward
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


class Scoring(Protocol):
    """Where completions are scored: the scorer pool, or what stands before it."""

    def submit(self, key: tuple[int, int], problem: Problem, completion: Completion) -> None:
        """Queue one completion; the key is its group and member."""
        ...

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, Score]]:
        """Scores that are ready."""
        ...


def collect(
    engine: Engine,
    pool: Scoring,
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
        pool.submit(key, drawn[sample.group][0], completion_of(sample))
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


def completion_of(sample: Sample) -> Completion:
    """What a reward sees of a sample."""
    return Completion(sample.problem_id, sample.text, len(sample.tokens), sample.finish)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rollouts of a step; used: places of the groups to train on; places: each group's problem.

    The latter are places in the training set, in batch order, repeats included.
    """

    rollouts: Rollouts
    used: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def drawn(self) -> int:
        """Prompts drawn for the step."""
        return len(self.places)


def gather(s: Session, stage: int, first: int, step: int, temperature: float) -> Batch:
    """The batch of step `step`, drawn after `first` earlier prompts of the stage.

    algo.zero_signal: "keep" trains on every group, "skip" on those whose known rewards differ,
    "refill" draws whole batches anew until P such groups are there, at most algo.refill_max times
    (dynamic sampling, arXiv 2503.14476, section 3.2). All that was sampled is kept in the run.
    """
    p, g, algo = s.cfg.rollout.prompts, s.cfg.rollout.group_size, s.cfg.algo
    rounds = 1 + (algo.refill_max if algo.zero_signal == "refill" else 0)
    whole, used, places = Rollouts((), (), 0.0, 0.0), list[int](), list[int]()
    params, paying = replace(s.params, temperature=temperature), stage_reward(s.cfg, stage)
    for i in range(rounds):
        new = draw(first, p * (i + 1), s.pools[stage], s.cfg.seed)[p * i :]
        drawn = [(s.train[index], stream) for index, stream in new]
        part = collect(s.engine, s.pool, s.encoder, drawn, g, params, s.cfg.seed, step)
        require_scored(part.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
        if paying is not None:
            part = repaid(part, paying, s.cfg.curriculum[stage].name)
        places += [index for index, _ in new]
        keep = algo.zero_signal == "keep"
        used += [p * i + k for k in range(p) if keep or has_signal(part.scores_S[k * g :][:g])]
        whole = joined(whole, part)
        if len(used) >= p:
            break
    return Batch(whole, tuple(used[:p]), tuple(places))


def repaid(rollouts: Rollouts, cfg: RewardConfig, name: str) -> Rollouts:
    """The same rollouts with totals by the weights of a curriculum's stage."""
    members = [(group.problem, sample) for group in rollouts.groups for sample in group.samples]
    scores_S = tuple(
        repay(score, problem, completion_of(sample), cfg, name)
        for (problem, sample), score in zip(members, rollouts.scores_S, strict=True)
    )
    return replace(rollouts, scores_S=scores_S)


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

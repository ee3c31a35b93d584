"""Sample and measure at the same time: completions are judged while others are being written.

`collect` serves training and evaluation alike. The order of results is (group, member), whatever
order samples and scores arrived in. Left out: what to do with missing scores (the callers decide).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from pawl.config.options import RewardConfig
from pawl.errors import Exit, PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.grader import stage_reward
from pawl.rewards.pay import Row, pay
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.sampling import require_kept
from pawl.train.data import draw
from pawl.train.session import Session
from pawl.types import Completion, Group, Problem, Prompt, Sample, Score


@dataclass(frozen=True, slots=True)
class Payment:
    """By what a batch is paid: a reward, with the weights of the curriculum's stage `stage`."""

    reward: RewardConfig
    stage: str = ""


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


class Measuring(Protocol):
    """Where completions are measured: the grader, or what stands before it."""

    def submit(
        self,
        group: Hashable,
        member: int,
        size: int,
        problem: Problem,
        completion: Completion | None,
        reason: str = "",
    ) -> None:
        """Queue one member of a group of `size`; None for one that the engine lost."""
        ...

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Row]]]:
        """The groups that are measured whole by now."""
        ...


def collect(
    engine: Engine,
    grader: Measuring,
    encoder: PromptEncoder,
    drawn: Sequence[tuple[Problem, int]],
    group_size: int,
    params: SamplingParams,
    seed: int,
    step: int,
    payment: Payment,
) -> Rollouts:
    """Generate `group_size` completions of each drawn (problem, stream), measure and pay them."""
    prompts = [
        Prompt(problem.id, i, encoder.encode(problem), stream)
        for i, (problem, stream) in enumerate(drawn)
    ]
    began = time.perf_counter()
    samples: dict[tuple[int, int], Sample] = {}
    rows: dict[Hashable, list[Row]] = {}
    with closing(engine.generate(prompts, group_size, params, seed, step)) as generating:
        for sample in generating:
            require_kept(sample, params)
            samples[sample.group, sample.member] = sample
            problem, lost = drawn[sample.group][0], sample.finish == "error"
            completion = None if lost else completion_of(sample)
            place = (sample.group, sample.member, group_size)
            grader.submit(*place, problem, completion, f"the engine failed: {sample.error}")
            rows.update(grader.poll(0.0))
    generated = time.perf_counter()
    while len(rows) < len(drawn):
        rows.update(grader.poll(1.0))
    done = time.perf_counter()
    groups, scores = list[Group](), list[Score]()
    for i, (problem, _) in enumerate(drawn):
        members = tuple(samples[i, m] for m in range(group_size))
        groups.append(Group(problem, prompts[i], members))
        completions = [completion_of(sample) for sample in members]
        scores += pay(problem, completions, rows[i], payment.reward, payment.stage)
    return Rollouts(tuple(groups), tuple(scores), generated - began, done - generated)


def completion_of(sample: Sample) -> Completion:
    """What a reward sees of a sample."""
    return Completion(sample.problem_id, sample.text, len(sample.tokens), sample.finish)


@dataclass(frozen=True, slots=True)
class SampledPrompts:
    """Rollouts of a step; places: of each group's problem in the training set, in batch order,
    repeats included.
    """

    rollouts: Rollouts
    places: tuple[int, ...]


def gather(s: Session, stage: int, first: int, step: int, temperature: float) -> SampledPrompts:
    """The samples of step `step`, drawn after `first` earlier prompts of the stage.

    algo.zero_variance_groups = resample draws whole batches anew until P groups have rewards that
    differ, at most algo.resample_max times (dynamic sampling, arXiv 2503.14476, section 3.2). All
    that was sampled is kept in the run.
    """
    p, g, algo = s.cfg.rollout.prompts, s.cfg.rollout.group_size, s.cfg.algo
    rounds = 1 + (algo.resample_max if algo.zero_variance_groups == "resample" else 0)
    whole, places, found = Rollouts((), (), 0.0, 0.0), list[int](), 0
    params, payment = replace(s.params, temperature=temperature), payment_of(s, stage)
    for i in range(rounds):
        new = draw(first, p * (i + 1), s.pools[stage], s.cfg.seed)[p * i :]
        drawn = [(s.train[index], stream) for index, stream in new]
        part = collect(s.engine, s.grader, s.encoder, drawn, g, params, s.cfg.seed, step, payment)
        require_scored(part.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
        places += [index for index, _ in new]
        found += sum(has_signal(part.scores_S[k * g :][:g]) for k in range(p))
        whole = joined(whole, part)
        if found >= p:
            break
    return SampledPrompts(whole, tuple(places))


def payment_of(s: Session, stage: int) -> Payment:
    """What a stage of the curriculum pays by; held-out evaluation knows no stages."""
    reward = stage_reward(s.cfg, stage)
    if reward is None:
        return Payment(s.cfg.reward)
    return Payment(reward, s.cfg.curriculum[stage].name)


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

"""Sample and measure at the same time: completions are judged while others are being written.

`collect` serves training and evaluation alike. The order of results is (group, member), whatever
order samples and scores arrived in. Left out: what to do with missing scores (the callers decide).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace

from pawl.config.options import RewardConfig
from pawl.errors import Exit, PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.grader import Grader, stage_reward
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
    """groups in batch order; scores_S, given_S (what was scored) and rows_S (what was measured of
    it) in (group, member) order; seconds by the wall clock. places: of each group's problem in the
    training set, repeats included; none in an evaluation.
    """

    groups: tuple[Group, ...]
    scores_S: tuple[Score, ...]
    generate_s: float
    score_wait_s: float
    given_S: tuple[Completion, ...] = ()
    rows_S: tuple[Row, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def samples_S(self) -> tuple[Sample, ...]:
        """All samples in (group, member) order."""
        return tuple(s for g in self.groups for s in g.samples)

    @property
    def measured(self) -> list[tuple[Problem, Sequence[Completion], Sequence[Row]]]:
        """Problem, what was scored and what was measured of it, by group."""
        g = len(self.given_S) // max(1, len(self.groups))
        return [
            (group.problem, self.given_S[i * g : (i + 1) * g], self.rows_S[i * g : (i + 1) * g])
            for i, group in enumerate(self.groups)
        ]


def collect(
    engine: Engine,
    grader: Grader,
    encoder: PromptEncoder,
    drawn: Sequence[tuple[Problem, int]],
    group_size: int,
    params: SamplingParams,
    seed: int,
    step: int,
    payment: Payment,
    first: int = 0,
) -> Rollouts:
    """Generate `group_size` completions of each drawn (problem, stream), measure and pay them.

    first: number of the first group.
    """
    prompts = [
        Prompt(problem.id, i, encoder.encode(problem), stream)
        for i, (problem, stream) in enumerate(drawn, first)
    ]
    began = time.perf_counter()
    samples: dict[tuple[int, int], Sample] = {}
    given: dict[tuple[int, int], Completion] = {}
    rows: dict[Hashable, list[Row]] = {}
    with closing(engine.generate(prompts, group_size, params, seed, step)) as generating:
        for sample in generating:
            require_kept(sample, params)
            place = (sample.group, sample.member)
            samples[place], given[place] = sample, completion_of(sample)
            problem, reason = drawn[sample.group - first][0], f"the engine failed: {sample.error}"
            completion = None if sample.finish == "error" else given[place]
            paid = payment.reward
            grader.submit(*place, group_size, problem, completion, reason, reward=paid)
            rows.update(grader.poll(0.0))
    generated = time.perf_counter()
    while len(rows) < len(drawn):
        rows.update(grader.poll(1.0))
    done = time.perf_counter()
    groups, scores, scored = list[Group](), list[Score](), list[Completion]()
    measured = list[Row]()
    for i, (problem, _) in enumerate(drawn, first):
        members = tuple(samples[i, m] for m in range(group_size))
        groups.append(Group(problem, prompts[i - first], members))
        completions = [given[i, m] for m in range(group_size)]
        scores += pay(problem, completions, rows[i], payment.reward, payment.stage)
        scored += completions
        measured += rows[i]
    times = (generated - began, done - generated)
    return Rollouts(tuple(groups), tuple(scores), *times, tuple(scored), tuple(measured))


def completion_of(sample: Sample) -> Completion:
    """What a reward sees of a sample."""
    return Completion(sample.problem_id, sample.text, len(sample.tokens), sample.finish)


def gather(s: Session, stage: int, first: int, step: int, temperature: float) -> Rollouts:
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
        how = (g, params, s.cfg.seed, step, payment, len(places))
        part = collect(s.engine, s.grader, s.encoder, drawn, *how)
        require_scored(part.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
        places += [index for index, _ in new]
        found += sum(has_signal(part.scores_S[k * g :][:g]) for k in range(p))
        whole = joined(whole, part)
        if found >= p:
            break
    return replace(whole, places=tuple(places))


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
    """Both; b's groups were numbered on from a's when they were collected."""
    return Rollouts(*(getattr(a, part.name) + getattr(b, part.name) for part in fields(Rollouts)))


def require_scored(scores_S: Sequence[Score], limit: float, run: str) -> None:
    """Raise PawlError (exit 4, resumable) when a larger share than `limit` is missing.

    A score that does without a component of its own counts, too.
    """
    reasons = Counter(s.lost or s.reason for s in scores_S if s.lost or s.status == "missing")
    lost = sum(reasons.values()) / len(scores_S)
    if lost > limit:
        detail = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        raise PawlError(
            f"{lost:.0%} of the scores are missing, the limit is {limit:.0%}: {detail}",
            run,
            f"repair the cause, then: pawl train --resume {run} (limit: reward.max_missing_frac)",
            Exit.STOPPED,
        )

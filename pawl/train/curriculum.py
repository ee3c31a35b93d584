"""A curriculum: what each stage may draw and pays, and when the next or the former stage is due.

Which stage is on is a function of the step records alone, so a resumed run needs no state of its
own for it. Held-out evaluation knows no stages. Left out: drawing (`data.py`), when a move is
made (`after_step.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from pawl.config.options import RunConfig, StageConfig
from pawl.errors import PawlError, PawlErrors
from pawl.problems.load import ProblemSet
from pawl.store.read import column, count
from pawl.train.data import Pool, pool_of
from pawl.types import Problem

STAGE = "curriculum/stage"
Records = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Move:
    """The step after this one belongs to stage `to`; value: the measured success."""

    to: int
    value: float
    why: str


def decide(stages: Sequence[StageConfig], records: Records, metric: str) -> Move | None:
    """What follows the newest record: another stage, or None to stay.

    metric: the success of training steps, by name. The newest steps of one stage are one visit;
    before it is `over` steps long nothing moves, so two moves lie at least that far apart. Steps
    without a scored sample count as steps only.
    """
    if not stages or STAGE not in records[-1]:
        return None
    now = stage_of(records[-1], len(stages))
    stage = stages[now]
    here = takewhile(lambda r: STAGE in r and stage_of(r, len(stages)) == now, reversed(records))
    visit = list(islice(here, stage.over))
    known = column(visit, metric)
    if len(visit) < stage.over or not known:
        return None
    mean = sum(known) / len(known)
    seen = f"{metric} {mean:.3f} over {stage.over} steps"
    if mean >= stage.advance_at and now + 1 < len(stages):
        return Move(now + 1, mean, f"{seen} >= advance_at {stage.advance_at:g}")
    if stage.back_at is not None and mean < stage.back_at and now > 0:
        return Move(now - 1, mean, f"{seen} < back_at {stage.back_at:g}")
    return None


def stage_of(record: Mapping[str, object], n: int) -> int:
    """The stage, of n, that a step belonged to; 0 for a run without a curriculum."""
    return min(count(record, STAGE) if STAGE in record else 0, n - 1)


def stage_after(stages: Sequence[StageConfig], records: Records, metric: str) -> int:
    """The stage of the step after the newest record."""
    if not stages:
        return 0
    move = decide(stages, records, metric)
    return move.to if move else stage_of(records[-1], len(stages))


def prompts_by_stage(records: Records, n: int) -> Counter[int]:
    """How many prompts each of n stages has drawn."""
    counts: Counter[int] = Counter()
    before = 0
    for record in records:
        total = count(record, "sampled_prompts")
        counts[stage_of(record, n)] += total - before
        before = total
    return counts


def pools_of(train: ProblemSet, cfg: RunConfig) -> tuple[Pool, ...]:
    """What each stage may draw; one pool of all when there is no curriculum.

    Raises PawlErrors for a set without measured pass rates and for a stage without problems.
    """
    weights = [row.weight for row in cfg.problems.mix] or [1.0]
    members: list[list[int]] = [[] for _ in weights]
    for i in range(len(train)):
        members[train.origin_of(i)].append(i)
    if not any(stage.restricts or stage.difficulty for stage in cfg.curriculum):
        return tuple(pool_of(members, weights, k) for k in range(max(1, len(cfg.curriculum))))
    rates = [problem.pass_rate for problem in train]
    errors = [
        PawlError(
            "the curriculum chooses by measured pass rate, and no problem of this set has one",
            origin,
            f"measure it: pawl eval MODEL problems.train={origin} eval.problems=0 "
            "eval.samples=8 --split train --pass-rates rated.jsonl, then train on rated.jsonl",
        )
        for origin, own in zip(train.origins, members, strict=True)
        if any(s.restricts for s in cfg.curriculum) and all(rates[i] is None for i in own)
    ]
    if errors:
        raise PawlErrors(errors)
    pools = []
    for k, stage in enumerate(cfg.curriculum):
        inside = [[i for i in own if admits(stage, train[i])] for own in members]
        if not any(inside):
            errors.append(_empty(stage, k, train))
            continue
        pools.append(pool_of(inside, weights, k))
    if errors:
        raise PawlErrors(errors)
    return tuple(pools)


def admits(stage: StageConfig, problem: Problem) -> bool:
    """Whether a problem belongs to a stage, by label and measured rate; all do where it is open."""
    if stage.difficulty and problem.difficulty not in stage.difficulty:
        return False
    if not stage.restricts:
        return True
    rate = problem.pass_rate
    return rate is not None and stage.min_pass_rate <= rate <= stage.max_pass_rate


def _empty(stage: StageConfig, k: int, train: ProblemSet) -> PawlError:
    """Why a stage has no problem."""
    rates = sorted(p.pass_rate for p in train if p.pass_rate is not None)
    labels = sorted({p.difficulty for p in train if p.difficulty})
    span = f"no measured pass rate lies in {stage.min_pass_rate:g}..{stage.max_pass_rate:g}"
    hint = (
        f"the measured ones go from {rates[0]:g} to {rates[-1]:g}; widen the stage" if rates else ""
    )
    if stage.difficulty:
        span = f"no problem has the label {' or '.join(stage.difficulty)}"
        span += " and such a measured pass rate" if stage.restricts else ""
        hint = f"the labels are {', '.join(labels)}" if labels else "the set has no labels"
    return PawlError(f"stage {stage.name} has no problem: {span}", f"curriculum[{k}]", hint)


def described(cfg: RunConfig, pools: Sequence[Pool], sets: Sequence[str]) -> Iterator[str]:
    """Lines for a person: shares of the mix, and what each stage draws and pays."""
    if cfg.problems.mix:
        total = sum(row.weight for row in cfg.problems.mix)
        sizes = {part: len(places) for part, places in pools[0].parts}
        shares = [
            f"{name} {row.weight / total:.1%}"
            + ("" if cfg.curriculum else f" ({sizes[k]} problems)")
            for k, (name, row) in enumerate(zip(sets, cfg.problems.mix, strict=True))
        ]
        yield f"mix: {', '.join(shares)}; problems.train is not read"
    for stage, source in zip(cfg.curriculum, pools, strict=False):
        n = sum(len(places) for _, places in source.parts)
        text = f"stage {stage.name}: {n} problems"
        if stage.restricts:
            text += f" of measured pass rate {stage.min_pass_rate:g}..{stage.max_pass_rate:g}"
        if stage.difficulty:
            text += f" of difficulty {' or '.join(stage.difficulty)}"
        if stage.weights:
            text += ", paying " + ", ".join(f"{k} {v:g}" for k, v in stage.weights.items())
        yield text

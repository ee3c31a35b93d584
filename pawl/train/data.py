"""Which problems a step draws: a function of the seed and how many were drawn before.

Prompts go to the sets of a mix in turns (`Turns`); each set walks its own permutations, epoch e
that of (seed, set, e); a step takes the next problems and may cross into the next epoch. A stage of
a curriculum draws from a pool of its own; and at which temperature it samples. Left out: which
stage is on (`curriculum.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pawl.config.options import RunConfig
from pawl.store.manifest import Origin
from pawl.types import Problem


def permutation(n: int, seed: int, epoch: int, part: int = 0, stage: int = 0) -> np.ndarray:
    """Order of the n problems of a set in one epoch, (n,) int64."""
    streams = np.random.Philox(key=(seed << 32) + epoch, counter=[0, 0, stage, part])
    return np.random.Generator(streams).permutation(n)


class Turns:
    """Which set each prompt comes from, in proportion to weights; grows as it is asked.

    After any number of prompts a set is at most 1 - 1 / (2 K - 2) prompts away from its exact
    share, K being the number of sets, and no order of turns can promise less (R. Tijdeman, The
    chairman assignment problem, Discrete Mathematics 32, 1980). Among the sets that may have a
    turn without getting too far ahead, it goes to the one that would be too far behind soonest.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        exact = [Fraction(repr(w)) for w in weights]  # 0.1 is a tenth, as it was written
        whole = math.lcm(*(w.denominator for w in exact))
        self._parts = [int(w * whole) for w in exact]
        self._given = [0] * len(exact)
        self._turns: list[tuple[int, int]] = []

    def __getitem__(self, slot: int) -> tuple[int, int]:
        """(set, how many turns it had before) of prompt `slot`, counted from 0."""
        if len(self._parts) == 1:
            return 0, slot
        while len(self._turns) <= slot:
            self._grow()
        return self._turns[slot]

    def _grow(self) -> None:
        t, total, d = len(self._turns) + 1, sum(self._parts), 2 * len(self._parts) - 2
        behind = [d * (w * t - n * total) for w, n in zip(self._parts, self._given, strict=True)]
        may = [k for k, b in enumerate(behind) if b >= total]
        turn = min(may, key=lambda k: Fraction((d - 1) * total - behind[k], self._parts[k]))
        self._turns.append((turn, self._given[turn]))
        self._given[turn] += 1


@dataclass(frozen=True, slots=True)
class Pool:
    """What a stage may draw. parts: (number of the set, places in the training set), none empty."""

    parts: tuple[tuple[int, Sequence[int]], ...]
    turns: Turns
    stage: int = 0


def pool_of(members: Sequence[Sequence[int]], weights: Sequence[float], stage: int = 0) -> Pool:
    """The pool of some sets; an empty one has no turn, the others share its part."""
    used = [k for k, places in enumerate(members) if len(places)]
    parts = tuple((k, members[k]) for k in used)
    return Pool(parts, Turns([weights[k] for k in used]), stage)


def draw(first: int, count: int, source: Pool, seed: int) -> list[tuple[int, int]]:
    """(place in the training set, stream) of `count` prompts after `first` earlier ones.

    stream counts how often the problem already stands in this batch, which happens when a batch
    is larger than what is left of an epoch.
    """
    orders: dict[tuple[int, int], np.ndarray] = {}
    seen: dict[int, int] = {}
    drawn = []
    for position in range(first, first + count):
        turn, place = source.turns[position]
        part, members = source.parts[turn]
        epoch, offset = divmod(place, len(members))
        if (part, epoch) not in orders:
            n = len(members)
            orders[part, epoch] = permutation(n, seed, epoch, part, source.stage)
        index = members[int(orders[part, epoch][offset])]
        drawn.append((index, seen.get(index, 0)))
        seen[index] = seen.get(index, 0) + 1
    return drawn


START = Origin()


def total_steps(cfg: RunConfig, n: int, origin: Origin = START) -> int:
    """Length of the run in steps, from steps, samples or epochs; one epoch when none is given.

    An epoch is as many prompts as the training set has problems, whatever a mix or stage draws.
    origin: what a fork's parent had done when the size of a step changed; samples and epochs
    that are left after it are counted in steps of the present size.
    """
    p, g = cfg.rollout.prompts, cfg.rollout.group_size
    if cfg.train.steps:
        return cfg.train.steps
    if cfg.train.samples:
        return origin.step + math.ceil((cfg.train.samples - origin.samples) / (p * g))
    return origin.step + math.ceil(((cfg.train.epochs or 1.0) * n - origin.sampled_prompts) / p)


def epoch_ends(before: int, after: int, n: int) -> bool:
    """True when the last problem of an epoch lies among those drawn from `before` to `after`."""
    return after // n > before // n


def chosen(problems: Sequence[Problem], n: int, seed: int) -> list[Problem]:
    """The first n (0: all) problems of the seed's permutation; prefixes are nested."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(problems))
    return [problems[int(i)] for i in (order[:n] if n else order)]


def temperature_at(step: int, total: int, start: float, end: float) -> float:
    """Sampling temperature of step `step` (1 .. total): from `start` linearly to `end` at `total`.

    end = 0 keeps `start`, and so does a run of one step.
    """
    if not end or total < 2:
        return start
    done = (step - 1) / (total - 1)
    return start * (1.0 - done) + end * done

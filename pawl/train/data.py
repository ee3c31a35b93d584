"""Which problems a step draws: a function of the seed and how many were drawn before.

Epoch e walks the permutation of (seed, e); a step takes the next problems and may cross into the
next epoch. Left out: curricula and weighted mixes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pawl.config.options import RunConfig
from pawl.store.parent import Origin
from pawl.types import Problem


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the n problems in one epoch, (n,) int64."""
    return np.random.Generator(np.random.Philox(key=(seed << 32) + epoch)).permutation(n)


def draw(first: int, count: int, n: int, seed: int) -> list[tuple[int, int]]:
    """(problem index, stream) of `count` prompts after `first` earlier ones.

    stream counts how often the problem already stands in this batch, which happens when a batch
    is larger than what is left of an epoch.
    """
    orders: dict[int, np.ndarray] = {}
    seen: dict[int, int] = {}
    drawn = []
    for position in range(first, first + count):
        epoch, offset = divmod(position, n)
        if epoch not in orders:
            orders[epoch] = permutation(n, seed, epoch)
        index = int(orders[epoch][offset])
        drawn.append((index, seen.get(index, 0)))
        seen[index] = seen.get(index, 0) + 1
    return drawn


START = Origin()


def total_steps(cfg: RunConfig, n: int, origin: Origin = START) -> int:
    """Length of the run in steps, from steps, samples or epochs; one epoch when none is given.

    origin: what a fork's parent had done when the size of a step changed; samples and epochs
    that are left after it are counted in steps of the present size.
    """
    p, g = cfg.rollout.prompts, cfg.rollout.group_size
    if cfg.train.steps:
        return cfg.train.steps
    if cfg.train.samples:
        return origin.step + math.ceil((cfg.train.samples - origin.samples) / (p * g))
    return origin.step + math.ceil(((cfg.train.epochs or 1.0) * n - origin.drawn) / p)


def epoch_ends(before: int, after: int, n: int) -> bool:
    """True when the last problem of an epoch lies among those drawn from `before` to `after`."""
    return after // n > before // n


def chosen(problems: Sequence[Problem], n: int, seed: int) -> list[Problem]:
    """The first n (0: all) problems of the seed's permutation; prefixes are nested."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(problems))
    return [problems[int(i)] for i in (order[:n] if n else order)]

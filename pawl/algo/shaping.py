"""What stands between scores and advantages: the rewards that training sees, and a filter.

    score -> overlong -> clip -> normalise -> (KL in the reward) -> advantage -> filter

Normalising divides by a running deviation of all rewards, or standardises by running means and
deviations of strata: a language and difficulty, and within it a problem.

Shapes: P prompts, G group members, N numbers in any order. Missing scores arrive as `known_PG`
False and come out as 0. Scores in the samples and held-out evaluations are never touched. Left out:
the KL and the advantages (`advantages.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pawl.algo.advantages import TINY
from pawl.config.options import RewardConfig

PRIOR = 20  # values that the level above counts as, for the estimates of a stratum
BEYOND = 5.0  # standard deviations; what lies further off counts as that far
LAST = 5  # the last fifth of the longest completion pays: 4096 of 20480 tokens in DAPO


class Spread(NamedTuple):
    """What is known of all rewards so far: their number, mean and summed squared deviation."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @property
    def std(self) -> float:
        """Standard deviation (n - 1); 0 for fewer than two."""
        return math.sqrt(self.m2 / (self.n - 1)) if self.n > 1 else 0.0


def merged(spread: Spread, values_N: Sequence[float]) -> Spread:
    """The spread with more values (Welford's update in the form for batches).

    Sums are exact before they are rounded, so the order within a batch does not matter.
    """
    if not values_N:
        return spread
    new = len(values_N)
    mean = math.fsum(values_N) / new
    m2 = math.fsum((v - mean) ** 2 for v in values_N)
    n, delta = spread.n + new, mean - spread.mean
    between = delta * delta * spread.n * new / n
    return Spread(n, spread.mean + delta * new / n, spread.m2 + m2 + between)


Strata = Mapping[str, Spread]  # rewards so far by the name of a stratum, "" for all of them


def level_of(strata: Strata, path: Sequence[str]) -> tuple[float, float]:
    """(mean, standard deviation) of the innermost stratum of a path, from the outermost inwards.

    Each level is drawn to the one above it as if that were PRIOR more values (empirical Bayes with
    a fixed weight): one that was never seen is the level above, and one seen often is itself.
    """
    whole = strata.get("", Spread())
    mean, std = whole.mean, whole.std
    for own in (strata.get(name, Spread()) for name in path):
        mean = (own.n * own.mean + PRIOR * mean) / (own.n + PRIOR)
        std = math.sqrt((own.m2 + PRIOR * std**2) / (max(0, own.n - 1) + PRIOR))
    return mean, std


def standardised(
    reward_PG: Tensor, known_PG: Tensor, paths_P: Sequence[Sequence[str]], strata: Strata
) -> tuple[Tensor, Strata]:
    """(distances from the means of the strata in their deviations; the strata with this batch).

    paths_P: names of each group's strata, outermost first. The estimates are those with this batch,
    into which no reward enters as further than BEYOND deviations from what they were before it
    (once PRIOR rewards were seen). Distances lie within +-BEYOND, and are 0 where missing or
    without any deviation.
    """
    by_name: dict[str, list[float]] = {}
    bounded = strata.get("", Spread()).n >= PRIOR
    for reward_G, known_G, path in zip(reward_PG, known_PG, paths_P, strict=True):
        values = reward_G[known_G]
        mean, std = level_of(strata, path)
        if bounded and std > TINY:
            values = values.clamp(mean - BEYOND * std, mean + BEYOND * std)
        for name in ("", *path):
            by_name.setdefault(name, []).extend(values.tolist())
    seen = {n: merged(strata.get(n, Spread()), values) for n, values in by_name.items()}
    now = {**strata, **seen}
    far_PG = torch.zeros_like(reward_PG)
    for p, path in enumerate(paths_P):
        mean, std = level_of(now, path)
        if std > TINY:
            far_PG[p] = ((reward_PG[p] - mean) / std).clamp(-BEYOND, BEYOND)
    return torch.where(known_PG, far_PG, 0.0), now


def overlong(length_PG: Tensor, longest: int, penalty: float) -> Tensor:
    """What a completion's length costs, (P, G) float64 in 0..penalty.

    Nothing up to 80% of `longest`, then linearly up to `penalty` at `longest` (soft overlong
    punishment, arXiv 2503.14476, section 3.4). length_PG: tokens.
    """
    left_PG = (longest - length_PG).double() * LAST / longest
    return penalty * (1.0 - left_PG).clamp(0.0, 1.0)


def shaped(
    cfg: RewardConfig,
    score_PG: Tensor,
    known_PG: Tensor,
    length_PG: Tensor,
    longest: int,
    spread: Spread,
) -> tuple[Tensor, Spread]:
    """(the rewards that training sees, 0 where missing; the spread with those of this batch).

    score_PG: float64 totals as scored; length_PG: tokens, at most `longest`; spread: of all
    earlier batches. Normalising divides by the standard deviation of all rewards up to and with
    this batch, taken after penalty and clip; while they are all equal it changes nothing. No
    mean is taken off: that is the advantage's work.
    """
    reward_PG = score_PG
    if cfg.overlong_penalty:
        reward_PG = reward_PG - overlong(length_PG, longest, cfg.overlong_penalty)
    if cfg.clip:
        reward_PG = reward_PG.clamp(*cfg.clip)
    if cfg.normalise == "running":
        spread = merged(spread, reward_PG[known_PG].tolist())
        reward_PG = reward_PG / spread.std if spread.std > TINY else reward_PG
    return torch.where(known_PG, reward_PG, 0.0), spread


def with_signal(score_PG: Tensor, known_PG: Tensor) -> Tensor:
    """The groups whose known scores differ, (P,) bool: equal ones give no advantage."""
    low_P = torch.where(known_PG, score_PG, torch.inf).amin(1)
    high_P = torch.where(known_PG, score_PG, -torch.inf).amax(1)
    return known_PG.any(1) & (high_P > low_P)


def kept(rule: str, score_PG: Tensor, known_PG: Tensor) -> Tensor:
    """The samples that the loss sees, (P, G) bool: those with a score that pass `rule`.

    rule: "" keeps all, "value X" those with a score of X or more, "share X" all but the worst
    share X of the batch (0 <= X < 1, rounded down; equals of the worst kept one stay too).
    Training on what is left never pushes away from bad samples: it is not the gradient of the
    mean reward.
    """
    if not rule or not known_PG.any():
        return known_PG
    kind, number = rule.split()
    least = float(number)
    if kind == "share":
        sorted_N = score_PG[known_PG].sort().values
        out = int(least * len(sorted_N) + TINY)  # 0.29 * 100 is 28.999...
        least = float(sorted_N[min(out, len(sorted_N) - 1)])
    return known_PG & (score_PG >= least)

"""What stands between scores and advantages: the rewards that training sees, and a filter.

    score -> overlong -> clip -> normalise -> (KL in the reward) -> advantage -> filter

Shapes: P prompts, G group members, N numbers in any order. Missing scores arrive as `known_PG`
False and come out as 0. Scores in the samples and held-out evaluations are never touched. Left out:
the KL and the advantages (`advantages.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pawl.algo.advantages import TINY
from pawl.config.options import RewardConfig

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

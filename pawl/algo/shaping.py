"""What stands between scores and advantages: transforms of the rewards that training sees.

Shapes: P prompts, G group members. Missing scores arrive as `known_PG` False and stay as they are.
Scores in the samples and held-out evaluations are never touched. Left out: the advantages
(`advantages.py`).
"""

from __future__ import annotations

from torch import Tensor

LAST = 5  # the last fifth of the longest completion pays: 4096 of 20480 tokens in DAPO


def overlong(length_PG: Tensor, longest: int, penalty: float) -> Tensor:
    """What a completion's length costs, (P, G) float64 in 0..penalty.

    Nothing up to 80% of `longest`, then linearly up to `penalty` at `longest` (soft overlong
    punishment, arXiv 2503.14476, section 3.4). length_PG: tokens.
    """
    left_PG = (longest - length_PG).double() * LAST / longest
    return penalty * (1.0 - left_PG).clamp(0.0, 1.0)

"""From scores to what each token is credited with: rewards, KL penalties, advantages.

Shapes: P prompts, G group members, S = P * G samples, T tokens. The loop and preflight both call
`credit`, so what is proved is what runs. Left out: the formulas (`pawl.algo`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pawl.algo.estimate import estimate
from pawl.algo.losses import k1
from pawl.config.options import AlgoConfig
from pawl.train.rollouts import Rollouts
from pawl.train.scoring import Scored, whole


def scores(rollouts: Rollouts, g: int) -> tuple[Tensor, Tensor, Tensor]:
    """score_PG (float64, 0 where missing), known_PG (bool) and length_PG (tokens)."""
    totals = [s.total for s in rollouts.scores_S]
    known_PG = torch.tensor([t is not None for t in totals]).view(-1, g)
    score_PG = torch.tensor([0.0 if t is None else t for t in totals], dtype=torch.float64)
    length_PG = torch.tensor([len(s.tokens) for s in rollouts.samples_S]).view(-1, g)
    return score_PG.view(-1, g), known_PG, length_PG


def where_known(value_PG: Tensor, known_PG: Tensor) -> list[float | None]:
    """The values in (group, member) order, None where the score is missing."""
    pairs = zip(value_PG.flatten().tolist(), known_PG.flatten().tolist(), strict=True)
    return [value if known else None for value, known in pairs]


def credit(
    algo: AlgoConfig, scored: Scored, reward_PG: Tensor, known_PG: Tensor, kl_coef: float
) -> tuple[Tensor, Tensor]:
    """(advantage_ST, mask_ST) of a scored batch; the mask leaves out samples without a score."""
    mask_ST = whole([m.mask_ST for m in scored.micros]).bool()
    mask_ST = mask_ST & known_PG.flatten().to(mask_ST.device)[:, None]
    penalty_ST = torch.zeros(mask_ST.shape, dtype=torch.float64, device=mask_ST.device)
    if algo.kl == "k1" and kl_coef:
        parts = [(m.old_logp_ST, m.ref_logp_ST) for m in scored.micros]
        old_ST = whole([old.double() for old, _ in parts])
        ref_ST = whole([ref.double() for _, ref in parts if ref is not None])
        penalty_ST = kl_coef * k1(old_ST, ref_ST, mask_ST)
    return estimate(algo, reward_PG, known_PG, penalty_ST, mask_ST), mask_ST


def token_mean(value_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Mean over the masked tokens of each sample, (S,); 0 where there are none."""
    return value_ST.sum(1) / mask_ST.sum(1).clamp(min=1)

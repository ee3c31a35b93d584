"""Which advantage a run uses: rewards, and the KL in them, to a number for each token.

Shapes: P prompts, G group members, S = P * G, T tokens. Left out: the estimators themselves
(`advantages.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pawl.algo import advantages
from pawl.config.options import AlgoConfig


def estimate(
    cfg: AlgoConfig, reward_PG: Tensor, known_PG: Tensor, penalty_ST: Tensor, mask_ST: Tensor
) -> Tensor:
    """advantage_ST of the configured estimator, 0 outside mask_ST.

    reward_PG: float64; known_PG: bool, False where the score is missing. penalty_ST: what each
    token costs (kl_coef * k1), 0 outside the mask. mask_ST: sampled tokens of known samples.
    Estimators that compare samples take a sample's whole penalty off its reward; `reinforce_pp`
    takes off what comes from a token on, since earlier cost is no consequence of it.
    """
    shape = reward_PG.shape
    total_PG = reward_PG - penalty_ST.sum(1).view(shape).to(reward_PG)
    if cfg.advantage == "reinforce_pp":
        reward_ST = -penalty_ST.to(reward_PG)
        last_S = mask_ST.sum(1).clamp(min=1) - 1
        reward_ST[torch.arange(len(last_S)), last_S] += reward_PG.flatten().to(penalty_ST.device)
        return advantages.whiten(advantages.returns(reward_ST, mask_ST), mask_ST)
    advantage_PG = _of_groups(cfg, total_PG, known_PG)
    advantage_ST = torch.where(mask_ST, advantage_PG.flatten()[:, None].to(mask_ST.device), 0.0)
    if cfg.advantage == "reinforce_pp_baseline":
        return advantages.whiten(advantage_ST, mask_ST)
    return advantage_ST


def _of_groups(cfg: AlgoConfig, reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    match cfg.advantage:
        case "grpo":
            return advantages.grpo(reward_PG, known_PG, cfg.std_floor, cfg.std_shrink)
        case "rloo":
            return advantages.rloo(reward_PG, known_PG)
        case "raft":
            return advantages.best_of_n(reward_PG, known_PG)
        case "pass_at_k":
            return advantages.pass_at_k(reward_PG, known_PG, cfg.pass_k)
        case _:
            return advantages.dr_grpo(reward_PG, known_PG)

"""Advantages: from the rewards of a group to what each sample is worth.

Shapes: P prompts, G group members. Missing scores arrive as `known_PG` False: they take no part in
any mean and get advantage 0. Left out: token-level credit (a sample's tokens share its advantage).
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_mean(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """Mean over the known members of each group, (P, 1); 0 where none is known."""
    count_P1 = known_PG.sum(1, keepdim=True).clamp(min=1)
    return torch.where(known_PG, reward_PG, 0.0).sum(1, keepdim=True) / count_P1


def group_std(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """Sample standard deviation (n - 1) over the known members, (P, 1); 0 for fewer than two."""
    centred_PG = torch.where(known_PG, reward_PG - group_mean(reward_PG, known_PG), 0.0)
    dof_P1 = (known_PG.sum(1, keepdim=True) - 1).clamp(min=1)
    return (centred_PG.square().sum(1, keepdim=True) / dof_P1).sqrt()


def grpo(reward_PG: Tensor, known_PG: Tensor, std_floor: float) -> Tensor:
    """GRPO: (r - mean) / (std + std_floor) within each group (arXiv 2402.03300, section 4.1.2).

    reward_PG: any float dtype; known_PG: bool. Returns (P, G); rows of equal rewards are all zero.
    Dividing by the std weighs prompts by 1 / std: this is not the gradient of the mean reward.
    """
    centred_PG = torch.where(known_PG, reward_PG - group_mean(reward_PG, known_PG), 0.0)
    return centred_PG / (group_std(reward_PG, known_PG) + std_floor)


def grpo_no_std(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """r - mean within each group (Dr. GRPO, arXiv 2503.20783, section 3.2).

    The mean contains the sample itself, so the expected gradient is (n - 1) / n of that of the
    mean reward: the right direction at a slightly smaller length.
    """
    return torch.where(known_PG, reward_PG - group_mean(reward_PG, known_PG), 0.0)

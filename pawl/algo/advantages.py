"""Advantages of samples, from the rewards of their group or batch.

Shapes: P prompts, G group members, S = P * G samples in that order, T tokens. Missing scores arrive
as `known_PG` False: they take no part in any mean and get advantage 0, so a group with missing
members is the smaller group. `estimate` is what a run calls. Left out: losses (`losses.py`).
"""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from pawl.config.options import AlgoConfig

TINY = 1e-8  # keeps a division by the spread of equal values finite


def estimate(
    cfg: AlgoConfig,
    reward_PG: Tensor,
    known_PG: Tensor,
    penalty_ST: Tensor,
    mask_ST: Tensor,
    noise: float = 0.0,
) -> Tensor:
    """advantage_ST of the configured estimator, 0 outside mask_ST.

    reward_PG: float64; known_PG: bool, False where the score is missing. penalty_ST: what each
    token costs (kl_coef * k1), 0 outside the mask. mask_ST: sampled tokens of known samples.
    Estimators that compare samples take a sample's whole penalty off its reward; `reinforce_pp`
    takes off what comes from a token on, since earlier cost is no consequence of it. noise:
    standard deviation of a reward's noise, 0 where it is not known; algo.noise says what it does.
    """
    shape = reward_PG.shape
    total_PG = reward_PG - penalty_ST.sum(1).view(shape).to(reward_PG)
    if cfg.advantage == "reinforce_pp":
        reward_ST = -penalty_ST.to(reward_PG)
        last_S = mask_ST.sum(1).clamp(min=1) - 1
        reward_ST[torch.arange(len(last_S)), last_S] += reward_PG.flatten().to(penalty_ST.device)
        return whiten(returns(reward_ST, mask_ST), mask_ST)
    advantage_PG = _of_groups(cfg, total_PG, known_PG, noise)
    advantage_ST = torch.where(mask_ST, advantage_PG.flatten()[:, None].to(mask_ST.device), 0.0)
    if cfg.advantage == "reinforce_pp_baseline":
        return whiten(advantage_ST, mask_ST)
    return advantage_ST


def _of_groups(cfg: AlgoConfig, reward_PG: Tensor, known_PG: Tensor, noise: float) -> Tensor:
    advantage_PG = _unweighted(cfg, reward_PG, known_PG, noise if cfg.noise == "floor" else 0.0)
    if cfg.noise == "shrink":
        return advantage_PG * reliability(reward_PG, known_PG, noise)
    return advantage_PG


def _unweighted(cfg: AlgoConfig, reward_PG: Tensor, known_PG: Tensor, least: float) -> Tensor:
    match cfg.advantage:
        case "grpo":
            return grpo(reward_PG, known_PG, cfg.std_floor, cfg.std_shrink, least)
        case "rloo":
            return rloo(reward_PG, known_PG)
        case "raft":
            return best_of_n(reward_PG, known_PG)
        case "pass_at_k":
            return pass_at_k(reward_PG, known_PG, cfg.pass_k)
        case _:
            return dr_grpo(reward_PG, known_PG)


def group_mean(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """Mean over the known members of each group, (P, 1); 0 where none is known."""
    count_P1 = known_PG.sum(1, keepdim=True).clamp(min=1)
    return torch.where(known_PG, reward_PG, 0.0).sum(1, keepdim=True) / count_P1


def group_std(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """Sample standard deviation (n - 1) over the known members, (P, 1); 0 for fewer than two."""
    centred_PG = torch.where(known_PG, reward_PG - group_mean(reward_PG, known_PG), 0.0)
    dof_P1 = (known_PG.sum(1, keepdim=True) - 1).clamp(min=1)
    return (centred_PG.square().sum(1, keepdim=True) / dof_P1).sqrt()


def shrunk_std(reward_PG: Tensor, known_PG: Tensor, members: float) -> Tensor:
    """Group standard deviations drawn towards the batch's, (P, 1).

    The variance of a few members is noisy: it is averaged with the pooled within-group variance,
    which counts as `members` further members (the mean of an inverse-gamma posterior, Gelman et
    al., Bayesian Data Analysis, section 2.6). 0 gives `group_std`; large values give one std for
    all groups. A group without spread keeps advantage 0, since its members equal their mean.
    """
    dof_P1 = (known_PG.sum(1, keepdim=True) - 1).clamp(min=0).to(reward_PG)
    variance_P1 = group_std(reward_PG, known_PG).square()
    pooled = (variance_P1 * dof_P1).sum() / dof_P1.sum().clamp(min=1)
    total_P1 = dof_P1 + members
    mixed_P1 = (variance_P1 * dof_P1 + pooled * members) / total_P1.clamp(min=TINY)
    return torch.where(total_P1 > 0, mixed_P1, 0.0).sqrt()


def reliability(reward_PG: Tensor, known_PG: Tensor, noise: float) -> Tensor:
    """Share of a group's variance that is no noise, max(0, 1 - noise^2 / std^2), (P, 1) in 0..1.

    noise: standard deviation of a reward's noise. A group without spread has 0 where there is
    noise; without noise all have 1.
    """
    variance_P1 = group_std(reward_PG, known_PG).square()
    return (1.0 - noise**2 / variance_P1.clamp(min=TINY**2)).clamp(min=0.0)


def grpo(
    reward_PG: Tensor,
    known_PG: Tensor,
    std_floor: float,
    shrink: float = 0.0,
    least: float = 0.0,
) -> Tensor:
    """GRPO: (r - mean) / (std + std_floor) within each group (arXiv 2402.03300, section 4.1.2).

    reward_PG: any float dtype; known_PG: bool; shrink: see `shrunk_std`; least: the std is at least
    this, such as the noise of the rewards: differences below it are not blown up (arXiv 2508.20751
    calls them illusory). Returns (P, G); rows of equal rewards are all zero. Dividing by the std
    weighs prompts by 1 / std: this is not the gradient of the mean reward.
    """
    std_P1 = shrunk_std(reward_PG, known_PG, shrink).clamp(min=least)
    return dr_grpo(reward_PG, known_PG) / (std_P1 + std_floor)


def dr_grpo(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """r - mean within each group (Dr. GRPO, arXiv 2503.20783, section 3.2).

    The mean contains the sample itself, so the expected gradient is (n - 1) / n of that of the
    mean reward: the right direction at a slightly smaller length.
    """
    return torch.where(known_PG, reward_PG - group_mean(reward_PG, known_PG), 0.0)


def rloo(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """r minus the mean of the other members (RLOO, arXiv 2402.14740, section 3.3): unbiased.

    A member without known others gets 0.
    """
    n_P1 = known_PG.sum(1, keepdim=True)
    return dr_grpo(reward_PG, known_PG) * (n_P1 / (n_P1 - 1).clamp(min=1))


def best_of_n(reward_PG: Tensor, known_PG: Tensor) -> Tensor:
    """RAFT: 1 for the best member of a group, 0 for the rest (arXiv 2304.06767, algorithm 1).

    Equal best ones share the 1. A group of equal rewards gets 0 throughout: its choice would be
    chance. Not a gradient of the mean reward: it imitates the best and never pushes away.
    """
    low_PG = torch.where(known_PG, reward_PG, torch.inf)
    high_PG = torch.where(known_PG, reward_PG, -torch.inf)
    best_P1, worst_P1 = high_PG.amax(1, keepdim=True), low_PG.amin(1, keepdim=True)
    chosen_PG = known_PG & (reward_PG == best_P1) & (best_P1 > worst_P1)
    return chosen_PG.to(reward_PG) / chosen_PG.sum(1, keepdim=True).clamp(min=1)


def pass_at_k(reward_PG: Tensor, known_PG: Tensor, k: int) -> Tensor:
    """Unbiased gradient weights of max@k, for pass/fail rewards pass@k (arXiv 2505.15201, eq. 33).

    The objective is the expected best reward of k samples. A sample is credited, over all subsets
    of k members that hold it, with what the subset's best gains by it: with rewards sorted,
    A_i = n * sum over j < i of (r_i - r_j) * C(j - 1, k - 2) / C(n, k), j counted from 1. The
    subset's best without the sample is its baseline. k of 1 is `rloo`; a group with fewer than k
    known members gets 0.
    """
    if k == 1:
        return rloo(reward_PG, known_PG)
    advantage_PG = torch.zeros_like(reward_PG)
    for row, (reward_G, known_G) in enumerate(zip(reward_PG, known_PG, strict=True)):
        order_N = torch.argsort(torch.where(known_G, reward_G, torch.inf), stable=True)
        n = int(known_G.sum())
        if n < k:
            continue
        sorted_N = reward_G[order_N[:n]]
        below_N = torch.tensor([comb(j, k - 2) for j in range(n)]).to(reward_G)
        weight_N = torch.cat([below_N.new_zeros(1), below_N.cumsum(0)[:-1]])
        gain_N = torch.cat([below_N.new_zeros(1), (below_N * sorted_N).cumsum(0)[:-1]])
        credit_N = (sorted_N * weight_N - gain_N) * (n / comb(n, k))
        advantage_PG[row, order_N[:n]] = credit_N
    return advantage_PG


def returns(reward_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Sum of this and all later rewards of a sample (undiscounted), 0 outside the mask."""
    kept_ST = torch.where(mask_ST, reward_ST, 0.0)
    return torch.where(mask_ST, kept_ST.flip(1).cumsum(1).flip(1), 0.0)


def whiten(advantage_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over all masked tokens of the batch, 0 outside.

    The global normalisation of REINFORCE++ (arXiv 2501.03262). The batch's mean as a
    baseline contains the sample: a bias of the order of one over the batch.
    """
    value_N = advantage_ST[mask_ST]
    if len(value_N) < 2:
        return torch.zeros_like(advantage_ST)
    centred_ST = (advantage_ST - value_N.mean()) / (value_N.std() + TINY)
    return torch.where(mask_ST, centred_ST, 0.0)

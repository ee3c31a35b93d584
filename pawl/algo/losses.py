"""Policy losses on token log-probs: the clipped surrogate and the KL to the reference.

Shapes: S samples, T tokens. Every function returns sums over the mask; the caller divides by one
global token count, so splitting a batch into micro-batches changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(
    logp_ST: Tensor,
    old_logp_ST: Tensor,
    advantage_S: Tensor,
    mask_ST: Tensor,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """Negative PPO objective, summed over masked tokens (arXiv 1707.06347, equation 7).

    -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) with rho = exp(logp - old_logp) per
    token; log-ratios are clamped to [-20, 20] so that one token cannot overflow. Returns the sum
    (scalar, differentiable) and the number of tokens whose clip was active (scalar, detached).
    """
    log_ratio_ST = torch.where(mask_ST, logp_ST - old_logp_ST, 0.0).clamp(-20.0, 20.0)
    ratio_ST = log_ratio_ST.exp()
    advantage_ST = advantage_S[:, None]
    plain_ST = ratio_ST * advantage_ST
    clipped_ST = ratio_ST.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage_ST
    loss_ST = torch.where(mask_ST, -torch.minimum(plain_ST, clipped_ST), 0.0)
    active = (mask_ST & (clipped_ST < plain_ST)).sum()
    return loss_ST.sum(), active.detach()


def kl_k1(logp_ST: Tensor, ref_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Sum over the mask of log pi - log pi_ref: unbiased for KL(pi || pi_ref) under pi."""
    return torch.where(mask_ST, logp_ST - ref_logp_ST, 0.0).sum()


def kl_k3(logp_ST: Tensor, ref_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Sum over the mask of exp(d) - d - 1 with d = log pi_ref - log pi (GRPO's KL term).

    Non-negative for each token and unbiased in value; as a loss its gradient is biased for the
    KL (arXiv 2512.21852).
    """
    delta_ST = torch.where(mask_ST, ref_logp_ST - logp_ST, 0.0).clamp(-20.0, 20.0)
    return (delta_ST.exp() - delta_ST - 1.0).sum()

"""Policy losses on token log-probs: surrogates, corrections, normalisers.

Shapes: S samples, T tokens. A surrogate gives one loss per token; `reduce` turns it into a sum that
the caller divides by one global count, so splitting a batch into micro-batches changes nothing.
Log-ratios are clamped to [-LIMIT, LIMIT], so that one token cannot overflow. Left out: the KL
to the reference (`kl.py`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LIMIT = 20.0
Normaliser = Literal["token", "sequence", "constant"]


def log_ratio(logp_ST: Tensor, old_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """log pi - log pi_old per token, 0 outside the mask."""
    return torch.where(mask_ST, logp_ST - old_logp_ST, 0.0).clamp(-LIMIT, LIMIT)


def sequence_log_ratio(logp_ST: Tensor, old_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Mean of the log-ratio over a sample's tokens, at each of them (arXiv 2507.18071, section 4).

    A sample without masked tokens gets 0.
    """
    mean_S1 = log_ratio(logp_ST, old_logp_ST, mask_ST).sum(1, keepdim=True)
    mean_S1 = mean_S1 / mask_ST.sum(1, keepdim=True).clamp(min=1)
    return torch.where(mask_ST, mean_S1, 0.0)


def clipped_surrogate(
    log_ratio_ST: Tensor,
    advantage_ST: Tensor,
    mask_ST: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) per token (arXiv 1707.06347, eq. 7).

    rho = exp(log_ratio). With `sequence_log_ratio` this is GSPO. Different bounds are DAPO's
    clip-higher (arXiv 2503.14476, section 3.1). dual_clip > 1 bounds the loss of a negative
    advantage by -dual_clip * A (arXiv 1912.09729); 0 is off. Returns (loss_ST, active_ST): the
    tokens whose gradient a clip took away.
    """
    ratio_ST = log_ratio_ST.exp()
    plain_ST = ratio_ST * advantage_ST
    clipped_ST = ratio_ST.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage_ST
    objective_ST = torch.minimum(plain_ST, clipped_ST)
    active_ST = mask_ST & (clipped_ST < plain_ST)
    if dual_clip:
        floor_ST = dual_clip * advantage_ST
        below_ST = (advantage_ST < 0) & (objective_ST < floor_ST)
        objective_ST = torch.where(below_ST, floor_ST, objective_ST)
        active_ST = active_ST | (mask_ST & below_ST)
    return torch.where(mask_ST, -objective_ST, 0.0), active_ST


def cispo(
    logp_ST: Tensor,
    log_ratio_ST: Tensor,
    advantage_ST: Tensor,
    mask_ST: Tensor,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """-sg(clip(rho, 1 - clip_low, 1 + clip_high)) A log pi per token (arXiv 2506.13585).

    The ratio weighs a token and carries no gradient, so no token loses its gradient; clip_low of 1
    leaves the weight without a lower bound. Returns (loss_ST, active_ST): tokens with a cut weight.
    """
    ratio_ST = log_ratio_ST.detach().exp()
    weight_ST = ratio_ST.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss_ST = torch.where(mask_ST, -weight_ST * advantage_ST * logp_ST, 0.0)
    return loss_ST, mask_ST & (weight_ST != ratio_ST)


def correction(log_mismatch_ST: Tensor, mask_ST: Tensor, cap: float, drop: bool) -> Tensor:
    """Weight of each token for having been sampled by another distribution than pi_old.

    log_mismatch_ST: log pi_old (trainer) - log of the sampler, without gradient. Truncated:
    min(w, cap) (TIS, fengyao.notion.site/off-policy-rl). drop: w inside [1 / cap, cap], else 0
    (IcePop, ringtech.notion.site/icepop). cap > 1. 1 outside the mask.
    """
    weight_ST = log_mismatch_ST.clamp(-LIMIT, LIMIT).exp()
    if drop:
        inside_ST = (weight_ST <= cap) & (weight_ST >= 1.0 / cap)
        weight_ST = torch.where(inside_ST, weight_ST, 0.0)
    else:
        weight_ST = weight_ST.clamp(max=cap)
    return torch.where(mask_ST, weight_ST, 1.0)


def reduce(loss_ST: Tensor, mask_ST: Tensor, normaliser: Normaliser, longest: int) -> Tensor:
    """Sum to be divided by `count` of the whole batch; micro-batches add up.

    token: every token has the same weight (arXiv 2503.14476, section 3.3). sequence: every sample
    has the same weight, which its tokens share (arXiv 2402.03300, eq. 3). constant: tokens over
    `longest`, the generation limit, so that neither length nor batch sets the scale (arXiv
    2503.20783, section 3).
    """
    kept_ST = torch.where(mask_ST, loss_ST, 0.0)
    if normaliser == "sequence":
        return (kept_ST.sum(1) / mask_ST.sum(1).clamp(min=1)).sum()
    return kept_ST.sum() / (longest if normaliser == "constant" else 1)


def count(mask_ST: Tensor, normaliser: Normaliser) -> int:
    """What `reduce` is divided by: tokens, or samples with at least one masked token."""
    return int(mask_ST.sum() if normaliser == "token" else mask_ST.any(1).sum())

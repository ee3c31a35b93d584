"""Estimators of the KL to the reference, per token: k1, k2, k3.

Schulman, "Approximating KL Divergence" (joschu.net/blog/kl-approx.html). Shapes: S samples, T
tokens. Left out: which one a run uses and where it goes (`pawl.train.batch`, `pawl.train.update`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pawl.algo.losses import LIMIT


def k1(logp_ST: Tensor, ref_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """log pi - log pi_ref per token: unbiased for KL(pi || pi_ref) under pi, of either sign.

    Belongs into the reward; as a loss its gradient is zero in expectation (arXiv 2510.01555).
    """
    return torch.where(mask_ST, logp_ST - ref_logp_ST, 0.0)


def k2(logp_ST: Tensor, ref_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """(log pi - log pi_ref)^2 / 2 per token: as a loss, on policy, the gradient of k1 in the reward
    of that token (arXiv 2510.01555); biased in value.
    """
    return k1(logp_ST, ref_logp_ST, mask_ST).square() / 2


def k3(logp_ST: Tensor, ref_logp_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """exp(d) - d - 1 per token, d = log pi_ref - log pi (GRPO's KL, arXiv 2402.03300, eq. 4).

    Non-negative for each token and unbiased in value; as a loss its gradient is biased for the
    KL (arXiv 2512.21852).
    """
    delta_ST = torch.where(mask_ST, ref_logp_ST - logp_ST, 0.0).clamp(-LIMIT, LIMIT)
    return delta_ST.exp() - delta_ST - 1.0

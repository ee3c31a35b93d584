"""Do the sampler and the trainer mean one policy? Statistics of one batch's log-probs.

Shapes: S samples, T tokens. All are computed in float64 from what the log-prob pass and the sampler
say of the same tokens, before any update. Left out: thresholds, and corrections (`losses.py`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pawl.algo.losses import LIMIT


def nll_minus_entropy(
    logp_ST: Tensor, entropy_ST: Tensor, mask_ST: Tensor
) -> tuple[float, float | None]:
    """(mean over tokens of -log p - entropy in nats, its z-score over samples).

    Whatever came before, the expected -log p of a token drawn from p is p's entropy, and the end of
    a completion depends on its past alone; so the differences of a sample sum to 0 in expectation,
    and sums of different samples are uncorrelated. z is the mean of these sums over its standard
    error (n - 1); None for fewer than two samples or equal sums. A sampler that is cooler than the
    trainer believes, or cuts the tail (top-k, top-p), gives z well below 0; log-probs of other
    tokens than the sampled ones give z well above 0. Raises AssertionError without a token.
    """
    assert mask_ST.any(), "no token to measure"
    gap_ST = torch.where(mask_ST, -logp_ST.double() - entropy_ST.double(), 0.0)
    gap_S = gap_ST.sum(1)
    mean = float(gap_S.sum() / mask_ST.sum())
    if len(gap_S) < 2:
        return mean, None
    error = float(gap_S.std()) / math.sqrt(len(gap_S))
    return mean, float(gap_S.mean()) / error if error else None


def mismatch_ess(logp_ST: Tensor, sampler_logp_ST: Tensor, mask_ST: Tensor) -> float:
    """Effective sample size of the tokens, as a share: (sum w)^2 / (n sum w^2), in (0, 1].

    w = p_trainer / p_sampler of each token, its logarithm within [-LIMIT, LIMIT] (Kish's effective
    size of a weighted sample). 1 when both say the same; 0.5 when reweighting would cost half the
    tokens. Raises AssertionError without a token.
    """
    assert mask_ST.any(), "no token to measure"
    log_ST = logp_ST.double() - sampler_logp_ST.double()
    weight_N = log_ST[mask_ST].clamp(-LIMIT, LIMIT).exp()
    return float(weight_N.sum().square() / (len(weight_N) * weight_N.square().sum()))


def nonfinite(logp_ST: Tensor, sampler_logp_ST: Tensor, mask_ST: Tensor) -> int:
    """Tokens whose log-prob, by trainer or sampler, is not finite; nothing is repaired before."""
    finite_ST = torch.isfinite(logp_ST) & torch.isfinite(sampler_logp_ST)
    return int((mask_ST & ~finite_ST).sum())

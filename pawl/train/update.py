"""From a scored batch and its advantages to new weights: loss, backward, optimiser.

Shapes: S samples, T tokens. Several passes over a batch and several mini-batches in a pass are
optimiser steps of their own. Left out: the scoring pass (`scoring.py`), where advantages come from
(`pawl.algo.estimate`), and what is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pawl.algo import losses
from pawl.config.options import AlgoConfig, OptimConfig
from pawl.errors import Exit, PawlError
from pawl.models.logprobs import token_logprobs
from pawl.models.optim import clip_grad_norm, set_lr
from pawl.models.policy import Policy, trainable
from pawl.train.scoring import Micro, Scored
from pawl.train.witness import Moved, moved, snapshot


@dataclass(slots=True)
class UpdateStats:
    """What the optimiser steps of a batch saw. clipped: tokens, of `passed` in all passes; ratio:
    the ratios of these tokens, as the loss takes them, summed.

    moved: the weights after all of them against the weights before.
    """

    clipped: int = 0
    passed: int = 0
    ratio: float = 0.0
    ratio_max: float = 1.0
    k3_old: float = 0.0
    loss: float = 0.0
    grad_norms: tuple[float, ...] = ()
    moved: Moved | None = None

    @property
    def updates(self) -> int:
        """Optimiser steps taken."""
        return len(self.grad_norms)


@dataclass(frozen=True, slots=True)
class Step:
    """What the loss of every micro-batch of a step shares.

    advantage_ST and known_S span the batch; longest: the generation limit, for `constant`.
    """

    advantage_ST: Tensor
    known_S: Tensor
    temperature: float
    kl_coef: float
    longest: int


def micro_loss(
    logp_ST: Tensor, entropy_ST: Tensor, micro: Micro, step: Step, cfg: AlgoConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum for `losses.reduce`, mask, tokens whose clip was active, ratios) of a micro-batch."""
    mask_ST = micro.mask_ST & step.known_S[micro.rows].to(logp_ST.device)[:, None]
    advantage_ST = step.advantage_ST[micro.rows, : mask_ST.shape[1]].to(logp_ST)
    ratio = losses.sequence_log_ratio if cfg.loss == "gspo" else losses.log_ratio
    log_ratio_ST = ratio(logp_ST, micro.old_logp_ST, mask_ST)
    bounds = (cfg.clip_low, cfg.clip_high)
    if cfg.loss == "cispo":
        loss_ST, active_ST = losses.cispo(logp_ST, log_ratio_ST, advantage_ST, mask_ST, *bounds)
    else:
        loss_ST, active_ST = losses.clipped_surrogate(
            log_ratio_ST, advantage_ST, mask_ST, *bounds, cfg.dual_clip
        )
    if cfg.correction != "none":
        mismatch_ST = (micro.old_logp_ST.double() - micro.sampler_logp_ST).to(logp_ST)
        drop = cfg.correction == "drop"
        weight_ST = losses.correction(mismatch_ST, mask_ST, cfg.correction_cap, drop)
        loss_ST = loss_ST * weight_ST
    if micro.ref_logp_ST is not None and cfg.kl != "k1":
        kl = losses.k2 if cfg.kl == "k2" else losses.k3
        loss_ST = loss_ST + step.kl_coef * kl(logp_ST, micro.ref_logp_ST, mask_ST)
    if cfg.entropy_coef:
        loss_ST = loss_ST - cfg.entropy_coef * entropy_ST
    total = losses.reduce(loss_ST, mask_ST, cfg.normaliser, step.longest)
    return total, mask_ST, active_ST, log_ratio_ST.detach().exp()


def backward(
    policy: Policy,
    micro: Micro,
    step: Step,
    cfg: AlgoConfig,
    denominator: int,
    scaler: torch.amp.GradScaler,
    stats: UpdateStats,
) -> tuple[float, int]:
    """Accumulate the gradient of one micro-batch; (k3(old, new) summed over tokens, tokens)."""
    out = token_logprobs(policy, micro.groups, step.temperature, bool(cfg.entropy_coef))
    total, mask_ST, active_ST, taken_ST = micro_loss(out.logp_ST, out.entropy_ST, micro, step, cfg)
    loss = total / denominator
    torch.autograd.backward(scaler.scale(loss))
    with torch.no_grad():
        if not stats.grad_norms:  # before the first update: must be the same policy
            ratio_ST = (out.logp_ST - micro.old_logp_ST).exp()
            off = float(torch.where(mask_ST, (ratio_ST - 1.0).abs(), 0.0).max())
            stats.ratio_max = max(stats.ratio_max, 1.0 + off)
        drift = float(losses.k3(micro.old_logp_ST, out.logp_ST, mask_ST).sum())
    stats.loss += float(loss.detach())
    stats.clipped += int(active_ST.sum())
    stats.passed += int(mask_ST.sum())
    stats.ratio += float(taken_ST[mask_ST].double().sum())
    return drift, int(mask_ST.sum())


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    scored: Scored,
    step: Step,
    lrs: Sequence[float],
    algo: AlgoConfig,
    optim: OptimConfig,
) -> UpdateStats:
    """The optimiser steps of a batch: `algo.epochs` passes of its mini-batches, at most len(lrs).

    A pass is the last one when k3(old, new), its mean over the pass's tokens, exceeds algo.max_k3.
    """
    stats, before = UpdateStats(), snapshot(policy)
    for _ in range(algo.epochs):
        drift, tokens = 0.0, 0
        for micros in scored.minis:
            set_lr(optimizer, lrs[stats.updates])
            known = [m.mask_ST & step.known_S[m.rows].to(m.mask_ST.device)[:, None] for m in micros]
            total = sum(losses.count(mask, algo.normaliser) for mask in known)
            if algo.filter and not total:
                continue  # Adam would move the weights by its momentum alone
            denominator = max(1, total)
            for micro in micros:
                parts = backward(policy, micro, step, algo, denominator, scaler, stats)
                drift, tokens = drift + parts[0], tokens + parts[1]
            stats.grad_norms += (apply(policy, optimizer, scaler, optim),)
        stats.k3_old = drift / max(1, tokens)
        if algo.max_k3 and stats.k3_old > algo.max_k3:
            break
    stats.loss /= max(1, stats.updates)
    stats.moved = moved(policy, before)
    return stats


def apply(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    optim: OptimConfig,
) -> float:
    """Clip, step and clear the accumulated gradient; its norm before clipping."""
    scaler.unscale_(optimizer)
    norm = clip_grad_norm([p for _, p in trainable(policy)], optim.max_grad_norm)
    if not math.isfinite(norm) and not scaler.is_enabled():
        raise PawlError(
            f"the gradient norm is {norm}; the weights were not touched",
            "optim",
            "lower optim.lr, or look at the last samples for extreme log-probs",
            Exit.STOPPED,
        )
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm

"""From a batch and its advantages to new weights: loss, backward, optimiser.

Shapes: S samples, T tokens. Several passes over a batch and several mini-batches in a pass are
optimiser steps of their own. Left out: log-probs and advantages (`batch.py`), what is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pawl.algo import losses
from pawl.algo.kl import k2, k3
from pawl.config.options import AlgoConfig
from pawl.models.learner import Learner
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy
from pawl.train.batch import TrainBatch
from pawl.train.logprob_pass import Micro
from pawl.train.mismatch import Moved, moved, snapshot


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
    moved: Moved = Moved()

    @property
    def updates(self) -> int:
        """Optimiser steps taken."""
        return len(self.grad_norms)


def in_loss(batch: TrainBatch, micro: Micro) -> Tensor:
    """Which rows of a micro-batch are trained on, (S, 1) bool."""
    return batch.trained_S[micro.rows].to(micro.mask_ST.device)[:, None]


def micro_loss(
    logp_ST: Tensor, entropy_ST: Tensor, micro: Micro, batch: TrainBatch, cfg: AlgoConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum for `losses.reduce`, mask, tokens whose clip was active, ratios) of a micro-batch."""
    mask_ST = micro.mask_ST & in_loss(batch, micro)
    advantage_ST = batch.advantage_ST[micro.rows, : mask_ST.shape[1]].to(logp_ST)
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
        kl = k2 if cfg.kl == "k2" else k3
        loss_ST = loss_ST + batch.kl_coef * kl(logp_ST, micro.ref_logp_ST, mask_ST)
    if cfg.entropy_coef:
        loss_ST = loss_ST - cfg.entropy_coef * entropy_ST
    total = losses.reduce(loss_ST, mask_ST, cfg.normaliser, batch.longest)
    return total, mask_ST, active_ST, log_ratio_ST.detach().exp()


def backward(
    policy: Policy,
    learner: Learner,
    micro: Micro,
    batch: TrainBatch,
    cfg: AlgoConfig,
    denominator: int,
    stats: UpdateStats,
) -> tuple[float, int]:
    """Accumulate the gradient of one micro-batch; (k3(old, new) summed over tokens, tokens)."""
    out = token_logprobs(policy, micro.groups, batch.temperature, bool(cfg.entropy_coef))
    total, mask_ST, active_ST, taken_ST = micro_loss(out.logp_ST, out.entropy_ST, micro, batch, cfg)
    loss = total / denominator
    learner.backward(loss)
    with torch.no_grad():
        if not stats.grad_norms:  # before the first update: must be the same policy
            ratio_ST = (out.logp_ST - micro.old_logp_ST).exp()
            off = float(torch.where(mask_ST, (ratio_ST - 1.0).abs(), 0.0).max())
            stats.ratio_max = max(stats.ratio_max, 1.0 + off)
        drift = float(k3(micro.old_logp_ST, out.logp_ST, mask_ST).sum())
    stats.loss += float(loss.detach())
    stats.clipped += int(active_ST.sum())
    stats.passed += int(mask_ST.sum())
    stats.ratio += float(taken_ST[mask_ST].double().sum())
    return drift, int(mask_ST.sum())


def update(
    policy: Policy,
    learner: Learner,
    batch: TrainBatch,
    lrs: Sequence[float],
    algo: AlgoConfig,
    max_grad_norm: float,
) -> UpdateStats:
    """The optimiser steps of a batch: `algo.epochs` passes of its mini-batches, at most len(lrs).

    A pass is the last one when k3(old, new), its mean over the pass's tokens, exceeds algo.max_k3.
    """
    stats, before = UpdateStats(), snapshot(policy)
    for _ in range(algo.epochs):
        drift, tokens = 0.0, 0
        for micros in batch.logprobs.minis:
            masks = [m.mask_ST & in_loss(batch, m) for m in micros]
            total = sum(losses.count(mask, algo.normaliser) for mask in masks)
            if algo.filter and not total:
                continue  # Adam would move the weights by its momentum alone
            for micro in micros:
                parts = backward(policy, learner, micro, batch, algo, max(1, total), stats)
                drift, tokens = drift + parts[0], tokens + parts[1]
            stats.grad_norms += (learner.step(lrs[stats.updates], max_grad_norm),)
        stats.k3_old = drift / max(1, tokens)
        if algo.max_k3 and stats.k3_old > algo.max_k3:
            break
    stats.loss /= max(1, stats.updates)
    stats.moved = moved(policy, before)
    return stats

"""From rollouts and advantages to new weights: scoring pass, loss, backward, optimiser.

Shapes: S samples, T tokens. The scoring pass runs without gradient in the very micro-batches that
are trained on, so the first-pass ratio is exactly 1; the sampler's own log-probs are compared with
it as a second, independent witness. Left out: where advantages come from, and what is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pawl.algo.losses import clipped_surrogate, kl_k3
from pawl.config.options import AlgoConfig, OptimConfig
from pawl.errors import Exit, PawlError
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy, reference, trainable
from pawl.train.optim import clip_grad_norm, set_lr
from pawl.types import Group


@dataclass(frozen=True, slots=True)
class Micro:
    """What one forward sees. mask_ST: sampled tokens of samples whose score is known."""

    groups: tuple[Group, ...]
    advantage_S: Tensor
    mask_ST: Tensor
    old_logp_ST: Tensor
    ref_logp_ST: Tensor | None


@dataclass(slots=True)
class UpdateStats:
    """Sums over the tokens of a step; means are taken once, at the end."""

    tokens: int = 0
    entropy: float = 0.0
    kl_ref: float | None = None
    clipped: int = 0
    ratio_max: float = 1.0
    sampler_diff: float = 0.0
    sampler_diff_max: float = 0.0
    loss: float = 0.0
    grad_norms: tuple[float, ...] = ()


def split(groups: Sequence[Group], rows: int) -> Iterator[tuple[Group, ...]]:
    """Cut a batch into pieces of at most `rows` samples; whole groups where they fit.

    rows = 0 gives one piece. A group larger than `rows` is cut too and keeps its prompt.
    """
    size = rows or sum(len(g.samples) for g in groups)
    piece: list[Group] = []
    room = size
    for group in groups:
        for start in range(0, len(group.samples), size):
            part = replace(group, samples=group.samples[start : start + size])
            if len(part.samples) > room:
                yield tuple(piece)
                piece, room = [], size
            piece.append(part)
            room -= len(part.samples)
    if piece:
        yield tuple(piece)


def sampler_logps(groups: Sequence[Group], mask_ST: Tensor) -> Tensor:
    """The sampler's recorded log-probs in the layout of mask_ST; 0 outside it."""
    logp_ST = torch.zeros(mask_ST.shape, dtype=torch.float64)
    for row, sample in enumerate(s for g in groups for s in g.samples):
        logp_ST[row, : len(sample.logps)] = torch.tensor(sample.logps, dtype=torch.float64)
    return logp_ST.to(mask_ST.device)


@torch.no_grad()
def score_pass(
    policy: Policy,
    groups: tuple[Group, ...],
    advantage_S: Tensor,
    known_S: Tensor,
    temperature: float,
    with_reference: bool,
    stats: UpdateStats,
) -> Micro:
    """The trainer's own log-probs (and the reference's) before any update, and the mismatch."""
    out = token_logprobs(policy, groups, temperature)
    ref_logp_ST = None
    if with_reference:
        with reference(policy) as frozen:
            ref_logp_ST = token_logprobs(frozen, groups, temperature).logp_ST
    diff_ST = (out.logp_ST.double() - sampler_logps(groups, out.mask_ST)).abs()
    diff_ST = torch.where(out.mask_ST, diff_ST, 0.0)
    stats.sampler_diff += float(diff_ST.sum())
    stats.sampler_diff_max = max(stats.sampler_diff_max, float(diff_ST.max()))
    stats.entropy += float(torch.where(out.mask_ST, out.entropy_ST, 0.0).sum())
    stats.tokens += int(out.mask_ST.sum())
    if ref_logp_ST is not None:
        kl = float(kl_k3(out.logp_ST, ref_logp_ST, out.mask_ST))
        stats.kl_ref = (stats.kl_ref or 0.0) + kl
    mask_ST = out.mask_ST & known_S.to(out.mask_ST.device)[:, None]
    advantage_S = advantage_S.to(out.logp_ST)
    return Micro(groups, advantage_S, mask_ST, out.logp_ST, ref_logp_ST)


def backward(
    policy: Policy,
    micro: Micro,
    temperature: float,
    cfg: AlgoConfig,
    denominator: int,
    scaler: torch.amp.GradScaler,
    first_pass: bool,
    stats: UpdateStats,
) -> None:
    """Accumulate the gradient of one micro-batch; `denominator` is the mini-batch's token count."""
    logp_ST = token_logprobs(policy, micro.groups, temperature).logp_ST
    if first_pass:
        ratio_ST = (logp_ST.detach() - micro.old_logp_ST).exp()
        off = float(torch.where(micro.mask_ST, (ratio_ST - 1.0).abs(), 0.0).max())
        stats.ratio_max = max(stats.ratio_max, 1.0 + off)
    loss, clipped = clipped_surrogate(
        logp_ST, micro.old_logp_ST, micro.advantage_S, micro.mask_ST, cfg.clip_low, cfg.clip_high
    )
    if micro.ref_logp_ST is not None:
        loss = loss + cfg.kl_coef * kl_k3(logp_ST, micro.ref_logp_ST, micro.mask_ST)
    loss = loss / denominator
    torch.autograd.backward(scaler.scale(loss))
    stats.loss += float(loss.detach()) / cfg.minibatches
    stats.clipped += int(clipped)


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    groups: Sequence[Group],
    advantage_S: Tensor,
    known_S: Tensor,
    lrs: Sequence[float],
    temperature: float,
    algo: AlgoConfig,
    optim: OptimConfig,
    micro_batch: int,
) -> UpdateStats:
    """One step's optimiser updates: len(lrs) mini-batches, each of accumulated micro-batches."""
    stats = UpdateStats()
    per_mini = -(-len(groups) // len(lrs))
    minis: list[list[Micro]] = []
    row = 0
    for start in range(0, len(groups), per_mini):
        minis.append([])
        for piece in split(groups[start : start + per_mini], micro_batch):
            rows = slice(row, row := row + sum(len(g.samples) for g in piece))
            minis[-1].append(
                score_pass(
                    policy,
                    piece,
                    advantage_S[rows],
                    known_S[rows],
                    temperature,
                    algo.kl_coef > 0,
                    stats,
                )
            )
    params = [p for _, p in trainable(policy)]
    for i, micros in enumerate(minis):
        set_lr(optimizer, lrs[i])
        denominator = max(1, sum(int(m.mask_ST.sum()) for m in micros))
        for micro in micros:
            backward(
                policy,
                micro,
                temperature,
                algo,
                denominator,
                scaler,
                first_pass=i == 0,
                stats=stats,
            )
        scaler.unscale_(optimizer)
        norm = clip_grad_norm(params, optim.max_grad_norm)
        if not math.isfinite(norm) and not scaler.is_enabled():
            raise PawlError(
                f"the gradient norm is {norm}; the weights were not touched",
                "optim",
                "lower optim.lr, or look at the last samples for extreme log-probs",
                Exit.STOPPED,
            )
        stats.grad_norms += (norm,)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return stats

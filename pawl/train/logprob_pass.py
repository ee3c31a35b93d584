"""The log-prob pass: the trainer's own log-probs of a batch, and the reference's, before an update.

Shapes: S samples, T tokens. It runs without gradient in the very micro-batches that are trained
on, so the first-pass ratio is exactly 1; the sampler's own log-probs are compared with it as a
second, independent account. Left out: advantages (`batch.py`) and the update (`update.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pawl.algo.kl import k1, k3
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy, reference
from pawl.types import Group


@dataclass(frozen=True, slots=True)
class Micro:
    """What one forward sees. rows: places of its samples in the batch; mask_ST: sampled tokens.

    entropy_ST: of the trainer's distribution at each of them, in nats.
    """

    groups: tuple[Group, ...]
    rows: slice
    mask_ST: Tensor
    old_logp_ST: Tensor
    sampler_logp_ST: Tensor
    ref_logp_ST: Tensor | None
    entropy_ST: Tensor


@dataclass(slots=True)
class BatchLogprobs:
    """A batch after its log-prob pass: mini-batches of micro-batches, and sums over its tokens.

    kl_ref: k3 summed over tokens, kl_seq: k1 summed over tokens; None without a reference.
    """

    minis: list[list[Micro]]
    tokens: int = 0
    entropy: float = 0.0
    kl_ref: float | None = None
    kl_seq: float | None = None
    sampler_diff: float = 0.0
    sampler_diff_max: float = 0.0

    @property
    def micros(self) -> list[Micro]:
        """All micro-batches in batch order."""
        return [micro for mini in self.minis for micro in mini]


def whole(parts: Sequence[Tensor]) -> Tensor:
    """One (S, T) tensor from a tensor for each micro-batch, 0 where a row is shorter."""
    if not parts:
        return torch.zeros(0, 1)
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(p, (0, width - p.shape[1])) for p in parts])


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
    """The sampler's recorded log-probs in the layout of mask_ST, float64; 0 outside it."""
    logp_ST = torch.zeros(mask_ST.shape, dtype=torch.float64)
    for row, sample in enumerate(s for g in groups for s in g.samples):
        logp_ST[row, : len(sample.logps)] = torch.tensor(sample.logps, dtype=torch.float64)
    return logp_ST.to(mask_ST.device)


@torch.no_grad()
def log_prob_pass(
    policy: Policy,
    groups: Sequence[Group],
    temperature: float,
    minibatches: int,
    micro_batch: int,
    with_reference: bool,
) -> BatchLogprobs:
    """Log-probs of every sampled token under the policy, and under the reference if asked."""
    found, row = BatchLogprobs([]), 0
    per_mini = max(1, -(-len(groups) // minibatches))
    for start in range(0, len(groups), per_mini):
        found.minis.append([])
        for piece in split(groups[start : start + per_mini], micro_batch):
            rows = slice(row, row := row + sum(len(g.samples) for g in piece))
            micro = _forward(policy, piece, rows, temperature, with_reference, found)
            found.minis[-1].append(micro)
    return found


def _forward(
    policy: Policy,
    groups: tuple[Group, ...],
    rows: slice,
    temperature: float,
    with_reference: bool,
    into: BatchLogprobs,
) -> Micro:
    """One micro-batch; adds its sums to `into`."""
    out = token_logprobs(policy, groups, temperature)
    mask_ST = out.mask_ST
    sampler_logp_ST = sampler_logps(groups, mask_ST)
    diff_ST = torch.where(mask_ST, (out.logp_ST.double() - sampler_logp_ST).abs(), 0.0)
    into.sampler_diff += float(diff_ST.sum())
    into.sampler_diff_max = max(into.sampler_diff_max, float(diff_ST.max()))
    into.entropy += float(torch.where(mask_ST, out.entropy_ST, 0.0).sum())
    into.tokens += int(mask_ST.sum())
    ref_logp_ST = None
    if with_reference:
        with reference(policy) as frozen:
            ref_logp_ST = token_logprobs(frozen, groups, temperature).logp_ST
        kl = k3(out.logp_ST, ref_logp_ST, mask_ST)
        into.kl_ref = (into.kl_ref or 0.0) + float(kl.sum())
        kl = k1(out.logp_ST, ref_logp_ST, mask_ST)
        into.kl_seq = (into.kl_seq or 0.0) + float(kl.sum())
    parts = (out.logp_ST, sampler_logp_ST, ref_logp_ST, out.entropy_ST)
    return Micro(groups, rows, mask_ST, *parts)

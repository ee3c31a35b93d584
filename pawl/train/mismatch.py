"""Metrics that show broken wiring: sampler against trainer, advantages, staleness, moved weights.

Shapes: S samples, T tokens. Left out: the statistics themselves (`pawl.algo.mismatch`), rewards and
losses (`record.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pawl.algo import mismatch
from pawl.models.policy import Policy
from pawl.train.batch import TrainBatch
from pawl.train.logprob_pass import BatchLogprobs, whole
from pawl.types import Sample


def mismatch_metrics(batch: TrainBatch) -> dict[str, object]:
    """What the log-prob pass says of the batch; all None for a batch without a token."""
    micros, any_token = batch.logprobs.micros, batch.logprobs.tokens > 0
    mask_ST = whole([m.mask_ST for m in micros]).bool()
    logp_ST = whole([m.old_logp_ST for m in micros]).double()
    sampler_ST = whole([m.sampler_logp_ST for m in micros])
    entropy_ST = whole([m.entropy_ST for m in micros])
    gap, z = mismatch.nll_minus_entropy(logp_ST, entropy_ST, mask_ST) if any_token else (None, None)
    both = (logp_ST, sampler_ST, mask_ST)
    advantage_N = batch.advantage_ST[batch.trained_ST].double()
    return {
        "policy/sampler_logp_mean": float(sampler_ST[mask_ST].mean()) if any_token else None,
        "policy/trainer_logp_mean": float(logp_ST[mask_ST].mean()) if any_token else None,
        "policy/nll_minus_entropy": gap,
        "policy/nll_minus_entropy_z": z,
        "policy/mismatch_ess": mismatch.mismatch_ess(*both) if any_token else None,
        "policy/nonfinite": mismatch.nonfinite(*both) if any_token else None,
        "advantage/std": float(advantage_N.std()) if len(advantage_N) > 1 else None,
        "advantage/abs_max": float(advantage_N.abs().max()) if len(advantage_N) else None,
    }


def staleness(samples_S: Sequence[Sample], updates: int) -> float:
    """Mean number of optimiser steps between the weights that sampled and those about to train."""
    return math.fsum(updates - s.weight_version for s in samples_S) / len(samples_S)


def trainer_sums(
    logprobs: BatchLogprobs, used: Sequence[int], size: int, groups: int
) -> list[float | None]:
    """Sum of the trainer's log-probs of each sample of a batch, None where it was not in the pass.

    used: places of the groups in the pass, in its order; size: members of a group.
    """
    sums: list[float | None] = [None] * (groups * size)
    logp_ST = whole([m.old_logp_ST for m in logprobs.micros]).double()
    for row, total in enumerate(logp_ST.sum(1).tolist()):
        sums[used[row // size] * size + row % size] = total
    return sums


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a batch moved the trained weights. norm: of the difference, ratio: to the weights'
    own norm (0 for weights of norm 0), unchanged: share of numbers that kept their exact value."""

    norm: float = 0.0
    ratio: float = 0.0
    unchanged: float = 1.0


def snapshot(policy: Policy) -> list[Tensor]:
    """A copy of the weights that are to train, in the order of `Policy.trained`."""
    own = dict(policy.model.named_parameters())
    return [own[name].detach().clone() for name in policy.trained]


@torch.no_grad()
def moved(policy: Policy, before: list[Tensor]) -> Moved:
    """What changed since `snapshot`; uses up the copy."""
    own, same, now = [], [], dict(policy.model.named_parameters())
    for old, name in zip(before, policy.trained, strict=True):
        own.append(torch.linalg.vector_norm(old))
        old.sub_(now[name])
        same.append((old == 0).sum())
    weights = float(torch.stack(own).double().norm())
    norm = float(torch.stack([torch.linalg.vector_norm(old) for old in before]).double().norm())
    count = sum(old.numel() for old in before)
    return Moved(norm, norm / weights if weights else 0.0, int(torch.stack(same).sum()) / count)

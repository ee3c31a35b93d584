"""Two updates of the real weights by the real optimiser, looked at and taken back bit for bit.

Part of the proof (`prove.py`): a few sampled groups train the policy twice, the engine takes the
new weights and samples again; then weights, gradients, optimiser state and the engine's copy are
restored. Shapes: S samples, T tokens. Left out: judging (`check_update.py`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy
from pawl.preflight.probe_batch import STEP, Sampled, logprobs_of
from pawl.train.batch import TrainBatch
from pawl.train.logprob_pass import BatchLogprobs, whole
from pawl.train.mismatch import mismatch_metrics
from pawl.train.record import update_metrics
from pawl.train.session import Session
from pawl.train.update import UpdateStats, update
from pawl.types import Group

UPDATED = 2  # groups that the updates see
STANDING = {
    "policy/kl_coef": "an option",
    "policy/clip_frac": "0 where no ratio passes the clip",
    "policy/nonfinite": "0 in health",
    "policy/ratio_mean": "1 in a first pass",
    "policy/sampler_logp_mean": "of the same samples",
    "optim/unchanged_frac": "0 where every weight moves",
    "advantage/std": "given",
    "advantage/abs_max": "given",
}
"""Metrics that may be equal before and after the probe updates, with the reason."""
LR = 1e-3  # of the probe updates, whatever the schedule: wiring does not depend on it


@dataclass(slots=True)
class Moved:
    """What two updates did.

    kl_before, kl_after: mean k3 to the reference over tokens, None without one. still: tensors that
    should train and do not. held: trainable ones that the optimiser holds; fed: those that got a
    gradient; moved: those that changed; names, all out of `names`. frozen_moved: tensors that must
    not change and did. metrics: those that depend on the weights, (before, after the updates).
    synced_gap: mean |trainer - sampler| of samples drawn after the updates, stale_gap: the same of
    the weights before them; synced_version: (seen, wanted) of those samples.
    """

    groups: list[Group]
    names: list[str]
    advantage_S: list[float]
    first: UpdateStats
    second: UpdateStats
    kl_before: float | None
    kl_after: float | None
    reference_moved: bool | None
    still: list[str]
    held: list[str]
    fed: list[str]
    moved: list[str]
    frozen_moved: list[str]
    metrics: dict[str, tuple[object, object]]
    synced_gap: float
    stale_gap: float
    synced_version: tuple[int, int]


def move(s: Session, found: Sampled, kl_coef: float, version: int) -> Moved:
    """Train on a few groups twice, look at everything that should and should not change; restore.

    version: the engine's present one.
    """
    groups = _varied(found.rollouts.groups)
    before = logprobs_of(s, groups, kl_coef)
    n = sum(len(group.samples) for group in groups)
    advantage_S = torch.linspace(1.0, 2.0, n, dtype=torch.float64)
    mask_ST = whole([m.mask_ST for m in before.micros]).bool()
    everything_S = torch.ones(n, dtype=torch.bool)
    batch = TrainBatch(
        before,
        advantage_S,
        everything_S,
        everything_S,
        torch.where(mask_ST, advantage_S[:, None].to(mask_ST.device), 0.0),
        s.params.temperature,
        0.0,
        s.cfg.rollout.max_tokens,
    )
    plain = s.cfg.algo.model_copy(update={"epochs": 1, "entropy_coef": 0.0, "correction": "none"})
    with restored(s, version) as old:
        sums = _fingerprints(s.policy)
        ways = (batch, [LR], plain, 1.0)
        first = update(s.policy, s.learner, *ways)
        second = update(s.policy, s.learner, *ways)
        after = logprobs_of(s, groups, kl_coef)
        held = {id(p) for group in s.learner.optimizer.param_groups for p in group["params"]}
        now = s.policy.trainable()
        s.engine.sync_weights(s.policy, version + 2)
        fresh = _fresh(s, groups[0])
        result = Moved(
            groups,
            [name for name, _ in now],
            advantage_S.tolist(),
            first,
            second,
            _mean_kl(before),
            _mean_kl(after),
            _reference_moved(before, after),
            [n for n, p in _meant_to_train(s.policy) if not p.requires_grad],
            [name for name, p in now if id(p) in held],
            [name for name, p in now if _was_fed(s.learner.optimizer, p)],
            [name for name, p in now if not torch.equal(p.detach().cpu(), old[p])],
            sorted(name for name, v in _fingerprints(s.policy).items() if sums.get(name) != v),
            {
                name: (was, now_is)
                for (name, was), now_is in zip(
                    _metrics(before, first, batch).items(),
                    _metrics(after, second, batch).values(),
                    strict=True,
                )
            },
            _gap(s, fresh),
            0.0,
            (fresh.samples[0].weight_version, version + 2),
        )
    result.stale_gap = _gap(s, fresh)
    return result


def _varied(groups: Sequence[Group]) -> list[Group]:
    """The groups whose completions differ most in length."""
    lengths = [[len(x.tokens) for x in group.samples] for group in groups]
    order = sorted(range(len(groups)), key=lambda i: min(lengths[i]) - max(lengths[i]))
    return [groups[i] for i in sorted(order[:UPDATED])]


def _meant_to_train(policy: Policy) -> list[tuple[str, torch.nn.Parameter]]:
    """Adapters under LoRA, else every weight."""
    named = list(policy.model.named_parameters())
    return [(n, p) for n, p in named if "lora_" in n] if policy.lora else named


def _was_fed(optimizer: torch.optim.Optimizer, p: torch.nn.Parameter) -> bool:
    moment = optimizer.state.get(p, {}).get("exp_avg")
    return moment is not None and bool(moment.any())


def _fingerprints(policy: Policy) -> dict[str, float]:
    """A number for each frozen tensor of the model, which no update may change."""
    fixed = {n: p for n, p in policy.model.named_parameters() if not p.requires_grad}
    sums = {}
    for name, p in fixed.items():
        flat = p.detach().flatten()
        flat = flat if flat.is_floating_point() else flat.float()
        weight = torch.linspace(0.5, 1.5, len(flat), device=flat.device, dtype=flat.dtype)
        sums[name] = float((flat * weight).float().sum())
    return sums


def _mean_kl(scored: BatchLogprobs) -> float | None:
    return None if scored.kl_ref is None else scored.kl_ref / max(1, scored.tokens)


def _reference_moved(before: BatchLogprobs, after: BatchLogprobs) -> bool | None:
    pairs = [
        (a.ref_logp_ST, b.ref_logp_ST) for a, b in zip(before.micros, after.micros, strict=True)
    ]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return any(not torch.equal(a, b) for a, b in known) if known else None


def _metrics(logprobs: BatchLogprobs, stats: UpdateStats, batch: TrainBatch) -> dict[str, object]:
    """What the loop records of policy and update, without what may rightly stand still."""
    rows = update_metrics(logprobs, stats, 0.0, len(batch.trained_S))
    rows |= mismatch_metrics(logprobs, batch.advantage_ST, batch.trained_ST)
    return {name: value for name, value in rows.items() if name not in STANDING}


def _fresh(s: Session, group: Group) -> Group:
    """New samples of a group's prompt from the weights that the engine has now."""
    where = (s.params, s.cfg.seed, STEP)
    fresh = s.engine.generate([group.prompt], s.cfg.rollout.group_size, *where)
    return replace(group, samples=tuple(fresh))


def _gap(s: Session, group: Group) -> float:
    """Mean |trainer - sampler| over the tokens of a group, by the policy's weights of now."""
    with torch.no_grad():
        logp_ST = token_logprobs(s.policy, [group], s.params.temperature).logp_ST.double().cpu()
    gaps = [
        abs(float(logp_ST[row, t]) - logp)
        for row, x in enumerate(group.samples)
        for t, logp in enumerate(x.logps)
    ]
    return math.fsum(gaps) / len(gaps)


@contextmanager
def restored(s: Session, version: int) -> Iterator[dict[Tensor, Tensor]]:
    """Whatever happens inside: weights, gradients, optimiser, scaler and engine are as before.

    Gives the weights as they were, on the CPU, by what trains or what the optimiser holds.
    """
    held = [p for group in s.learner.optimizer.param_groups for p in group["params"]]
    weights = [p for _, p in s.policy.trainable()] + held
    old: dict[Tensor, Tensor] = {p: p.detach().to("cpu", copy=True) for p in set(weights)}
    state = {
        p: copy.deepcopy(dict(s.learner.optimizer.state[p]))
        for p in list(s.learner.optimizer.state)
    }
    lrs = [group["lr"] for group in s.learner.optimizer.param_groups]
    scale = s.learner.scaler.state_dict()
    try:
        yield old
    finally:
        with torch.no_grad():
            for p, value in old.items():
                p.copy_(value)
                p.grad = None
        s.learner.optimizer.state.clear()
        s.learner.optimizer.state.update(state)
        for group, lr in zip(s.learner.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        if scale:
            s.learner.scaler.load_state_dict(scale)
        s.engine.sync_weights(s.policy, version)

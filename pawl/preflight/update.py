"""Exact invariants of update, checkpoint and schedule: one `Check` each.

Two updates of the real weights by the real optimiser: a few sampled groups train the policy twice,
the engine takes the new weights and samples again; then weights, gradients, optimiser state and the
engine's copy are restored bit for bit. Shapes: S samples, T tokens. Left out: what the trainer
makes of the samples before it updates (`samples.py`).
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.models.optim import lr_at, warmup_steps
from pawl.preflight.samples import HALF_MEAN, STEP, Sampled, judged, logprobs_of
from pawl.train.batch import TrainBatch
from pawl.train.logprob_pass import BatchLogprobs, whole
from pawl.train.mismatch import mismatch_metrics
from pawl.train.progress import Progress
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
RESTING = 1e-12  # a KL above this is one
NEARER = 2.0  # times nearer to the new weights than to the old ones must an engine sample
SAVED = "step-preflight.tmp"  # the weights between the updates; resuming removes such a folder
LATEST = 0.5  # share of the updates by which the learning rate has to reach its peak


def of_load(s: Session, progress: Progress) -> Check:
    """After a load, weights and optimiser are the checkpoint's."""
    lost = checkpoint.unlike(progress.loaded, s.learners) if progress.loaded else []
    return judged(
        "checkpoint-restored",
        "optimiser-detached",
        not lost if progress.loaded else None,
        "every tensor of the checkpoint in weights and optimiser, bit for bit",
        f"{len(lost)} differ" + "".join(f" ({name})" for name in lost[:1])
        if progress.loaded
        else "nothing was loaded",
        "a run that goes on from other weights or another optimiser state is another run",
    )


def of_update(s: Session, found: Sampled, progress: Progress, half: bool) -> list[Check]:
    """What two updates change, and what they leave alone; everything is put back."""
    try:
        return _two_updates(s, found, progress, half)
    except PawlError as e:  # an infinite gradient stops them
        return [_finite(False, "a finite gradient", e.what)]
    finally:
        shutil.rmtree(s.run.checkpoints_dir / SAVED, ignore_errors=True)


def _two_updates(s: Session, found: Sampled, progress: Progress, half: bool) -> list[Check]:
    """Train on a few groups twice, look at everything that should and should not change; restore.

    The engine must be at the version `progress.state.updates`.
    """
    groups, version = _varied(found.rollouts.groups), progress.state.updates
    before = logprobs_of(s, groups, progress.state.kl_coef)
    lengths = [len(x.tokens) for group in groups for x in group.samples]
    advantage_S = torch.linspace(1.0, 2.0, len(lengths), dtype=torch.float64)
    mask_ST = whole([m.mask_ST for m in before.micros]).bool()
    everything_S = torch.ones(len(lengths), dtype=torch.bool)
    advantage_ST = torch.where(mask_ST, advantage_S[:, None].to(mask_ST.device), 0.0)
    rows = (before, everything_S, everything_S, advantage_ST)
    batch = TrainBatch(*rows, s.params.temperature, 0.0, s.cfg.rollout.max_tokens)
    plain = s.cfg.algo.model_copy(update={"epochs": 1, "entropy_coef": 0.0, "correction": "none"})
    with restored(s, version) as old:
        sums = _fingerprints(s)
        ways = (batch, [LR], plain, 1.0)
        first = update(s.policy, s.learner, *ways)
        written = _round_trip(s, write=True) if progress.loaded is None else []
        second = update(s.policy, s.learner, *ways)
        after = logprobs_of(s, groups, progress.state.kl_coef)
        movement, moved = _movement(s, old, sums)
        s.engine.sync_weights(s.policy, version + 2)
        where = (s.cfg.rollout.group_size, s.params, s.cfg.seed, STEP)
        fresh = replace(groups[0], samples=tuple(s.engine.generate([groups[0].prompt], *where)))
        near = _gap(s, fresh)
        lost = written or (_round_trip(s, write=False) if progress.loaded is None else [])
    shown = "all are" if progress.loaded is None else "a checkpoint was loaded"
    checks = [
        _finite(
            all(math.isfinite(x) for x in (*first.grad_norms, *second.grad_norms)),
            "a finite gradient norm",
            f"{first.grad_norms[0]:.3g}",
        ),
        *_first_pass(s.cfg, groups, advantage_S.tolist(), first, half),
        *movement,
        judged(
            "weights-come-back",
            "optimiser-detached",
            not lost if progress.loaded is None else None,
            "weights saved between the updates are loaded after them, bit for bit",
            f"{len(lost)} do not ({lost[0]})" if lost else shown,
            "a run that trains what cannot be saved and loaded can be neither resumed nor used",
        ),
        judged(
            "ratio-moves",
            "algebraic-identity",
            second.k3_old > 0 and second.loss != first.loss,
            "a ratio other than 1 after an update",
            f"k3(old, new) {second.k3_old:.3g}",
            "old log-probs that are the new ones make ratio, clip and KL constants",
        ),
        *_reference(before, after, progress.state.step == 0, half),
        _metrics_move(_metrics(batch, first), _metrics(replace(batch, logprobs=after), second)),
        _synced(near, _gap(s, fresh), (fresh.samples[0].weight_version, version + 2), half),
    ]
    still = {"weights-come-back", "ratio-moves", "reference-stays", "metrics-move"}
    still.add("engine-follows")
    return [replace(c, passed=c.passed if moved or c.name not in still else None) for c in checks]


def _finite(passed: bool, expected: str, observed: str) -> Check:
    meaning = "one infinite gradient destroys every weight"
    return judged("gradient-finite", "non-finite", passed, expected, observed, meaning)


def _first_pass(
    cfg: RunConfig,
    groups: Sequence[Group],
    advantage_S: Sequence[float],
    first: UpdateStats,
    half: bool,
) -> Iterator[Check]:
    """What the first update says before it moves anything."""
    room, rel = (1e-2, 1e-2) if half else (0.0, 1e-4)
    expected = expected_loss(groups, advantage_S, cfg)
    yield judged(
        "first-pass-ratio",
        "sampler-mismatch",
        first.ratio_max - 1.0 <= room,
        "1" if not half else f"1, within {room:g}",
        f"{first.ratio_max:.9g}",
        "before any update the trainer must agree with its own log-prob pass: dropout, or "
        "another layout, is on",
        room,
    )
    yield judged(
        "loss-identity",
        "loss-covers-prompt",
        math.isclose(expected, first.loss, rel_tol=rel, abs_tol=1e-6),
        f"{expected:.6g} from advantages and lengths alone",
        f"{first.loss:.6g}",
        "other tokens than the sampled ones count, or they are weighed another way",
        1e-4,
    )


def expected_loss(groups: Sequence[Group], advantage_S: Sequence[float], cfg: RunConfig) -> float:
    """The surrogate at ratio 1, from each sample's advantage and number of tokens."""
    samples = [x for group in groups for x in group.samples]
    lengths = [len(x.tokens) for x in samples]
    if cfg.algo.loss == "cispo":  # -A log pi for each token
        each = [-a * math.fsum(x.logps) for a, x in zip(advantage_S, samples, strict=True)]
    else:
        each = [-a * n for a, n in zip(advantage_S, lengths, strict=True)]
    if cfg.algo.normaliser == "token":
        return math.fsum(each) / sum(lengths)
    if cfg.algo.normaliser == "sequence":
        return math.fsum(e / n for e, n in zip(each, lengths, strict=True)) / len(samples)
    return math.fsum(each) / cfg.rollout.max_tokens / len(samples)


def _movement(
    s: Session, old: dict[Tensor, Tensor], sums: dict[str, float]
) -> tuple[list[Check], bool]:
    """Every trained tensor is the optimiser's, gets a gradient and moves; nothing else does.

    old: the weights before, on the CPU; sums: fingerprints of the others. Also whether any moved.
    """
    optimizer, now = s.learner.optimizer, s.policy.trainable()
    held = {p for group in optimizer.param_groups for p in group["params"]}
    trained, rows = set(s.policy.trained), [n for n, _ in now if "trainable_tokens" in n]
    rare = rows[:-1]  # input rows of added tokens: without gradient where no text holds them
    meant = [(n, p) for n, p in s.policy.model.named_parameters() if n in trained]
    lost = sorted(name for name, p in now if p not in held)
    lost += [name for name, p in meant if not p.requires_grad]
    moments = {name: optimizer.state.get(p, {}).get("exp_avg") for name, p in now}
    unfed = sorted(n for n, m in moments.items() if (m is None or not m.any()) and n not in rare)
    idle = sorted(n for n, p in now if torch.equal(p.detach().cpu(), old[p]) and n not in rare)
    frozen = sorted(name for name, v in _fingerprints(s).items() if sums.get(name) != v)
    named = {"outside the optimiser or frozen": lost, "without gradient": unfed, "unmoved": idle}
    shown = "; ".join(f"{len(found)} {what} ({found[0]})" for what, found in named.items() if found)
    checks = [
        judged(
            "weights-move",
            "optimiser-detached",
            bool(now) and not shown,
            f"all {len(now)} trained tensors move in two updates of lr {LR:g}",
            shown or f"{len(now) - len(idle)} moved",
            "weights that the optimiser does not hold, or that get no gradient, never learn",
        ),
        judged(
            "frozen-weights-rest",
            "optimiser-detached",
            not frozen,
            "no other tensor moves",
            f"{len(frozen)} moved" + "".join(f" ({name})" for name in frozen[:1]),
            "a frozen base or reference that moves is no anchor",
        ),
    ]
    return checks, len(idle) < len(now)


def _round_trip(s: Session, write: bool) -> list[str]:
    """Save the weights, or load what was saved; names of those that are not the file's then."""
    lost = list[str]()
    try:
        for learner in s.learners:
            weights, place = learner.weights, s.run.checkpoints_dir / SAVED / learner.name
            before = weights.trainable()
            if write:
                weights.save(place)
            else:
                weights.load(place)
            lost += weights.unlike(place)
            now = dict(weights.trainable())
            lost += [name for name, p in before if now.get(name) is not p]
    except Exception as error:
        if not (checkpoint.of_disk(error) or isinstance(error, RuntimeError | PawlError)):
            raise
        lost.append(error.what if isinstance(error, PawlError) else str(error).splitlines()[0])
    return lost


def _fingerprints(s: Session) -> dict[str, float]:
    """A number for each frozen tensor of the model, which no update may change."""
    sums = {}
    for name, p in s.policy.model.named_parameters():
        if not p.requires_grad:
            flat = p.detach().flatten()
            flat = flat if flat.is_floating_point() else flat.float()
            weight = torch.linspace(0.5, 1.5, len(flat), device=flat.device, dtype=flat.dtype)
            sums[name] = float((flat * weight).float().sum())
    return sums


def _reference(
    before: BatchLogprobs, after: BatchLogprobs, fresh: bool, half: bool
) -> Iterator[Check]:
    """The reference is the start, and stays there while the policy moves."""
    room = 5e-3 if half else 1e-4
    old, kl = (None if x.kl_ref is None else x.kl_ref / max(1, x.tokens) for x in (before, after))
    pairs = zip(before.micros, after.micros, strict=True)
    known = [(a.ref_logp_ST, b.ref_logp_ST) for a, b in pairs]
    moved = any(a is not None and b is not None and not torch.equal(a, b) for a, b in known)
    yield judged(
        "reference-is-the-start",
        "reference-mismatch",
        None if old is None or not fresh else abs(old) <= room,
        f"KL to the reference 0, within {room:g} nat a token",
        "no reference" if old is None else f"{old:.3g}",
        "a reference that is another model pulls the policy away from its start",
        room,
    )
    yield judged(
        "reference-stays",
        "reference-mismatch",
        None if kl is None else not moved and abs(kl) > RESTING,
        "after two updates a KL above 0, and the reference's own log-probs as before",
        "no reference"
        if kl is None
        else f"KL {kl:.3g}, log-probs {'changed' if moved else 'as before'}",
        "a reference that is the policy itself holds nothing back",
    )


def _metrics_move(before: dict[str, object], after: dict[str, object]) -> Check:
    """No metric of policy and update is the same number before and after two updates."""
    still = [name for name, a in before.items() if a is not None and a == after[name]]
    return judged(
        "metrics-move",
        "algebraic-identity",
        not still,
        f"{len(before)} metrics of policy and update differ before and after two updates",
        f"the same number: {', '.join(still)}" if still else "all do",
        "a metric that no update moves compares a tensor with itself, or is a placeholder",
    )


def _metrics(batch: TrainBatch, stats: UpdateStats) -> dict[str, object]:
    """What the loop records of policy and update, without what may rightly stand still."""
    rows = update_metrics(batch, stats) | mismatch_metrics(batch)
    return {name: value for name, value in rows.items() if name not in STANDING}


def _synced(near: float, stale: float, version: tuple[int, int], half: bool) -> Check:
    """After an update the engine samples from the new weights.

    near, stale: mean |trainer - sampler| of its samples by the new and by the old weights. version:
    (seen, wanted).
    """
    limit = HALF_MEAN if half else 1e-4
    return judged(
        "engine-follows",
        "stale-weights",
        near <= limit and near < stale / NEARER and version[0] == version[1],
        f"|trainer - sampler| at most {limit:g} after two updates, 1/{NEARER:g} of that to the "
        f"weights before them; version {version[1]}",
        f"{near:.2g}, to the old weights {stale:.2g}; version {version[0]}",
        "an engine with old weights samples from a policy that is gone",
        limit,
    )


def _varied(groups: Sequence[Group]) -> list[Group]:
    """The groups whose completions differ most in length."""
    lengths = [[len(x.tokens) for x in group.samples] for group in groups]
    order = sorted(range(len(groups)), key=lambda i: min(lengths[i]) - max(lengths[i]))
    return [groups[i] for i in sorted(order[:UPDATED])]


def _gap(s: Session, group: Group) -> float:
    """Mean |trainer - sampler| over the tokens of a group, by the policy's weights of now."""
    found = logprobs_of(s, [group], 0.0)
    return found.sampler_diff / found.tokens


@contextmanager
def restored(s: Session, version: int) -> Iterator[dict[Tensor, Tensor]]:
    """Whatever happens inside: weights, gradients, optimiser, scaler and engine are as before.

    Gives the weights as they were, on the CPU, by what trains or what the optimiser holds.
    """
    optimizer, scaler = s.learner.optimizer, s.learner.scaler
    held = [p for group in optimizer.param_groups for p in group["params"]]
    weights = {p for _, p in s.policy.trainable()} | set(held)
    old: dict[Tensor, Tensor] = {p: p.detach().to("cpu", copy=True) for p in weights}
    # by tensor, not by state_dict: what a faulty load put beside the optimiser's groups counts too
    state = {p: copy.deepcopy(dict(own)) for p, own in optimizer.state.items()}
    lrs, scale = [group["lr"] for group in optimizer.param_groups], scaler.state_dict()
    try:
        yield old
    finally:
        with torch.no_grad():
            for p, value in old.items():
                p.copy_(value)
                p.grad = None
        optimizer.state.clear()
        optimizer.state.update(state)
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        if scale:
            scaler.load_state_dict(scale)
        s.engine.sync_weights(s.policy, version)


def of_schedule(cfg: RunConfig, n: int) -> Check:
    """The learning rate, simulated over all n optimiser steps of the run."""
    places = np.linspace(0, n - 1, min(n, 2000)).round().astype(int).tolist()  # all, or of many
    rates = [lr_at(i, n, cfg.optim) for i in places]
    peak = max(rates, default=0.0)
    at = places[rates.index(peak)] / n if rates else 1.0
    warm = warmup_steps(n, cfg.optim)
    decay = 1.0 / max(1, n - warm)  # a schedule falls by so much in its first step already
    reached = warm < n and peak >= cfg.optim.lr * (1.0 - decay) * (1.0 - 1e-6)
    return judged(
        "schedule-warms",
        "schedule-never-warm",
        reached and at <= LATEST,
        f"lr {cfg.optim.lr:g} reached within {LATEST:.0%} of the updates",
        f"peak {peak:g} at {at:.0%} of {n} updates, warm-up {warm}",
        "a warm-up that outlasts the run never trains at its learning rate",
        LATEST,
    )

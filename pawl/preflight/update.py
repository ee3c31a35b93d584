"""Exact invariants of log-probs, update and schedule: from one measurement to one `Check` each.

As `check_samples.py`, for what the trainer does with the samples. Left out: measuring
(`probe_update.py`).
"""

from __future__ import annotations

import math
import statistics

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.models.optim import lr_at, warmup_steps
from pawl.preflight.probe_batch import Sampled
from pawl.preflight.probe_update import LR, Moved
from pawl.preflight.samples import judged

HALF_MEAN, HALF_MAX = 0.05, 1.0  # |trainer - sampler| in bf16 or fp16, nat; exp(0.05) = 1.05
FULL_MEAN, FULL_MAX = 1e-5, 1e-3  # the same in fp32
SURPRISE_Z = 6.0  # standard errors; by chance about once in 5e8 runs
RESTING = 1e-12  # a KL above this is one
NEARER = 2.0  # times nearer to the new weights than to the old ones must an engine sample
LATEST = 0.5  # share of the updates by which the learning rate has to reach its peak


def of_policy(found: Sampled, fp32: bool) -> list[Check]:
    """Sampler and trainer are one distribution; every number is finite."""
    n = sum(len(x.tokens) for x in found.rollouts.samples_S)
    mean, peak = (FULL_MEAN, FULL_MAX) if fp32 else (HALF_MEAN, HALF_MAX)
    seen = found.gap_sum / n
    drift = found.drift_S
    spread = statistics.stdev(drift) if len(drift) > 1 else 0.0
    z = statistics.fmean(drift) / (spread / math.sqrt(len(drift))) if spread else 0.0
    return [
        judged(
            "logprobs-finite",
            "non-finite",
            found.nonfinite == 0,
            "finite log-probs and entropies",
            f"{found.nonfinite} are not",
            "a NaN in one token becomes a NaN in every weight",
        ),
        judged(
            "loss-mask",
            "loss-covers-prompt",
            found.masked == n,
            f"{n} sampled tokens in the loss",
            f"{found.masked}",
            "prompt or padding tokens in the loss train the policy to write prompts",
        ),
        judged(
            "nll-minus-entropy",
            "sampler-mismatch",
            abs(z) <= SURPRISE_Z if math.isfinite(z) else None,
            f"0, within {SURPRISE_Z:g} standard errors",
            f"{statistics.fmean(drift):+.3g} nat a completion, {z:+.1f} standard errors",
            "samples are not drawn from the policy that is trained: another temperature, top-p, "
            "top-k or penalty in the sampler",
            SURPRISE_Z,
        ),
        judged(
            "sampler-logprobs",
            "sampler-mismatch",
            seen <= mean and found.gap_max <= peak,
            f"|trainer - sampler| at most {mean:g} on average, {peak:g} anywhere",
            f"{seen:.2g} and {found.gap_max:.2g}",
            "trainer and sampler must mean the same policy",
            mean,
        ),
    ]


def of_load(lost: list[str] | None) -> Check:
    """After a load, weights and optimiser are the checkpoint's.

    lost: names of its tensors that are not, None when nothing was loaded.
    """
    return judged(
        "checkpoint-restored",
        "optimiser-detached",
        None if lost is None else not lost,
        "every tensor of the checkpoint in weights and optimiser, bit for bit",
        "nothing was loaded"
        if lost is None
        else f"{len(lost)} differ" + "".join(f" ({name})" for name in lost[:1]),
        "a run that goes on from other weights or another optimiser state is another run",
    )


def of_update(moved: Moved, cfg: RunConfig, fresh: bool, half: bool) -> list[Check]:
    """What two updates change, and what they leave alone."""
    finite = all(math.isfinite(x) for x in (*moved.first.grad_norms, *moved.second.grad_norms))
    off = moved.first.ratio_max - 1.0
    room = 1e-2 if half else 0.0
    expected, seen = expected_loss(moved, cfg), moved.first.loss
    close = math.isclose(expected, seen, rel_tol=1e-2 if half else 1e-4, abs_tol=1e-6)
    idle = sorted(set(moved.names) - set(moved.moved))
    return [
        judged(
            "gradient-finite",
            "non-finite",
            finite,
            "a finite gradient norm",
            f"{moved.first.grad_norms[0]:.3g}",
            "one infinite gradient destroys every weight",
        ),
        judged(
            "first-pass-ratio",
            "sampler-mismatch",
            off <= room,
            "1" if not half else f"1, within {room:g}",
            f"{moved.first.ratio_max:.9g}",
            "before any update the trainer must agree with its own log-prob pass: dropout, or "
            "another layout, is on",
            room,
        ),
        judged(
            "loss-identity",
            "loss-covers-prompt",
            close,
            f"{expected:.6g} from advantages and lengths alone",
            f"{seen:.6g}",
            "other tokens than the sampled ones count, or they are weighed another way",
            1e-4,
        ),
        *_movement(moved, idle),
        judged(
            "ratio-moves",
            "algebraic-identity",
            _ratio_moves(moved) if moved.moved else None,
            "a ratio other than 1 after an update",
            f"k3(old, new) {moved.second.k3_old:.3g}",
            "old log-probs that are the new ones make ratio, clip and KL constants",
        ),
        *_reference(moved, fresh, half),
        _metrics_move(moved),
        _synced(moved, half),
    ]


def _ratio_moves(moved: Moved) -> bool:
    """The second pass sees another policy than the first: in its KL, and in its loss."""
    return moved.second.k3_old > 0 and moved.second.loss != moved.first.loss


def _metrics_move(moved: Moved) -> Check:
    """No metric of policy and update is the same number before and after two updates."""
    still = [name for name, (a, b) in moved.metrics.items() if a is not None and a == b]
    return judged(
        "metrics-move",
        "algebraic-identity",
        not still if moved.moved else None,
        f"{len(moved.metrics)} metrics of policy and update differ before and after two updates",
        f"the same number: {', '.join(still)}" if still else "all do",
        "a metric that no update moves compares a tensor with itself, or is a placeholder",
    )


def expected_loss(moved: Moved, cfg: RunConfig) -> float:
    """The surrogate at ratio 1, from each sample's advantage and number of tokens."""
    samples = [x for group in moved.groups for x in group.samples]
    pairs = list(zip(moved.advantage_S, samples, strict=True))
    if cfg.algo.loss == "cispo":  # -A log pi for each token
        each = [-a * math.fsum(x.logps) for a, x in pairs]
    else:
        each = [-a * len(x.tokens) for a, x in pairs]
    if cfg.algo.normaliser == "token":
        return math.fsum(each) / sum(len(x.tokens) for x in samples)
    if cfg.algo.normaliser == "sequence":
        own = [e / len(x.tokens) for e, (_, x) in zip(each, pairs, strict=True)]
        return math.fsum(own) / len(samples)
    return math.fsum(each) / cfg.rollout.max_tokens / len(samples)


def _movement(moved: Moved, idle: list[str]) -> list[Check]:
    """Every trained tensor is the optimiser's, gets a gradient and moves; nothing else does."""
    lost = sorted(set(moved.names) - set(moved.held)) + moved.still
    unfed = sorted(set(moved.names) - set(moved.fed))
    passed = bool(moved.names) and not lost and not unfed and not idle
    shown = "; ".join(
        f"{len(names)} {what} ({names[0]})"
        for names, what in (
            (lost, "outside the optimiser or frozen"),
            (unfed, "without gradient"),
            (idle, "unmoved"),
        )
        if names
    )
    return [
        judged(
            "weights-move",
            "optimiser-detached",
            passed,
            f"all {len(moved.names)} trained tensors move in two updates of lr {LR:g}",
            shown or f"{len(moved.moved)} moved",
            "weights that the optimiser does not hold, or that get no gradient, never learn",
        ),
        judged(
            "frozen-weights-rest",
            "optimiser-detached",
            not moved.frozen_moved,
            "no other tensor moves",
            f"{len(moved.frozen_moved)} moved" + "".join(f" ({n})" for n in moved.frozen_moved[:1]),
            "a frozen base or reference that moves is no anchor",
        ),
    ]


def _reference(moved: Moved, fresh: bool, half: bool) -> list[Check]:
    """The reference is the start, and stays there while the policy moves."""
    before, after = moved.kl_before, moved.kl_after
    room = 5e-3 if half else 1e-4
    same = None if before is None or not fresh else abs(before) <= room
    frozen = None
    if after is not None and moved.moved:
        frozen = not moved.reference_moved and abs(after) > RESTING
    return [
        judged(
            "reference-is-the-start",
            "reference-mismatch",
            same,
            f"KL to the reference 0, within {room:g} nat a token",
            "no reference" if before is None else f"{before:.3g}",
            "a reference that is another model pulls the policy away from its start",
            room,
        ),
        judged(
            "reference-stays",
            "reference-mismatch",
            frozen,
            "after two updates a KL above 0, and the reference's own log-probs as before",
            "no reference"
            if after is None
            else f"KL {after:.3g}, log-probs {'changed' if moved.reference_moved else 'as before'}",
            "a reference that is the policy itself holds nothing back",
        ),
    ]


def _synced(moved: Moved, half: bool) -> Check:
    """After an update the engine samples from the new weights."""
    limit = HALF_MEAN if half else 1e-4
    seen, wanted = moved.synced_version
    near = moved.synced_gap <= limit and moved.synced_gap < moved.stale_gap / NEARER
    return judged(
        "engine-follows",
        "stale-weights",
        near and seen == wanted if moved.moved else None,
        f"|trainer - sampler| at most {limit:g} after two updates, 1/{NEARER:g} of that to the "
        f"weights before them; version {wanted}",
        f"{moved.synced_gap:.2g}, to the old weights {moved.stale_gap:.2g}; version {seen}",
        "an engine with old weights samples from a policy that is gone",
        limit,
    )


def of_schedule(cfg: RunConfig, n: int) -> list[Check]:
    """The learning rate, simulated over all n optimiser steps of the run."""
    rates = [lr_at(i, n, cfg.optim) for i in _places(n)]
    peak = max(rates, default=0.0)
    at = _places(n)[rates.index(peak)] / n if rates else 1.0
    warm = warmup_steps(n, cfg.optim)
    decay = 1.0 / max(1, n - warm)  # a schedule falls by so much in its first step already
    reached = warm < n and peak >= cfg.optim.lr * (1.0 - decay) * (1.0 - 1e-6)
    return [
        judged(
            "schedule-warms",
            "schedule-never-warm",
            reached and at <= LATEST,
            f"lr {cfg.optim.lr:g} reached within {LATEST:.0%} of the updates",
            f"peak {peak:g} at {at:.0%} of {n} updates, warm-up {warm}",
            "a warm-up that outlasts the run never trains at its learning rate",
            LATEST,
        )
    ]


def _places(n: int) -> list[int]:
    """Optimiser steps at which the schedule is looked at: all, or 2,000 of many."""
    return list(range(n)) if n <= 2000 else [round(i * (n - 1) / 1999) for i in range(2000)]

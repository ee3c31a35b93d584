"""Rules about the optimiser: learning rate and its schedule, sizes of updates, gradients.

Codes D601 to D611. Left out: what updates do to the policy (`policy`).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import best_window
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, fell, robust_z, trend

RATIO, KL = "optim/update_ratio", "policy/kl_ref"
MOVES = {
    RATIO: (0.01, "a step changes the weights by {:.1%}"),
    "policy/kl_old": (0.05, "an update moves {:.2g} nat a token"),
    "policy/clip_frac": (0.3, "{:.0%} of the tokens are clipped"),
}
"""Sizes of an update: the median from which on it is too large, and in words."""
SIZES = "|".join([*MOVES, KL])


@rule("D601", "schedule-never-warm", "optim/lr", proof="real")
def never_warm(s: Signals) -> Findings:
    """The learning rate never reaches the value that was set.

    What: the planned warm-up is at least as long as the planned run; or the learning rate rises
    from the first point to the last, and ends below 90% of the value that was set; or it is 0 at
    ten points and all others (critical where the size of updates is logged, and 0).
    Why it matters: the whole run trains at a fraction of its learning rate; a plateau then speaks
    of the schedule.
    Evidence needed: the learning rate; its setting or the plan of the run.
    Traps: a run that still warms up looks the same: only 30 points and more count. A decaying rate
    below its setting is past its peak. Warm-up may be counted in micro-batches by mistake. A rate
    that is written with few digits reads 0.
    Fix: a warm-up of 5 to 10 optimiser steps, or under a tenth of the run.
    Source: linear warm-up; observed where batches were counted instead of updates.
    Causes: lr-too-low (what was used is 0, or far below what was set), schedule-never-warm (the
    peak is never reached).
    """
    x_N = s.values("optim/lr")
    target, planned = s.option("optim.lr"), s.option("train.steps")
    warmup = s.option("optim.warmup") or 0.0
    top, rises = float(x_N.max()), _rises(x_N)
    never = planned is not None and planned > 0 and warmup >= max(planned, 2.0)
    if top <= 0.0 and len(x_N) >= 10 and not s.better:
        moved = [s.values(n) for n in (RATIO, "optim/update_norm") if s.has(n)]
        still = bool(moved) and not any(x.any() for x in moved)
        yield found(
            "critical fault" if still else "warning fault",
            f"the learning rate is 0 at all {len(x_N)} points",
            "the weights do not move" if still else "no size of an update is logged beside it",
            causes={"schedule-never-warm": 0.9, "lr-too-low": 0.6},
            series=("optim/lr", RATIO),
            early=still,
        )
    elif never or (rises and target is not None and top < 0.9 * target):
        of = f", {top / target:.0%} of the {target:.3g} that was set" if target else ""
        why = f": the warm-up of {warmup:g} steps outlasts the run" if never else ""
        yield found(
            "critical fault" if never and not s.better else "warning fault",
            f"the learning rate reached {top:.3g}{of}{why}",
            f"{x_N[0]:.3g} at the first point, {x_N[-1]:.3g} at the last of {len(x_N)}",
            causes={"schedule-never-warm": 0.9, "lr-too-low": 0.4},
            fix=prescribe.at(
                s,
                "optim.warmup",
                max(2.0, min(10.0, (planned or 100.0) // 10)),
                "down",
                why="the learning rate spends the run below its setting",
                expected="the peak is reached within a tenth of the run",
                risk="larger early updates",
                verify="optim/lr equals its setting by then",
            ),
        )
    elif rises:
        yield found(
            "info nothing",
            f"the learning rate still rises at the last point ({x_N[0]:.3g} to {x_N[-1]:.3g}): "
            "a flat curve may be its warm-up",
        )


def _rises(lr_N: Floats) -> bool:
    """Whether a learning rate of 30 points or more grows from the first to the last."""
    grows = len(lr_N) >= 30 and bool((np.diff(lr_N) >= -1e-12).all())
    return grows and float(lr_N[-1]) > 1.05 * float(lr_N[len(lr_N) // 2])


@rule("D602", "schedule-used-up", "optim/lr")
def used_up(s: Signals) -> Findings:
    """The learning rate has decayed to next to nothing; what is flat now is cooled, not at its end.

    What: the last 20 points or more ran below 5% of the peak, and the goal metric is flat in them.
    Why it matters: a plateau at a spent schedule says nothing about what the run could reach.
    Evidence needed: the learning rate and the goal metric.
    Traps: schedules that end near 0 are meant to: this is a note, no fault.
    Fix: none for a finished run; for more, a new cycle or a longer schedule.
    Source: linear and cosine decay.
    Causes: none.
    """
    lr, x_N = s.paired("optim/lr", s.goal)
    if len(lr) < 40 or lr.max() <= 0:
        return
    rest = x_N[np.flatnonzero(lr > 0.05 * lr.max())[-1] + 1 :]
    if len(rest) >= 20 and not trend(rest).significant:
        yield found(
            "info nothing",
            f"the learning rate ran below 5% of its peak for the last {len(rest)} points: "
            f"{s.goal} is flat because nothing moves it any more",
            series=("optim/lr", s.goal),
        )


@rule("D603", "nothing-moves", f"{KL}|{RATIO}", "reward/mean", kinds=("policy",), proof="real")
def nothing_moves(s: Signals) -> Findings:
    """The policy stays where it was although there is a signal to follow.

    What: after 30 warm steps or more all updates together are below 0.5% of the weights' size, each
    below a ten-thousandth; or the KL is below 1e-4 nat a token (a warning). The reward shows no
    trend, where for the KL's sake a fifth of its level would be seen.
    Why it matters: the run costs what a learning one costs.
    Evidence needed: KL or relative update, a flat reward with enough points, rewards that differ.
    Traps: without a KL term the KL may be logged as 0; with a warm-up or equal rewards
    weights stand still too;
    held-out measures have risen at tiny rates while the training reward was flat.
    Fix: fork at three times the learning rate.
    Source: LoRA needs about ten times the rate of full training (LoRA without regret, 2025).
    Causes: lr-too-low (the policy stays where it was), optimiser-detached (an optimiser without
    these weights does the same).
    """
    reward = s.trend("reward/mean")
    equal = s.has("group/zero_std_frac") and s.late("group/zero_std_frac").value > 0.7
    same = bool(s.spread) and s.late(s.spread).value <= 1e-6
    if reward.n < 30 or reward.significant or equal or same or not _warm(s):
        return
    ratio, kl, now = s.values(RATIO), s.values(KL), s.level(KL, 30)
    powered = reward.detectable <= 0.2 * max(abs(reward.first), abs(reward.last))
    small = len(ratio) >= 30 and ratio.sum() < 5e-3 and float(np.median(ratio)) < 1e-4
    still = len(kl) >= 30 and 0.0 < now < 1e-4 and kl.max() < 1e-2
    if not small and not (still and powered):
        return
    held = s.trend(s.held_out).direction == "up"
    yield found(
        "warning nothing" if held else "critical fault" if small else "warning fault",
        f"a step changes the weights by {np.median(ratio):.1g} of their size, all {len(ratio)} "
        f"together by {ratio.sum():.1g} at most"
        if small
        else f"the KL is {now:.1g} nat a token after {len(kl)} points",
        f"reward: {reward.words}; {reward.detectable:.3g} would have been seen",
        causes={"lr-too-low": 0.8, "optimiser-detached": 0.3},
        fix=prescribe.scaled(
            s,
            "optim.lr",
            3.0,
            why="updates are too small to be seen in the policy",
            expected="a KL above 1e-3 nat a token after 50 steps",
            risk="larger updates may be unstable",
            verify="the KL grows and the reward is not lower than in an unchanged fork",
        ),
        series=filter(s.has, (RATIO, KL, "reward/mean")),
    )


def _warm(s: Signals) -> bool:
    """Whether the recent learning rate is a tenth of its peak and its setting or more."""
    lr = s.values("optim/lr")
    peak = max(float(lr.max()) if len(lr) else 0.0, s.option("optim.lr") or 0.0)
    return not len(lr) or float(lr[-20:].mean()) >= 0.1 * peak


@rule("D604", "updates-too-large", SIZES, "reward/mean", kinds=("policy",), proof="real")
def too_large(s: Signals) -> Findings:
    """Single updates move the policy too far, and the reward suffers.

    What: a step changes the weights by over 1%, or the policy by over 0.05 nat a token, or over
    30% of the tokens are clipped, or the KL passes 1 nat a token within 20 points; and the reward
    ends below its best or its start, beyond noise.
    Why it matters: updates of this size undo each other or destroy the policy.
    Evidence needed: one of update ratio, KL of an update, clip fraction, early KL; the reward.
    Traps: a KL of 1 to 4 with a rising reward is health; a clip fraction that does not follow the
    learning rate is a mismatch of log-probs and not an update.
    Fix: a third of the learning rate with 5 to 10 steps of warm-up, from the last good checkpoint.
    Source: learning rates of 5e-4 and above destroyed public LoRA runs within 2 to 70 steps.
    Causes: lr-too-high (single updates of that size).
    """
    signs, x_N = _signs(s), s.values("reward/mean")
    if not signs or len(x_N) < 20 or s.better:
        return
    best, place = best_window(x_N, max(5, len(x_N) // 10))
    first, now = s.early("reward/mean"), s.late("reward/mean")
    sudden = x_N[0] - now.value > 6.0 * max(float(np.std(x_N[-20:])), 1e-6)
    lost = (fell(best, now, 4.0) and (s.worse or fell(first, now, 2.0))) or sudden
    yield found(
        "critical fault" if lost and not s.staged else "warning fault",
        "updates are too large: " + "; ".join(signs.values()),
        f"reward: best {best.words} around point {place}, now {now.words}",
        causes={"lr-too-high": 0.9 if lost else 0.6},
        fix=prescribe.slower(
            s,
            "single updates move the policy too far",
            "a KL of one update below 0.01 nat a token within 5 steps",
            verify="the reward is above that of an unchanged fork after 50 steps",
        ),
        series=("reward/mean", *signs),
    )


def _signs(s: Signals) -> dict[str, str]:
    """What speaks of large updates: metric -> in words."""
    signs = {}
    for name, (most, text) in MOVES.items():
        x_N = s.values(name)
        large = len(x_N) >= 5 and float(np.median(x_N)) > most
        if large and not (name != RATIO and _offset(s, name)):
            signs[name] = text.format(np.median(x_N))
    kl = s.values(KL)
    if len(kl) >= 20 and kl[0] < 0.1 and (far := float(np.median(kl[10:20]))) > 1.0:
        signs[KL] = f"the KL reaches {far:.2g} nat a token within 20 points"
    return signs


def _offset(s: Signals, name: str) -> bool:
    """Whether a metric keeps its level while the learning rate falls to a fifth: no update's."""
    lr, x_N = s.paired("optim/lr", name)
    if len(lr) < 20 or lr[-5:].mean() > 0.2 * lr.max():
        return False
    return float(np.median(x_N[-10:])) > 0.5 * float(np.median(x_N[:10]))


@rule("D605", "updates-rounded-away", "optim/unchanged_frac", proof="real")
def rounded_away(s: Signals) -> Findings:
    """Most trained numbers keep their exact value: updates are smaller than their last bit.

    What: over 90% of the trained numbers are the same after a step at a learning rate above 0; or
    over 30%, and the share hardly moves: then a part of the weights is not updated at all.
    Why it matters: weights in bfloat16 have 8 bits: steps below 0.4% of a number are lost.
    Evidence needed: the share of unchanged numbers.
    Traps: a sparse gradient (embeddings, experts) leaves numbers alone; so do steps at rate 0 or
    without a gradient. Where every number stays as it was no update arrives at all (D112).
    Fix: keep trained weights in float32 (or master copies of them).
    Source: bfloat16 has 8 bits of precision.
    Causes: lr-too-low (updates below the last bit), optimiser-detached (a part that no update
    reaches).
    """
    x_N, lr = s.values("optim/unchanged_frac"), s.values("optim/lr")
    if s.has("optim/grad_norm"):  # steps without a gradient leave every number alone
        norm, x_N = s.paired("optim/grad_norm", "optim/unchanged_frac")
        x_N = x_N[norm > 0.0]
    now = float(np.median(x_N[-20:])) if len(x_N) >= 5 else 0.0
    # A part that is never trained is always the same share; rows of rare words are fewer.
    frozen = len(x_N) >= 10 and 0.3 < now < 1.0 and float(np.std(x_N[-20:])) < 0.01
    if (now < 0.9 and not frozen) or now >= 1.0 or (len(lr) and lr[-20:].max() <= 0.0):
        return
    yield found(
        "critical fault" if frozen or (now >= 0.99 and not s.better) else "warning fault",
        f"{now:.1%} of the trained numbers keep their exact value in a step"
        + (", always the same share" if frozen else ""),
        causes={
            "optimiser-detached": 0.8 if frozen else 0.3,
            "lr-too-low": 0.3 if frozen and now < 0.9 else 0.6,
        },
        fix="with a float32 copy optim/unchanged_frac falls below 10%, optim/update_ratio rises",
        series=("optim/unchanged_frac", RATIO),
    )


@rule("D606", "gradient-spikes", "optim/grad_norm", proof="real")
def gradient_spikes(s: Signals) -> Findings:
    """The gradient norm jumps far above its level.

    What: points over six robust deviations and three times above the 50 before them; a fault when
    two lie within ten points and the goal metric is worse from there on.
    Why it matters: a burst can throw the policy somewhere from where it does not return.
    Evidence needed: gradient norms and the goal metric.
    Traps: lone spikes are harmless: the clip cuts them, and public runs with single spikes of 100
    times the level ended among the best.
    Fix: go back before the burst and skip its batches; look at their lengths and largest ratios.
    Source: PaLM (Chowdhery et al. 2022), section 5.1.
    Causes: lr-too-high (a burst of large updates), regression-after-peak (what was learned before
    it is lost).
    """
    x_N, rows = s.values("optim/grad_norm"), s.rows("optim/grad_norm")
    places, level = spikes(x_N), float(np.median(x_N))
    if not places:
        return
    burst = [a for a, b in pairwise(places) if b - a <= 10]
    shown = ", ".join(f"{x_N[i]:.3g} at step {s.log.step_N[rows[i]]:g}" for i in places[:4])
    hurt = False
    if burst and s.goal and s.goal != "loss/total" and not s.staged:
        around = s.around(s.goal, int(rows[burst[0]]))
        hurt = around is not None and fell(*around, 4.0) and fell(around[0], s.late(s.goal), 4.0)
    if hurt:
        yield found(
            "critical fault",
            f"a burst of gradients ({len(places)} spikes over a level of {level:.2g}), and "
            f"{s.goal} is worse from there on",
            shown,
            causes={"lr-too-high": 0.7, "regression-after-peak": 0.5},
            fix=prescribe.at(
                s,
                "optim.max_grad_norm",
                max(level, 1e-3),
                "down",
                why="the clip lies above the usual gradient and lets bursts through",
                expected="bursts cut to the usual size",
                risk="none to speak of: Adam hardly sees a constant factor",
                verify="no fall of the goal metric after the next spike",
            ),
            series=("optim/grad_norm", s.goal),
        )
    elif len(places) <= max(3, len(x_N) // 20):  # more are two levels that alternate
        yield found(
            "info unusual" if x_N[places].max() > 10.0 * level else "info nothing",
            f"{len(places)} lone spike{'s' if len(places) > 1 else ''} of the gradient norm over "
            f"{level:.2g} did no harm",
            shown,
        )


def spikes(x_N: Floats) -> list[int]:
    """Places where a positive series stands far above what came before, and by threefold."""
    if len(x_N) < 20 or float(x_N.min()) <= 0.0 or x_N.max() <= 3.0 * np.quantile(x_N, 0.05):
        return []
    far = np.flatnonzero(robust_z(np.log(x_N)) > 6.0)
    return [int(i) for i in far if x_N[i] > 3.0 * np.median(x_N[max(0, i - 50) : i])]


@rule("D607", "always-clipped", "optim/grad_norm", points=20)
def always_clipped(s: Signals) -> Findings:
    """The gradient norm lies above the clip at nearly every step, or was logged after it.

    What: 95% of the norms exceed the clip; or most of them equal the clip and none exceeds it.
    Why it matters: a clip that always acts only scales the gradient, and a norm taken after the
    clip cannot show what the gradient does.
    Evidence needed: gradient norms and the clip's setting.
    Traps: neither is a fault: Adam hardly sees a constant factor.
    Fix: none needed; to see spikes, log the norm before the clip.
    Source: Adam (Kingma and Ba 2015), invariance to rescaling.
    Causes: none.
    """
    x_N, clip = s.values("optim/grad_norm"), s.option("optim.max_grad_norm")
    if clip is None or clip <= 0:
        return
    above = float(np.mean(x_N > clip * (1 + 1e-6)))
    equal = float(np.mean(np.abs(x_N - clip) <= 1e-3 * clip))
    if above > 0.95:
        what = f"{above:.0%} of the gradient norms lie above the clip of {clip:g}"
        yield found("info nothing", f"{what}: it only scales them")
    elif equal > 0.5 and above == 0.0:
        what = f"{equal:.0%} of the gradient norms equal the clip of {clip:g}"
        told = "they were taken after it and say nothing of the gradient"
        yield found("info nothing", f"{what}: {told}")


@rule("D608", "zero-gradient", "optim/grad_norm", points=5, kinds=("policy",))
def zero_gradient(s: Signals) -> Findings:
    """The gradient is exactly 0 at some steps, with zero-variance groups or unexplained.

    What: five points in a row, or a fifth of all, have a gradient norm of exactly 0.
    Why it matters: nothing was learned there. Zero-variance groups explain it; otherwise the
    loss does not depend on the trained weights.
    Evidence needed: gradient norms; the share of zero-variance groups tells the two apart.
    Traps: steps of zero-variance groups alone have a gradient of 0 in healthy runs, unless a KL
    term has one.
    Steps with groups that differ are another matter (D111).
    Fix: log the share of zero-variance groups; see that trained parameters take part in the loss.
    Source: equal rewards give advantages of 0 (GRPO, Shao et al. 2024).
    Causes: optimiser-detached (no gradient reaches the weights), zero-signal-groups (groups of
    equal rewards have no gradient).
    """
    x_N = s.values("optim/grad_norm")
    zero = x_N == 0.0
    runs = np.split(zero, np.flatnonzero(np.diff(zero)) + 1)
    longest = max(int(run.sum()) for run in runs)
    if longest < 5 and float(zero.mean()) < 0.2:
        return
    norm, equal = s.paired("optim/grad_norm", "group/zero_std_frac")
    at_zero = equal[norm == 0.0]
    text = f"{zero.sum()} of {len(x_N)} gradient norms are exactly 0"
    if len(at_zero) < 5:
        yield found(
            "warning fault",
            f"{text}, {longest} in a row: either rewards are equal there, or no gradient arrives",
            causes={"zero-signal-groups": 0.5, "optimiser-detached": 0.5},
        )
    elif float(np.mean(at_zero >= 0.999)) > 0.8:
        yield found(
            "info unusual",
            f"{text}: rewards are equal within every group there: nothing to learn from",
            causes={"zero-signal-groups": 0.6},
            series=("optim/grad_norm", "group/zero_std_frac"),
        )

"""Rules about the size of updates: too small to move anything, too large to learn, not arriving.

Codes D603 to D605. Left out: schedules (`schedule`), gradients (`gradient`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, mean_of, moving_mean

TOTAL = 5e-3  # of their size, by all updates of a run together
TINY, HUGE = 1e-4, 1e-2  # change of the weights in one step / their size
POINTS = 30
STILL = 1e-4  # nat a token of KL after that many
FROZEN = 0.3  # the same, where it is always the same share; rows of rare words are fewer
ROUNDED = 0.9  # share of numbers that an update leaves as they were


@rule(
    "D603",
    "nothing-moves",
    "policy/kl_ref|optim/update_ratio",
    "reward/mean",
    kinds=("policy",),
    proof="real",
)
def nothing_moves(s: Signals) -> Iterator[Finding]:
    """The policy stays where it was although there is a signal to follow.

    What: after 30 warm steps or more all updates together are below 0.5% of the weights' size, each
    below a ten-thousandth; or the KL is below 1e-4 nat a token (a warning). The reward shows no
    trend, where for the KL's sake a fifth of its level would be seen.
    Why it matters: the run costs what a learning one costs.
    Evidence needed: KL or relative update, a flat reward with enough points, rewards that differ.
    Traps: without a KL term the KL may be logged as 0; a warm-up and tied groups stand still too;
    held-out measures have risen at tiny rates while the training reward was flat.
    Fix: fork at three times the learning rate.
    Source: LoRA needs about ten times the rate of full training (LoRA without regret, 2025).
    Causes: lr-too-low, optimiser-detached.
    """
    reward = s.trend("reward/mean")
    tied = s.has("group/zero_std_frac") and s.late("group/zero_std_frac").value > 0.7
    if reward.n < POINTS or reward.significant or tied or not _warm(s):
        return
    if s.spread and s.late(s.spread).value <= 1e-6:
        return
    ratio, kl = s.values("optim/update_ratio"), s.values("policy/kl_ref")
    powered = reward.detectable <= 0.2 * max(abs(reward.first), abs(reward.last))
    small = len(ratio) >= POINTS and ratio.sum() < TOTAL and float(np.median(ratio)) < TINY
    still = len(kl) >= POINTS and 0.0 < float(np.median(kl[-30:])) < STILL and kl.max() < 1e-2
    if not small and not (still and powered):
        return
    held = bool(s.held_out) and s.trend(s.held_out).direction == "up"
    yield found(
        "critical" if small and not held else "warning",
        "nothing" if held else "fault",
        "optim/update_ratio" if small else "policy/kl_ref",
        f"a step changes the weights by {np.median(ratio):.1g} of their size, all {len(ratio)} "
        f"together by {ratio.sum():.1g} at most"
        if small
        else f"the KL is {np.median(kl[-30:]):.1g} nat a token after {len(kl)} points",
        f"reward: {reward.words}; {reward.detectable:.3g} would have been seen",
        causes=(
            ("lr-too-low", 0.8, "the policy stays where it was"),
            ("optimiser-detached", 0.3, "an optimiser without these weights does the same"),
        ),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            3.0,
            why="updates are too small to be seen in the policy",
            expected="a KL above 1e-3 nat a token after 50 steps",
            risk="larger updates may be unstable",
            verify="the KL grows and the reward is not lower than in an unchanged fork",
        ),
        series=("policy/kl_ref", "optim/update_ratio", "reward/mean"),
    )


def _warm(s: Signals) -> bool:
    """Whether the recent learning rate is a tenth of its peak and its setting or more."""
    lr = s.values("optim/lr")
    peak = max(float(lr.max()) if len(lr) else 0.0, s.option("optim.lr") or 0.0)
    return not len(lr) or float(lr[-20:].mean()) >= 0.1 * peak


@rule(
    "D604",
    "updates-too-large",
    "optim/update_ratio|policy/kl_old|policy/clip_frac|policy/kl_ref",
    "reward/mean",
    kinds=("policy",),
    proof="real",
)
def too_large(s: Signals) -> Iterator[Finding]:
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
    Causes: lr-too-high.
    """
    signs = _signs(s)
    x_N = s.values("reward/mean")
    if not signs or len(x_N) < 20 or s.better:
        return
    width = max(5, len(x_N) // 10)
    means = moving_mean(x_N, width)
    at = int(np.argmax(means))
    best, now = mean_of(x_N[at : at + width]), s.late("reward/mean")
    first = s.early("reward/mean")
    sudden = x_N[0] - now.value > 6.0 * max(float(np.std(x_N[-20:])), 1e-6)
    lost = (fell(best, now, 4.0) and (s.worse or fell(first, now, 2.0))) or sudden
    yield found(
        "critical" if lost and not s.staged else "warning",
        "fault",
        ", ".join(name for name, _ in signs),
        "updates are too large: " + "; ".join(text for _, text in signs),
        f"reward: best {best.words} around point {at + width // 2}, now {now.words}",
        causes=(("lr-too-high", 0.9 if lost else 0.6, "single updates of that size"),),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            1 / 3,
            why="single updates move the policy too far",
            expected="a KL of one update below 0.01 nat a token within 5 steps",
            risk="slower learning",
            verify="the reward is above that of an unchanged fork after 50 steps",
        ),
        series=("reward/mean", *(name for name, _ in signs)),
    )


def _signs(s: Signals) -> list[tuple[str, str]]:
    """What speaks of large updates: (metric, in words)."""
    found_: list[tuple[str, str]] = []
    ratio, kl = s.values("optim/update_ratio"), s.values("policy/kl_ref")
    if len(ratio) >= 5 and float(np.median(ratio)) > HUGE:
        text = f"a step changes the weights by {np.median(ratio):.1%}"
        found_.append(("optim/update_ratio", text))
    old = s.values("policy/kl_old")
    if len(old) >= 5 and float(np.median(old)) > 0.05 and not _offset(s, "policy/kl_old"):
        found_.append(("policy/kl_old", f"an update moves {np.median(old):.2g} nat a token"))
    clip = s.values("policy/clip_frac")
    if len(clip) >= 5 and float(np.median(clip)) > 0.3 and not _offset(s, "policy/clip_frac"):
        found_.append(("policy/clip_frac", f"{np.median(clip):.0%} of the tokens are clipped"))
    if len(kl) >= 20 and kl[0] < 0.1 and float(np.median(kl[10:20])) > 1.0:
        text = f"the KL reaches {np.median(kl[10:20]):.2g} nat a token within 20 points"
        found_.append(("policy/kl_ref", text))
    return found_


def _offset(s: Signals, name: str) -> bool:
    """Whether a metric keeps its level while the learning rate falls to a fifth: no update's."""
    lr, x_N = s.paired("optim/lr", name)
    if len(lr) < 20 or lr[-5:].mean() > 0.2 * lr.max():
        return False
    return float(np.median(x_N[-10:])) > 0.5 * float(np.median(x_N[:10]))


@rule("D605", "updates-rounded-away", "optim/unchanged_frac", proof="real")
def rounded_away(s: Signals) -> Iterator[Finding]:
    """Most trained numbers keep their exact value: updates are smaller than their last bit.

    What: over 90% of the trained numbers are the same after a step at a learning rate above 0; or
    over 30%, and the share hardly moves: then a part of the weights is not updated at all.
    Why it matters: weights in bfloat16 have 8 bits: steps below 0.4% of a number are lost.
    Evidence needed: the share of unchanged numbers.
    Traps: a sparse gradient (embeddings, experts) leaves numbers alone; so do steps at rate 0 or
    without a gradient. Where every number stays as it was no update arrives at all (D112).
    Fix: keep trained weights in float32 (or master copies of them).
    Source: bfloat16 has 8 bits of precision.
    Causes: lr-too-low, optimiser-detached.
    """
    x_N, lr = s.values("optim/unchanged_frac"), s.values("optim/lr")
    if s.has("optim/grad_norm"):  # steps without a gradient leave every number alone
        norm, x_N = s.paired("optim/grad_norm", "optim/unchanged_frac")
        x_N = x_N[norm > 0.0]
    now = float(np.median(x_N[-20:])) if len(x_N) >= 5 else 0.0
    frozen = len(x_N) >= 10 and FROZEN < now < 1.0 and float(np.std(x_N[-20:])) < 0.01
    if (now < ROUNDED and not frozen) or now >= 1.0 or (len(lr) and lr[-20:].max() <= 0.0):
        return
    yield found(
        "critical" if frozen or (now >= 0.99 and not s.better) else "warning",
        "fault",
        "optim/unchanged_frac",
        f"{now:.1%} of the trained numbers keep their exact value in a step"
        + (", always the same share" if frozen else ""),
        causes=(
            ("optimiser-detached", 0.8 if frozen else 0.3, "a part that no update reaches"),
            ("lr-too-low", 0.3 if frozen and now < ROUNDED else 0.6, "updates below the last bit"),
        ),
        fix=advice(
            "updates are lost in rounding",
            "a share of unchanged numbers below 10%",
            "train a float32 copy: optim/unchanged_frac falls, optim/update_ratio rises",
        ),
        series=("optim/unchanged_frac", "optim/update_ratio"),
    )

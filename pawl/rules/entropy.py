"""Rules about the entropy of the policy: spent too early, exploding, restless, impossible.

Codes D408 to D411. No threshold in nat: healthy runs lie anywhere from 0.02 to 1.3 nat a token.
Left out: distinct completions (`diversity`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.run_features import at_best, gains, silent
from pawl.rules.signals import Signals
from pawl.rules.statistics import noise_of

COLLAPSED = 0.25  # of its own start
EXPLODED = 2.0  # times its own start
FAST = 20  # points


@rule("D408", "entropy-collapse", "policy/entropy", "reward/mean", proof="real")
def entropy_collapse(s: Signals) -> Iterator[Finding]:
    """The entropy is spent and nothing was bought for it.

    What: the entropy falls to below a quarter of its first ten points, and stays low, while neither
    reward nor held-out result rises and the reward is not near full marks.
    Why it matters: a policy without entropy explores nothing; what it does not do now it will not
    find.
    Evidence needed: 30 points of entropy and reward.
    Traps: with a rising reward this is sharpening, the usual price of reward; low values as such
    mean nothing, and an entropy at a low sampling temperature is low by definition.
    Fix: back to a checkpoint with entropy; a third of the learning rate; an upper clip of 0.28
    where clips act; harder problems only if these are solved.
    Source: Cui et al. 2025 (R = -a exp(H) + b); DAPO (Yu et al. 2025), section 3.1.
    Causes: lr-too-high, policy-collapsed.
    """
    x_N = s.values("policy/entropy")
    if len(x_N) < 20:
        return
    start, now = float(np.median(x_N[:10])), float(np.median(x_N[-FAST:]))
    fast = float(np.median(x_N[10:FAST])) < COLLAPSED * float(x_N[0])
    start = max(start, float(x_N[0])) if fast else start
    # A decay is no line, so no slope is asked for: the last quarter has to stay low.
    stays = float(np.mean(x_N[-(len(x_N) // 4) :] < 0.5 * start)) > 0.9
    if start <= 0 or now < 0 or now >= COLLAPSED * start or not stays:
        return
    evidence = (
        f"median of the first ten points {start:.3g}, of the last {min(FAST, len(x_N))} {now:.3g}",
        f"reward: {s.trend('reward/mean').first:.3g} to {s.trend('reward/mean').last:.3g}",
    )
    if at_best(s) or (gains(s) and not silent(s)):
        yield found(
            "info",
            "unusual",
            "policy/entropy",
            f"the entropy fell to {now / start:.0%} of its start while the reward rose: sharpening",
            *evidence,
            series=("policy/entropy", "reward/mean"),
        )
        return
    yield found(
        "critical",
        "fault",
        "policy/entropy",
        f"the entropy fell to {now / start:.0%} of its start without a gain",
        *evidence,
        causes=(
            ("policy-collapsed", 0.85, "exploration is gone"),
            ("lr-too-high", 0.8 if fast else 0.4, "within twenty updates" if fast else ""),
        ),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            1 / 3,
            why="the policy became deterministic before it was good",
            expected="entropy no longer falling within 50 steps from an earlier checkpoint",
            risk="slower learning",
            verify="slope of the entropy within its noise, held-out result not lower",
        ),
        series=("policy/entropy", "reward/mean"),
    )


@rule("D409", "entropy-explosion", "policy/entropy", "reward/mean", proof="real")
def entropy_explosion(s: Signals) -> Iterator[Finding]:
    """The entropy grows and the reward does not: the policy turns to noise.

    What: the entropy rises significantly to over twice its start while the reward falls (fault) or
    does not rise (warning).
    Why it matters: gibberish has high entropy; so has a policy under an entropy bonus that won.
    Evidence needed: 30 points of both.
    Traps: answers that grow into new territory raise it for a while in health.
    Fix: no entropy bonus; check temperature in sampling and scoring; a third of the learning rate.
    Source: verl issue 1051; a public run whose bonus made 95% of the gradient.
    Causes: lr-too-high, sampler-mismatch.
    """
    t = s.trend("policy/entropy")
    if t.direction != "up" or t.last < EXPLODED * t.first or t.first <= 0 or gains(s):
        return
    falls = s.trend("reward/mean").direction == "down"
    bonus = s.option("algo.entropy_coef") or 0.0
    change = {
        "why": "the bonus pays for noise" if bonus else "updates push the policy into noise",
        "expected": "entropy back to its start within 50 steps from an earlier checkpoint",
        "risk": "less exploration" if bonus else "slower learning",
        "verify": "reward not below that of an unchanged fork",
    }
    yield found(
        "critical" if falls else "warning",
        "fault",
        "policy/entropy",
        f"the entropy rose from {t.first:.3g} to {t.last:.3g} nat"
        + (" and the reward fell" if falls else " without a gain"),
        f"reward: {s.trend('reward/mean').first:.3g} to {s.trend('reward/mean').last:.3g}",
        causes=(
            ("lr-too-high", 0.7, "updates that scatter the policy"),
            ("sampler-mismatch", 0.4, "another temperature in sampling than in scoring"),
        ),
        fix=prescribe.at(s, "algo.entropy_coef", 0.0, "down", **change)
        if bonus
        else prescribe.scaled(s, "optim.lr", 1 / 3, **change),
        series=("policy/entropy", "reward/mean"),
    )


@rule("D410", "entropy-unstable", "policy/entropy", proof="real")
def entropy_unstable(s: Signals) -> Iterator[Finding]:
    """The entropy jumps from step to step: noise of small batches, or growing unrest.

    What: noise of one point above 20% of the level. If the noise of the second half is over three
    times that of the first without a trend of the level, it is a warning.
    Why it matters: a mean over few completions jumps by itself; that is no instability of training.
    Evidence needed: four points; 40 for the comparison of halves.
    Traps: entropy scales with how open the prompts are: another prompt, another entropy.
    Fix: none for noise; for growing unrest a lower learning rate.
    Source: variance of a mean over few prompts.
    Causes: lr-too-high.
    """
    x_N = s.values("policy/entropy")
    if len(x_N) < 4 or x_N.mean() <= 0:
        return
    noise = noise_of(x_N) / float(x_N.mean())
    half = len(x_N) // 2
    grows = (
        len(x_N) >= 40
        and noise_of(x_N[half:]) > 3.0 * noise_of(x_N[:half]) > 0
        and not s.trend("policy/entropy").significant
    )
    if noise <= 0.2 and not grows:
        return
    yield found(
        "warning" if grows else "info",
        "nothing",
        "policy/entropy",
        "the entropy grows restless: its noise tripled"
        if grows
        else f"the entropy jumps by {noise:.0%} from point to point: noise of few "
        "prompts, no instability",
        f"noise of one point {noise_of(x_N):.3g} at a level of {x_N.mean():.3g}",
        causes=(("lr-too-high", 0.3, "updates that overshoot"),) if grows else (),
        series=("policy/entropy",),
        early=True,
    )


@rule("D411", "entropy-negative", "policy/entropy")
def entropy_negative(s: Signals) -> Iterator[Finding]:
    """The entropy is below 0, which no distribution over tokens has: an artefact of padding.

    What: entropies below 0.
    Why it matters: it says nothing about the policy: masked places entered the sum with a filler.
    Evidence needed: the entropy.
    Traps: it is a fault of the metric, not of the run.
    Fix: leave the column out, or upgrade the library.
    Source: TRL's PPOTrainer up to 1.12 (INVALID_LOGPROB = 1.0 in padded places).
    Causes: none.
    """
    for name in ("policy/entropy",):
        x_N = s.values(name)
        if len(x_N) and float(np.mean(x_N < 0)) > 0.1:
            yield found(
                "info",
                "unusual",
                name,
                f"the entropy reads {np.median(x_N):.3g}: padding, not the policy",
                f"below 0 at {int((x_N < 0).sum())} of {len(x_N)} points",
                series=(name,),
                early=True,
            )

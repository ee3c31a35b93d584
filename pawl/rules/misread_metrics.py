"""Rules about figures that are easily misread: variance, best of n, levels of different things.

Codes D211, D216 and D218; they explain and accuse nobody. Left out: progress (`progress`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.run_features import STAGES, all_or_nothing, full_mark
from pawl.rules.signals import Signals
from pawl.rules.statistics import noise_of

BEST_OF = {2: 0.564, 4: 1.029, 6: 1.267, 8: 1.424, 16: 1.766}  # E[max of n], normal, in sd


@rule("D211", "reward-variance", "reward/mean", "reward/std|component_std/*", proof="real")
def reward_variance(s: Signals) -> Iterator[Finding]:
    """The rewards vary a lot: how much of that is what such a reward must have.

    What: the rewards' coefficient of variation is above 0.3.
    Why it matters: differences within groups are the signal, so low variance is no aim. A reward of
    0 or 1 with mean p has the coefficient sqrt((1 - p) / p): below 0.3 only from p = 0.92 on.
    Evidence needed: the spread over the batch, and the mean.
    Traps: the spread of single rewards is not the noise of the step's mean.
    Fix: none; more prompts a step lower the noise of the curve.
    Source: variance of a reward of 0 or 1 is p (1 - p).
    Causes: none.
    """
    names = s.family("component_std/")
    if not s.has("reward/std") and len(names) != 1:
        return
    spread = s.late("reward/std" if s.has("reward/std") else names[0]).value
    mean = s.late("reward/mean").value
    if full_mark(s) is None or mean <= 0 or spread / mean <= 0.3:
        return
    usual = all_or_nothing(mean)
    yield found(
        "info",
        "nothing",
        "reward/std",
        f"the rewards' spread is {spread / mean:.0%} of their mean, which is no fault",
        f"passes and failures alone would have {usual / mean:.0%} at this mean",
        f"noise of one step's mean: {noise_of(s.values('reward/mean')):.3g}",
        series=("reward/mean", "reward/std"),
        early=True,
    )


@rule("D216", "best-of-n-gap", "reward/best_of_n", "reward/mean", proof="real")
def best_of_n_gap(s: Signals) -> Iterator[Finding]:
    """The best of n lies above the mean: that is spread within groups, not ability.

    What: the best of a group rises, or stands far above the mean, while the mean does not rise.
    Why it matters: the expected best of n is the mean plus a multiple of the spread within groups
    (1.27 for 6, 1.42 for 8); a wider spread raises it without any gain.
    Evidence needed: mean and best of n; n for the implied spread.
    Traps: for passes and failures the best of n is the chance of one success, 1 - (1 - p)^n.
    Fix: report the implied spread, and compare means.
    Source: expected maximum of n normal variables.
    Causes: none.
    """
    best, mean = s.paired("reward/best_of_n", "reward/mean")
    if len(best) < 2 or s.trend("reward/mean").direction == "up":
        return
    size = s.option("rollout.group_size")
    factor = BEST_OF.get(int(size), math.sqrt(2.0 * math.log(max(size, 2.0)))) if size else None
    gap = best - mean
    yield found(
        "info",
        "nothing",
        "reward/best_of_n, reward/mean",
        f"the best of a group lies {gap[-1]:.3g} above the mean: spread within groups, not ability",
        f"gap at first {gap[0]:.3g}, at last {gap[-1]:.3g}"
        + (f"; implied spread {gap[0] / factor:.3g}, {gap[-1] / factor:.3g}" if factor else ""),
        "the mean does not rise",
        series=("reward/best_of_n", "reward/mean"),
        early=True,
    )


@rule("D218", "levels-do-not-compare", "reward/mean")
def levels_do_not_compare(s: Signals) -> Iterator[Finding]:
    """Something that sets the reward's level changed within the run.

    What: a fork, a stage, or a patch of reward, problems or temperature stands among the events.
    Why it matters: levels before and after measure different things; their difference is no gain
    and no loss.
    Evidence needed: events of the run.
    Traps: a patch of the learning rate leaves the level comparable.
    Fix: compare on a fixed set of held-out problems under one reward.
    Source: docs/run-folder.md, events.
    Causes: none.
    """
    words = ("reward.", "problems.", "temperature", "curriculum")
    hits = [
        e
        for e in s.log.events
        if e.kind in STAGES or (e.kind in ("command", "patch") and any(w in e.text for w in words))
    ]
    if hits:
        yield found(
            "info",
            "nothing",
            f"step {hits[0].step:g}",
            f"rewards before and after step {hits[0].step:g} do not compare: {hits[0].kind}",
            *(f"step {e.step:g}: {e.kind} {e.text[:80]}" for e in hits[1:4]),
            series=("reward/mean",),
            early=True,
        )

"""Rules about the machinery: stale engines, memory, time, scores that cannot be had.

Codes D910 to D915. Left out: what scores say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.doctor.prescribe import advice
from pawl.doctor.rule import found, rule
from pawl.doctor.signals import Signals
from pawl.doctor.statistics import fell, rank_correlation, robust_z
from pawl.types import Finding

OLD = 4.0  # optimiser steps
LEAK = 1e-4  # of the memory, per step: 1% in 100 steps


@rule("D910", "engine-stale", "policy/staleness")
def engine_stale(s: Signals) -> Iterator[Finding]:
    """Samples come from weights that are many updates old.

    What: the recent mean age is above 4 optimiser steps; a fault that counts when it grows with
    every step, as of an engine that gets no weights at all.
    Why it matters: ratios and clips then judge another policy than the one that wrote the text.
    Evidence needed: the age of the weights behind the samples.
    Traps: several updates a batch, and asynchronous sampling, have an age of 1 to 4 by design.
    Fix: check that the engine loads new weights after each update; fewer updates a batch.
    Source: off-policy limits of asynchronous training (AReaL, Fu et al. 2025).
    """
    x_N = s.values("policy/staleness")
    now = s.late("policy/staleness")
    if len(x_N) < 5 or now.value <= OLD:
        return
    place = np.arange(len(x_N), dtype=np.float64)
    grows = len(x_N) >= 10 and rank_correlation(place, x_N) > 0.99 and x_N[-1] >= 0.5 * len(x_N)
    yield found(
        "critical" if grows else "warning",
        "fault",
        "policy/staleness",
        f"samples are {now.value:.3g} updates old"
        + (" and get older with every step: the engine gets no weights" if grows else ""),
        f"{x_N[0]:.3g} at the first point, {x_N[-1]:.3g} at the last",
        causes=(("stale-weights", 0.9 if grows else 0.6, "old weights write the samples"),),
        fix=advice(
            "the sampler does not get the trained weights in time",
            "an age of at most the number of updates a batch",
            "sampler and trainer log-probs of one batch agree right after an update",
        ),
        series=("policy/staleness",),
        early=grows,
    )


@rule("D911", "memory-grows", "memory/resident_mb|memory/peak_mb")
def memory_grows(s: Signals) -> Iterator[Finding]:
    """Memory grows from step to step.

    What: resident (else peak) memory rises beyond noise by over 1% in 100 steps, in the second half
    too, while lengths do not grow as much.
    Why it matters: the run ends when the machine's memory does.
    Evidence needed: memory over 40 points.
    Traps: longer completions need more; allocators keep what was freed, so that the first steps
    rise in health; a peak can only grow.
    Fix: count live tensors at two steps; detach what is kept for metrics.
    Source: a leak is linear in steps.
    """
    name = "memory/resident_mb" if s.has("memory/resident_mb") else "memory/peak_mb"
    x_N, t = s.values(name), s.trend(name)
    if len(x_N) < 40 or t.direction != "up" or t.first <= 0:
        return
    half = x_N[len(x_N) // 2 :]
    slope = (half[-5:].mean() - half[:5].mean()) / max(len(half) - 5, 1)
    longer = s.trend("length/mean").last / max(s.trend("length/mean").first, 1e-9)
    if slope < LEAK * t.first or (s.has("length/mean") and longer > t.last / t.first):
        return
    yield found(
        "warning",
        "nothing",
        name,
        f"memory grows by {slope:.3g} MiB a step, from {t.first:.4g} to {t.last:.4g} MiB",
        f"at this rate it doubles in {t.last / slope:.0f} steps",
        fix=advice(
            "something is kept from step to step",
            "memory that wavers around a level",
            "a slope below 0.01% a step over 50 steps",
            cost="20 steps with a memory profile",
        ),
        series=(name, "length/mean"),
    )


@rule("D912", "steps-slow-down", "time/step_s")
def slower(s: Signals) -> Iterator[Finding]:
    """Steps take longer and longer, or some take many times as long.

    What: the step time rises by half beyond noise, and tokens do not; or several steps took over
    eight robust deviations and three times as long as those before.
    Why it matters: the run will take longer than planned; outliers are waits for a worker or score.
    Evidence needed: step times over 40 points.
    Traps: longer completions take longer; evaluation and checkpoints may be part of the time.
    Fix: compare the phases of slow steps (generation, scores, update).
    Source: StepOutlier-like rules of profilers.
    """
    x_N, t = s.values("time/step_s"), s.trend("time/step_s")
    if len(x_N) < 40:
        return
    work = "batch_tokens" if s.has("batch_tokens") else "length/mean"
    more = s.trend(work).last / max(s.trend(work).first, 1e-9) if s.has(work) else 1.0
    if t.direction == "up" and t.last > 1.5 * t.first and t.last / t.first > 1.2 * more:
        yield found(
            "warning",
            "nothing",
            "time/step_s",
            f"steps take {t.last:.3g} s, {t.first:.3g} s at the start",
            *((f"{work} grew by {more - 1:+.0%}",) if s.has(work) else ()),
            series=("time/step_s", work),
        )
    level = float(np.median(x_N))
    far = np.flatnonzero(x_N > 3.0 * level)
    far = far[robust_z(x_N)[far] > 8.0] if len(far) >= 2 else far
    if len(far) >= 2:
        yield found(
            "info",
            "nothing",
            "time/step_s",
            f"{len(far)} steps took over three times the usual {level:.3g} s, "
            f"the longest {x_N[far].max():.3g} s",
            series=("time/step_s",),
        )


@rule("D913", "scores-take-longest", "time/score_wait_s|time/score_s", "time/step_s")
def scores_take_longest(s: Signals) -> Iterator[Finding]:
    """Most of a step is waiting for scores.

    What: over half of the recent step time is scoring.
    Why it matters: sampling and training stand idle.
    Evidence needed: scoring time and step time.
    Traps: where scores are computed while samples are written only the waiting counts.
    Fix: more workers or requests at once; cache by prompt, text, rubric and model; never a default
    score in the place of a missing one.
    Source: arithmetic of phases.
    """
    name = "time/score_wait_s" if s.has("time/score_wait_s") else "time/score_s"
    part, whole = s.paired(name, "time/step_s")
    if len(part) >= 10 and whole[-20:].sum() > 0:
        share = float(part[-20:].sum() / whole[-20:].sum())
        if share > 0.5:
            yield found(
                "info",
                "nothing",
                f"{name}, time/step_s",
                f"{share:.0%} of the time of recent steps is waiting for scores",
                series=(name, "time/step_s"),
            )


@rule("D914", "scores-go-missing", "verifier/missing_frac|judge/missing_frac")
def go_missing(s: Signals) -> Iterator[Finding]:
    """Scores go missing, more than before.

    What: over 2% of the recent samples have no score and the share rises beyond noise or jumps;
    over 20% is critical by itself.
    Why it matters: which samples lose their score is no chance (long and slow ones do), and what is
    paid in their place is no reward.
    Evidence needed: the share of samples without a score.
    Traps: a burst that was over within a few steps is past; it is named, not judged.
    Fix: pause until scores can be had; try once more; leave the sample out, never score it 0.
    Source: failures that enter training as 0 (NeMo-Gym issue 2552).
    """
    name = "verifier/missing_frac" if s.has("verifier/missing_frac") else "judge/missing_frac"
    x_N = s.values(name)
    now = float(np.mean(x_N[-10:]))
    up = s.trend(name).direction == "up" or bool(s.change_points(name))
    if len(x_N) < 5 or (now <= 0.02 or not up) and now <= 0.2:
        return
    yield found(
        "critical" if now > 0.2 else "warning",
        "fault",
        name,
        f"{now:.1%} of the recent samples have no score",
        *((f"share: {s.trend(name).words}",) if len(x_N) >= 8 else ()),
        causes=(("judge-outage", 0.9, "sandbox, judge or reward fails"),),
        fix=advice(
            "scores cannot be had",
            "a missing share below 0.1%",
            "the same completions scored again give scores",
        ),
        series=(name, "reward/mean"),
        early=now > 0.2,
    )


@rule("D915", "limits-decide", "verifier/limit_frac", "reward/mean")
def limits_decide(s: Signals) -> Iterator[Finding]:
    """Many checks end at a limit of time, memory or output, and the reward fell when that began.

    What: the share cut off jumps up to over 5%, and the reward falls at the same place.
    Why it matters: a busy machine then decides what counts as right.
    Evidence needed: the share of checks that hit a limit, and the reward.
    Traps: slow answers are wrong where speed is asked for; a policy that learns loops raises the
    share by itself: score the same completions again on an idle machine.
    Fix: limit CPU time instead of wall time; fewer workers than cores.
    Source: share of checks against host load.
    """
    name = "verifier/limit_frac"
    for row in s.change_points(name):
        share, reward = s.around(name, row), s.around("reward/mean", row)
        if share is None or reward is None or share[1].value < 0.05:
            continue
        if fell(share[1], share[0], 4.0) and fell(*reward):
            yield found(
                "warning",
                "fault",
                f"{name}, step {s.log.step_N[row]:g}",
                f"checks cut off at a limit jump from {share[0].value:.1%} to {share[1].value:.1%} "
                f"and the reward falls from {reward[0].value:.3g} to {reward[1].value:.3g}",
                causes=(
                    ("judge-outage", 0.6, "the machine may decide what counts as right"),
                    ("error-as-reward", 0.4, "failures of the machine are paid as wrong answers"),
                ),
                series=(name, "reward/mean"),
            )
            return

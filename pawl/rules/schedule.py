"""Rules about the schedule of the learning rate: never warm, used up.

Codes D601 and D602. Left out: whether its level is right (`optim`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding, Prescription
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import trend

WARM = 0.9  # of the peak
COOL = 0.05  # of the peak
POINTS = 20


@rule("D601", "schedule-never-warm", "optim/lr", proof="real")
def never_warm(s: Signals) -> Iterator[Finding]:
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
    Causes: lr-too-low, schedule-never-warm.
    """
    x_N = s.values("optim/lr")
    target, planned = s.option("optim.lr"), s.option("train.steps")
    warmup = s.option("optim.warmup") or 0.0
    top, rises = float(x_N.max()), _rises(s)
    never = planned is not None and planned > 0 and warmup >= max(planned, 2.0)
    short = rises and len(x_N) >= 30 and target is not None and top < WARM * target
    if top <= 0.0 and len(x_N) >= 10 and not s.better:
        moved = [s.values(n) for n in ("optim/update_ratio", "optim/update_norm") if s.has(n)]
        still = bool(moved) and not any(x.any() for x in moved)
        yield found(
            "critical" if still else "warning",
            "fault",
            "optim/lr",
            f"the learning rate is 0 at all {len(x_N)} points",
            "the weights do not move" if still else "no size of an update is logged beside it",
            causes=(
                ("schedule-never-warm", 0.9, "the schedule gives 0"),
                ("lr-too-low", 0.6, "nothing is learned at a rate of 0"),
            ),
            series=("optim/lr", "optim/update_ratio"),
            early=still,
        )
    elif never or short:
        of = f", {top / target:.0%} of the {target:.3g} that was set" if target else ""
        yield found(
            "critical" if never and not s.better else "warning",
            "fault",
            "optim/lr",
            f"the learning rate reached {top:.3g}{of}"
            + (f": the warm-up of {warmup:g} steps outlasts the run" if never else ""),
            f"{x_N[0]:.3g} at the first point, {x_N[-1]:.3g} at the last of {len(x_N)}",
            causes=(
                ("schedule-never-warm", 0.9, "the peak is never reached"),
                ("lr-too-low", 0.4, "what was used is far below what was set"),
            ),
            fix=_shorter(s, planned),
            series=("optim/lr",),
        )
    elif rises and len(x_N) >= 30:
        yield found(
            "info",
            "nothing",
            "optim/lr",
            f"the learning rate still rises at the last point ({x_N[0]:.3g} to {x_N[-1]:.3g}): "
            "a flat curve may be its warm-up",
            series=("optim/lr",),
        )


def _rises(s: Signals) -> bool:
    """Whether the learning rate grows from the first point to the last."""
    x_N = s.values("optim/lr")
    if len(x_N) < 5 or not bool((np.diff(x_N) >= -1e-12).all()):
        return False
    return float(x_N[-1]) > 1.05 * float(x_N[len(x_N) // 2])


def _shorter(s: Signals, planned: float | None) -> Prescription | None:
    return prescribe.at(
        s,
        "optim.warmup",
        max(2.0, min(10.0, (planned or 100.0) // 10)),
        "down",
        why="the learning rate spends the run below its setting",
        expected="the peak is reached within a tenth of the run",
        risk="larger early updates",
        verify="optim/lr equals its setting by then",
    )


@rule("D602", "schedule-used-up", "optim/lr")
def used_up(s: Signals) -> Iterator[Finding]:
    """The learning rate has decayed to next to nothing; what is flat now is cooled, not at its end.

    What: the last 20 points or more ran below 5% of the peak, and the goal metric is flat in them.
    Why it matters: a plateau at a spent schedule says nothing about what the run could reach.
    Evidence needed: the learning rate and the goal metric.
    Traps: schedules that end near 0 are meant to: this is a note, no fault.
    Fix: none for a finished run; for more, a new cycle or a longer schedule.
    Source: linear and cosine decay.
    Causes: none.
    """
    lr, x_N = s.paired("optim/lr", s.goal) if s.goal else (np.zeros(0), np.zeros(0))
    if len(lr) < 2 * POINTS or lr.max() <= 0:
        return
    warm = np.flatnonzero(lr > COOL * lr.max())
    rest = x_N[warm[-1] + 1 :]
    if len(rest) < POINTS or trend(rest).significant:
        return
    yield found(
        "info",
        "nothing",
        f"optim/lr, {s.goal}",
        f"the learning rate ran below {COOL:.0%} of its peak for the last {len(rest)} points: "
        f"{s.goal} is flat because nothing moves it any more",
        series=("optim/lr", s.goal),
    )

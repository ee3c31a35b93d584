"""Rules about progress: slow, flat, or jumping where something happened.

Codes D212, D213 and D217. Left out: regressions (`reward_regression`),
figures misread (`misread_metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.run_features import boundaries, full_mark, high
from pawl.rules.signals import Signals, numbers
from pawl.rules.statistics import Floats, change_points, trend

HARMS = ("resume", "cut", "repaired", "rollback", "crash")
SEAM = 2  # rows between an event and what it may have caused


@rule("D212", "slow-convergence", "reward/mean", proof="real")
def slow_convergence(s: Signals) -> Iterator[Finding]:
    """The reward rises, but by less over the whole run than one point's noise.

    What: the rise is significant and smaller than the standard deviation of a single point.
    Why it matters: real, and slow: what is left of the run decides whether it pays.
    Evidence needed: 30 points.
    Traps: a noisy curve of few prompts a step hides a good pace; pace says nothing near the top.
    Fix: a fork at three times the learning rate, if the KL is small; more prompts a step.
    Source: two-sample test with effective sample size.
    Causes: none.
    """
    t = s.trend("reward/mean")
    if t.direction != "up" or t.difference >= t.noise or high(s):
        return
    pace = t.difference / (0.75 * t.n)
    total = s.option("train.steps")
    last = float(s.log.step_N[-1])
    rest = f"; {total - last:g} steps are left" if total and total > last else ""
    still = s.has("policy/kl_ref") and s.late("policy/kl_ref").value < 0.005
    yield found(
        "info",
        "nothing",
        "reward/mean",
        f"the reward rises slowly: {t.difference:+.3g} over {t.n} points",
        f"noise of one point {t.noise:.3g}; {pace:.2g} a point{rest}",
        fix=prescribe.scaled(
            s,
            "optim.lr",
            3.0,
            why="the rise is real and the policy has hardly moved",
            expected="two to three times the pace within 50 steps",
            risk="instability",
            verify="held-out reward above that of an unchanged fork",
        )
        if still
        else None,
        series=("reward/mean",),
    )


@rule("D213", "plateau", "reward/mean", proof="real")
def plateau(s: Signals) -> Iterator[Finding]:
    """The second half of the run is flat, and a change would have been seen.

    What: no trend over the second half, in which a change of a tenth of the reward's range would
    have been significant; the run's best is not full marks. After a rise it is a remark.
    Why it matters: more of the same steps is money for nothing.
    Evidence needed: 60 points.
    Traps: without power a flat curve says nothing; a learning rate near its end cools any run;
    training reward may be flat while held-out results rise.
    Fix: what the other findings name: a decayed rate, cut completions, groups that tie.
    Source: power of the two-sample test.
    Causes: none.
    """
    x_N = s.values("reward/mean")
    if len(x_N) < 60 or high(s):
        return
    t = trend(x_N[len(x_N) // 2 :])
    span = max(full_mark(s) or 0.0, float(np.ptp(x_N)))
    if (
        t.significant
        or t.detectable > 0.15 * span
        or any(
            s.has(n) and s.trend(n).direction == "up"
            for n in ("eval/pass_at_1", "eval/reward_mean")
        )
    ):
        return
    lr, why = s.values("optim/lr"), []
    if len(lr) and float(lr[-1]) < 0.1 * float(lr.max()):
        why.append("the learning rate is below a tenth of its peak: cooled, no plateau")
    share, _ = s.truncated()
    if len(share) and float(np.mean(share[-20:])) > 0.3:
        why.append("completions are cut at the limit")
    if s.has("group/zero_std_frac") and s.late("group/zero_std_frac").value > 0.6:
        why.append("most groups tie")
    yield found(
        "info" if s.better or (why and "cooled" in why[0]) else "warning",
        "nothing",
        f"reward/mean, second half ({t.n} points)",
        f"the reward rests at {t.last:.3g}: over the second half nothing moves",
        f"a change of {t.detectable:.3g} would have been seen",
        *(why or ["no other signal says why"]),
        series=("reward/mean", "optim/lr"),
    )


@rule("D217", "jump-at-event", "reward/mean")
def jump_at_event(s: Signals) -> Iterator[Finding]:
    """The reward jumps where something happened: a resume, a rollback, a new stage.

    What: a change point of the reward lies within two rows of an event, and its step is over four
    robust deviations of what five rows usually bring.
    Why it matters: a jump at a resume is a state that was not restored; one at a stage is another
    set of problems. Neither is learning.
    Evidence needed: events of the run, 30 points of the reward.
    Traps: a steep rise has change points too, without jumps; checkpoints change nothing, so they
    are not looked at.
    Fix: after a resume compare weights, optimiser state, data order and sampler; compare levels
    within a stage only.
    Source: coincidence of change points with events; docs/run-folder.md.
    Causes: data-order, optimiser-detached.
    """
    series = s.series("reward/mean")
    known = numbers(series.value_N)
    x_N, rows = series.value_N[known], series.row_N[known]
    if len(x_N) < 30:
        return
    places = dict.fromkeys(boundaries(s), "new stage")
    for e in s.log.events:
        if e.kind in HARMS:
            places.setdefault(int(np.searchsorted(s.log.step_N, e.step, "right")), e.kind)
    points = [int(rows[p]) for p in change_points(x_N)]
    for row, kind in sorted(places.items()):
        if not any(abs(row - point) <= SEAM for point in points):
            continue
        before, after, jumps = _jump(x_N, int(np.searchsorted(rows, row)))
        if not jumps:
            continue
        stage = kind == "new stage"
        yield found(
            "info" if stage else "warning",
            "unusual" if stage else "fault",
            f"reward/mean, step {s.log.step_N[min(row, len(s.log.step_N) - 1)]:g}",
            f"the reward jumps from {before:.3g} to {after:.3g} at a {kind}",
            "means of the five points on either side; within two rows of the event",
            causes=()
            if stage
            else (
                ("optimiser-detached", 0.5, "a state that was not restored"),
                ("data-order", 0.4, "the problems may repeat or be skipped"),
            ),
            series=("reward/mean",),
        )


def _jump(x_N: Floats, place: int) -> tuple[float, float, bool]:
    """Means of five points before and after a place, and whether their step stands out."""
    sums = np.convolve(x_N, np.ones(5) / 5.0, "valid")
    steps = sums[5:] - sums[:-5]  # at i: the five from i + 5 on, less the five before
    usual = float(np.median(steps))
    spread = 1.4826 * float(np.median(np.abs(steps - usual)))
    near = range(max(5, place - SEAM), min(len(x_N) - 5, place + SEAM) + 1)
    best = max(near, key=lambda i: abs(steps[i - 5] - usual), default=0)
    if not best:
        return 0.0, 0.0, False
    before, after = float(x_N[best - 5 : best].mean()), float(x_N[best : best + 5].mean())
    return before, after, abs(after - before - usual) > 4.0 * max(spread, 1e-12)

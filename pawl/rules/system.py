"""Rules about the machine and the course of a run: restarts, memory, step times, limits.

Codes D908 to D913, and D920. Left out: the log as a file (`log`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import happened
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, robust_z

RESTARTS = ("resume", "restart", "rollback", "cut", "repaired", "fork")
WATCHED = (
    "reward/mean",
    "preference/accuracy",
    "loss/total",
    "policy/kl_ref",
    "policy/entropy",
    "optim/grad_norm",
    "optim/lr",
    "length/mean",
    "length/truncated_frac",
)
SIDE = 15  # points on either side that a jump is judged by
AWAY_S = 2.0  # without an answer; a failed attempt and the pause after it are shorter
SURE = 6.0  # standard errors; neighbours are alike, so that five happen by chance


def _jumps(s: Signals, name: str, row: int) -> tuple[float, float] | None:
    """Levels just before and after a jump of a metric within two points of a row.

    A jump is a step between two lines of one slope, over six of its standard errors and half of
    the series' own spread: a slow change alone never is one.
    """
    x_N, at = s.values(name), int(np.searchsorted(s.rows(name), row))
    best = (SURE, 0.0, 0.0)
    for place in range(at - 1, at + 3):
        y_N = x_N[max(0, place - SIDE) : place + SIDE]
        left = min(place, SIDE)
        if left < 6 or len(y_N) - left < 6:
            continue
        after = (np.arange(len(y_N)) >= left).astype(np.float64)
        a_NK = np.stack([np.ones(len(y_N)), np.arange(len(y_N)) - left, after], axis=1)
        fit = np.linalg.lstsq(a_NK, y_N, rcond=None)[0]
        rest = y_N - a_NK @ fit
        var = float(rest @ rest) / (len(y_N) - 3) * np.linalg.inv(a_NK.T @ a_NK)[2, 2]
        step = abs(float(fit[2]))
        if step > best[0] * np.sqrt(var) and step > 0.5 * float(np.std(x_N)) > 0.0:
            best = (step / max(np.sqrt(var), 1e-300), float(fit[0]), float(fit[0] + fit[2]))
    return best[1:] if best[0] > SURE else None


@rule("D908", "resume-jump", "events")
def resume_jump(s: Signals) -> Findings:
    """Metrics jump where the run was resumed or rolled back.

    What: a training metric steps within two points of a restart, by over six standard errors and
    beside its slope there.
    Why it matters: a resumed run should go on as if nothing had happened: a jump means that
    something was not restored.
    Evidence needed: restarts with their steps, and metrics around them.
    Traps: a restart after a change of options jumps by design. A jump of the reward alone is
    another matter (D217).
    Fix: restore all of weights, optimiser, schedule, random states, place in the data, and the
    sampler's weights.
    Source: an exactly resumed run continues bit for bit.
    Causes: data-order (data may have begun anew), optimiser-detached (optimiser or schedule were
    not restored), schedule-never-warm (the schedule began anew), stale-weights (the sampler may
    hold other weights).
    """
    restarts = {(row, f"{e.kind} at step {e.step:g}") for row, e in happened(s, RESTARTS)}
    for row, text in sorted(restarts)[:50]:
        both = {name: jump for name in WATCHED if (jump := _jumps(s, name, row)) is not None}
        if not set(both) - {s.goal}:
            continue
        before, after = both.get(s.goal, (0.0, 0.0))
        lost = s.goal != "loss/total" and after < before
        yield found(
            "critical fault" if len(both) >= 2 and lost and not s.better else "warning fault",
            f"{len(both)} metric{'s' if len(both) > 1 else ''} jump at the {text}",
            *(f"{name}: {a:.3g} before, {b:.3g} after" for name, (a, b) in both.items()),
            causes={"optimiser-detached": 0.6, "stale-weights": 0.4, "data-order": 0.3}
            | ({"schedule-never-warm": 0.3} if "optim/lr" in both else {}),
            fix="resume from a checkpoint and compare the next step with that of the first run",
            series=both,
        )


@rule("D909", "memory-grows", "memory/resident_mb|memory/peak_mb", points=60)
def memory_grows(s: Signals) -> Findings:
    """Memory grows from step to step.

    What: resident (else peak) memory rises beyond noise by over 1% in 100 steps, in the second half
    too, while lengths do not grow as much.
    Why it matters: the run ends when the machine's memory does.
    Evidence needed: memory over 60 points.
    Traps: longer completions need more; allocators keep what was freed, so that it rises over the
    first steps of healthy runs; a peak can only grow.
    Fix: count live tensors at two steps; detach what is kept for metrics.
    Source: a leak is linear in steps.
    Causes: none.
    """
    name = s.first("memory/resident_mb|memory/peak_mb")
    t, longer = s.trend(name), s.trend("length/mean")
    half = s.values(name)[len(s.values(name)) // 2 :]
    slope = float(half[-5:].mean() - half[:5].mean()) / (len(half) - 5)
    if t.direction != "up" or t.first <= 0 or slope < 1e-4 * t.first:
        return
    if longer.last / max(longer.first, 1e-9) > t.last / t.first:
        return
    yield found(
        "warning nothing",
        f"memory grows by {slope:.3g} MiB a step, from {t.first:.4g} to {t.last:.4g} MiB",
        f"at this rate it doubles in {t.last / slope:.0f} steps",
        fix="a slope below 0.01% a step over 50 steps",
        series=(name, "length/mean"),
    )


@rule("D910", "steps-slow-down", "time/step_s", points=40)
def slower(s: Signals) -> Findings:
    """Steps take longer and longer, or some take many times as long.

    What: the step time rises by half beyond noise, and tokens do not; or several steps took over
    eight robust deviations and three times as long as those before.
    Why it matters: the run will take longer than planned; outliers are waits for a worker or score.
    Evidence needed: step times over 40 points.
    Traps: longer completions take longer; evaluation and checkpoints may be part of the time.
    Fix: compare the phases of slow steps (generation, scores, update).
    Source: StepOutlier-like rules of profilers.
    Causes: none.
    """
    x_N, t = s.values("time/step_s"), s.trend("time/step_s")
    work = s.first("batch_tokens|length/mean")
    more = s.trend(work).last / max(s.trend(work).first, 1e-9) if work else 1.0
    if t.direction == "up" and t.last > 1.5 * t.first and t.last / t.first > 1.2 * more:
        yield found(
            "warning nothing",
            f"steps take {t.last:.3g} s, {t.first:.3g} s at the start",
            *((f"{work} grew by {more - 1:+.0%}",) if work else ()),
            series=("time/step_s", work),
        )
    level = float(np.median(x_N))
    far = np.flatnonzero(x_N > 3.0 * level)
    far = far[robust_z(x_N)[far] > 8.0] if len(far) >= 2 else far
    if len(far) >= 2:
        yield found(
            "info nothing",
            f"{len(far)} steps took over three times the usual {level:.3g} s, "
            f"the longest {x_N[far].max():.3g} s",
        )


@rule("D911", "scores-take-longest", "time/score_wait_s", "time/step_s")
def scores_take_longest(s: Signals) -> Findings:
    """Most of a step is waiting for scores.

    What: over half of the recent step time is scoring.
    Why it matters: sampling and training stand idle.
    Evidence needed: scoring time and step time.
    Traps: where scores are computed while samples are written only the waiting counts.
    Fix: more workers or requests at once; cache by prompt, text, rubric and model; never a default
    score in the place of a missing one.
    Source: arithmetic of phases.
    Causes: none.
    """
    wait_N, step_N = (x_N[-20:] for x_N in s.paired("time/score_wait_s", "time/step_s"))
    if len(wait_N) >= 10 and wait_N.sum() > 0.5 * step_N.sum() > 0:
        share = wait_N.sum() / step_N.sum()
        yield found(
            "info nothing", f"{share:.0%} of the time of recent steps is waiting for scores"
        )


@rule("D913", "limits-decide", "verifier/limit_frac", "reward/mean")
def limits_decide(s: Signals) -> Findings:
    """Many checks end at a limit of time, memory or output, and the reward fell when that began.

    What: the share cut off jumps up to over 5%, and the reward falls at the same place.
    Why it matters: a busy machine then decides what counts as right.
    Evidence needed: the share of checks that hit a limit, and the reward.
    Traps: slow answers are wrong where speed is asked for; a policy that learns loops raises the
    share by itself: score the same completions again on an idle machine.
    Fix: limit CPU time instead of wall time; fewer workers than cores.
    Source: share of checks against host load.
    Causes: error-as-reward (failures of the machine are scored as wrong answers), judge-outage (the
    machine may decide what counts as right).
    """
    name = "verifier/limit_frac"
    for row in s.change_points(name):
        share, reward = s.around(name, row), s.around("reward/mean", row)
        if share is None or reward is None or share[1].value < 0.05:
            continue
        if fell(share[1], share[0], 4.0) and fell(*reward):
            yield found(
                "warning fault",
                f"checks cut off at a limit jump from {share[0].value:.1%} to {share[1].value:.1%} "
                f"and the reward falls from {reward[0].value:.3g} to {reward[1].value:.3g}",
                causes={"judge-outage": 0.6, "error-as-reward": 0.4},
                series=(name, "reward/mean"),
                at=f"step {s.log.step_N[row]:g}",
            )
            return


@rule("D920", "judge-away", "judge/outage_s|judge/unavailable_frac")
def judge_away(s: Signals) -> Findings:
    """The judge did not answer for a while.

    What: for over 2 s attempts at the judge failed and none was answered, or samples stayed without
    a verdict because it was overloaded, silent or gone, or the run was stopped for it.
    Why it matters: where all were graded in the end nothing but time was lost. What stays missing
    leaves training, and the reward of these steps is that of a selection.
    Evidence needed: judge/outage_s, or judge/unavailable_frac.
    Traps: refusals and cut prompts are no outage: D113 tells them apart.
    Fix: compare the steps with the provider's log; lower judge.in_flight where it is overloaded;
    resume a run that was stopped.
    Source: an injected outage of a server on loopback, against the same run without one.
    Causes: judge-outage (the judge was overloaded, silent or gone).
    """
    silent, lost = "judge/outage_s", "judge/unavailable_frac"
    there = [(n, zip(s.steps(n), s.values(n), strict=True)) for n in (silent, lost)]
    hit = {
        n: {t: x for t, x in pairs if x > (AWAY_S if n == silent else 0.0)} for n, pairs in there
    }
    steps = sorted({*hit[silent], *hit[lost]})
    stops = [e for e in s.log.events if e.kind == "stopped" and "the judge at" in e.text]
    if not steps and not stops:
        return
    evidence = [f"stopped after step {e.step:g}: {e.text}" for e in stops]
    evidence += [f"up to {max(hit[silent].values()):.3g} s"] if hit[silent] else []
    then = np.isin(s.steps("reward/mean"), steps)
    if then.any() and not then.all():
        reward_N = s.values("reward/mean")
        here, other = float(reward_N[then].mean()), float(reward_N[~then].mean())
        evidence.append(f"reward {here:.3g} in these steps, {other:.3g} in the others")
    worst = max(hit[lost].values(), default=0.0)
    after = f"up to {worst:.0%} of a step stay ungraded" if worst else "all samples were graded"
    where = f"in {len(steps)} steps, {steps[0]:g} to {steps[-1]:g}: {after}" if steps else "at last"
    yield found(
        "warning nothing" if worst or stops else "info nothing",
        f"the judge did not answer {where}",
        *evidence,
        causes={"judge-outage": 0.9},
        series=(silent, lost, "reward/mean"),
        at=f"step {steps[0]:g}" if steps else "events",
    )

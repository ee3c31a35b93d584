"""Rules about where the reward goes: rises, plateaus, regressions, and figures easily misread.

Codes D211 to D219. Left out: its level (`reward`), its distribution (`reward_distribution`).
"""

from __future__ import annotations

import math
import re

import numpy as np

from pawl.rules import prescribe
from pawl.rules import run_features as run
from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, noise_of, rank_correlation, trend

EQUAL = "group/zero_std_frac"
HARMS = ("resume", "cut", "repaired", "rollback", "crash")
SEAM = 2  # rows between an event and what it may have caused


@rule("D212", "slow-convergence", "reward/mean", proof="real")
def slow_convergence(s: Signals) -> Findings:
    """The reward rises, but by less over the whole run than one point's noise.

    What: the rise is significant and smaller than the standard deviation of a single point.
    Why it matters: real, and slow: what is left of the run decides whether it is worth it.
    Evidence needed: 30 points.
    Traps: a noisy curve of few prompts a step hides a good pace; pace says nothing near the top.
    Fix: a fork at three times the learning rate, if the KL is small; more prompts a step.
    Source: two-sample test with effective sample size.
    Causes: none.
    """
    t = s.trend("reward/mean")
    if t.direction != "up" or t.difference >= t.noise or run.high(s):
        return
    pace = t.difference / (0.75 * t.n)
    left = (s.option("train.steps") or 0.0) - float(s.log.step_N[-1])
    rest = f"; {left:g} steps are left" if left > 0 else ""
    still = s.has("policy/kl_ref") and s.late("policy/kl_ref").value < 0.005
    yield found(
        "info nothing",
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
    )


@rule("D213", "plateau", "reward/mean", points=60, proof="real")
def plateau(s: Signals) -> Findings:
    """The second half of the run is flat, and a change would have been seen.

    What: no trend over the second half, in which a change of a tenth of the reward's range would
    have been significant; the run's best is not the full score. After a rise it is a note.
    Why it matters: more of the same steps cost compute for nothing.
    Evidence needed: 60 points.
    Traps: without power a flat curve says nothing; a learning rate near its end cools any run;
    training reward may be flat while held-out results rise.
    Fix: what the other findings name: a decayed rate, cut completions, zero-variance groups.
    Source: power of the two-sample test.
    Causes: none.
    """
    x_N = s.values("reward/mean")
    t = trend(x_N[len(x_N) // 2 :])
    span = max(run.full_mark(s) or 0.0, float(np.ptp(x_N)))
    held = any(s.trend(f"eval/{name}").direction == "up" for name in ("pass_at_1", "reward_mean"))
    if run.high(s) or held or t.significant or t.detectable > 0.15 * span:
        return
    lr_N, (cut_N, _) = s.values("optim/lr"), s.truncated()
    cooled = len(lr_N) > 0 and float(lr_N[-1]) < 0.1 * float(lr_N.max())
    signs = {
        "the learning rate is below a tenth of its peak: cooled, no plateau": cooled,
        "completions are cut at the limit": len(cut_N) and float(np.mean(cut_N[-20:])) > 0.3,
        "most groups have equal rewards": s.has(EQUAL) and s.late(EQUAL).value > 0.6,
    }
    yield found(
        "info nothing" if s.better or cooled else "warning nothing",
        f"the reward rests at {t.last:.3g}: over the second half nothing moves",
        f"a change of {t.detectable:.3g} would have been seen",
        *([sign for sign, there in signs.items() if there] or ["no other signal says why"]),
        series=("reward/mean", "optim/lr"),
        at=f"second half ({t.n} points)",
    )


@rule("D217", "jump-at-event", "reward/mean", points=30)
def jump_at_event(s: Signals) -> Findings:
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
    Causes: data-order (the problems may repeat or be skipped), optimiser-detached (a state that was
    not restored).
    """
    x_N, rows = s.values("reward/mean"), s.rows("reward/mean")
    places = dict.fromkeys(run.boundaries(s), "new stage")
    for row, event in run.happened(s, HARMS):
        places.setdefault(row, event.kind)
    for row, kind in sorted(places.items()):
        near = any(abs(row - point) <= SEAM for point in s.change_points("reward/mean"))
        jump = _jump(x_N, int(np.searchsorted(rows, row))) if near else None
        if jump is None:
            continue
        stage = kind == "new stage"
        yield found(
            "info unusual" if stage else "warning fault",
            f"the reward jumps from {jump[0]:.3g} to {jump[1]:.3g} at a {kind}",
            "means of the five points on either side; within two rows of the event",
            causes={} if stage else {"optimiser-detached": 0.5, "data-order": 0.4},
            at=f"step {s.log.step_N[row]:g}",
        )


def _jump(x_N: Floats, place: int) -> tuple[float, float] | None:
    """Means of five points before and after a place, None where their step does not stand out."""
    sums = np.convolve(x_N, np.ones(5) / 5.0, "valid")
    steps = sums[5:] - sums[:-5]  # at i: the five from i + 5 on, less the five before
    usual = float(np.median(steps))
    spread = 1.4826 * float(np.median(np.abs(steps - usual)))
    near = range(max(5, place - SEAM), min(len(x_N) - 5, place + SEAM) + 1)
    best = max(near, key=lambda i: abs(steps[i - 5] - usual), default=0)
    if not best:
        return None
    before, after = float(x_N[best - 5 : best].mean()), float(x_N[best : best + 5].mean())
    return (before, after) if abs(after - before - usual) > 4.0 * max(spread, 1e-12) else None


@rule("D205", "reward-falls", "reward/mean", proof="real")
def reward_regression(s: Signals) -> Findings:
    """The reward falls, by more than its noise.

    What: the last quarter lies below the first, significantly, confirmed over block means.
    Why it matters: the policy gets worse at what it is rewarded for.
    Evidence needed: 30 points.
    Traps: another mix of problems, a new stage or a new reward definition shifts the level without
    any change of the policy; batches of few prompts differ by chance.
    Fix: go back to the best checkpoint and find what changed there.
    Source: two-sample test with effective sample size.
    Causes: lr-too-high (updates that are too large end so), regression-after-peak (significantly
    below its start).
    """
    t, whole = run.within_stages(s, "reward/mean"), s.trend("reward/mean")
    if whole.direction == "down" and t.direction != "down":
        yield found(
            "info unusual",
            f"the reward falls from {whole.first:.3g} to {whole.last:.3g} where another stage "
            "begins, not within a stage",
            f"stages begin at rows {', '.join(map(str, run.boundaries(s)))}",
        )
    elif t.direction == "down" and whole.direction != "up":
        yield found(
            "critical fault",
            f"the reward falls from {t.first:.3g} to {t.last:.3g}",
            f"change {t.difference:+.3g}, 95% interval {t.low:+.3g} to {t.high:+.3g}, p {t.p:.2g}",
            causes={"regression-after-peak": 0.6, "lr-too-high": 0.3},
        )


@rule("D215", "held-out-regression", "eval/pass_at_1|eval/reward_mean")
def held_out_regression(s: Signals) -> Findings:
    """The held-out result fell below its best, twice in a row, by more than its error.

    What: both last evaluations lie more than 3 standard errors below the best one.
    Why it matters: the best weights lie behind, whatever the training reward does.
    Evidence needed: four evaluations, with their standard errors or the number of problems.
    Traps: the best of many is lucky; evaluations of other problems or temperatures do not compare.
    Fix: go back to the best checkpoint; change one thing.
    Source: paired comparison of evaluations; Gao et al. 2022.
    Causes: regression-after-peak (twice below the best by more than its error), reward-bug
    (training rewards something else).
    """
    name = s.first("eval/pass_at_1|eval/reward_mean")
    x_N, n_N = s.values(name), s.paired(name, "eval/problems")[1]
    if len(n_N) == len(x_N):  # only evaluations over equally many problems compare
        x_N, n_N = x_N[n_N == n_N[-1]], n_N[n_N == n_N[-1]]
    if len(x_N) < 4:
        return
    best, errors, se = float(x_N[:-1].max()), s.values("eval/pass_at_1_se"), noise_of(x_N)
    if name == "eval/pass_at_1" and len(errors):
        se = float(errors[-1])
    elif name == "eval/pass_at_1" and len(n_N):
        se = run.all_or_nothing(best) / math.sqrt(max(n_N[-1], 1.0))
    if not se > 0 or best - max(x_N[-2:]) <= 3.0 * math.sqrt(2.0) * se:
        return
    yield found(
        "critical fault",
        f"the held-out result fell from {best:.3g} to {x_N[-1]:.3g}",
        f"the last two evaluations: {x_N[-2]:.3g}, {x_N[-1]:.3g}; standard error {se:.2g}",
        causes={"regression-after-peak": 0.9, "reward-bug": 0.3},
        series=(name, "reward/mean"),
    )


@rule("D219", "peak-passed", "reward/mean")
def peak_passed(s: Signals) -> Findings:
    """The reward rose, passed its best, and fell back by more than its noise.

    What: after the best window the reward falls significantly (p below 0.001, confirmed over block
    means), by half or more of what it had gained.
    Why it matters: the best weights lie behind; every further step costs compute and loses.
    Evidence needed: 40 points, a third of them after the peak, within one stage of problems.
    Traps: the best of many windows is high by chance, so a small fall proves nothing; a new stage
    or harder problems lower the level without any harm.
    Fix: go back to the checkpoint at the peak and change one thing, the learning rate first.
    Source: Gao et al. 2022 (gold reward peaks while training goes on).
    Causes: completion-cap (completions run into the limit again), lr-too-high (updates that are too
    large end so), regression-after-peak (training went on past the best).
    """
    x_N = max(run.pieces(s, "reward/mean"), key=len)
    if len(x_N) < 40 or run.within_stages(s, "reward/mean").direction == "down":
        return
    best, place = run.best_window(x_N, max(10, len(x_N) // 10))
    after = x_N[place:]
    if len(after) < len(x_N) // 3:
        return
    t = trend(after)
    gained = best.value - float(x_N[: max(5, len(x_N) // 10)].mean())
    if t.direction != "down" or t.p > 0.001 or -t.difference < 0.5 * max(gained, 1e-9):
        return
    longer = _runs_into_the_limit(s)
    yield found(
        "critical fault",
        f"the reward passed its best, {best.value:.3g}, and fell to {t.last:.3g}",
        f"after the peak: change {t.difference:+.3g}, p {t.p:.2g}",
        *([longer] if longer else []),
        causes={"regression-after-peak": 0.8}
        | ({"completion-cap": 0.4} if longer else {})
        | {"lr-too-high": 0.3},
        fix=prescribe.slower(
            s,
            "from the peak on updates did harm",
            "from the checkpoint at the peak, no fall within 50 steps",
            verify="held-out score not below that of the checkpoint at the peak",
        ),
        at=f"around point {place} of {len(x_N)}",
    )


def _runs_into_the_limit(s: Signals) -> str:
    """Whether rewards are low where completions are long, and they end at the limit; "" if not."""
    share_N, how = s.truncated()
    rho = rank_correlation(*s.paired("length/mean", "reward/mean"))
    if not how or rho > -0.4 or float(np.mean(share_N[-20:])) < 0.3:
        return ""
    return f"completions run into the limit again (rank correlation with the reward {rho:+.2f})"


BEST_OF = {2: 0.564, 4: 1.029, 6: 1.267, 8: 1.424, 16: 1.766}  # E[max of n], normal, in sd


@rule("D211", "reward-variance", "reward/mean", "reward/std|component_std/*", proof="real")
def reward_variance(s: Signals) -> Findings:
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
    name, mean = run.spread_of_batch(s), s.late("reward/mean").value
    spread = s.late(name).value if name else 0.0
    if run.full_mark(s) is None or mean <= 0 or spread / mean <= 0.3:
        return
    usual = run.all_or_nothing(mean)
    yield found(
        "info nothing",
        f"the rewards' spread is {spread / mean:.0%} of their mean, which is no fault",
        f"passes and failures alone would have {usual / mean:.0%} at this mean",
        f"noise of one step's mean: {noise_of(s.values('reward/mean')):.3g}",
        series=("reward/mean", "reward/std"),
    )


@rule("D216", "best-of-n-gap", "reward/best_of_n", "reward/mean", proof="real")
def best_of_n_gap(s: Signals) -> Findings:
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
        "info nothing",
        f"the best of a group lies {gap[-1]:.3g} above the mean: spread within groups, not ability",
        f"gap at first {gap[0]:.3g}, at last {gap[-1]:.3g}"
        + (f"; implied spread {gap[0] / factor:.3g}, {gap[-1] / factor:.3g}" if factor else ""),
        "the mean does not rise",
    )


@rule("D218", "levels-do-not-compare", "reward/mean")
def levels_do_not_compare(s: Signals) -> Findings:
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
    levels = re.compile(r"reward\.|problems\.|temperature|curriculum")
    changes = [e for e in s.log.events if e.kind in ("command", "patch") and levels.search(e.text)]
    hits = [e for e in s.log.events if e.kind in run.STAGES or e in changes]
    if hits:
        yield found(
            "info nothing",
            f"rewards before and after step {hits[0].step:g} do not compare: {hits[0].kind}",
            *(f"step {e.step:g}: {e.kind} {e.text[:80]}" for e in hits[1:4]),
            at=f"step {hits[0].step:g}",
        )

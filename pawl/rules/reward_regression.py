"""Rules about what was won and lost again: falls of the reward, peaks passed, held-out regression.

Codes D205, D215 and D219. Left out: lost exploration (`reward`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.run_features import all_or_nothing, best_window, boundaries, pieces, within_stages
from pawl.rules.signals import Signals
from pawl.rules.statistics import noise_of, rank_correlation, trend


@rule("D205", "reward-falls", "reward/mean", proof="real")
def reward_regression(s: Signals) -> Iterator[Finding]:
    """The reward falls, by more than its noise.

    What: the last quarter lies below the first, significantly, confirmed over block means.
    Why it matters: the policy gets worse at what it is paid for.
    Evidence needed: 30 points.
    Traps: another mix of problems, a new stage or a new reward definition shifts the level without
    any change of the policy; batches of few prompts differ by chance.
    Fix: go back to the best checkpoint and find what changed there.
    Source: two-sample test with effective sample size.
    Causes: lr-too-high, regression-after-peak.
    """
    t = within_stages(s, "reward/mean")
    whole = s.trend("reward/mean")
    if whole.direction == "down" and t.direction != "down":
        yield found(
            "info",
            "unusual",
            "reward/mean",
            f"the reward falls from {whole.first:.3g} to {whole.last:.3g} where another stage "
            "begins, not within a stage",
            f"stages begin at rows {', '.join(map(str, boundaries(s)))}",
            series=("reward/mean",),
        )
    elif t.direction == "down" and whole.direction != "up":
        yield found(
            "critical",
            "fault",
            "reward/mean",
            f"the reward falls from {t.first:.3g} to {t.last:.3g}",
            f"change {t.difference:+.3g}, 95% interval {t.low:+.3g} to {t.high:+.3g}, p {t.p:.2g}",
            causes=(
                ("regression-after-peak", 0.6, "significantly below its start"),
                ("lr-too-high", 0.3, "updates that are too large end so"),
            ),
            series=("reward/mean",),
        )


@rule("D215", "held-out-regression", "eval/pass_at_1|eval/reward_mean")
def held_out_regression(s: Signals) -> Iterator[Finding]:
    """The held-out result fell below its best, twice in a row, by more than its error.

    What: both last evaluations lie more than 3 standard errors below the best one.
    Why it matters: the best weights lie behind, whatever the training reward does.
    Evidence needed: four evaluations, with their standard errors or the number of problems.
    Traps: the best of many is lucky; evaluations of other problems or temperatures do not compare.
    Fix: go back to the best checkpoint; change one thing.
    Source: paired comparison of evaluations; Gao et al. 2022.
    Causes: regression-after-peak, reward-bug.
    """
    name = "eval/pass_at_1" if s.has("eval/pass_at_1") else "eval/reward_mean"
    x_N, problems = s.values(name), s.paired(name, "eval/problems")[1]
    if len(problems) == len(x_N):  # only evaluations over equally many problems compare
        x_N, problems = x_N[problems == problems[-1]], problems[problems == problems[-1]]
    if len(x_N) < 4:
        return
    best = float(x_N[:-1].max())
    errors = s.values("eval/pass_at_1_se")
    if name == "eval/pass_at_1" and (len(errors) or len(problems)):
        se = (
            float(errors[-1])
            if len(errors)
            else all_or_nothing(best) / math.sqrt(max(problems[-1], 1.0))
        )
    else:
        se = noise_of(x_N)
    lost = best - max(float(x_N[-1]), float(x_N[-2]))
    if not se > 0 or lost <= 3.0 * math.sqrt(2.0) * se:
        return
    yield found(
        "critical",
        "fault",
        name,
        f"the held-out result fell from {best:.3g} to {x_N[-1]:.3g}",
        f"the last two evaluations: {x_N[-2]:.3g}, {x_N[-1]:.3g}; standard error {se:.2g}",
        causes=(
            ("regression-after-peak", 0.9, "twice below the best by more than its error"),
            ("reward-bug", 0.3, "training is paid for something else"),
        ),
        series=(name, "reward/mean"),
    )


@rule("D219", "peak-passed", "reward/mean")
def peak_passed(s: Signals) -> Iterator[Finding]:
    """The reward rose, passed its best, and fell back by more than its noise.

    What: after the best window the reward falls significantly (p below 0.001, confirmed over block
    means), by half or more of what it had gained.
    Why it matters: the best weights lie behind; every further step is paid for and loses.
    Evidence needed: 40 points, a third of them after the peak, within one stage of problems.
    Traps: the best of many windows is high by chance, so a small fall proves nothing; a new stage
    or harder problems lower the level without any harm.
    Fix: go back to the checkpoint at the peak and change one thing.
    Source: Gao et al. 2022 (gold reward peaks while training goes on).
    Causes: completion-cap, lr-too-high, regression-after-peak.
    """
    x_N = max(pieces(s, "reward/mean"), key=len)
    if len(x_N) < 40 or within_stages(s, "reward/mean").direction == "down":
        return
    best, place = best_window(x_N, max(10, len(x_N) // 10))
    after = x_N[place:]
    if len(after) < len(x_N) // 3:
        return
    t = trend(after)
    gained = best.value - float(x_N[: max(5, len(x_N) // 10)].mean())
    if t.direction != "down" or t.p > 0.001 or -t.difference < 0.5 * max(gained, 1e-9):
        return
    longer = _runs_into_the_limit(s)
    yield found(
        "critical",
        "fault",
        f"reward/mean, around point {place} of {len(x_N)}",
        f"the reward passed its best, {best.value:.3g}, and fell to {t.last:.3g}",
        f"after the peak: change {t.difference:+.3g}, p {t.p:.2g}",
        *([longer] if longer else []),
        causes=(
            ("regression-after-peak", 0.8, "the best was passed"),
            *([("completion-cap", 0.4, longer)] if longer else []),
            ("lr-too-high", 0.3, "updates that are too large end so"),
        ),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            1 / 3,
            why="from the peak on updates did harm",
            expected="from the checkpoint at the peak, no fall within 50 steps",
            risk="slower learning",
            verify="held-out score not below that of the checkpoint at the peak",
        ),
        series=("reward/mean",),
    )


def _runs_into_the_limit(s: Signals) -> str:
    """Whether rewards are low where completions are long, and they end at the limit; "" if not."""
    share_N, how = s.truncated()
    rho = rank_correlation(*s.paired("length/mean", "reward/mean"))
    if not how or rho > -0.4 or float(np.mean(share_N[-20:])) < 0.3:
        return ""
    return f"completions run into the limit again (rank correlation with the reward {rho:+.2f})"

"""Rules about the total reward: floors, lost exploration, full marks at once, another scale.

Codes D201, D204, D214 and D220. Left out: regressions (`reward_regression`),
components, the distribution of totals, groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.run_features import best_window, silent
from pawl.rules.signals import Signals
from pawl.rules.statistics import LEVEL, Floats

FLOOR_POINTS = 20
PERFECT_POINTS = 8
FLAT = 0.02  # spread of a floor, as a share of the reward's scale
COLLAPSED = 0.15  # of the first spread within groups


@rule("D201", "reward-floor", "reward/mean", proof="real")
def reward_floor(s: Signals) -> Iterator[Finding]:
    """The reward does not vary: nothing can be learned from it.

    What: the reward's values lie within 2% of its scale of each other over the whole run.
    Why it matters: policy gradients need differences between rewards.
    Evidence needed: 20 points of reward/mean.
    Traps: a reward that rests at its maximum is solved, not dead; tiny deviations (a length
    penalty's jitter) still count as a floor, although group statistics call them non-zero.
    Fix: sample the base model many times on these problems; without one success take easier ones,
    partial credit or a longer limit.
    Source: pass@k of the base bounds what this training can amplify (Yue et al. 2025).
    Causes: completion-cap, reward-floor, zero-signal-groups.
    """
    x_N = s.values("reward/mean")
    if len(x_N) < FLOOR_POINTS:
        return
    scale = max(abs(float(np.median(x_N))), *(float(np.ptp(x_N[:5])), 1e-9))
    parts = [s.values(name) for name in s.family("component/")]
    scale = max([scale, *(float(np.abs(p).max()) for p in parts if len(p))])
    spread = float(np.std(x_N))
    if spread > FLAT * scale or float(np.median(x_N)) >= 0.95 * _best(x_N):
        return
    yield found(
        "critical",
        "fault",
        "reward/mean",
        f"the reward rests at {np.median(x_N):.4g} from first to last",
        f"standard deviation {spread:.3g} over {len(x_N)} points",
        causes=(
            ("reward-floor", 0.5 if silent(s) else 0.9, "the reward does not vary"),
            ("zero-signal-groups", 0.4, "groups of equal rewards give no gradient"),
            ("completion-cap", 0.3, "a limit below the answers gives such a floor"),
        ),
        series=("reward/mean",),
        early=True,
    )


def _best(x_N: Floats) -> float:
    """The likely full mark: 1 for rewards in 0..1, else infinitely far."""
    return 1.0 if 0.0 <= float(x_N.min()) and float(x_N.max()) <= 1.0 else np.inf


@rule("D204", "exploration-gone", "reward/within_std|reward/spread", "reward/mean", proof="real")
def exploration_gone(s: Signals) -> Iterator[Finding]:
    """Rewards stopped differing within groups: no signal is left.

    What: the spread of rewards falls significantly, to below 15% of what it was at the start.
    Why it matters: with groups of equal rewards the advantage is 0 and training stands still.
    Evidence needed: the spread within groups (or, where a source does not say, over the batch).
    Traps: solved problems end so too, in health: the level of the reward decides. A spread that was
    tiny from the start is another matter (D201).
    Fix: go back to the best checkpoint; raise the temperature or lower the learning rate, one at a
    time; where the problems are solved, take harder ones.
    Source: DAPO (Yu et al. 2025), section 3.2.
    Causes: converged, policy-collapsed, premature-convergence, regression-after-peak.
    """
    name = s.spread
    before, after = s.early(name), s.late(name)
    x_N = s.values("reward/mean")
    if len(s.values(name)) < 20 or before.value <= 0 or after.value > COLLAPSED * before.value:
        return
    t = s.trend(name)
    if t.difference >= 0 or min(t.p, t.confirm_p) >= LEVEL:
        return  # few groups a step: ten points with ties are soon there by chance
    best, place = best_window(x_N)
    now = s.late("reward/mean")
    lost = best.value - now.value
    fell = lost > 2.0 * np.hypot(best.se, now.se) and now.value < s.early("reward/mean").value
    rise = s.trend("reward/mean").direction == "up"
    if fell:
        yield found(
            "critical",
            "fault",
            f"{name}, reward/mean",
            f"groups agree (spread {before.value:.3g} to {after.value:.3g}) and the reward fell "
            f"from {best.value:.3g} to {now.value:.3g}",
            f"best window around point {place} of {len(x_N)}",
            causes=(
                ("premature-convergence", 0.9, "one strategy, worse than an earlier one"),
                ("policy-collapsed", 0.6, "no spread is left within groups"),
                ("regression-after-peak", 0.5, "the best was passed"),
            ),
            fix=prescribe.scaled(
                s,
                "optim.lr",
                1 / 3,
                why="the policy became deterministic before it was good",
                expected="spread within groups back above half of its start within 30 steps",
                risk="slower learning",
                verify="held-out reward not lower, spread higher than in an unchanged fork",
            ),
            series=(name, "reward/mean"),
        )
    else:
        yield found(
            "warning",
            "converged",
            f"{name}, reward/mean",
            f"groups agree (spread {before.value:.3g} to {after.value:.3g}): no signal is left"
            + (" after a rise" if rise else ""),
            f"the last {after.n} points have {after.value:.3g}",
            causes=(
                ("converged", 0.8, "no spread within groups"),
                ("premature-convergence", 0.4, "a plateau below what is reachable looks the same"),
            ),
            series=(name, "reward/mean"),
        )


@rule("D214", "perfect-from-start", "reward/mean", proof="real")
def perfect_from_start(s: Signals) -> Iterator[Finding]:
    """The reward is perfect from the first step on: solved before, or it pays everything.

    What: rewards within 0..1 lie at 0.95 or more over the first points and the whole run; exactly
    1 at every point is a fault, less is a question.
    Why it matters: equal rewards give no gradient. A reward that never fails a sampled completion
    is more often a checker that passes everything than a model that knows everything.
    Evidence needed: 8 points of rewards in 0..1; 20 for a fault.
    Traps: an easy set that the model has mastered looks the same: known-broken answers decide.
    Fix: score ten broken answers (empty, the prompt again, a syntax error): none may earn 1.
    Source: seen in public logs (reward of exactly 1 from the first step).
    Causes: converged, reward-bug.
    """
    x_N = s.values("reward/mean")
    if len(x_N) < PERFECT_POINTS or x_N.max() > 1.0 or min(x_N[:5].mean(), x_N.mean()) < 0.95:
        return
    exact = bool((x_N == 1.0).all()) and len(x_N) >= FLOOR_POINTS
    yield found(
        "critical" if exact else "warning",
        "fault" if exact else "converged",
        "reward/mean",
        "the reward is "
        + ("exactly 1 at every point" if x_N.min() == 1.0 else f"{x_N[:5].mean():.3g} at the start")
        + ": solved before training, or a reward that pays everything",
        f"mean {x_N.mean():.4g} over {len(x_N)} points, lowest {x_N.min():.4g}",
        causes=(
            ("reward-bug", 0.7 if exact else 0.3, "no sampled answer ever fails"),
            ("converged", 0.5 if exact else 0.7, "the problems are solved"),
        ),
        fix=advice(
            "only broken answers can tell a solved set from a broken check",
            "known-broken answers earn less than 1",
            "score ten of them by hand",
        ),
        series=("reward/mean",),
    )


@rule("D220", "reward-off-scale", "reward/mean", "reward/tests", proof="real")
def off_scale(s: Signals) -> Iterator[Finding]:
    """Rewards lie above what their components can add up to.

    What: the mean reward of a step exceeds 1, while the code reward's stages pay shares of 1.
    Why it matters: where advantages are not divided by their spread the gradient grows with the
    scale, and a KL coefficient or a penalty weighs next to nothing beside it.
    Evidence needed: Pawl's code reward with its components.
    Traps: components of one's own may have any scale: only the known stages alone are judged.
    Fix: pay shares of 1, not percentages; look for a factor that is applied twice.
    Source: reward scale among the details that decide PPO (Huang et al. 2022).
    Causes: reward-bug.
    """
    x_N = s.values("reward/mean")
    top = float(x_N.max())
    if s.log.library != "pawl" or top <= 1.05 or s.family("component/"):
        return
    yield found(
        "critical",
        "fault",
        "reward/mean",
        f"the mean reward reaches {top:.3g}; its stages add up to 1",
        f"median {np.median(x_N):.3g}; tests alone {s.late('reward/tests').value:.3g}",
        causes=(("reward-bug", 0.95, "totals are not the sum of their stages"),),
        fix=advice(
            "totals are on another scale than their parts",
            "rewards between 0 and 1",
            "the total of ten samples, computed by hand from their components",
        ),
        series=("reward/mean", "reward/tests"),
        early=True,
    )

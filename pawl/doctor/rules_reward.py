"""Rules about rewards: floors, dead components, format without task, what was won and lost again.

Codes D2xx. Left out: groups, lengths and the policy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.doctor import prescribe
from pawl.doctor.rule import found, rule
from pawl.doctor.signals import Signals
from pawl.doctor.statistics import Floats, Mean, mean_of
from pawl.types import Finding

FLOOR_POINTS = 20
FLAT = 0.02  # spread of a floor, as a share of the reward's scale
COLLAPSED = 0.15  # of the first spread within groups
DEAD_POINTS = 20
FORM = ("format", "xml", "tag", "marker", "style", "lang", "length", "int_")


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
            ("reward-floor", 0.9, "the reward does not vary"),
            ("zero-signal-groups", 0.4, "groups of equal rewards give no gradient"),
            ("completion-cap", 0.3, "a limit below the answers gives such a floor"),
        ),
        series=("reward/mean",),
        early=True,
    )


def _best(x_N: Floats) -> float:
    """The likely full mark: 1 for rewards in 0..1, else infinitely far."""
    return 1.0 if 0.0 <= float(x_N.min()) and float(x_N.max()) <= 1.0 else np.inf


@rule("D202", "dead-component", "component/*", proof="real")
def dead_component(s: Signals) -> Iterator[Finding]:
    """A component of the reward never changes.

    What: a named component has one value at every point, in 20 points or more.
    Why it matters: it is not measured, not reachable, or always given; the total then speaks for
    the others alone.
    Evidence needed: components of their own columns.
    Traps: a component may be constant at its best because the model does it always: then others
    must vary. Few points prove nothing.
    Fix: score reference solutions; where the component stays constant, mend its parser.
    Source: zero variance means zero gradient for that component.
    """
    names = s.family("component/")
    dead = [n for n in names if len(s.values(n)) >= DEAD_POINTS and np.ptp(s.values(n)) == 0.0]
    task = [n for n in dead if not _is_form(n)]
    if not dead:
        return
    grave = bool(task) and len(dead) * 2 >= len(names)
    shown = ", ".join(n.split("/", 1)[1] for n in dead)
    yield found(
        "critical" if grave else "warning",
        "fault",
        shown,
        f"{len(dead)} of {len(names)} reward components never change: {shown}",
        *(f"{n}: {s.values(n)[0]:g} at all {len(s.values(n))} points" for n in dead),
        causes=(
            ("dead-component", 0.9, "constant from first to last"),
            ("reward-bug", 0.4, "a parser that never matches gives this"),
        ),
        series=tuple(dead[:3]),
    )


def _is_form(name: str) -> bool:
    """Whether a component's name speaks of form rather than of the task."""
    return any(word in name.lower() for word in FORM)


@rule("D203", "format-only", "component/*", "reward/mean", proof="real")
def format_only(s: Signals) -> Iterator[Finding]:
    """The total rises by form alone; the task's own component stays where it was.

    What: form components carry over 60% of a significant rise, and the task's components end below
    15% of the largest value that was seen or is payable.
    Why it matters: such a curve looks like learning and is not.
    Evidence needed: components with names; the split into form and task goes by the names.
    Traps: form often comes first and the task follows: only a run past half of its length counts.
    Fix: pay form only beside the task, or warm up with supervised examples.
    Source: reward decomposition; observed in public notebooks.
    """
    total = s.trend("reward/mean")
    names = [n for n in s.family("component/") if len(s.values(n)) >= FLOOR_POINTS]
    task = [n for n in names if not _is_form(n)]
    form = [n for n in names if _is_form(n)]
    if total.direction != "up" or not task or not form or s.n < 60:
        return
    risen = {n: s.trend(n).difference for n in names}
    share = sum(max(0.0, risen[n]) for n in form) / max(total.difference, 1e-9)
    most = max(float(s.values(n).max()) for n in task)
    ends = max(s.late(n, 40).value for n in task)
    low = min(float(s.values(n).min()) for n in task)
    if share < 0.6 or most <= low or (ends - low) > 0.15 * (most - low):
        return
    yield found(
        "critical",
        "fault",
        ", ".join(n.split("/", 1)[1] for n in task),
        f"{share:.0%} of the rise of the reward is form; the task's reward ends at {ends:.3g}",
        *(f"{n}: change {risen[n]:+.3g}, ends at {s.late(n).value:.3g}" for n in names),
        causes=(
            ("format-only", 0.9, "form rises, the task does not"),
            ("dead-component", 0.3, "the task's component hardly pays"),
        ),
        series=(*task[:2], *form[:2]),
    )


@rule("D204", "exploration-gone", "reward/within_std|reward/spread", "reward/mean", proof="real")
def exploration_gone(s: Signals) -> Iterator[Finding]:
    """Rewards stopped differing within groups: no signal is left.

    What: the spread of rewards ends below 15% of what it was at the start.
    Why it matters: with groups of equal rewards the advantage is 0 and training stands still.
    Evidence needed: the spread within groups (or, where a source does not say, over the batch).
    Traps: solved problems end so too, in health: the level of the reward decides. A spread that was
    tiny from the start is another matter (D201).
    Fix: go back to the best checkpoint; raise the temperature or lower the learning rate, one at a
    time; where the problems are solved, take harder ones.
    Source: DAPO (Yu et al. 2025), section 3.2.
    """
    name = s.spread
    before, after = s.early(name), s.late(name)
    x_N = s.values("reward/mean")
    if len(s.values(name)) < 20 or before.value <= 0 or after.value > COLLAPSED * before.value:
        return
    best, place = _best_window(x_N)
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


def _best_window(x_N: Floats, size: int = 10) -> tuple[Mean, int]:
    """The best mean over consecutive points, and where its middle lies."""
    width = min(size, len(x_N))
    means = np.convolve(x_N, np.ones(width) / width, "valid")
    at = int(np.argmax(means))
    return mean_of(x_N[at : at + width]), at + width // 2


@rule("D205", "reward-falls", "reward/mean")
def reward_falls(s: Signals) -> Iterator[Finding]:
    """The reward falls, by more than its noise.

    What: the last quarter lies below the first, significantly, confirmed over block means.
    Why it matters: the policy gets worse at what it is paid for.
    Evidence needed: 30 points.
    Traps: another mix of problems, a new stage or a new reward definition shifts the level without
    any change of the policy; batches of few prompts differ by chance.
    Fix: go back to the best checkpoint and find what changed there.
    Source: two-sample test with effective sample size.
    """
    t = s.trend("reward/mean")
    if t.direction == "down":
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

"""Rules about the parts of a reward: dead ones, form without task, one that is all, two that fight.

Codes D202, D203, D208 and D209. Left out: the total (`reward`), samples (`reward_distribution`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

FLOOR_POINTS = 20
DEAD_POINTS, CRITICAL_POINTS = 20, 40  # of a component that rests; of a run in which it counts
FORM_POINTS = 120  # form comes first, in health: how long the task may take to follow
FORM = ("format", "xml", "tag", "marker", "style", "lang", "length", "int_")
OWN = ("reward/tests", "reward/compile", "reward/types")  # parts of Pawl's code reward


@rule("D202", "dead-component", "component/*|reward/tests", proof="real")
def dead_component(s: Signals) -> Iterator[Finding]:
    """A component of the reward never changes.

    What: a named component has one value at every point, in 20 points or more. A value of 0 or
    less never pays; a constant above 0 always pays, which is a question only. Where the tests pay
    nothing though samples pass them, the reward contradicts the verifier.
    Why it matters: it is not measured, not reachable, or always given; the total then speaks for
    the others alone.
    Evidence needed: components of their own columns; the pass rate beside that of the tests.
    Traps: a component may be constant at its best because the model does it always: then others
    must vary. What pays late rests at first: under 40 points it is a warning only.
    Fix: score reference solutions; where the component stays constant, mend its parser.
    Source: zero variance means zero gradient for that component.
    Causes: dead-component, reward-bug.
    """
    names = s.family("component/") or [n for n in OWN if s.has(n)]
    still = [n for n in names if len(s.values(n)) >= DEAD_POINTS and np.ptp(s.values(n)) == 0.0]
    dead = [n for n in still if s.values(n)[0] <= 0.0]
    task = [n for n in dead if not _is_form(n)]
    given = [n for n in still if n not in dead]
    if given and len(given) < len(names):
        yield found(
            "warning",
            "nothing",
            ", ".join(given),
            f"{len(given)} of {len(names)} reward components always pay the same: "
            + ", ".join(n.split("/", 1)[1] for n in given),
            *(f"{n}: {s.values(n)[0]:g} at all {len(s.values(n))} points" for n in given),
            series=tuple(given[:3]),
        )
    if not dead:
        return
    critical = bool(task) and len(dead) * 2 >= len(names) and s.n >= CRITICAL_POINTS
    passed = s.values("verifier/pass_frac")
    unpaid = "reward/tests" in dead and len(passed) > 0 and float(passed.mean()) > 0.01
    shown = ", ".join(n.split("/", 1)[1] for n in dead)
    yield found(
        "critical" if critical or unpaid else "warning",
        "fault",
        shown,
        f"the tests pay nothing though {passed.mean():.0%} of the samples pass them"
        if unpaid
        else f"{len(dead)} of {len(names)} reward components never change: {shown}",
        *(f"{n}: {s.values(n)[0]:g} at all {len(s.values(n))} points" for n in dead),
        causes=(
            ("reward-bug", 0.9, "the reward contradicts the verifier"),
            ("dead-component", 0.8, "constant from first to last"),
        )
        if unpaid
        else (
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
    Traps: form often comes first and the task follows: only runs of 120 points and more count.
    Fix: pay form only beside the task, or warm up with supervised examples.
    Source: reward decomposition; observed in public notebooks.
    Causes: dead-component, format-only.
    """
    total = s.trend("reward/mean")
    names = [n for n in s.family("component/") if len(s.values(n)) >= FLOOR_POINTS]
    task = [n for n in names if not _is_form(n)]
    form = [n for n in names if _is_form(n)]
    if total.direction != "up" or not task or not form or s.n < FORM_POINTS:
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


@rule("D208", "component-is-all", "component_std/*|component/*", proof="real")
def component_is_all(s: Signals) -> Iterator[Finding]:
    """One component makes up nearly all of the reward's variance.

    What: of three or more components, one has over 90% of the summed variance.
    Why it matters: advantages are differences; what does not vary beside it is not trained.
    Evidence needed: the components' standard deviations, or 20 points of their means.
    Traps: it is right where that component is the task; weights are not in most logs.
    Fix: standardise each component before the sum, or weigh them anew.
    Source: GDPO (normalise each reward, then sum); TRL, multi_objective_aggregation.
    Causes: format-only.
    """
    names = s.family("component_std/")
    if len(names) >= 3:
        parts = {n.split("/", 1)[1]: float(np.mean(s.values(n) ** 2)) for n in names}
    else:
        names = [n for n in s.family("component/") if len(s.values(n)) >= FLOOR_POINTS]
        parts = {n.split("/", 1)[1]: float(np.var(s.values(n))) for n in names}
    total = sum(parts.values())
    if len(parts) < 3 or total <= 0:
        return
    name = max(parts, key=lambda n: parts[n])
    share = parts[name] / total
    if share < 0.9:
        return
    form = _is_form(name)
    yield found(
        "warning" if form else "info",
        "nothing",
        f"component/{name}",
        f"{name} makes up {share:.0%} of the variance of the reward",
        *(f"{n}: {v / total:.1%}" for n, v in sorted(parts.items(), key=lambda p: -p[1])),
        causes=(("format-only", 0.4, "what varies is form"),) if form else (),
        series=(f"component/{name}",),
    )


@rule("D209", "components-conflict", "component/*")
def components_conflict(s: Signals) -> Iterator[Finding]:
    """One component rises while another falls.

    What: of two components one rises and one falls, both significantly.
    Why it matters: the total then tells of the trade between them and of neither.
    Evidence needed: 40 points of both.
    Traps: a penalty on length falls when answers grow, as it should.
    Fix: pay the second only where the first is met, or lower its weight.
    Source: reward decomposition; TRL, reward_weights.
    Causes: none.
    """
    names = [n for n in s.family("component/") if len(s.values(n)) >= 40]
    up = [n for n in names if s.trend(n).direction == "up"]
    down = [n for n in names if s.trend(n).direction == "down"]
    if up and down:
        yield found(
            "warning",
            "nothing",
            f"{up[0]}, {down[0]}",
            f"{up[0].split('/', 1)[1]} rises while {down[0].split('/', 1)[1]} falls",
            *(f"{n}: {s.trend(n).first:.3g} to {s.trend(n).last:.3g}" for n in (*up, *down)),
            series=(up[0], down[0]),
        )

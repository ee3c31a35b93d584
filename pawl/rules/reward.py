"""Rules about the level of the reward and its components: dead, capped, or paying for form.

Codes D201 to D204, D208, D209, D214 and D220. Left out: where it goes (`progress`), what single
samples score (`reward_distribution`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import best_window, full_mark, silent
from pawl.rules.signals import Signals
from pawl.rules.statistics import LEVEL, fell

FORM = ("format", "xml", "tag", "marker", "style", "lang", "length", "int_")
FLAT = 0.02  # spread of a floor, as a share of the reward's scale
COLLAPSED = 0.15  # of the first spread within groups
OWN = ("reward/tests", "reward/compile", "reward/types")  # parts of Pawl's code reward


def _components(s: Signals, points: int = 20) -> list[str]:
    """Components of the reward with that many points."""
    return [name for name in s.family("component/") if len(s.values(name)) >= points]


def _is_form(name: str) -> bool:
    """Whether a component's name speaks of form rather than of the task."""
    return any(word in name.lower() for word in FORM)


def _short(names: Iterable[str]) -> str:
    return ", ".join(name.split("/", 1)[1] for name in names)


@rule("D201", "reward-floor", "reward/mean", points=20, proof="real")
def reward_floor(s: Signals) -> Findings:
    """The reward does not vary: nothing can be learned from it.

    What: the reward's values lie within 2% of its scale of each other over the whole run.
    Why it matters: policy gradients need differences between rewards.
    Evidence needed: 20 points of reward/mean.
    Traps: a reward that rests at its maximum is solved, not dead; tiny deviations (a length
    penalty's jitter) still count as a floor, although group statistics call them non-zero.
    Fix: sample the base model many times on these problems; without one success take easier ones,
    partial credit or a longer limit.
    Source: pass@k of the base bounds what this training can amplify (Yue et al. 2025).
    Causes: completion-cap (a limit below the answers gives such a floor), reward-floor (the reward
    does not vary), zero-signal-groups (groups of equal rewards give no gradient).
    """
    x_N = s.values("reward/mean")
    middle, spread = float(np.median(x_N)), float(np.std(x_N))
    parts = [float(np.abs(s.values(name)).max()) for name in s.family("component/")]
    scale = max(abs(middle), float(np.ptp(x_N[:5])), 1e-9, *parts)
    if spread > FLAT * scale or (full_mark(s) is not None and middle >= 0.95):
        return
    floor = 0.5 if silent(s) else 0.9
    yield found(
        "critical fault",
        f"the reward rests at {middle:.4g} from first to last",
        f"standard deviation {spread:.3g} over {len(x_N)} points",
        causes={"reward-floor": floor, "zero-signal-groups": 0.4, "completion-cap": 0.3},
        early=True,
    )


@rule("D204", "exploration-gone", "reward/within_std|reward/spread", "reward/mean", proof="real")
def exploration_gone(s: Signals) -> Findings:
    """Rewards stopped differing within groups: no signal is left.

    What: the spread of rewards falls significantly, to below 15% of what it was at the start.
    Why it matters: with groups of equal rewards the advantage is 0 and training stands still.
    Evidence needed: the spread within groups (or, where a source does not say, over the batch).
    Traps: healthy runs on solved problems end so too: the level of the reward decides. A spread
    that was tiny from the start is another matter (D201).
    Fix: go back to the best checkpoint; raise the temperature or lower the learning rate, one at a
    time; where the problems are solved, take harder ones.
    Source: DAPO (Yu et al. 2025), section 3.2.
    Causes: converged (no spread within groups), policy-collapsed (no variance is left within
    groups), premature-convergence (one strategy, below what is reachable), regression-after-peak
    (training went on past the best).
    """
    name = s.spread
    before, after, t = s.early(name).value, s.late(name), s.trend(name)
    if len(s.values(name)) < 20 or before <= 0 or after.value > COLLAPSED * before:
        return
    if t.difference >= 0 or min(t.p, t.confirm_p) >= LEVEL:
        return  # few groups a step: ten points of equal rewards are soon there by chance
    x_N, now = s.values("reward/mean"), s.late("reward/mean")
    best, place = best_window(x_N)
    agree = f"rewards agree within groups (spread {before:.3g} to {after.value:.3g})"
    if now.value >= s.early("reward/mean").value or not fell(best, now, 2.0):
        rise = s.trend("reward/mean").direction == "up"
        yield found(
            "warning converged",
            f"{agree}: no signal is left" + (" after a rise" if rise else ""),
            f"the last {after.n} points have {after.value:.3g}",
            causes={"converged": 0.8, "premature-convergence": 0.4},
        )
        return
    yield found(
        "critical fault",
        f"{agree} and the reward fell from {best.value:.3g} to {now.value:.3g}",
        f"best window around point {place} of {len(x_N)}",
        causes={
            "premature-convergence": 0.9,
            "policy-collapsed": 0.6,
            "regression-after-peak": 0.5,
        },
        fix=prescribe.slower(
            s,
            "the policy became deterministic before it was good",
            "spread within groups back above half of its start within 30 steps",
            verify="held-out reward not lower, spread higher than in an unchanged fork",
        ),
    )


@rule("D214", "perfect-from-start", "reward/mean", points=8, proof="real")
def perfect_from_start(s: Signals) -> Findings:
    """The reward is perfect from the first step on: solved before, or everything passes.

    What: rewards within 0..1 lie at 0.95 or more over the first points and the whole run; exactly 1
    at every point is a fault, less is a question.
    Why it matters: equal rewards give no gradient. A reward that never fails a sampled completion
    is more often a checker that passes everything than a model that knows everything.
    Evidence needed: 8 points of rewards in 0..1; 20 for a fault.
    Traps: an easy set that the model has mastered looks the same: known-broken answers decide.
    Fix: score ten broken answers (empty, the prompt again, a syntax error): none may earn 1.
    Source: seen in public logs (reward of exactly 1 from the first step).
    Causes: converged (the problems are solved), reward-bug (no sampled answer ever fails).
    """
    x_N = s.values("reward/mean")
    if x_N.max() > 1.0 or min(x_N[:5].mean(), x_N.mean()) < 0.95:
        return
    ones = x_N.min() == 1.0
    exact = ones and len(x_N) >= 20
    level = "exactly 1 at every point" if ones else f"{x_N[:5].mean():.3g} at the start"
    yield found(
        "critical fault" if exact else "warning converged",
        f"the reward is {level}: solved before training, or a reward that passes everything",
        f"mean {x_N.mean():.4g} over {len(x_N)} points, lowest {x_N.min():.4g}",
        causes={"reward-bug": 0.7 if exact else 0.3, "converged": 0.5 if exact else 0.7},
        fix="ten known-broken answers score less than 1",
    )


@rule("D220", "reward-off-scale", "reward/mean", "reward/tests", proof="real")
def off_scale(s: Signals) -> Findings:
    """Rewards lie above what their components can add up to.

    What: the mean reward of a step exceeds 1, while the code reward's stages are shares of 1.
    Why it matters: where advantages are not divided by their spread the gradient grows with the
    scale, and a KL coefficient or a penalty weighs next to nothing beside it.
    Evidence needed: Pawl's code reward with its components.
    Traps: components of one's own may have any scale: only the known stages alone are judged.
    Fix: give shares of 1, not percentages; look for a factor that is applied twice.
    Source: reward scale among the details that decide PPO (Huang et al. 2022).
    Causes: reward-bug (totals are not the sum of their stages).
    """
    x_N = s.values("reward/mean")
    if s.log.library != "pawl" or x_N.max() <= 1.05 or s.family("component/"):
        return
    yield found(
        "critical fault",
        f"the mean reward reaches {x_N.max():.3g}; its stages add up to 1",
        f"median {np.median(x_N):.3g}; tests alone {s.late('reward/tests').value:.3g}",
        causes={"reward-bug": 0.95},
        fix="the total of ten samples, computed by hand from their components",
        early=True,
    )


@rule("D202", "dead-component", "component/*|reward/tests", proof="real")
def dead_component(s: Signals) -> Findings:
    """A component of the reward never changes.

    What: a named component has one value at every point, in 20 points or more. A value of 0 or less
    is never earned; a constant above 0 is always earned, which is a question only. Where the tests
    give no reward though samples pass them, the reward contradicts the verifier.
    Why it matters: it is not measured, not reachable, or always given; the total then speaks for
    the others alone.
    Evidence needed: components of their own columns; the pass rate beside that of the tests.
    Traps: a component may be constant at its best because the model does it always: then others
    must vary. What is earned late rests at first: under 40 points it is a warning only.
    Fix: score reference solutions; where the component stays constant, mend its parser.
    Source: zero variance means zero gradient for that component.
    Causes: dead-component (constant from first to last), reward-bug (a parser that never matches,
    or a reward that contradicts the verifier).
    """
    names = s.family("component/") or [n for n in OWN if s.has(n)]
    still = [n for n in names if len(s.values(n)) >= 20 and np.ptp(s.values(n)) == 0.0]
    rests = {n: f"{n}: {s.values(n)[0]:g} at all {len(s.values(n))} points" for n in still}
    dead = [n for n in still if s.values(n)[0] <= 0.0]
    given = [n for n in still if n not in dead]
    if given and len(given) < len(names):
        yield found(
            "warning nothing",
            f"{len(given)} of {len(names)} reward components are constant above 0: {_short(given)}",
            *(rests[n] for n in given),
            series=given[:3],
        )
    if not dead:
        return
    critical = len(dead) * 2 >= len(names) and s.n >= 40 and not all(map(_is_form, dead))
    passed = s.values("verifier/pass_frac")
    summary = f"{len(dead)} of {len(names)} reward components never change: {_short(dead)}"
    causes = {"dead-component": 0.9, "reward-bug": 0.4}
    if "reward/tests" in dead and len(passed) and float(passed.mean()) > 0.01:
        critical, causes = True, {"reward-bug": 0.9, "dead-component": 0.8}
        summary = f"tests give no reward though {passed.mean():.0%} of the samples pass them"
    yield found(
        "critical fault" if critical else "warning fault",
        summary,
        *(rests[n] for n in dead),
        causes=causes,
        series=dead[:3],
    )


@rule("D203", "format-only", "component/*", "reward/mean", proof="real")
def format_only(s: Signals) -> Findings:
    """The total rises by form alone; the task's own component stays where it was.

    What: form components carry over 60% of a significant rise, and the task's components end below
    15% of the largest value that was seen or can be earned.
    Why it matters: such a curve looks like learning and is not.
    Evidence needed: components with names; the split into form and task goes by the names.
    Traps: form often comes first and the task follows: only runs of 120 points and more count.
    Fix: reward form only beside the task, or warm up with supervised examples.
    Source: reward decomposition; observed in public notebooks.
    Causes: dead-component (the task's component is hardly earned), format-only (form rises, the
    task does not).
    """
    total = s.trend("reward/mean")
    names = _components(s)
    form = [n for n in names if _is_form(n)]
    task = [n for n in names if n not in form]
    if total.direction != "up" or not task or not form or s.n < 120:
        return
    risen = {n: s.trend(n).difference for n in names}
    share = sum(max(0.0, risen[n]) for n in form) / max(total.difference, 1e-9)
    most = max(float(s.values(n).max()) for n in task)
    ends = max(s.late(n, 40).value for n in task)
    low = min(float(s.values(n).min()) for n in task)
    if share < 0.6 or most <= low or (ends - low) > 0.15 * (most - low):
        return
    yield found(
        "critical fault",
        f"{share:.0%} of the rise of the reward is form; the task's reward ends at {ends:.3g}",
        *(f"{n}: change {risen[n]:+.3g}, ends at {s.late(n).value:.3g}" for n in names),
        causes={"format-only": 0.9, "dead-component": 0.3},
        series=(*task[:2], *form[:2]),
    )


@rule("D208", "component-is-all", "component_std/*|component/*", proof="real")
def component_is_all(s: Signals) -> Findings:
    """One component makes up nearly all of the reward's variance.

    What: of three or more components, one has over 90% of the summed variance.
    Why it matters: advantages are differences; what does not vary beside it is not trained.
    Evidence needed: the components' standard deviations, or 20 points of their means.
    Traps: it is right where that component is the task; weights are not in most logs.
    Fix: standardise each component before the sum, or weigh them anew.
    Source: GDPO (normalise each reward, then sum); TRL, multi_objective_aggregation.
    Causes: format-only (what varies is form).
    """
    parts = {name: float(np.mean(s.values(name) ** 2)) for name in s.family("component_std/")}
    if len(parts) < 3:
        parts = {name: float(np.var(s.values(name))) for name in _components(s)}
    total, ranked = sum(parts.values()), sorted(parts, key=lambda name: -parts[name])
    if len(parts) < 3 or total <= 0 or parts[ranked[0]] < 0.9 * total:
        return
    name = _short(ranked[:1])
    form = _is_form(name)
    yield found(
        "warning nothing" if form else "info nothing",
        f"{name} makes up {parts[ranked[0]] / total:.0%} of the variance of the reward",
        *(f"{_short([n])}: {parts[n] / total:.1%}" for n in ranked),
        causes={"format-only": 0.4} if form else {},
        series=(f"component/{name}",),
    )


@rule("D209", "components-conflict", "component/*")
def components_conflict(s: Signals) -> Findings:
    """One component rises while another falls.

    What: of two components one rises and one falls, both significantly.
    Why it matters: the total then tells of the trade between them and of neither.
    Evidence needed: 40 points of both.
    Traps: a penalty on length falls when answers grow, as it should.
    Fix: reward the second only where the first is met, or lower its weight.
    Source: reward decomposition; TRL, reward_weights.
    Causes: none.
    """
    names = _components(s, 40)
    up = [n for n in names if s.trend(n).direction == "up"]
    down = [n for n in names if s.trend(n).direction == "down"]
    if up and down:
        yield found(
            "warning nothing",
            f"{_short(up[:1])} rises while {_short(down[:1])} falls",
            *(f"{n}: {s.trend(n).first:.3g} to {s.trend(n).last:.3g}" for n in (*up, *down)),
            series=(up[0], down[0]),
        )

"""Rules about groups that tie: all wrong, all right, at partial credit, or nobody knows at what.

Codes D301 to D303 and D310. Left out: how groups are made and normalised (`groups`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding, Prescription
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.run_features import at_best, came_later, full_mark, gains, high, tied
from pawl.rules.signals import Signals

MANY, NEARLY_ALL = 0.5, 0.9  # share of groups
POINTS = 20


def larger_groups(s: Signals) -> Prescription | None:
    """Twice the group size, where it is known or not."""
    return prescribe.scaled(
        s,
        "rollout.group_size",
        2.0,
        why="more samples a problem make a group less likely to tie",
        expected="share of tied groups lower from the first step on, by the amount that the pass "
        "rates allow",
        risk="twice the cost of generation",
        verify="share of mixed groups above 0.3",
        cost="5 steps",
    )


def _expected(s: Signals) -> str:
    """The least share of ties that the mean pass rate makes likely; "" where it is not known."""
    size = s.option("rollout.group_size")
    name = "verifier/pass_frac" if s.has("verifier/pass_frac") else "reward/mean"
    if not size or (name == "reward/mean" and full_mark(s) is None):
        return "the group size or a pass rate is not known, so no expected share can be given"
    p = min(max(s.late(name).value, 0.0), 1.0)
    return (
        f"problems that all pass at {p:.2f} would tie in {tied(p, int(size)):.0%} of groups of "
        f"{size:g}; unlike problems tie more often"
    )


@rule("D301", "groups-all-wrong", "group/tied_wrong_frac|group/all_wrong_frac", proof="real")
def groups_all_wrong(s: Signals) -> Iterator[Finding]:
    """In most groups every sample fails alike: no advantage, nothing to learn from.

    What: over half (warning) or 90% without any rise of the reward (fault) of the recent groups tie
    at the bottom.
    Why it matters: a group of equal rewards has advantage 0.
    Evidence needed: the share of groups that tie wrong, or in which all fail, over 20 points.
    Traps: hard problems tie by chance: the expected share stands beside the seen one. Much more
    than expected means duplicates, a coarse reward, or a judge that fails. Ties that came on the
    way are what a destroyed policy leaves behind, and not the cause.
    Fix: easier problems by measured pass rate, partial credit, larger groups.
    Source: DAPO (Yu et al. 2025), section 3.2.
    Causes: reward-floor, zero-signal-groups.
    """
    exact = s.has("group/tied_wrong_frac")
    name = "group/tied_wrong_frac" if exact else "group/all_wrong_frac"
    now = s.late(name)
    if now.value <= MANY:
        return
    critical = now.value >= NEARLY_ALL and len(s.values(name)) >= POINTS and not gains(s)
    any_tie = "group/zero_std_frac"
    critical = critical and (exact or (s.has(any_tie) and s.late(any_tie).value >= NEARLY_ALL))
    later = came_later(s, name)
    yield found(
        "critical" if critical else "warning",
        "fault" if not gains(s) else "nothing",
        name,
        f"{now.value:.0%} of the groups fail as a whole: nothing to learn from",
        _expected(s),
        f"mean of the last {now.n} points; of the first three {s.values(name)[:3].mean():.0%}",
        causes=(("zero-signal-groups", 0.3, "groups came to tie at the bottom on the way"),)
        if later
        else (
            ("zero-signal-groups", 0.9, "groups tie at the bottom"),
            ("reward-floor", 0.5, "the problems are out of reach, or the reward never pays"),
        ),
        fix=None if later else larger_groups(s),
        series=(name, "reward/mean"),
    )


@rule("D302", "groups-all-right", "group/tied_right_frac|group/all_right_frac", proof="real")
def groups_all_right(s: Signals) -> Iterator[Finding]:
    """In most groups every sample is right: solved problems, no fault.

    What: over half of the recent groups tie at the top; from 90% on the run has converged.
    Why it matters: solved problems give no gradient; a growing share is success, and what is left
    of the run is spent on few groups.
    Evidence needed: the share of groups in which all pass.
    Traps: a high share of tied groups alone does not say whether they are right or wrong.
    Fix: leave out what was solved twice, take harder problems, or stop. No higher temperature.
    Source: public run with 60% tied groups and a rising held-out score.
    Causes: converged.
    """
    exact = s.has("group/tied_right_frac")
    name = "group/tied_right_frac" if exact else "group/all_right_frac"
    now = s.late(name)
    if now.value <= MANY:
        return
    done = now.value >= NEARLY_ALL and now.n >= 5
    yield found(
        "warning" if done else "info",
        "converged" if done else "unusual",
        name,
        f"{now.value:.0%} of the groups are right as a whole: "
        + ("the problems are solved" if done else "solved problems, no fault"),
        f"at the start {s.early(name).value:.0%}",
        causes=(("converged", 0.9, "nearly every group is right"),) if done else (),
        fix=advice(
            "solved problems give no gradient",
            "more mixed groups",
            "share of mixed groups above 0.3",
        ),
        series=(name, "reward/mean"),
    )


@rule("D303", "groups-tied", "group/zero_std_frac|reward/within_std|reward/spread", proof="real")
def zero_variance(s: Signals) -> Iterator[Finding]:
    """Most groups tie, and the log does not say at what; or nearly all do, at any reward.

    What: over half of the recent groups have equal rewards (where the share is missing: over 90% of
    the recent points have a spread of exactly 0). With 95% and no gain it is a fault, at a high
    reward convergence. Where the kinds of ties are known: 95%, no gain, and no kind near all.
    Why it matters: all right is success, all wrong is a dead end, and both read the same.
    Evidence needed: the share of tied groups, or the spread within groups.
    Traps: equal rewards are not equal completions; the share moves in steps of 1 / groups; 60% of
    solved groups is health.
    Fix: count groups that all pass and that all fail, apart; then see D301 and D302.
    Source: tinker's frac_all_good, frac_mixed and frac_all_bad.
    Causes: converged, group-integrity, reward-bug, reward-floor, zero-signal-groups.
    """
    if s.has("group/tied_wrong_frac") or s.has("group/all_wrong_frac"):
        yield from _all_tie(s)
        return
    if s.has("group/zero_std_frac"):
        name, now = "group/zero_std_frac", s.late("group/zero_std_frac").value
        limit = MANY
    else:
        name, limit = s.spread, NEARLY_ALL
        now = float(np.mean(s.values(name)[-POINTS:] == 0.0))
    if len(s.values(name)) < 10 or now <= limit:
        return
    stuck = now >= 0.95 and len(s.values(name)) >= 2 * POINTS and not gains(s)
    done = stuck and at_best(s)
    yield found(
        "critical" if stuck and not done else "warning" if done else "info",
        "converged" if done else "fault" if stuck else "unusual" if gains(s) else "nothing",
        name,
        f"{now:.0%} of the groups tie"
        + (" and the reward does not rise" if stuck and not done else ""),
        _expected(s),
        "whether they are all right or all wrong is not in the log",
        causes=(
            ("converged", 0.8, "ties at a high reward"),
            ("zero-signal-groups", 0.4, "no advantage"),
        )
        if done
        else (
            ("zero-signal-groups", 0.8, "groups tie and nothing rises"),
            ("reward-floor", 0.4, "a reward that hardly varies"),
        ),
        fix=None if done or not stuck else larger_groups(s),
        series=(name, "reward/mean"),
    )


def _all_tie(s: Signals) -> Iterator[Finding]:
    """Nearly every group ties, some at nothing, some in between, some at full marks."""
    names = [f"group/tied_{kind}_frac" for kind in ("wrong", "partial", "right")]
    few = len(s.values("group/zero_std_frac")) < POINTS
    if few or not all(map(s.has, names)) or gains(s) or high(s):
        return
    share, kinds = s.late("group/zero_std_frac"), [s.late(name).value for name in names]
    if share.value < 0.95 or max(kinds) >= NEARLY_ALL:
        return
    yield found(
        "critical",
        "fault",
        "group/zero_std_frac",
        f"{share.value:.0%} of the groups tie, each at a reward of its own: members of a group "
        "are paid alike",
        f"at nothing {kinds[0]:.0%}, in between {kinds[1]:.0%}, at full marks {kinds[2]:.0%}",
        causes=(
            ("zero-signal-groups", 0.9, "no member of a group has an advantage"),
            ("group-integrity", 0.6, "one score may stand for the whole group"),
            ("reward-bug", 0.3, "a reward that looks at the problem, not at the answer"),
        ),
        series=("group/zero_std_frac", "reward/mean"),
    )


@rule("D310", "groups-tied-partial", "group/tied_partial_frac", proof="real")
def zero_variance_partial(s: Signals) -> Iterator[Finding]:
    """Groups tie at partial credit: one branch of the reward holds them.

    What: over 30% of the recent groups have equal rewards between nothing and full marks; 90%
    without a rise of the reward are a fault.
    Why it matters: different completions that are all paid the same partial amount have found a
    branch of the reward that does not tell them apart.
    Evidence needed: group/tied_partial_frac.
    Traps: coarse stages (two tests, three error counts) tie often by design.
    Fix: grade within the branch, or pay less for it; read ten completions of such a group.
    Source: preflight's reward-distribution; staged rewards.
    Causes: reward-bug, zero-signal-groups.
    """
    now = s.late("group/tied_partial_frac")
    many = len(s.values("group/tied_partial_frac")) >= POINTS and now.value >= NEARLY_ALL
    if now.value > 0.3:
        yield found(
            "critical" if many and not gains(s) else "warning",
            "fault" if not gains(s) else "nothing",
            "group/tied_partial_frac",
            f"{now.value:.0%} of the groups tie at partial credit",
            f"mean of the last {now.n} points",
            causes=(
                ("reward-bug", 0.5, "one branch pays all of them alike"),
                ("zero-signal-groups", 0.5, "no advantage"),
            ),
            series=("group/tied_partial_frac", "reward/mean"),
        )

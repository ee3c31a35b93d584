"""Rules about groups: rewards that are all equal, differences too small, completions alike.

Codes D3. Left out: the level of the reward (`reward`), entropy (`policy`).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Prescription
from pawl.rules.rule import Findings, Grade, found, rule
from pawl.rules.run_features import at_best, came_later, full_mark, gains, high, zero_variance_share
from pawl.rules.signals import Signals

EQUAL = "group/zero_std_frac"  # share of groups of equal rewards
WRONG = "group/tied_wrong_frac|group/all_wrong_frac"
RIGHT = "group/tied_right_frac|group/all_right_frac"
DISTINCT = "group/distinct_norm_frac|group/distinct_frac"
MANY, NEARLY_ALL = 0.5, 0.9  # share of groups
POINTS = 20
TINY = 0.05  # of the reward's scale
NO_DIVISION = (False, "none")
BATCH = {"scale_rewards": "batch", "multi_objective_aggregation": "normalize_then_sum"}


def larger_groups(s: Signals) -> Prescription | None:
    """Twice the group size, where it is known or not."""
    return prescribe.scaled(
        s,
        "rollout.group_size",
        2.0,
        why="larger groups are less likely to have equal rewards",
        expected="fewer zero-variance groups from the first step on, as far as pass rates allow",
        risk="twice the cost of generation",
        verify="share of mixed groups above 0.3",
        cost="5 steps",
    )


def _expected(s: Signals) -> str:
    """The least share of zero-variance groups that the mean pass rate makes likely, in words."""
    size = int(s.option("rollout.group_size") or 0)
    name = s.first("verifier/pass_frac|reward/mean")
    if size < 1 or (name != "verifier/pass_frac" and full_mark(s) is None):
        return "the group size or a pass rate is not known, so no expected share can be given"
    p = min(max(s.late(name).value, 0.0), 1.0)
    share = zero_variance_share(p, size)
    return (
        f"with a pass rate of {p:.2f} on every problem {share:.0%} of groups of "
        f"{size} have equal rewards; where problems differ more do"
    )


def _grade(s: Signals, name: str, sure: bool = True) -> Grade:
    """A fault where the share of groups without a signal is above 90% and the run gains nothing."""
    if gains(s):
        return "warning nothing"
    sure = sure and s.late(name).value >= NEARLY_ALL and len(s.values(name)) >= POINTS
    return "critical fault" if sure else "warning fault"


@rule("D301", "groups-all-wrong", WRONG, proof="real")
def groups_all_wrong(s: Signals) -> Findings:
    """In most groups every sample fails alike: no advantage, nothing to learn from.

    What: over half (warning) or 90% without any rise of the reward (fault) of the recent groups
    have equal, lowest rewards.
    Why it matters: a group of equal rewards has advantage 0.
    Evidence needed: the share of groups in which all samples fail, over 20 points.
    Traps: on hard problems all samples fail by chance: the expected share stands beside the
    observed one. Much more than expected means duplicates, a coarse reward, or a judge that fails.
    A share that grew during the run is what a destroyed policy leaves behind, and not the cause.
    Fix: easier problems by measured pass rate, partial credit, larger groups.
    Source: DAPO (Yu et al. 2025), section 3.2.
    Causes: reward-floor (the problems are out of reach, or the reward is never earned),
    zero-signal-groups (every sample of a group fails).
    """
    name = s.first(WRONG)
    now, later = s.late(name), came_later(s, name)
    if now.value <= MANY:
        return
    causes = {"zero-signal-groups": 0.9, "reward-floor": 0.5}
    alike = name == "group/tied_wrong_frac" or (s.has(EQUAL) and s.late(EQUAL).value >= NEARLY_ALL)
    yield found(
        _grade(s, name, alike),
        f"{now.value:.0%} of the groups fail as a whole: nothing to learn from",
        _expected(s),
        f"mean of the last {now.n} points; of the first three {s.values(name)[:3].mean():.0%}",
        causes={"zero-signal-groups": 0.3} if later else causes,
        fix=None if later else larger_groups(s),
        series=(name, "reward/mean"),
    )


@rule("D302", "groups-all-right", RIGHT, proof="real")
def groups_all_right(s: Signals) -> Findings:
    """In most groups every sample is right: solved problems, no fault.

    What: in over half of the recent groups every sample is right; from 90% on the run has
    converged.
    Why it matters: solved problems give no gradient; a growing share is success, and what is left
    of the run is spent on few groups.
    Evidence needed: the share of groups in which all pass.
    Traps: a high share of zero-variance groups alone does not say whether they are right or wrong.
    Fix: leave out what was solved twice, take harder problems, or stop. No higher temperature.
    Source: public run with 60% zero-variance groups and a rising held-out score.
    Causes: converged (nearly every group is right).
    """
    name = s.first(RIGHT)
    now = s.late(name)
    done = now.value >= NEARLY_ALL and now.n >= 5
    if now.value > MANY:
        yield found(
            "warning converged" if done else "info unusual",
            f"{now.value:.0%} of the groups are right as a whole: "
            + ("the problems are solved" if done else "solved problems, no fault"),
            f"at the start {s.early(name).value:.0%}",
            causes={"converged": 0.9} if done else {},
            fix="share of mixed groups above 0.3",
            series=(name, "reward/mean"),
        )


@rule("D303", "groups-tied", "group/zero_std_frac|reward/within_std|reward/spread", proof="real")
def zero_variance(s: Signals) -> Findings:
    """Most groups have equal rewards, and the log does not say which; or nearly all, at any level.

    What: over half of the recent groups have equal rewards (where the share is missing: over 90% of
    the recent points have a spread of exactly 0). With 95% and no gain it is a fault, at a high
    reward convergence. Where the levels of such groups are known: 95%, no gain, and no level near
    all.
    Why it matters: all right is success, all wrong is a dead end, and both read the same.
    Evidence needed: the share of zero-variance groups, or the spread within groups.
    Traps: equal rewards are not equal completions; the share moves in steps of 1 / groups; 60% of
    solved groups is healthy.
    Fix: larger groups; log groups that all pass apart from groups that all fail, then see D301 and
    D302.
    Source: tinker's frac_all_good, frac_mixed and frac_all_bad.
    Causes: converged (equal rewards at a high level), group-integrity (one score may stand for the
    whole group), reward-bug (a reward that looks at the problem, not at the answer), reward-floor
    (a reward that hardly varies), zero-signal-groups (no advantage).
    """
    if s.first(WRONG):
        yield from _all_equal(s)
        return
    name, limit = s.first(EQUAL, s.spread), MANY
    x_N, now = s.values(name), s.late(name).value
    if name == s.spread:
        now, limit = float(np.mean(x_N[-POINTS:] == 0.0)), NEARLY_ALL
    if len(x_N) < 10 or now <= limit:
        return
    stuck = now >= 0.95 and len(x_N) >= 2 * POINTS and not gains(s)
    done = stuck and at_best(s)
    grade: Grade = "info unusual" if gains(s) else "info nothing"
    if stuck:
        grade = "warning converged" if done else "critical fault"
    yield found(
        grade,
        f"{now:.0%} of the groups have equal rewards"
        + (" and the reward does not rise" if stuck and not done else ""),
        _expected(s),
        "whether they are all right or all wrong is not in the log",
        causes={"converged": 0.8, "zero-signal-groups": 0.4}
        if done
        else {"zero-signal-groups": 0.8, "reward-floor": 0.4},
        fix=larger_groups(s) if stuck and not done else None,
        series=(name, "reward/mean"),
    )


def _all_equal(s: Signals) -> Findings:
    """Nearly every group has equal rewards, some at nothing, some in between, some at the top."""
    names = [f"group/tied_{kind}_frac" for kind in ("wrong", "partial", "right")]
    if len(s.values(EQUAL)) < POINTS or not all(map(s.has, names)) or gains(s) or high(s):
        return
    share, kinds = s.late(EQUAL).value, [s.late(name).value for name in names]
    if share < 0.95 or max(kinds) >= NEARLY_ALL:
        return
    yield found(
        "critical fault",
        f"{share:.0%} of the groups have equal rewards, each group at a level of its own",
        f"at nothing {kinds[0]:.0%}, in between {kinds[1]:.0%}, at full score {kinds[2]:.0%}",
        causes={"zero-signal-groups": 0.9, "group-integrity": 0.6, "reward-bug": 0.3},
        series=(EQUAL, "reward/mean"),
    )


@rule("D310", "groups-tied-partial", "group/tied_partial_frac", proof="real")
def zero_variance_partial(s: Signals) -> Findings:
    """Groups have equal rewards at partial credit: one branch of the reward holds them.

    What: over 30% of the recent groups have equal rewards between nothing and full score; 90%
    without a rise of the reward are a fault.
    Why it matters: different completions that all get the same partial credit have found a branch
    of the reward that does not tell them apart.
    Evidence needed: group/tied_partial_frac.
    Traps: coarse stages (two tests, three error counts) often give equal rewards by design.
    Fix: grade within the branch, or reward it less; read ten completions of such a group.
    Source: preflight's reward-distribution; staged rewards.
    Causes: reward-bug (one branch rewards all of them alike), zero-signal-groups (no advantage).
    """
    name = "group/tied_partial_frac"
    now = s.late(name)
    if now.value > 0.3:
        yield found(
            _grade(s, name),
            f"{now.value:.0%} of the groups have equal rewards at partial credit",
            f"mean of the last {now.n} points",
            causes={"reward-bug": 0.5, "zero-signal-groups": 0.5},
            series=(name, "reward/mean"),
        )


@rule("D304", "tiny-differences", "reward/within_std|reward/spread", points=POINTS, proof="real")
def tiny_differences(s: Signals) -> Findings:
    """Differences too small to mean anything are blown up to full advantages.

    What: at over 20% of the points the spread within groups is above 0 and below 5% of the reward's
    scale.
    Why it matters: division by the group's standard deviation makes an advantage of 1 of a
    thousandth of a point: noise gets the weight of success.
    Evidence needed: the spread within groups, 20 points.
    Traps: such groups do not count as zero-variance groups. Where the reward's range is tiny by
    definition the scale is too.
    Fix: no division by the group's standard deviation (TRL: scale_rewards none; verl:
    algorithm.norm_adv_by_std_in_grpo false), or a floor under it; round the rewards.
    Source: Dr. GRPO (Liu et al. 2025); Lite PPO (Liu et al. 2025).
    Causes: zero-signal-groups (jitter is trained on as if it were success).
    """
    x_N, spread = s.values("reward/mean"), s.values(s.spread)
    if not len(x_N) or gains(s):
        return
    floor = TINY * max(float(np.abs(x_N).max()), float(np.ptp(x_N)))
    tiny = (spread > 0) & (spread < floor)
    divided = s.log.config.get("algo.advantage") in (None, "grpo")
    if tiny.mean() <= 0.2 or not divided or s.log.other_config.get("scale_rewards") in NO_DIVISION:
        return
    expected, risk = "advantages of such groups near 0", "small true differences count less"
    why = "no spread below it is worth a full advantage"
    yield found(
        "warning fault",
        f"at {tiny.mean():.0%} of the points groups differ by under {TINY:.0%} of the scale",
        f"scale {floor / TINY:.3g}, median of these spreads {np.median(spread[tiny]):.2g}",
        causes={"zero-signal-groups": 0.5},
        fix=prescribe.at(s, "algo.std_floor", floor, "up", why=why, expected=expected, risk=risk)
        if s.log.library == "pawl"
        else f"{expected}, {prescribe.NOT_LOWER}",
        series=(s.spread, "reward/mean"),
    )


@rule("D306", "group-too-small", "reward/mean")
def group_too_small(s: Signals) -> Findings:
    """Groups of two: an advantage is a sign, never a size.

    What: the group size is 2, or 1.
    Why it matters: two rewards, standardised, are always +1 and -1, or both 0: how much better is
    lost. One sample has no group.
    Evidence needed: the option.
    Traps: leave-one-out keeps the size of the difference.
    Fix: four to eight samples a problem, with fewer problems a step at the same cost.
    Source: standardisation of two numbers.
    Causes: zero-signal-groups (small groups often have equal rewards).
    """
    size = s.option("rollout.group_size")
    if size and size <= 2 and s.log.config.get("algo.advantage") != "rloo":
        yield found(
            "warning nothing",
            f"groups of {size:g}: advantages keep the sign of a difference and lose its size",
            causes={"zero-signal-groups": 0.3},
            fix=larger_groups(s),
            at="rollout.group_size",
        )


@rule("D307", "ties-over-the-batch", EQUAL, proof="real")
def zero_variance_over_the_batch(s: Signals) -> Findings:
    """The share of zero-variance groups is taken over the whole batch, so it reads 0 or 1.

    What: the options take the standard deviation over the batch, or the share is 0 or 1 at each of
    20 points.
    Why it matters: read over the batch it says 0 even when every group has equal rewards: the
    metric that should warn is blind. With one group a step it is coarse.
    Evidence needed: the share, and scale_rewards where the library has it.
    Traps: 0 at every point is right where no group ever has equal rewards.
    Fix: log the spread within groups; count zero-variance groups from the samples.
    Source: TRL 1.16, grpo_trainer.py: with scale_rewards="batch" (or normalize_then_sum) the
    deviation is taken over the batch.
    Causes: zero-signal-groups (zero-variance groups cannot be seen).
    """
    x_N = s.values(EQUAL)
    batch = any(s.log.other_config.get(option) == value for option, value in BATCH.items())
    coarse = len(x_N) >= POINTS and set(np.unique(x_N)) == {0.0, 1.0}
    if batch or coarse:
        yield found(
            "warning nothing" if batch else "info nothing",
            "the share of zero-variance groups is "
            + ("" if batch else "0 or 1: one group a step, or ")
            + "taken over the whole batch",
            f"mean {x_N.mean():.2f} over {len(x_N)} points",
            causes={"zero-signal-groups": 0.2} if batch else {},
        )


@rule("D308", "nothing-to-train-on", "filter/emptied|group/trained|epoch/emptied_steps")
def nothing_to_train_on(s: Signals) -> Findings:
    """Steps, or whole epochs, without any sample to train on.

    What: over 20% (warning) or 80% (fault) of the recent steps trained on no group.
    Why it matters: an epoch without an update leaves the model as it was, and its curves are noise.
    Evidence needed: filter/emptied or group/trained.
    Traps: where zero-variance groups are skipped, a solved set ends so in healthy runs.
    Fix: lower the filter's threshold to what the present policy earns; harder or easier problems.
    Source: reward thresholds above what a policy earns; observed in a teacher-scored run.
    Causes: zero-signal-groups (no sample reaches the loss).
    """
    name = s.first("filter/emptied|group/trained|epoch/emptied_steps")
    empty = s.values(name) == 0 if name == "group/trained" else s.values(name) > 0
    share, what = float(np.mean(empty[-POINTS:])), "epochs" if "epoch" in name else "steps"
    if share <= 0.2:
        return
    critical = share > 0.8 and len(empty) >= 5 and not high(s) and not gains(s)
    yield found(
        "critical fault" if critical else "warning fault",
        f"{share:.0%} of the recent {what} had nothing to train on",
        f"over the run: {float(np.mean(empty)):.0%} of {len(empty)}",
        causes={"zero-signal-groups": 0.9},
        fix="group/trained above 0",
        series=(name, "reward/mean"),
        early=True,
    )


@rule("D305", "collapse-within-a-prompt", DISTINCT, proof="real")
def collapse_within_a_prompt(s: Signals) -> Findings:
    """The completions of one prompt became the same.

    What: distinct completions in a group fell significantly and by a quarter, to below half; with
    fewer than 30% distinct and no gain it is a fault, beside a gain it is sharpening.
    Why it matters: equal completions explore nothing and have equal rewards.
    Evidence needed: the share of distinct completions of the same prompt.
    Traps: short answers repeat in healthy runs; solved problems have few ways to be right;
    similarity between different prompts, and equal rewards, say nothing about it.
    Fix: back to the last checkpoint with spread; a lower learning rate, or a higher temperature.
    Source: DAPO (Yu et al. 2025), section 3.1; Cui et al. 2025 (entropy is spent for reward).
    Causes: policy-collapsed (one completion for a prompt), premature-convergence (and the reward
    does not rise).
    """
    name, edits = s.first(DISTINCT), "group/edit_distance"
    t, now = s.trend(name), s.late(name)
    if t.direction != "down" or now.value >= 0.5 or now.value > 0.75 * t.first:
        return
    hardly, gained = now.value < 0.3, gains(s) or high(s)
    grade: Grade = "critical fault" if hardly else "warning fault"
    if gained:
        grade = "info unusual" if hardly else "info nothing"
    yield found(
        grade,
        f"{now.value:.0%} of a group's completions are distinct, {t.first:.0%} at first"
        + (": sharpening, with a reward that rises" if gained else ""),
        *([f"token edits between members: {s.late(edits).value:.2f}"] if s.has(edits) else []),
        causes={} if gained else {"policy-collapsed": 0.85, "premature-convergence": 0.4},
        fix=None
        if gained
        else prescribe.slower(
            s,
            "the policy became deterministic before it was good",
            "distinct share no longer falling within 30 steps",
            verify="distinct share above 0.7, held-out result not lower",
        ),
        series=(name, edits, "reward/mean"),
    )


@rule("D309", "group-integrity", proof="real")
def group_integrity(s: Signals) -> Findings:
    """Rows of a group are not independent completions of one prompt.

    What: rows of one group and step name different problems; or every completion of every group is
    the same from the first step on, at an entropy above 0.1 nat.
    Why it matters: an advantage is the difference to others of the same prompt. Mixed prompts make
    it the difference of problems; one seed for all rows makes it 0.
    Evidence needed: samples with step, group and problem, or distinct completions and entropy.
    Traps: greedy sampling repeats itself by design; very short answers coincide by chance.
    Fix: keep the rows of a prompt together through shuffling; a seed for each row.
    Source: TRL, RepeatSampler; GRPO (Shao et al. 2024), section 4.1.
    Causes: group-integrity (several prompts share a baseline, or all rows share a seed).
    """
    groups = defaultdict[tuple[str, str, str], set[str]](set)
    for row in s.log.samples:
        if row.get("group") is not None and row.get("problem_id"):
            key = (str(row.get("set", "")), str(row.get("step")), str(row["group"]))
            groups[key].add(str(row["problem_id"]))
    mixed = {key: problems for key, problems in groups.items() if len(problems) > 1}
    if mixed:
        (_, step, group), problems = next(iter(mixed.items()))
        yield found(
            "critical invalid",
            f"{len(mixed)} of {len(groups)} groups hold completions of several problems",
            f"in the first: {', '.join(sorted(problems)[:4])}",
            causes={"group-integrity": 0.95},
            at=f"samples of step {step}, group {group}",
        )
    name = "group/distinct_frac"
    size = s.option("rollout.group_size")
    x_N, h_N = s.paired(name, "policy/entropy")
    same = 1.0 / size + 1e-9 if size else 0.26
    if len(x_N) >= 5 and x_N.max() <= same and np.median(h_N) > 0.1 and (size or 4.0) > 1:
        yield found(
            "critical invalid",
            "all completions of a group are one and the same from the start",
            f"distinct share at most {x_N.max():.2f}, entropy {np.median(h_N):.2f} nat a token",
            causes={"group-integrity": 0.9},
            series=(name, "policy/entropy"),
        )

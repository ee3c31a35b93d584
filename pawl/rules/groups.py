"""Rules about how groups are made: tiny differences blown up, groups too small, blind or empty.

Codes D304 and D306 to D308. Left out: groups that tie (`ties`), what stands in them
(`diversity`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding, Prescription
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.run_features import gains, high
from pawl.rules.signals import Signals
from pawl.rules.zero_variance import larger_groups

POINTS = 20
TINY = 0.05  # of the reward's scale


@rule("D304", "tiny-differences", "reward/within_std|reward/spread", proof="real")
def tiny_differences(s: Signals) -> Iterator[Finding]:
    """Differences too small to mean anything are blown up to full advantages.

    What: at over 20% of the points the spread within groups is above 0 and below 5% of the reward's
    scale.
    Why it matters: division by the group's standard deviation makes an advantage of 1 of a
    thousandth of a point: noise gets the weight of success.
    Evidence needed: the spread within groups, 20 points.
    Traps: such groups count as non-zero in the share of tied groups. Where the reward's range is
    tiny by definition the scale is too.
    Fix: no division by the standard deviation (or a floor under it); round the rewards.
    Source: Dr. GRPO (Liu et al. 2025); Lite PPO (Liu et al. 2025).
    Causes: zero-signal-groups.
    """
    x_N, spread = s.values("reward/mean"), s.values(s.spread)
    if len(spread) < POINTS or not len(x_N) or gains(s):
        return
    scale = max(float(np.abs(x_N).max()), float(np.ptp(x_N)))
    share = float(np.mean((spread > 0) & (spread < TINY * scale)))
    divided = s.log.config.get("algo.advantage") in (None, "grpo")
    if share <= 0.2 or not divided or s.log.other_config.get("scale_rewards") in (False, "none"):
        return
    yield found(
        "warning",
        "fault",
        s.spread,
        f"at {share:.0%} of the points groups differ by less than {TINY:.0%} of the reward's scale",
        f"scale {scale:.3g}, median of these spreads "
        f"{np.median(spread[(spread > 0) & (spread < TINY * scale)]):.2g}",
        causes=(("zero-signal-groups", 0.5, "jitter is trained on as if it were success"),),
        fix=_no_division(s, TINY * scale),
        series=(s.spread, "reward/mean"),
    )


def _no_division(s: Signals, floor: float) -> Prescription | None:
    """A floor under the standard deviation where the library has one, else no division by it."""
    if s.log.library == "pawl":
        return prescribe.at(
            s,
            "algo.std_floor",
            floor,
            "up",
            why="no spread below it is worth a full advantage",
            expected="advantages of such groups near 0 at once",
            risk="small true differences count less",
            verify="reward not below that of an unchanged fork",
        )
    return advice(
        "do not divide by the group's standard deviation (TRL: scale_rewards none; verl: "
        "algorithm.norm_adv_by_std_in_grpo false)",
        "advantages of such groups near 0 at once",
        "reward not below that of an unchanged fork",
        "a fork of 50 steps",
    )


@rule("D306", "group-too-small", "reward/mean")
def group_too_small(s: Signals) -> Iterator[Finding]:
    """Groups of two: an advantage is a sign, never a size.

    What: the group size is 2, or 1.
    Why it matters: two rewards, standardised, are always +1 and -1, or both 0: how much better is
    lost. One sample has no group.
    Evidence needed: the option.
    Traps: leave-one-out keeps the size of the difference.
    Fix: four to eight samples a problem, with fewer problems a step at the same cost.
    Source: standardisation of two numbers.
    Causes: zero-signal-groups.
    """
    size = s.option("rollout.group_size")
    if size and size <= 2 and s.log.config.get("algo.advantage") != "rloo":
        yield found(
            "warning",
            "nothing",
            "rollout.group_size",
            f"groups of {size:g}: advantages keep the sign of a difference and lose its size",
            causes=(("zero-signal-groups", 0.3, "small groups tie often"),),
            fix=larger_groups(s),
            early=True,
        )


@rule("D307", "ties-over-the-batch", "group/zero_std_frac", proof="real")
def zero_variance_over_the_batch(s: Signals) -> Iterator[Finding]:
    """The share of tied groups speaks of the whole batch, so it reads 0 or 1.

    What: the options take the standard deviation over the batch, or the share is 0 or 1 at each of
    20 points.
    Why it matters: read over the batch it says 0 even when every group ties: the metric that should
    warn is blind. With one group a step it is coarse.
    Evidence needed: the share, and scale_rewards where the library has it.
    Traps: 0 at every point is right where no group ever ties.
    Fix: log the spread within groups; count ties from the samples.
    Source: TRL 1.16, grpo_trainer.py: with scale_rewards="batch" (or normalize_then_sum) the
    deviation is taken over the batch.
    Causes: zero-signal-groups.
    """
    x_N = s.values("group/zero_std_frac")
    options = s.log.other_config
    batch = (
        options.get("scale_rewards") == "batch"
        or options.get("multi_objective_aggregation") == "normalize_then_sum"
    )
    coarse = len(x_N) >= POINTS and set(np.unique(x_N)) == {0.0, 1.0}
    if batch or coarse:
        yield found(
            "warning" if batch else "info",
            "nothing",
            "group/zero_std_frac",
            "the share of tied groups is taken over the whole batch: it cannot see ties"
            if batch
            else "the share of tied groups is 0 or 1: one group a step, or taken over the batch",
            f"mean {x_N.mean():.2f} over {len(x_N)} points",
            causes=(("zero-signal-groups", 0.2, "ties cannot be seen"),) if batch else (),
            series=("group/zero_std_frac",),
            early=True,
        )


@rule("D308", "nothing-to-train-on", "filter/emptied|group/trained|epoch/emptied_steps")
def nothing_to_train_on(s: Signals) -> Iterator[Finding]:
    """Steps, or whole epochs, without any sample to train on.

    What: over 20% (warning) or 80% (fault) of the recent steps trained on no group.
    Why it matters: an epoch without an update leaves the model as it was, and its curves are noise.
    Evidence needed: filter/emptied or group/trained.
    Traps: with groups skipped when they tie, a solved set ends so in health.
    Fix: lower the filter's threshold to what the present policy earns; harder or easier problems.
    Source: reward thresholds above what a policy earns; observed in a teacher-scored run.
    Causes: zero-signal-groups.
    """
    if s.has("filter/emptied"):
        name, empty = "filter/emptied", s.values("filter/emptied") > 0
    elif s.has("group/trained"):
        name, empty = "group/trained", s.values("group/trained") == 0
    else:
        name, empty = "epoch/emptied_steps", s.values("epoch/emptied_steps") > 0
    share = float(np.mean(empty[-POINTS:]))
    if share <= 0.2:
        return
    critical = share > 0.8 and len(empty) >= 5 and not high(s) and not gains(s)
    yield found(
        "critical" if critical else "warning",
        "fault",
        name,
        f"{share:.0%} of the recent {'epochs' if name.startswith('epoch') else 'steps'} had nothing"
        " to train on",
        f"over the run: {float(np.mean(empty)):.0%} of {len(empty)}",
        causes=(("zero-signal-groups", 0.9, "no sample reaches the loss"),),
        fix=advice(
            "the filter asks for more than the policy earns",
            "every step trains on some groups",
            "group/trained above 0",
        ),
        series=(name, "reward/mean"),
        early=True,
    )

"""Rules about the critic: whether it predicts returns, and what its loss says.

Codes D701 to D704. Left out: the policy's side of PPO (`ppo`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

WARM_UP = 50  # points that a critic may need


@rule("D701", "value-useless", "value/explained_variance")
def value_useless(s: Signals) -> Iterator[Finding]:
    """The critic predicts returns worse than their mean would.

    What: after 50 points the explained variance's whole interval lies below 0.
    Why it matters: such a critic adds noise to every advantage.
    Evidence needed: explained variance over 50 points.
    Traps: rewards at the end of a text keep it near 0 for long, in health; the first points are a
    warm-up; a rising goal metric shows that the policy learns all the same.
    Fix: train the critic alone for 10 to 50 steps first, mend the reward's scale, or do without a
    critic (group baselines).
    Source: explained variance 1 - Var(R - V) / Var(R); VC-PPO (Yuan et al. 2025).
    Causes: value-useless.
    """
    if len(s.values("value/explained_variance")) < WARM_UP:
        return
    now = s.late("value/explained_variance", 40)
    if now.high >= 0.0 or now.value > -0.05:
        return
    yield found(
        "warning" if s.better else "critical",
        "nothing" if s.better else "fault",
        "value/explained_variance",
        f"the critic explains {now.value:.2f} of the returns' variance: worse than their mean",
        f"last {now.n} points: {now.words}",
        causes=(("value-useless", 0.9, "worse than a constant"),),
        fix=advice(
            "a critic below a constant adds noise to every advantage",
            "explained variance above 0 within 50 steps, or no critic",
            "a fork with group baselines in the critic's place is not worse",
        ),
        series=("value/explained_variance", "value/loss"),
    )


@rule("D702", "value-loss-off-scale", "value/loss", "reward/mean", proof="real")
def off_scale(s: Signals) -> Iterator[Finding]:
    """The critic errs by more than returns are large.

    What: the recent value loss exceeds twice the square of the largest return that reward and KL
    penalty allow, and has not halved; or rewards beyond 10 in size go with a value loss above 100.
    Why it matters: a constant would do better; advantages are the critic's errors.
    Evidence needed: value loss and rewards; their spread over samples where it is logged.
    Traps: means over a batch hide the largest returns: without their spread this is a warning.
    Fix: scale rewards to a standard deviation of 1 (running), clip at 10; start the critic at 0.
    Source: Secrets of RLHF (Zheng et al. 2023), reward scaling; a constant's error is Var(R).
    Causes: value-useless.
    """
    loss, x_N = s.values("value/loss"), s.values("reward/mean")
    if len(loss) < 20 or s.late("value/loss").value < 0.5 * s.early("value/loss").value:
        return  # it is on its way down
    spread = next((n for n in ("reward/std", "reward/spread") if s.has(n)), "")
    parts = [float(np.abs(x_N).max()), 3.0 * float(s.values(spread).max()) if spread else 0.0]
    penalty = s.values("reward/kl_penalty")
    size = max(parts) + (float(np.abs(penalty).max()) if len(penalty) else 0.0)
    now = s.late("value/loss")
    huge = size > 10.0 and now.low > 100.0
    if now.low <= 2.0 * size**2 and not huge:
        return
    critical = bool(spread) and not huge and not s.better and now.low > 10.0 * size**2
    yield found(
        "critical" if critical else "warning",
        "fault" if spread or huge else "nothing",
        "value/loss, reward/mean",
        f"the value loss is {now.value:.3g} where returns are at most about {size:.3g} in size",
        f"a constant would have a loss of {size**2:.3g} or less; last {now.n} points: {now.words}",
        causes=(("value-useless", 0.8, "the critic errs by more than returns are large"),),
        fix=advice(
            "the critic does not learn the scale of the returns",
            "a value loss below the returns' variance",
            "explained variance above 0 after 50 steps",
        ),
        series=("value/loss", "reward/mean"),
    )


@rule("D703", "value-clipped", "value/clip_frac")
def value_clipped(s: Signals) -> Iterator[Finding]:
    """Most value predictions are held back by their clip.

    What: over half of the recent values were clipped.
    Why it matters: the critic cannot follow; its clip decides what it learns.
    Evidence needed: the share of clipped values over 20 points.
    Traps: high shares in the first steps are a warm-up. Value clipping has no proven benefit.
    Fix: widen the value clip or turn it off.
    Source: Engstrom et al. 2020; Secrets of RLHF (Zheng et al. 2023).
    Causes: value-useless.
    """
    if len(s.values("value/clip_frac")) >= 20 and s.late("value/clip_frac").low > 0.5:
        yield found(
            "warning",
            "nothing" if s.better else "fault",
            "value/clip_frac",
            f"{s.late('value/clip_frac').value:.0%} of the value predictions are clipped",
            causes=(("value-useless", 0.6, "the clip decides what the critic learns"),),
            fix=advice(
                "the critic cannot follow the returns",
                "a clipped share below 10% and a falling value loss",
                "explained variance rises within 20 steps without the clip",
            ),
            series=("value/clip_frac", "value/loss"),
        )


@rule("D704", "value-too-good", "value/explained_variance", "reward/mean")
def too_good(s: Signals) -> Iterator[Finding]:
    """The critic predicts nearly every return and the policy does not learn.

    What: explained variance above 0.98 over the last 40 of 50 points while the reward is flat.
    Why it matters: returns known in advance leave no advantage; a reward that reached the critic's
    input does this.
    Evidence needed: explained variance and reward.
    Traps: a reward that hardly varies, or dense rewards, are predictable in health.
    Fix: see that the value of a position is computed before its token and reward are known.
    Source: definition of the advantage.
    Causes: leakage.
    """
    if len(s.values("value/explained_variance")) < WARM_UP or s.better:
        return
    now = s.late("value/explained_variance", 40)
    if now.low > 0.98:
        yield found(
            "warning",
            "nothing",
            "value/explained_variance",
            f"the critic explains {now.value:.1%} of the returns' variance and the reward is flat",
            causes=(("leakage", 0.3, "the reward may reach the critic's input"),),
            fix=prescribe.advice(
                "a return that is known in advance leaves no advantage",
                "explained variance below 0.9 once the reward is hidden",
                "values do not change when the reward of a text is changed",
            ),
            series=("value/explained_variance", "reward/mean"),
        )

"""Rules about PPO: the critic, the ratio, and passes over a batch.

Codes D7. Left out: the KL to the reference (`kl`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, Grade, found, rule
from pawl.rules.signals import TO_REFERENCE, Signals

EXPLAINED = "value/explained_variance"
EXACT = 1e-9
RESTING = (
    ("policy/ratio_mean", 1.0, "ratio exactly 1"),
    ("policy/kl_old", 0.0, "KL of old and new exactly 0"),
    ("policy/clip_frac", 0.0, "no token clipped"),
)
"""What a policy that is not updated shows: metric, its value, in words."""


@rule("D701", "value-useless", EXPLAINED, points=50)
def value_useless(s: Signals) -> Findings:
    """The critic predicts returns worse than their mean would.

    What: after 50 points the explained variance's whole interval lies below 0.
    Why it matters: such a critic adds noise to every advantage.
    Evidence needed: explained variance over 50 points.
    Traps: rewards at the end of a text keep it near 0 for long, in health; the first points are a
    warm-up; a rising goal metric shows that the policy learns all the same.
    Fix: train the critic alone for 10 to 50 steps first, mend the reward's scale, or do without a
    critic (group baselines).
    Source: explained variance 1 - Var(R - V) / Var(R); VC-PPO (Yuan et al. 2025).
    Causes: value-useless (worse than a constant).
    """
    now = s.late(EXPLAINED, 40)
    if now.high < 0.0 and now.value <= -0.05:
        yield found(
            "warning nothing" if s.better else "critical fault",
            f"the critic explains {now.value:.2f} of the returns' variance: worse than their mean",
            f"last {now.n} points: {now.words}",
            causes={"value-useless": 0.9},
            fix="explained variance above 0 within 50 steps, or a fork without critic is no worse",
            series=(EXPLAINED, "value/loss"),
        )


@rule("D702", "value-loss-off-scale", "value/loss", "reward/mean", points=20, proof="real")
def off_scale(s: Signals) -> Findings:
    """The critic errs by more than returns are large.

    What: the recent value loss exceeds twice the square of the largest return that reward and KL
    penalty allow, and has not halved; or rewards beyond 10 in size go with a value loss above 100.
    Why it matters: a constant would do better; advantages are the critic's errors.
    Evidence needed: value loss and rewards; their spread over samples where it is logged.
    Traps: means over a batch hide the largest returns: without their spread this is a warning.
    Fix: scale rewards to a standard deviation of 1 (running), clip at 10; start the critic at 0.
    Source: Secrets of RLHF (Zheng et al. 2023), reward scaling; a constant's error is Var(R).
    Causes: value-useless (the critic errs by more than returns are large).
    """
    now, spread = s.late("value/loss"), s.first("reward/std|reward/spread")
    if now.value < 0.5 * s.early("value/loss").value:
        return  # it is on its way down
    x_N, spreads, penalty = map(s.values, ("reward/mean", spread, "reward/kl_penalty"))
    size = max(float(np.abs(x_N).max()), 3.0 * float(max(spreads, default=0.0)))
    size += float(max(np.abs(penalty), default=0.0))
    huge = size > 10.0 and now.low > 100.0
    if now.low <= 2.0 * size**2 and not huge:
        return
    critical = bool(spread) and not huge and not s.better and now.low > 10.0 * size**2
    sure: Grade = "warning fault" if spread or huge else "warning nothing"
    yield found(
        "critical fault" if critical else sure,
        f"the value loss is {now.value:.3g} where returns are at most about {size:.3g} in size",
        f"a constant would have a loss of {size**2:.3g} or less; last {now.n} points: {now.words}",
        causes={"value-useless": 0.8},
        fix="a value loss below the returns' variance, explained variance above 0 after 50 steps",
    )


@rule("D703", "value-clipped", "value/clip_frac", points=20)
def value_clipped(s: Signals) -> Findings:
    """Most value predictions are held back by their clip.

    What: over half of the recent values were clipped.
    Why it matters: the critic cannot follow; its clip decides what it learns.
    Evidence needed: the share of clipped values over 20 points.
    Traps: high shares in the first steps are a warm-up. Value clipping has no proven benefit.
    Fix: widen the value clip or turn it off.
    Source: Engstrom et al. 2020; Secrets of RLHF (Zheng et al. 2023).
    Causes: value-useless (the clip decides what the critic learns).
    """
    now = s.late("value/clip_frac")
    if now.low > 0.5:
        yield found(
            "warning nothing" if s.better else "warning fault",
            f"{now.value:.0%} of the value predictions are clipped",
            causes={"value-useless": 0.6},
            fix="without the clip explained variance rises and value loss falls in 20 steps",
            series=("value/clip_frac", "value/loss"),
        )


@rule("D704", "value-too-good", EXPLAINED, "reward/mean", points=50)
def too_good(s: Signals) -> Findings:
    """The critic predicts nearly every return and the policy does not learn.

    What: explained variance above 0.98 over the last 40 of 50 points while the reward is flat.
    Why it matters: returns known in advance leave no advantage; a reward that reached the critic's
    input does this.
    Evidence needed: explained variance and reward.
    Traps: a reward that hardly varies, or dense rewards, are predictable in health.
    Fix: see that the value of a position is computed before its token and reward are known.
    Source: definition of the advantage.
    Causes: leakage (the reward may reach the critic's input).
    """
    now = s.late(EXPLAINED, 40)
    if now.low > 0.98 and not s.better:
        yield found(
            "warning nothing",
            f"the critic explains {now.value:.1%} of the returns' variance and the reward is flat",
            causes={"leakage": 0.3},
            fix="values do not change when the reward of a text is changed",
        )


@rule("D705", "ppo-not-updating", "policy/kl_old|policy/ratio_mean", kinds=("policy",))
def not_updating(s: Signals) -> Findings:
    """New and old policy are the same after several passes over a batch.

    What: ratio exactly 1, KL between old and new exactly 0 and no token clipped (two of them at
    least are logged) at every point, with more than one update a batch and no sign of movement.
    Why it matters: after one update the ratio cannot stay at 1: no update reached the policy, or
    old log-probs are taken from the new pass.
    Evidence needed: two of ratio, KL old to new, clip fraction; the number of updates a batch, or
    a critic beside them.
    Traps: with one update a batch all three are exactly 1, 0 and 0 in health. The size of the loss
    says nothing: whitened advantages make it 0.
    Fix: compare a trained parameter before and after a step; take old log-probs before the update.
    Source: PPO (Schulman et al. 2017), eq. 6.
    Causes: algebraic-identity (old log-probs may be those of the new pass), optimiser-detached (or
    no update reaches the policy).
    """
    lr, distance = s.values("optim/lr"), s.first(TO_REFERENCE)
    logged = [row for row in RESTING if len(s.values(row[0])) >= 5]
    still = [told for n, at, told in logged if (np.abs(s.values(n) - at) <= EXACT).all()]
    if len(still) < max(2, len(logged)) or (len(lr) and float(lr.max()) <= 0.0):
        return
    told = "algo.epochs" in s.log.config or "algo.minibatches" in s.log.config
    if s.updates <= 1.0 and (told or not s.has("value/loss")):
        return
    if s.better or s.trend(distance).direction == "up":  # something does update the policy
        return
    many = s.updates > 1.0
    yield found(
        "critical fault" if many or len(still) == 3 else "warning fault",
        f"the policy is not updated: {', '.join(still)} at every point",
        f"{s.updates:g} updates a batch" if many else "a critic is trained beside it",
        causes={"algebraic-identity": 0.7, "optimiser-detached": 0.7},
        fix="a trained parameter, and the ratio, differ before and after one step",
        series=[name for name, _, _ in RESTING],
        early=many,
    )


@rule("D706", "penalty-beats-score", "reward/kl_penalty", "reward/mean", points=20, proof="real")
def penalty_beats_score(s: Signals) -> Findings:
    """The KL penalty takes away as much as scores differ by.

    What: the recent penalty of a completion is at least half of the scores' spread (their size
    where no spread is logged), and the score does not rise.
    Why it matters: staying at the reference pays more than solving the task.
    Evidence needed: penalty and score per completion.
    Traps: a penalty that is large before anything moved is no policy that is bound: reference or
    log-probs disagree, and the coefficient must not be touched before that is mended.
    Fix: a fifth of the coefficient, after the KL at the start is 0.
    Source: KL-regularised optimum (Ziegler et al. 2019).
    Causes: lr-too-low (the penalty holds the policy in place), reference-mismatch (a penalty from
    the first point on), sampler-mismatch (a penalty from the first point on).
    """
    size, spread = np.abs(s.values("reward/kl_penalty")), s.first("reward/std|reward/spread")
    score = s.late(spread).value if spread else abs(s.late("reward/mean").value)
    now, start = float(np.median(size[-20:])), float(np.median(size[:3]))
    if s.better or now < 0.5 * score or now <= EXACT:
        return
    wrong = start > 0.5 * now
    scores = f"spread by {score:.3g}" if spread else f"are {score:.3g} in size"
    yield found(
        "warning fault" if spread or wrong else "warning nothing",
        f"the KL penalty is {now:.3g} a completion where scores {scores}",
        *([f"it was {start:.3g} at the first points, before anything moved"] if wrong else []),
        causes={"sampler-mismatch": 0.4, "reference-mismatch": 0.4}
        if wrong
        else {"lr-too-low": 0.2},
        fix=None
        if wrong
        else prescribe.scaled(
            s,
            "algo.kl_coef",
            0.2,
            why="staying at the reference is rewarded more than solving the task",
            expected="a penalty below a fifth of the scores' spread",
            risk="the policy may leave the reference for what the reward overrates",
            verify="the score is above that of an unchanged fork, held-out too",
        ),
    )


@rule("D707", "ratio-to-itself", "policy/ratio_mean", "policy/kl_old", proof="real")
def ratio_to_itself(s: Signals) -> Findings:
    """The loss compares the policy with itself: its ratio is 1 though the policy moved.

    What: with several updates a batch, the mean ratio is exactly 1 at every point while the KL
    between old and new log-probs is above 0.
    Why it matters: the clip never acts, and stale samples count as fresh: each further pass pushes
    on without a bound.
    Evidence needed: the ratio as the loss takes it, and the KL of old and new taken apart from it.
    Traps: with one update a batch both are 1 and 0 in health. A mean ratio near 1 is health too;
    only exactly 1, at ten points or more, is no measurement.
    Fix: keep the log-probs of the log-prob pass, and do not detach the new ones in their place.
    Source: PPO (Schulman et al. 2017), eq. 6.
    Causes: algebraic-identity (old log-probs are those of the new pass).
    """
    ratio, old = s.paired("policy/ratio_mean", "policy/kl_old")
    moved = old > 1e-6
    if moved.sum() >= 10 and (np.abs(ratio[moved] - 1.0) <= EXACT).all():
        yield found(
            "critical invalid",
            "the ratio of the loss is exactly 1 while the policy moves within the batch",
            f"KL of old and new {np.median(old[moved]):.2g} nat a token at {moved.sum()} points",
            causes={"algebraic-identity": 0.95},
        )

"""Rules about the KL to the reference over a run: explosions, spikes, zeros, a policy held tight.

Codes D404 to D407. Left out: the KL at the start (`policy`), below 0 (`mismatch`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import gains, never_updated
from pawl.rules.signals import TO_REFERENCE, Signals
from pawl.rules.statistics import robust_z


@rule("D404", "kl-blow-up", "policy/kl_ref", "reward/mean", points=30, proof="real")
def kl_blow_up(s: Signals) -> Findings:
    """The policy runs away from its reference and does not come back.

    What: over the last ten points the median KL is above 3 nat a token (above 1 where the reward
    falls) and over ten times that of the first half.
    Why it matters: that far away the reward says little about what the model still can.
    Evidence needed: 30 points of a KL per token, and the reward.
    Traps: spikes that recover are harmless; with a rising reward a KL of 1 to 4 has been health;
    per completion the same numbers are small.
    Fix: back to a checkpoint before the rise; a third of the learning rate, or a KL term.
    Source: public runs with rewards rising at 1 to 4 nat; Gao et al. 2022.
    Causes: lr-too-high (updates that nothing holds), random-walk (distance without gain).
    """
    x_N = s.values("policy/kl_ref")
    before, now = float(np.median(x_N[: len(x_N) // 2])), s.level("policy/kl_ref", 10)
    if now <= 1.0 or now <= 10.0 * before:
        return
    if gains(s):
        yield found(
            "info unusual",
            f"the KL grew from {before:.2g} to {now:.2g} nat a token, and the reward rises",
            "distance is no fault while it buys reward; watch held-out results",
        )
        return
    falls = s.trend("reward/mean").direction == "down"
    yield found(
        "critical fault" if falls or now > 3.0 else "warning fault",
        f"the KL ran from {before:.2g} to {now:.2g} nat a token without any gain",
        "median of the first half and of the last 10 points",
        causes={"lr-too-high": 0.8, "random-walk": 0.6},
        fix=prescribe.slower(
            s,
            "the policy moves far without a gain",
            "KL below 1 nat a token after 50 steps from an earlier checkpoint",
        ),
    )


@rule("D405", "kl-spikes", "policy/kl_ref", points=20, proof="real")
def kl_spikes(s: Signals) -> Findings:
    """Single steps have a very large KL, and the next ones do not: harmless.

    What: points ten times above the median before them, followed by a return to below three times
    that median within five points.
    Why it matters: the estimator k3 is heavy-tailed: one token with a log-ratio of -10 weighs e^10.
    Alarms on such spikes cry wolf.
    Evidence needed: 20 points of the KL.
    Traps: a spike that does not recover is a blow-up (D404) or destruction (D403).
    Fix: none; cap the ratio inside the estimator if the loss contains the KL.
    Source: five public runs whose spikes all recovered.
    Causes: none.
    """
    x_N, hits = s.values("policy/kl_ref"), list[int]()
    for i in np.flatnonzero(robust_z(x_N) > 8.0):
        usual, after = float(np.median(x_N[max(0, i - 50) : i])), x_N[i + 1 : i + 6]
        if x_N[i] > max(10.0 * usual, 0.05) and len(after) and after.min() < 3.0 * max(usual, 1e-9):
            hits.append(int(i))
    if hits:
        top = max(hits, key=lambda i: x_N[i])
        yield found(
            "info unusual",
            f"{len(hits)} spike{'s' if len(hits) > 1 else ''} of the KL, up to {x_N[top]:.3g} nat, "
            "gone within five points",
            f"median of the run {np.median(x_N):.3g}",
            at=f"step {s.steps('policy/kl_ref')[top]:g}",
        )


@rule("D406", "kl-rests-at-zero", TO_REFERENCE, points=10, proof="real")
def kl_rests_at_zero(s: Signals) -> Findings:
    """The KL to the reference is exactly 0 at every point.

    What: ten points or more of exactly 0. With a KL coefficient above 0 the run is invalid; without
    one it is normal; unknown, it is a question.
    Why it matters: after the first update a policy differs from its starting point. If the KL does
    not, the reference is the policy itself, or the policy does not move.
    Evidence needed: the KL, its coefficient, a learning rate above 0.
    Traps: without a KL term many libraries log 0 or nothing.
    Fix: keep a frozen copy (or switch the adapter off) for the reference, never the module itself.
    Source: KL(p, p) = 0; reference bugs of public projects.
    Causes: optimiser-detached (or the policy does not move), reference-mismatch (the reference is
    the policy itself).
    """
    x_N, coef = s.values(s.first(TO_REFERENCE)), s.values("policy/kl_coef")
    lr = s.values("optim/lr")
    if x_N.any() or (len(lr) and lr.max() <= 0) or never_updated(s):
        return
    weight = float(coef.max()) if len(coef) else s.option("algo.kl_coef")
    if weight == 0:
        yield found("info nothing", "the KL is 0 because there is no KL term: normal")
        return
    known = "; the coefficient is not known" if weight is None else f", coefficient {weight:g}"
    yield found(
        "warning nothing" if weight is None else "critical invalid",
        "the KL to the reference is exactly 0 after updates",
        f"{len(x_N)} points{known}",
        causes={"reference-mismatch": 0.85, "optimiser-detached": 0.5},
        fix="a KL above 0 after two updates at the normal learning rate",
    )


@rule("D407", "held-by-the-kl", TO_REFERENCE, "reward/mean")
def held_by_the_kl(s: Signals) -> Findings:
    """The KL penalty weighs as much as the rewards differ: an over-conservative policy.

    What: coefficient times KL per completion reaches 30% of the rewards' spread, and neither the
    reward nor the KL rises.
    Why it matters: what the reward wins the penalty takes; the policy stays where it began.
    Evidence needed: the coefficient, the KL, the spread of rewards (and mean length for a KL per
    token).
    Traps: a KL that is wrong from the start (D401) makes any penalty large; a small coefficient
    with a long completion may weigh more than a large one.
    Fix: a third of the coefficient, after the KL has been seen to start at 0.
    Source: RLHF's objective (Ziegler et al. 2019): score minus coefficient times KL.
    Causes: lr-too-low (the penalty takes what the reward gives).
    """
    coefs, name = s.values("policy/kl_coef"), s.first(TO_REFERENCE)
    coef = float(coefs[-1]) if len(coefs) else s.option("algo.kl_coef")
    spreads = s.first("reward/std", "reward/within_std", "reward/spread")
    spread = s.late(spreads).value if spreads else 0.0
    if not coef or spread <= 0 or gains(s) or s.n < 20:
        return
    distance = 0.0
    if s.has("policy/kl_ref_sequence"):
        distance = s.late("policy/kl_ref_sequence").value
    elif s.has("length/mean"):
        distance = s.late("policy/kl_ref").value * s.late("length/mean").value
    share = coef * distance / spread
    if share < 0.3 or s.trend(name).direction == "up":  # what moves on is not held
        return
    yield found(
        "warning fault",
        f"the KL penalty is {share:.0%} of the rewards' spread: the policy is held where it is",
        f"{coef:g} x {distance:.3g} nat a completion, spread of rewards {spread:.3g}",
        causes={"lr-too-low": 0.3},
        fix=prescribe.scaled(
            s,
            "algo.kl_coef",
            1 / 3,
            why="the penalty weighs as much as the rewards differ",
            expected="KL up to three times as large, reward above its noise within 50 steps",
            risk="a policy that drifts further from its start",
            verify="held-out result not below that of an unchanged fork",
        ),
    )

"""Rules about PPO's policy side: no update at all, a penalty larger than the score, a ratio
of a policy to itself.

Codes D705 to D707. Left out: the critic (`value`), KL and entropy as such (`policy`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

EXACT = 1e-9


@rule("D705", "ppo-not-updating", "policy/kl_old|policy/ratio_mean", kinds=("policy",))
def not_updating(s: Signals) -> Iterator[Finding]:
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
    Causes: algebraic-identity, optimiser-detached.
    """
    ratio, old = s.values("policy/ratio_mean"), s.values("policy/kl_old")
    clip, lr = s.values("policy/clip_frac"), s.values("optim/lr")
    still = [
        text
        for x_N, at, text in (
            (ratio, 1.0, "ratio exactly 1"),
            (old, 0.0, "KL of old and new exactly 0"),
            (clip, 0.0, "no token clipped"),
        )
        if len(x_N) >= 5 and bool((np.abs(x_N - at) <= EXACT).all())
    ]
    logged = sum(len(x_N) >= 5 for x_N in (ratio, old, clip))
    if len(still) < max(2, logged) or (len(lr) and float(lr.max()) <= 0.0):
        return
    updates = (s.option("algo.epochs") or 1.0) * (s.option("algo.minibatches") or 1.0)
    told = "algo.epochs" in s.log.config or "algo.minibatches" in s.log.config
    if updates <= 1.0 and (told or not s.has("value/loss")):
        return
    if s.better or _moves(s):
        return
    critical = updates > 1.0 or len(still) == 3
    yield found(
        "critical" if critical else "warning",
        "fault",
        "policy/ratio_mean, policy/kl_old",
        "the policy is not updated: " + ", ".join(still) + " at every point",
        f"{updates:g} updates a batch" if updates > 1 else "a critic is trained beside it",
        causes=(
            ("algebraic-identity", 0.7, "old log-probs may be those of the new pass"),
            ("optimiser-detached", 0.7, "or no update reaches the policy"),
        ),
        fix=advice(
            "several updates a batch must move the ratio away from 1",
            "a KL of old and new above 0 in the second pass",
            "a trained parameter differs before and after one step",
        ),
        series=("policy/ratio_mean", "policy/kl_old", "policy/clip_frac"),
        early=updates > 1.0,
    )


def _moves(s: Signals) -> bool:
    """Whether the KL to the reference grows: then something does update the policy."""
    name = "policy/kl_ref" if s.has("policy/kl_ref") else "policy/kl_ref_sequence"
    return s.has(name) and s.trend(name).direction == "up"


@rule("D706", "penalty-beats-score", "reward/kl_penalty", "reward/mean", proof="real")
def penalty_beats_score(s: Signals) -> Iterator[Finding]:
    """The KL penalty takes away as much as scores differ by.

    What: the recent penalty of a completion is at least half of the scores' spread (their size
    where no spread is logged), and the score does not rise.
    Why it matters: staying at the reference pays more than solving the task.
    Evidence needed: penalty and score per completion.
    Traps: a penalty that is large before anything moved is no policy that is bound: reference or
    log-probs disagree, and the coefficient must not be touched before that is mended.
    Fix: a fifth of the coefficient, after the KL at the start is 0.
    Source: KL-regularised optimum (Ziegler et al. 2019).
    Causes: lr-too-low, reference-mismatch, sampler-mismatch.
    """
    size = np.abs(s.values("reward/kl_penalty"))
    if len(size) < 20 or s.better:
        return
    spread = next((n for n in ("reward/std", "reward/spread") if s.has(n)), "")
    score = float(s.late(spread).value) if spread else abs(s.late("reward/mean").value)
    now, start = float(np.median(size[-20:])), float(np.median(size[:3]))
    if now < 0.5 * score or now <= EXACT:
        return
    wrong = start > 0.5 * now
    yield found(
        "warning",
        "fault" if spread or wrong else "nothing",
        "reward/kl_penalty, reward/mean",
        f"the KL penalty is {now:.3g} a completion where scores "
        + (f"spread by {score:.3g}" if spread else f"are {score:.3g} in size"),
        *((f"it was {start:.3g} at the first points, before anything moved",) if wrong else ()),
        causes=(
            ("sampler-mismatch", 0.4, "a penalty from the first point on"),
            ("reference-mismatch", 0.4, "a penalty from the first point on"),
        )
        if wrong
        else (("lr-too-low", 0.2, "the penalty holds the policy in place"),),
        fix=None
        if wrong
        else prescribe.scaled(
            s,
            "algo.kl_coef",
            0.2,
            why="staying at the reference pays more than solving the task",
            expected="a penalty below a fifth of the scores' spread",
            risk="the policy may leave the reference for what the reward overrates",
            verify="the score is above that of an unchanged fork, held-out too",
        ),
        series=("reward/kl_penalty", "reward/mean"),
    )


@rule("D707", "ratio-to-itself", "policy/ratio_mean", "policy/kl_old", proof="real")
def ratio_to_itself(s: Signals) -> Iterator[Finding]:
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
    Causes: algebraic-identity.
    """
    ratio, old = s.paired("policy/ratio_mean", "policy/kl_old")
    moved = old > 1e-6
    if int(moved.sum()) < 10 or (np.abs(ratio[moved] - 1.0) > EXACT).any():
        return
    yield found(
        "critical",
        "invalid",
        "policy/ratio_mean, policy/kl_old",
        "the ratio of the loss is exactly 1 while the policy moves within the batch",
        f"KL of old and new {float(np.median(old[moved])):.2g} nat a token at {int(moved.sum())} "
        "points",
        causes=(("algebraic-identity", 0.95, "old log-probs are those of the new pass"),),
        series=("policy/ratio_mean", "policy/kl_old"),
        early=True,
    )

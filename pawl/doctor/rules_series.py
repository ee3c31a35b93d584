"""Rules about the numbers themselves: not finite, constant by algebra, too few, odd in order.

Codes D1xx. Left out: what rewards, policy and preferences say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.doctor.prescribe import advice
from pawl.doctor.rule import found, rule
from pawl.doctor.signals import Signals
from pawl.types import Finding

NEVER_ZERO = ("loss/total", "policy/kl_ref", "policy/kl_old", "preference/accuracy")


@rule("D101", "non-finite")
def non_finite(s: Signals) -> Iterator[Finding]:
    """A metric of training became NaN or infinite.

    What: nan or inf stands in loss, gradient, log-probs, KL or reward.
    Why it matters: one non-finite gradient makes every weight NaN; libraries that replace NaN by 0
    hide that nothing is learned from then on.
    Evidence needed: the metric's own series.
    Traps: a metric that is undefined by design (a mean over no completion that ended) is no fault;
    only metrics that always have a value are looked at.
    Fix: find the first non-finite metric in the order reward, log-probs, loss, gradient; lower the
    learning rate only when the gradient came first.
    Source: transformers Trainer `logging_nan_inf_filter`; TRL grpo_trainer `nan_to_num`.
    """
    watched = ("reward/mean", "loss/total", "optim/grad_norm", "policy/kl_ref", "policy/entropy")
    hits = []
    for name in watched:
        series = s.log.series.get(name)
        if series is not None:
            odd = np.flatnonzero(~np.isfinite(series.value_N))
            if len(odd):
                hits.append((int(series.row_N[odd[0]]), name, len(odd), len(series.value_N)))
    if hits:
        row, name, k, n = min(hits)
        steps = s.log.step_N
        yield found(
            "critical",
            "fault",
            f"{name}, from step {steps[row]:g} on",
            f"{name} is not finite at {k} of {n} points",
            *(f"{m}: {c} of {of} points, first at step {steps[r]:g}" for r, m, c, of in hits),
            causes=(
                ("non-finite", 0.95, f"{name} is not finite"),
                ("lr-too-high", 0.3, "an update of that size can overflow"),
            ),
            series=(name,),
            early=True,
        )


@rule("D102", "zero-by-algebra", proof="real")
def zero_by_algebra(s: Signals) -> Iterator[Finding]:
    """Metrics that cannot rest at exactly zero do, together.

    What: two or more of loss, KL and preference accuracy are exactly 0 at every point.
    Why it matters: a loss of exactly 0 with a KL of exactly 0 means that the ratio is 1 and the
    advantages cancel by construction: nothing was trained, whatever the other metrics say.
    Evidence needed: two of loss/total, policy/kl_ref, policy/kl_old, preference/accuracy.
    Traps: one of them alone proves nothing. The first loss of GRPO is 0 in health; a KL is 0, or
    absent, without a KL term; clip fractions are 0 with one update a batch.
    Fix: look for a tensor compared with itself: old log-probs taken from the same pass, a
    placeholder metric, a reference that is the policy.
    Source: PPO's ratio (Schulman et al. 2017, eq. 6) at equal policies.
    """
    zero = [n for n in NEVER_ZERO if s.has(n) and not s.values(n).any()]
    if "policy/kl_ref" in zero and s.option("algo.kl_coef") == 0:
        zero.remove("policy/kl_ref")
    moved = s.n == 1 or all(len(s.values(n)) >= 5 for n in zero)
    if len(zero) >= 2 and "loss/total" in zero and moved:
        yield found(
            "critical",
            "invalid",
            ", ".join(zero),
            f"{len(zero)} metrics are exactly 0 at every point: {', '.join(zero)}",
            *(f"{n}: 0 at {len(s.values(n))} points" for n in zero),
            causes=(("algebraic-identity", 0.95, "zero by algebra, not by training"),),
            fix=advice(
                "the ratio is 1 and the advantages cancel, or a tensor is compared with itself",
                "loss and KL leave 0 with the first update",
                "a non-zero KL after one update at the normal learning rate",
            ),
            series=tuple(zero),
            early=True,
        )

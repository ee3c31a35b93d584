"""Rules about the numbers themselves: not finite, constant by algebra or bit for bit, copied.

Codes D101 to D104. Left out: what rewards, policy and preferences say.
"""

from __future__ import annotations

import re

import numpy as np

from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import never_updated
from pawl.rules.signals import Signals, numbers
from pawl.rules.statistics import Floats

CONTINUOUS = (
    "loss/total|optim/grad_norm|policy/entropy|policy/kl_ref|policy/sampler_logp_mean|"
    "policy/trainer_logp_mean|preference/margin|preference/chosen_logp|preference/rejected_logp|"
    "value/loss"
)
TWINS = (
    ("preference/chosen_reward", "preference/rejected_reward"),
    ("preference/chosen_logp", "preference/rejected_logp"),
    ("policy/kl_ref", "policy/kl_old"),
    ("policy/kl_ref", "loss/total"),
    ("reward/mean", "eval/reward_mean"),
    ("reward/mean", "loss/total"),
    ("value/loss", "loss/total"),
    ("verifier/pass_frac", "eval/pass_at_1"),
)
NOT_FINITE = re.compile(r"\b(nan|inf|infinite|not finite)\b", re.IGNORECASE)
WATCHED = ("reward/mean", "loss/total", "optim/grad_norm", "policy/kl_ref", "policy/entropy")
NEVER_ZERO = ("loss/total", "policy/kl_ref", "policy/kl_old", "preference/accuracy")


@rule("D101", "non-finite", proof="real")
def non_finite(s: Signals) -> Findings:
    """A metric of training became NaN or infinite.

    What: nan or inf stands in loss, gradient, log-probs, KL or reward.
    Why it matters: one non-finite gradient makes every weight NaN; libraries that replace NaN by 0
    hide that nothing is learned from then on. Without one finite gradient nothing was trained.
    Evidence needed: the metric's own series.
    Traps: a metric that is undefined by design (a mean over no completion that ended) is no fault;
    only metrics that always have a value are looked at.
    Fix: find the first non-finite metric in the order reward, log-probs, loss, gradient; lower the
    learning rate only when the gradient came first.
    Source: transformers Trainer `logging_nan_inf_filter`; TRL grpo_trainer `nan_to_num`.
    Causes: lr-too-high (an update of that size can overflow), non-finite (a number that is not
    finite stands in training, or stopped the run).
    """
    hits = []
    for name in WATCHED:
        series = s.log.series.get(name)
        if series is not None and not (known := numbers(series.value_N)).all():
            rows = series.row_N[~known]
            hits.append((int(rows[0]), name, f"{len(rows)} of {len(known)} points"))
    said = [e for e in s.log.events if e.kind in ("stopped", "error") and NOT_FINITE.search(e.text)]
    if hits:
        row, name, share = min(hits)
        far = _far(s)
        yield found(
            "critical invalid" if never_updated(s) else "critical fault",
            f"{name} is not finite at {share}",
            *(f"{m}: {of}, first at step {s.log.step_N[r]:g}" for r, m, of in hits),
            causes={"non-finite": 0.6 if far else 0.95, "lr-too-high": 0.9 if far else 0.3},
            series=(name,),
            at=f"step {s.log.step_N[row]:g}",
            early=True,
        )
    elif said:
        text, at = f"the run stopped: {said[0].text}", f"step {said[0].step:g}"
        yield found("critical fault", text, causes={"non-finite": 0.95}, at=at, early=True)


def _far(s: Signals) -> bool:
    """Whether the policy had already run away: what overflows then is the consequence."""
    kl, norm = s.values("policy/kl_ref"), s.values("optim/grad_norm")
    return bool((len(kl) and kl.max() > 10.0) or (len(norm) and norm.max() > 1e4))


@rule("D102", "zero-by-algebra", proof="real")
def zero_by_algebra(s: Signals) -> Findings:
    """Metrics that cannot rest at exactly zero do, together.

    What: two or more of loss, KL and preference accuracy are exactly 0 at every point.
    Why it matters: a loss of exactly 0 with a KL of exactly 0 means that the ratio is 1 and the
    advantages cancel by construction: nothing was trained, whatever the other metrics say.
    Evidence needed: two of loss/total, policy/kl_ref, policy/kl_old, preference/accuracy.
    Traps: one of them alone proves nothing. The first loss of GRPO is 0 in health; a KL is 0, or
    absent, without a KL term; clip fractions and the KL to the old policy are 0 with one update a
    batch; rewards that never differ (D201, D303) leave loss and KL at 0 by right.
    Fix: look for a tensor compared with itself: old log-probs taken from the same pass, a
    placeholder metric, a reference that is the policy.
    Source: PPO's ratio (Schulman et al. 2017, eq. 6) at equal policies.
    Causes: algebraic-identity (zero by algebra, not by training).
    """
    zero = {n for n in NEVER_ZERO if s.has(n) and not s.values(n).any()}
    if s.option("algo.kl_coef") == 0:
        zero.discard("policy/kl_ref")
    if s.updates <= 1 and not s.has("value/loss"):
        zero.discard("policy/kl_old")  # the ratio is 1 when the loss of a single update is taken
    moved = s.n == 1 or all(len(s.values(n)) >= 5 for n in zero)
    names = [n for n in NEVER_ZERO if n in zero]
    if "loss/total" in zero and len(zero) >= 2 and moved and _has_signal(s):
        yield found(
            "critical invalid",
            f"{len(zero)} metrics are exactly 0 at every point: {', '.join(names)}",
            *(f"{n}: 0 at {len(s.values(n))} points" for n in names),
            causes={"algebraic-identity": 0.95},
            fix="loss and KL leave 0 with the first update at the normal learning rate",
            series=names,
        )


def _has_signal(s: Signals) -> bool:
    """Whether rewards differ and gradients are finite: else a loss and a KL of 0 just follow."""
    rewards = [x_N for n in ("reward/mean", s.spread) if len(x_N := s.values(n)) >= 5]
    return all(np.ptp(x_N) > 0.0 for x_N in rewards) and not never_updated(s)


@rule("D103", "constant-metric", CONTINUOUS)
def constant_metric(s: Signals) -> Findings:
    """A metric that moves with every batch has one and the same value, bit for bit.

    What: loss, gradient norm, entropy, KL, log-probs or margin hold one value other than 0, of
    three digits or more, at 20 points or more.
    Why it matters: such numbers differ from batch to batch in every run. One that does not is a
    placeholder, or is taken from a tensor that nothing changes.
    Evidence needed: 20 points of the metric.
    Traps: a gradient norm after clipping rests at the clip (a round number); options, rates and
    clip fractions may rest; a metric that is written with few digits may look constant. Zeros are
    judged by D102 and D111.
    Fix: find where the value is computed (a placeholder, or a tensor compared with itself), and
    recompute it by hand for two batches.
    Source: TrainCheck (Jiang et al., OSDI 2025): invariants of training.
    Causes: algebraic-identity (a constant stands where a measurement should).
    """
    still = [name for name in CONTINUOUS.split("|") if _rests(s.values(name))]
    if still:
        yield found(
            "critical invalid",
            f"{', '.join(still)} never changes by a single bit",
            *(f"{n}: {s.values(n)[0]:.8g} at all {len(s.values(n))} points" for n in still),
            causes={"algebraic-identity": 0.9},
            fix="two batches, computed by hand, give two values",
            series=still,
        )


def _rests(x_N: Floats) -> bool:
    """Whether a series has 20 points, all of one value of three significant digits or more."""
    if len(x_N) < 20 or np.ptp(x_N) != 0.0:
        return False
    return len(f"{abs(x_N[0]):.12e}".split("e")[0].replace(".", "").rstrip("0")) >= 3


@rule("D104", "twin-metrics")
def twin_metrics(s: Signals) -> Findings:
    """Two metrics that measure different things are equal at every point.

    What: chosen and rejected, training and held-out, loss and reward, or KL to reference and to the
    old policy agree bit for bit, at five or more points that are not all one value.
    Why it matters: one of them is a copy: a placeholder, or both sides got the same tensor.
    Evidence needed: both metrics in the same rows.
    Traps: metrics that are equal by definition (a total of one component, a pass share of 0 or 1)
    are no such pair.
    Fix: find where the second is computed; for chosen and rejected compare token ids of pairs.
    Source: TrainCheck (Jiang et al., OSDI 2025): invariants of training.
    Causes: algebraic-identity (one of the two is a copy of the other, or a placeholder),
    degenerate-pairs (chosen and rejected are one text).
    """
    for a, b in TWINS:
        x_N, y_N = s.paired(a, b)
        if len(x_N) >= 5 and np.ptp(x_N) > 0.0 and np.array_equal(x_N, y_N):
            pairs = {"degenerate-pairs": 0.9, "algebraic-identity": 0.4}
            yield found(
                "critical invalid",
                f"{a} and {b} are the same number at every point",
                f"{len(x_N)} points, from {x_N.min():.4g} to {x_N.max():.4g}",
                causes=pairs if a.startswith("preference/") else {"algebraic-identity": 0.9},
                series=(a, b),
            )

"""Rules about the loss: when it says something, and when it cannot.

Codes D609 and D610. Left out: where a preference loss starts (`rules_preference`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.doctor import prescribe
from pawl.doctor.rule import found, rule
from pawl.doctor.signals import Signals
from pawl.doctor.statistics import Floats, rank_correlation
from pawl.types import Finding

WIDER = 5.0  # times the spread of the first quarter
ZERO = 1e-3


@rule("D609", "loss-instability", "loss/total", proof="real")
def loss_instability(s: Signals) -> Iterator[Finding]:
    """The loss rises or scatters.

    What: of a preference or supervised loss, a rise beyond noise. Of a policy loss a rise or a
    scatter says nothing by itself; it is a fault when its spread grows fivefold or more and the
    reward gets worse.
    Why it matters: a policy loss is no measure of progress: its sign and size come from the
    batch's advantages and lengths and from the KL term. Lowering the learning rate because of it
    mends nothing.
    Evidence needed: the loss; for a policy also the reward.
    Traps: a policy loss that rises is often the coefficient times the KL, in health. Means over a
    few batches differ by more than their size.
    Fix: for preference and supervised losses a lower learning rate; for a policy none by the loss.
    Source: policy gradient theorem: the loss's gradient has a meaning, its value has none.
    """
    x_N, t = s.values("loss/total"), s.trend("loss/total")
    if s.log.kind != "policy":
        if t.direction == "up" and t.first > 0:
            yield found(
                "critical"
                if t.sure and (s.worse or not s.has("preference/accuracy"))
                else "warning",
                "fault",
                "loss/total",
                f"the loss rises: {t.words}",
                causes=(("lr-too-high", 0.7, "a loss that is minimised must not rise"),),
                fix=prescribe.scaled(
                    s,
                    "optim.lr",
                    1 / 3,
                    why="the loss that is minimised rises",
                    expected="a falling loss within 50 steps",
                    risk="slower learning",
                    verify="the loss is below that of an unchanged fork",
                ),
                series=("loss/total",),
            )
        return
    quarter = max(2, len(x_N) // 4)
    wider = _spread(x_N[-quarter:]) / max(_spread(x_N[:quarter]), 1e-9)
    if len(x_N) >= 40 and wider > WIDER and s.worse:
        yield found(
            "warning",
            "fault",
            "loss/total, reward/mean",
            f"the loss scatters {wider:.0f} times as much as at the start and the reward falls",
            causes=(("lr-too-high", 0.6, "updates grow out of proportion"),),
            series=("loss/total", "reward/mean"),
        )
        return
    rise = len(x_N) >= 2 and x_N[0] > 0 and x_N[-1] > 1.3 * x_N[0]
    if t.direction == "up" or (len(x_N) < 30 and rise):
        first, last = (t.first, t.last) if t.significant else (x_N[0], x_N[-1])
        kl = rank_correlation(*s.paired("loss/total", "policy/kl_ref"))
        yield found(
            "info",
            "nothing",
            "loss/total",
            f"the policy loss goes from {first:.3g} to {last:.3g}: no instability, it has no level "
            "that means anything",
            *((f"rank correlation with the KL: {kl:+.2f}",) if kl > 0.5 else ()),
            *(() if len(x_N) < 4 else (f"one point scatters by {t.noise:.3g}",)),
            series=("loss/total", "policy/kl_ref"),
        )


def _spread(x_N: Floats) -> float:
    low, high = np.quantile(x_N, [0.1, 0.9]) if len(x_N) else (0.0, 0.0)
    return float(high - low)


@rule("D610", "loss-near-zero", "loss/total", "reward/mean", kinds=("policy",), proof="real")
def loss_near_zero(s: Signals) -> Iterator[Finding]:
    """The policy loss is 0, tiny or negative: so it must be.

    What: half of the first ten losses are below 0.001 in size, or a fifth of all are negative.
    Why it matters: advantages of a group add up to 0, so that the first loss of a batch is 0
    whatever will be learned from it. Nothing is to be mended.
    Evidence needed: the loss.
    Traps: a loss of exactly 0 beside a KL of exactly 0 from first to last is another matter (D102).
    Fix: none: judge by the gradient norm, the KL and a held-out measure.
    Source: GRPO (Shao et al. 2024), eq. 3 at equal policies; TRL issue 2703.
    """
    x_N = s.values("loss/total")
    small = len(x_N) >= 4 and float(np.mean(np.abs(x_N[:10]) < ZERO)) >= 0.5
    below = float(np.mean(x_N < 0.0)) > 0.2
    if small or below:
        yield found(
            "info",
            "nothing",
            "loss/total",
            "a policy loss near 0 is exact algebra, not a sign that nothing is learned"
            if small
            else f"{np.mean(x_N < 0):.0%} of the policy losses are negative, which means nothing",
            series=("loss/total",),
        )

"""What speaks against a cause: for each one, the figure that it would have to move and did not.

A cause with contrary evidence keeps half of its weight; the reader sees both sides. Left out: the
evidence for it, which findings bring.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pawl.doctor.signals import Signals

LITTLE_KL = 1e-3  # nat a token
FEW = 0.2


def evidence(s: Signals, cause: str) -> str:
    """A sentence against a cause, "" where nothing in the log speaks against it."""
    check = CHECKS.get(cause)
    return check(s) if check is not None else ""


def _cap(s: Signals) -> str:
    share_N, how = s.truncated()
    if not how or float(np.mean(share_N[-20:])) >= FEW:
        return ""
    return f"only {np.mean(share_N[-20:]):.0%} of the recent completions are cut ({how})"


def _floor(s: Signals) -> str:
    t = s.trend("reward/mean")
    return f"the reward moves: {t.first:.3g} to {t.last:.3g}" if t.significant else ""


def _tied(s: Signals) -> str:
    if not s.has("group/zero_std_frac"):
        return ""
    now = s.late("group/zero_std_frac").value
    return f"only {now:.0%} of the groups have equal rewards" if now < FEW else ""


def _collapsed(s: Signals) -> str:
    words = []
    if s.has("policy/entropy"):
        a, b = s.early("policy/entropy").value, s.late("policy/entropy").value
        if a > 0 and b > 0.7 * a:
            words.append(f"the entropy holds: {a:.3g} to {b:.3g} nat")
    if s.spread:
        a, b = s.early(s.spread).value, s.late(s.spread).value
        if a > 0 and b > 0.7 * a:
            words.append(f"rewards still differ: spread {a:.3g} to {b:.3g}")
    return "; ".join(words)


def _too_high(s: Signals) -> str:
    if not s.has("policy/kl_ref"):
        return ""
    most = float(s.values("policy/kl_ref").max())
    return f"the KL never exceeds {most:.2g} nat a token" if most < 10 * LITTLE_KL else ""


def _too_low(s: Signals) -> str:
    if not s.has("policy/kl_ref"):
        return ""
    now = s.late("policy/kl_ref").value
    return f"the policy moved: KL {now:.2g} nat a token" if now > 10 * LITTLE_KL else ""


def _mismatch(s: Signals) -> str:
    if s.has("policy/ratio_max_first_pass") and s.has("policy/sampler_diff_mean"):
        ratio = float(s.values("policy/ratio_max_first_pass").max())
        gap = float(s.values("policy/sampler_diff_mean").max())
        if ratio < 1.01 and gap < 1e-4:
            return f"trainer and sampler agree within {gap:.1g} nat a token"
    return ""


def _reference(s: Signals) -> str:
    if not s.has("policy/kl_ref") or s.steps("policy/kl_ref")[0] > 20:
        return ""
    first = float(s.values("policy/kl_ref")[0])
    return f"the first KL is {first:.1g} nat a token" if abs(first) < 2 * LITTLE_KL else ""


def _detached(s: Signals) -> str:
    if s.has("optim/update_ratio") and s.late("optim/update_ratio").value > 0:
        return f"the weights move: update ratio {s.late('optim/update_ratio').value:.1g}"
    if s.has("policy/kl_ref") and s.trend("policy/kl_ref").direction == "up":
        return "the KL grows, so the weights move"
    return ""


def _never_warm(s: Signals) -> str:
    lr_N = s.values("optim/lr")
    if len(lr_N) < 5 or not lr_N.max():
        return ""
    place = int(np.argmax(lr_N)) / len(lr_N)
    return f"the learning rate peaks after {place:.0%} of the log" if place < 0.5 else ""


CHECKS: dict[str, Callable[[Signals], str]] = {
    "completion-cap": _cap,
    "reward-floor": _floor,
    "zero-signal-groups": _tied,
    "policy-collapsed": _collapsed,
    "lr-too-high": _too_high,
    "lr-too-low": _too_low,
    "sampler-mismatch": _mismatch,
    "stale-weights": _mismatch,
    "reference-mismatch": _reference,
    "optimiser-detached": _detached,
    "schedule-never-warm": _never_warm,
}

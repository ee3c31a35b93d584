"""What speaks against a cause: figures of the same log that it would not leave as they are.

One short text for each figure; they lower nobody's weight, they are for the reader to judge. Left
out: what speaks for a cause (`pawl.rules`) and its weight (`causes`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pawl.rules.run_features import gains
from pawl.rules.signals import Signals


def against(s: Signals, cause: str) -> tuple[str, ...]:
    """Figures that do not fit the cause; () where the log has none."""
    make = DOUBTS.get(cause)
    return tuple(text for text in make(s) if text) if make else ()


def _rises(s: Signals) -> str:
    if not gains(s):
        return ""
    t = s.trend("reward/mean")
    return f"the reward rises all the same, {t.first:.3g} to {t.last:.3g}"


def _above(s: Signals, name: str, limit: float, text: str) -> str:
    """The text, filled with the recent mean, where that lies above a limit."""
    if not s.has(name) or s.late(name).value <= limit:
        return ""
    return text.format(s.late(name).value)


def _below(s: Signals, name: str, limit: float, text: str) -> str:
    if not s.has(name) or s.late(name).value >= limit:
        return ""
    return text.format(s.late(name).value)


def _cap(s: Signals) -> list[str]:
    share_N, how = s.truncated()
    if not how or float(np.mean(share_N[-20:])) >= 0.2:
        return [_rises(s)]
    return [_rises(s), f"only {np.mean(share_N[-20:]):.0%} of the completions are cut"]


def _zero_variance(s: Signals) -> list[str]:
    mixed = _above(s, "group/mixed_frac", 0.3, "{:.0%} of the groups are mixed")
    ties = _below(s, "group/zero_std_frac", 0.4, "only {:.0%} of the groups tie")
    return [_rises(s), mixed or ties]


def _collapsed(s: Signals) -> list[str]:
    distinct = _above(s, "group/distinct_frac", 0.7, "{:.0%} of a group's completions are distinct")
    entropy = s.values("policy/entropy")
    kept = (
        len(entropy) >= 20
        and s.late("policy/entropy").value > 0.7 * s.early("policy/entropy").value
    )
    return [_rises(s), distinct, "the entropy is near its start" if kept else ""]


def _too_high(s: Signals) -> list[str]:
    near = _below(s, "policy/kl_ref", 0.01, "the KL is only {:.2g} nat a token")
    small = _below(s, "optim/update_ratio", 1e-4, "an update moves the weights by only {:.1e}")
    return [_rises(s), near, small]


def _sampler(s: Signals) -> list[str]:
    return [
        _below(s, "policy/sampler_diff_mean", 0.01, "their log-probs differ by only {:.1e} nat"),
        _below(s, "policy/clip_frac", 1e-6, "nothing is clipped"),
    ]


def _detached(s: Signals) -> list[str]:
    far = _above(s, "policy/kl_ref", 1e-3, "the KL has grown to {:.2g}: something moves")
    return [_rises(s), far]


def _too_low(s: Signals) -> list[str]:
    moves = _above(s, "optim/update_ratio", 1e-4, "an update moves the weights by {:.1e}")
    return [_rises(s), moves, _above(s, "policy/kl_ref", 0.01, "the KL has grown to {:.2g} nat")]


def _stale(s: Signals) -> list[str]:
    near = _below(s, "policy/sampler_diff_mean", 0.01, "log-probs differ by only {:.1e} nat")
    return [near, _below(s, "policy/staleness", 0.5, "samples are {:.1g} updates old")]


def _converged(s: Signals) -> list[str]:
    mixed = _above(s, "group/mixed_frac", 0.3, "{:.0%} of the groups are still mixed")
    return [mixed, _below(s, "verifier/pass_frac", 0.7, "only {:.0%} of the samples pass")]


def _missing(s: Signals) -> list[str]:
    return [_below(s, "verifier/missing_frac", 0.01, "{:.1%} of the scores are missing")]


def _ending(s: Signals) -> list[str]:
    return [_rises(s), _above(s, "length/eos_frac", 0.9, "{:.0%} of the completions end alone")]


DOUBTS: dict[str, Callable[[Signals], list[str]]] = {
    "completion-cap": _cap,
    "zero-signal-groups": _zero_variance,
    "reward-floor": _zero_variance,
    "lr-too-low": _too_low,
    "stale-weights": _stale,
    "converged": _converged,
    "judge-outage": _missing,
    "error-as-reward": _missing,
    "template-or-eos": _ending,
    "policy-collapsed": _collapsed,
    "premature-convergence": _collapsed,
    "lr-too-high": _too_high,
    "sampler-mismatch": _sampler,
    "optimiser-detached": _detached,
    "reward-bug": lambda s: [_rises(s)],
    "dead-component": lambda s: [_rises(s)],
    "random-walk": lambda s: [_rises(s)],
    "regression-after-peak": lambda s: [
        "held-out results rise"
        if s.has("eval/pass_at_1") and s.trend("eval/pass_at_1").direction == "up"
        else ""
    ],
}

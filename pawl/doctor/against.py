"""What speaks against a cause: figures of the same log that it would not leave as they are, and
rules that looked for it in vain.

One short text for each; they lower nobody's weight, they are for the reader to judge. Left out:
what speaks for a cause (`pawl.rules`) and its weight (`causes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pawl.rules.rule import Rule
from pawl.rules.run_features import gains
from pawl.rules.signals import Signals

RISING = {  # causes under which the reward would not rise
    "completion-cap", "zero-signal-groups", "reward-floor", "lr-too-low", "lr-too-high",
    "template-or-eos", "policy-collapsed", "premature-convergence", "optimiser-detached",
    "reward-bug", "dead-component", "random-walk",
}  # fmt: skip
COLLAPSED = "policy-collapsed|premature-convergence"
FIGURES: tuple[tuple[str, str, Literal["<", ">"], float, str], ...] = (
    ("lr-too-low", "optim/update_ratio", ">", 1e-4, "an update moves the weights by {:.1e}"),
    ("lr-too-low", "policy/kl_ref", ">", 0.01, "the KL has grown to {:.2g} nat"),
    ("lr-too-high", "policy/kl_ref", "<", 0.01, "the KL is only {:.2g} nat a token"),
    ("lr-too-high", "optim/update_ratio", "<", 1e-4, "an update moves the weights by only {:.1e}"),
    ("stale-weights", "policy/sampler_diff_mean", "<", 0.01,
     "log-probs differ by only {:.1e} nat"),
    ("stale-weights", "policy/staleness", "<", 0.5, "samples are {:.1g} updates old"),
    ("sampler-mismatch", "policy/sampler_diff_mean", "<", 0.01,
     "their log-probs differ by only {:.1e} nat"),
    ("sampler-mismatch", "policy/clip_frac", "<", 1e-6, "nothing is clipped"),
    ("optimiser-detached", "policy/kl_ref", ">", 1e-3,
     "the KL has grown to {:.2g}: something moves"),
    ("converged", "group/mixed_frac", ">", 0.3, "{:.0%} of the groups are still mixed"),
    ("converged", "verifier/pass_frac", "<", 0.7, "only {:.0%} of the samples pass"),
    ("judge-outage|error-as-reward", "verifier/missing_frac", "<", 0.01,
     "{:.1%} of the scores are missing"),
    ("template-or-eos", "length/eos_frac", ">", 0.9, "{:.0%} of the completions end alone"),
    (COLLAPSED, "group/distinct_frac", ">", 0.7,
     "{:.0%} of a group's completions are distinct"),
)  # fmt: skip
"""Cause (`a|b`: either), metric, side of a limit: where the recent mean lies there, the text."""


def against(s: Signals, cause: str, quiet: Sequence[Rule]) -> tuple[str, ...]:
    """Figures that do not fit the cause, then the rules that can name it and found nothing."""
    texts = [_rises(s)] if cause in RISING else []
    for causes, name, side, limit, text in FIGURES:
        if cause in causes.split("|"):
            texts.append(_figure(s, name, side, limit, text))
    texts += [doubt(s) for causes, doubt in OTHERS if cause in causes.split("|")]
    codes = [rule.code for rule in quiet if cause in rule.causes]
    if codes and cause != "noise-only":
        shown = ", ".join(codes[:8]) + (" and others" if len(codes) > 8 else "")
        texts.append(f"{len(codes)} more rules can name it and found nothing: {shown}")
    return tuple(text for text in texts if text)


def _figure(s: Signals, name: str, side: Literal["<", ">"], limit: float, text: str) -> str:
    if not s.has(name):
        return ""
    now = s.late(name).value
    return text.format(now) if (now > limit if side == ">" else now < limit) else ""


def _rises(s: Signals) -> str:
    if not gains(s):
        return ""
    t = s.trend("reward/mean")
    return f"the reward rises all the same, {t.first:.3g} to {t.last:.3g}"


def _few_cut(s: Signals) -> str:
    share_N, how = s.truncated()
    cut = float(np.mean(share_N[-20:])) if how else 1.0
    return f"only {cut:.0%} of the completions are cut" if cut < 0.2 else ""


def _few_equal(s: Signals) -> str:
    mixed = _figure(s, "group/mixed_frac", ">", 0.3, "{:.0%} of the groups are mixed")
    return mixed or _figure(
        s, "group/zero_std_frac", "<", 0.4, "only {:.0%} of the groups have equal rewards"
    )


def _entropy_stays(s: Signals) -> str:
    name = "policy/entropy"
    stays = len(s.values(name)) >= 20 and s.late(name).value > 0.7 * s.early(name).value
    return "the entropy is near its start" if stays else ""


def _held_out_rises(s: Signals) -> str:
    name = "eval/pass_at_1"
    return "held-out results rise" if s.has(name) and s.trend(name).direction == "up" else ""


OTHERS = (
    ("completion-cap", _few_cut),
    ("zero-signal-groups|reward-floor", _few_equal),
    (COLLAPSED, _entropy_stays),
    ("regression-after-peak", _held_out_rises),
)

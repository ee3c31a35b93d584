"""Rules about completions: the token limit, lengths, endings, repetition.

Codes D5xx. Left out: rewards and groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.doctor import prescribe
from pawl.doctor.rule import found, rule
from pawl.doctor.signals import Signals
from pawl.doctor.statistics import rank_correlation
from pawl.types import Finding

TRUNCATED = 0.5


@rule("D501", "truncation-bound", "length/truncated_frac|length/mean", "reward/mean", proof="real")
def truncation_bound(s: Signals) -> Iterator[Finding]:
    """Most completions are cut at the token limit, and the reward does not rise.

    What: over half of the recent completions end at the limit (or the mean length lies within 15%
    of it), and the reward shows no significant rise.
    Why it matters: the limit decides the reward, not the task.
    Evidence needed: the truncated share, or lengths and a limit that can be read off them.
    Traps: answers may fit before the limit, so that even 100% truncation is healthy: a rising
    reward says so. Without the share, the mean length against the limit is only a hint.
    Fix: raise the limit to 1.25 times the length of right answers, or stop thinking mode.
    Source: DAPO (Yu et al. 2025), section 3.4.
    """
    share_N, how = s.truncated()
    if not how or len(share_N) < 5:
        return
    now = float(np.mean(share_N[-20:]))
    trend = s.trend("reward/mean")
    if now < TRUNCATED:
        return
    rho = rank_correlation(*s.paired("length/mean", "reward/mean"))
    evidence = (
        f"truncated share of the last {min(20, len(share_N))} points: {now:.0%} ({how})",
        f"rank correlation of length and reward over steps: {rho:+.2f}",
        f"reward: {trend.first:.3g} to {trend.last:.3g}, p {trend.p:.2g}",
    )
    if trend.direction == "up":
        yield found(
            "info",
            "unusual",
            "length/truncated_frac",
            f"{now:.0%} of the completions are cut and the reward rises all the same: the answer "
            "fits before the limit",
            *evidence,
            series=("length/truncated_frac", "reward/mean"),
        )
        return
    cap = s.cap()
    yield found(
        "critical",
        "fault",
        "length/truncated_frac" if how == "measured" else "length/mean",
        f"{now:.0%} of the completions are cut at the limit and the reward does not rise",
        *evidence,
        causes=(("completion-cap", 0.9, "the limit decides the reward"),),
        fix=prescribe.scaled(
            s,
            "rollout.max_tokens",
            2.0,
            why="the limit ends completions before their answers",
            expected="truncated share below 20% within 5 steps",
            risk="up to twice the time and memory of generation",
            verify="truncated share falls and the reward is higher than in an unchanged fork",
            cost=f"20 steps with a limit of {2 * cap:g}" if cap else "20 steps",
        ),
        series=("length/truncated_frac", "length/mean", "reward/mean"),
    )

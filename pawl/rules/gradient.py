"""Rules about gradients: spikes, the clip, exact zeros.

Codes D606 to D608. Left out: what an update does to the weights (`optim`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, fell, robust_z

NEAR = 10  # points between two spikes of one event
IDLE = 5  # exact zeros in a row


@rule("D606", "gradient-spikes", "optim/grad_norm", proof="real")
def gradient_spikes(s: Signals) -> Iterator[Finding]:
    """The gradient norm jumps far above its level.

    What: points over six robust deviations and three times above the 50 before them; a fault when
    two lie within ten points and the goal metric is worse from there on.
    Why it matters: a burst can throw the policy somewhere from where it does not return.
    Evidence needed: gradient norms and the goal metric.
    Traps: lone spikes are harmless: the clip cuts them, and public runs with single spikes of 100
    times the level ended among the best.
    Fix: go back before the burst and skip its batches; look at their lengths and largest ratios.
    Source: PaLM (Chowdhery et al. 2022), section 5.1.
    Causes: lr-too-high, regression-after-peak.
    """
    x_N = s.values("optim/grad_norm")
    places = spikes(x_N)
    if not places:
        return
    rows = s.rows("optim/grad_norm")
    burst = [a for a, b in zip(places, places[1:], strict=False) if b - a <= NEAR]
    shown = ", ".join(f"{x_N[i]:.3g} at step {s.log.step_N[rows[i]]:g}" for i in places[:4])
    hurt = False
    if burst and s.goal and s.goal != "loss/total" and not s.staged:
        around = s.around(s.goal, int(rows[burst[0]]))
        hurt = around is not None and fell(*around, 4.0) and fell(around[0], s.late(s.goal), 4.0)
    level = float(np.median(x_N))
    if not hurt and len(places) > max(3, len(x_N) // 20):
        return  # two levels that alternate, as steps with and without tied groups do
    if hurt:
        yield found(
            "critical",
            "fault",
            f"optim/grad_norm, {s.goal}",
            f"a burst of gradients ({len(places)} spikes over a level of {level:.2g}), and "
            f"{s.goal} is worse from there on",
            shown,
            causes=(
                ("lr-too-high", 0.7, "a burst of large updates"),
                ("regression-after-peak", 0.5, "what was learned before it is lost"),
            ),
            fix=prescribe.at(
                s,
                "optim.max_grad_norm",
                max(level, 1e-3),
                "down",
                why="the clip lies above the usual gradient and lets bursts through",
                expected="bursts cut to the usual size",
                risk="none to speak of: Adam hardly sees a constant factor",
                verify="no fall of the goal metric after the next spike",
            ),
            series=("optim/grad_norm", s.goal),
        )
    else:
        far = float(x_N[places].max()) > 10.0 * level
        yield found(
            "info",
            "unusual" if far else "nothing",
            "optim/grad_norm",
            f"{len(places)} lone spike{'s' if len(places) > 1 else ''} of the gradient norm over "
            f"{level:.2g} did no harm",
            shown,
            series=("optim/grad_norm",),
        )


def spikes(x_N: Floats) -> list[int]:
    """Places where a positive series stands far above what came before, and by threefold."""
    if len(x_N) < 20 or float(x_N.min()) <= 0.0 or x_N.max() <= 3.0 * np.quantile(x_N, 0.05):
        return []
    far = np.flatnonzero(robust_z(np.log(x_N)) > 6.0)
    return [int(i) for i in far if x_N[i] > 3.0 * np.median(x_N[max(0, i - 50) : i])]


@rule("D607", "always-clipped", "optim/grad_norm")
def always_clipped(s: Signals) -> Iterator[Finding]:
    """The gradient norm lies above the clip at nearly every step, or was logged after it.

    What: 95% of the norms exceed the clip; or most of them equal the clip and none exceeds it.
    Why it matters: a clip that always acts only scales the gradient, and a norm taken after the
    clip cannot show what the gradient does.
    Evidence needed: gradient norms and the clip's setting.
    Traps: neither is a fault: Adam hardly sees a constant factor.
    Fix: none needed; to see spikes, log the norm before the clip.
    Source: Adam (Kingma and Ba 2015), invariance to rescaling.
    Causes: none.
    """
    x_N, clip = s.values("optim/grad_norm"), s.option("optim.max_grad_norm")
    if clip is None or clip <= 0 or len(x_N) < 20:
        return
    above = float(np.mean(x_N > clip * (1 + 1e-6)))
    equal = float(np.mean(np.abs(x_N - clip) <= 1e-3 * clip))
    if above > 0.95 or (equal > 0.5 and above == 0.0):
        yield found(
            "info",
            "nothing",
            "optim/grad_norm",
            f"{above:.0%} of the gradient norms lie above the clip of {clip:g}: it only scales them"
            if above > 0.95
            else f"{equal:.0%} of the gradient norms equal the clip of {clip:g}: they were taken "
            "after it and say nothing of the gradient",
            series=("optim/grad_norm",),
        )


@rule("D608", "zero-gradient", "optim/grad_norm", kinds=("policy",))
def zero_gradient(s: Signals) -> Iterator[Finding]:
    """The gradient is exactly 0 at some steps, and ties explain it or nothing is known of them.

    What: five points in a row, or a fifth of all, have a gradient norm of exactly 0.
    Why it matters: nothing was learned there. Groups that all tie explain it; otherwise the
    trained weights hang on no part of the loss.
    Evidence needed: gradient norms; the share of tied groups tells the two apart.
    Traps: steps whose groups all tie have a gradient of 0 in health, unless a KL term has one.
    Steps with groups that differ are another matter (D111).
    Fix: log the share of tied groups; see that trained parameters take part in the loss.
    Source: equal rewards give advantages of 0 (GRPO, Shao et al. 2024).
    Causes: optimiser-detached, zero-signal-groups.
    """
    x_N = s.values("optim/grad_norm")
    zero = x_N == 0.0
    runs = np.split(zero, np.flatnonzero(np.diff(zero)) + 1)
    longest = max((len(run) for run in runs if len(run) and run[0]), default=0)
    if (longest < IDLE and float(zero.mean()) < 0.2) or len(x_N) < IDLE:
        return
    norm, tied = s.paired("optim/grad_norm", "group/zero_std_frac")
    at_zero = tied[norm == 0.0]
    known = len(at_zero) >= IDLE
    if known and float(np.mean(at_zero >= 0.999)) <= 0.8:
        return
    place = f"{int(zero.sum())} of {len(x_N)} gradient norms are exactly 0"
    yield found(
        "info" if known else "warning",
        "unusual" if known else "fault",
        "optim/grad_norm" + (", group/zero_std_frac" if known else ""),
        place
        + (
            ": every group ties at those steps, so there is nothing to learn from"
            if known
            else f", {longest} in a row: all groups tie there, or no gradient arrives"
        ),
        causes=(("zero-signal-groups", 0.6, "groups of equal rewards"),)
        if known
        else (
            ("zero-signal-groups", 0.5, "groups of equal rewards have no gradient"),
            ("optimiser-detached", 0.5, "no gradient reaches the weights"),
        ),
        series=("optim/grad_norm", "group/zero_std_frac"),
    )

"""Rules about preference margins and likelihoods: displacement, a loss that rests, ties.

Codes D808 to D811. Left out: accuracies (`pairs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

LN2 = math.log(2.0)
WIDE = 15.0  # a mean margin at which the preference loss is below 1e-6
TIES = 0.01


@rule("D808", "likelihood-displacement", "preference/margin", kinds=("preference",))
def displacement(s: Signals) -> Iterator[Finding]:
    """The margin grows because both answers become less likely.

    What: chosen and rejected answers both fall beyond noise (their rewards against the reference,
    else their log-probs) while the margin rises; the chosen ones by more than 20 nats, or below 0.
    Why it matters: likelihood moves to texts that are neither: accuracy rises, samples get worse.
    Evidence needed: rewards or log-probs of chosen and rejected answers.
    Traps: log-probs differ with the lengths of a batch: rewards against the reference do not. A
    fall by a few nats is usual.
    Fix: add a likelihood term for the chosen answer, or a larger coefficient; read samples.
    Source: Razin et al. 2024, likelihood displacement.
    Causes: none.
    """
    kind = "reward" if s.has("preference/chosen_reward") else "logp"
    names = [f"preference/{side}_{kind}" for side in ("chosen", "rejected")]
    if not all(s.has(name) for name in names) or s.trend("preference/margin").direction != "up":
        return
    chosen, rejected = (s.trend(name) for name in names)
    if chosen.direction != "down" or rejected.direction != "down":
        return
    if kind == "logp" and chosen.difference > -20.0 or kind == "reward" and chosen.last > -0.5:
        return
    yield found(
        "warning",
        "unusual",
        ", ".join(names),
        f"the margin grows while the chosen answers lose: {chosen.first:.3g} to {chosen.last:.3g}",
        f"rejected: {rejected.first:.3g} to {rejected.last:.3g}",
        fix=advice(
            "likelihood moves away from both answers",
            "chosen answers at or above their start",
            "sampled answers of the trained model are not worse than those of the reference",
        ),
        series=(*names, "preference/margin"),
    )


@rule("D809", "loss-rests-at-ln2", "loss/total", "preference/accuracy|preference/margin")
def rests(s: Signals) -> Iterator[Finding]:
    """The preference loss never leaves ln 2.

    What: after 50 points the loss still lies within 0.01 of 0.693, and neither the accuracy's
    interval lies above one half nor the margin's above 0.
    Why it matters: ln 2 is the loss of a model without a preference.
    Evidence needed: the loss over 50 points; the learning rate, to know a warm-up.
    Traps: the first steps, and a warm-up, lie there in health.
    Fix: count equal pairs; see that the optimiser has the trained weights; then a higher rate.
    Source: -log sigmoid(0) = ln 2.
    Causes: degenerate-pairs, lr-too-low, optimiser-detached.
    """
    x_N, lr = s.values("loss/total"), s.values("optim/lr")
    if len(x_N) < 50 or abs(float(np.median(x_N[:5])) - LN2) > 0.02 or s.better:
        return
    if s.has("preference/accuracy") and s.late("preference/accuracy", 40).low > 0.5:
        return
    if s.has("preference/margin") and s.late("preference/margin", 40).low > 0.0:
        return
    now = s.late("loss/total")
    rising = len(lr) >= 5 and lr[-1] >= lr.max() and lr[-1] > 1.05 * lr[len(lr) // 2]
    if abs(now.value - LN2) > 0.01 or rising:
        return
    yield found(
        "critical",
        "fault",
        "loss/total",
        f"the loss is {now.value:.4f} after {len(x_N)} points: ln 2, as before the first",
        causes=(
            ("lr-too-low", 0.6, "nothing moves"),
            ("degenerate-pairs", 0.6, "equal pairs have this loss for ever"),
            ("optimiser-detached", 0.4, "or no update reaches the weights"),
        ),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            3.0,
            why="the loss has not left its start",
            expected="a loss below 0.68 within 50 steps",
            risk="larger updates may be unstable",
            verify="margins leave 0; where they do not, pairs are equal or weights detached",
        ),
        series=("loss/total", "preference/margin"),
    )


@rule("D810", "margin-explodes", "preference/margin")
def explodes(s: Signals) -> Iterator[Finding]:
    """Margins grow far beyond what the loss can still see.

    What: the recent mean margin is above 15, five times its early level or more, and still rises.
    Why it matters: at a margin of 15 a pair's loss is below one millionth: what grows on is the
    distance from the reference, or a reward model's overconfidence.
    Evidence needed: margins; kinds of scale differ, so the level alone is a warning.
    Traps: reward models have no scale: compare with the spread of scores before worrying.
    Fix: stop earlier, a larger coefficient or label smoothing, a third of the learning rate.
    Source: -log sigmoid(15) = 3e-7.
    Causes: lr-too-high.
    """
    t = s.trend("preference/margin")
    if t.direction == "up" and t.last > WIDE and t.last > 5.0 * max(t.first, 0.1):
        yield found(
            "warning",
            "nothing",
            "preference/margin",
            f"the mean margin grows to {t.last:.3g}: the loss of such a pair is below 1e-6",
            t.words,
            causes=(("lr-too-high", 0.4, "updates go on although pairs are decided"),),
            fix=prescribe.scaled(
                s,
                "optim.lr",
                1 / 3,
                why="margins grow beyond what the loss can see",
                expected="margins below 10 at the same accuracy",
                risk="slower learning",
                verify="held-out accuracy not lower, chosen answers not less likely",
            ),
            series=("preference/margin", "preference/accuracy"),
        )


@rule("D811", "tied-pairs", "preference/tie_frac")
def tied(s: Signals) -> Iterator[Finding]:
    """Pairs score exactly the same on both sides.

    What: over 1% of the pairs tie; a fault from a fifth on.
    Why it matters: equal answers (after parsing or truncation) have no gradient, and count as
    errors where ties do.
    Evidence needed: the share of ties.
    Traps: scores in half precision tie by rounding; before training every pair may tie.
    Fix: compare token ids of both sides after truncation; drop equal pairs; keep the texts' ends.
    Source: definition of the Bradley-Terry loss at equal scores.
    Causes: degenerate-pairs.
    """
    now = s.late("preference/tie_frac")
    x_N = s.values("preference/tie_frac")
    share = float(np.median(x_N[-20:]))
    if share <= TIES:
        return
    critical = share > 0.2
    yield found(
        "critical" if critical else "warning",
        "fault" if critical else "nothing",
        "preference/tie_frac",
        f"{share:.1%} of the pairs tie",
        f"last {now.n} points: {now.words}" if now.n > 1 else "one value",
        causes=(("degenerate-pairs", 0.9, "both sides are the same"),),
        fix=advice(
            "equal pairs teach nothing",
            "no pair with equal token ids",
            "count pairs whose token ids are equal after truncation",
        ),
        series=("preference/tie_frac", "preference/accuracy"),
        early=critical,
    )

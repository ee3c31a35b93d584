"""Rules about preferences: where a loss must start, accuracy against chance, margin against both.

Codes D8xx. Left out: policies trained by rewards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pawl.rules import statistics
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

LN2 = math.log(2.0)
CHANCE = 0.5
SAME_PAIRS = (  # accuracy, margin and number of the same pairs
    ("preference/accuracy", "preference/margin", "preference/pairs"),
    ("eval/preference_accuracy", "eval/preference_margin", "eval/preference_pairs"),
)


@rule("D801", "preference-loss-at-start", "loss/total", "preference/accuracy", proof="real")
def loss_at_start(s: Signals) -> Iterator[Finding]:
    """The first preference loss is far from ln 2.

    What: the first logged loss lies above 1 while the accuracy is near chance.
    Why it matters: the policy is its reference at the start, so every margin is 0 and the loss is
    ln 2 = 0.693. A loss above 1 at chance accuracy needs margins of several nats: the reference is
    not the starting policy, or their log-probs are of different texts.
    Evidence needed: the first points of loss and accuracy.
    Traps: losses with a likelihood term (ORPO, CPO, RPO) start higher: they log chosen and rejected
    log-probs and rewards near 0. A mean over the first steps may have moved by a few hundredths.
    Fix: evaluate the loss before the first update, with dropout off.
    Source: DPO (Rafailov et al. 2023), eq. 7 at equal policies.
    Causes: reference-mismatch, sampler-mismatch.
    """
    loss, accuracy = s.values("loss/total"), s.values("preference/accuracy")
    if not len(loss) or not len(accuracy) or loss[0] < 1.0 or abs(accuracy[0] - 0.5) > 0.15:
        return
    small = [n for n in s.family("preference/") if n.endswith("_reward") and len(s.values(n))]
    if small and max(abs(float(s.values(n)[0])) for n in small) < 1.0:
        return  # margins near 0: the rest of the loss is a likelihood term
    yield found(
        "critical",
        "invalid",
        "loss/total, first point",
        f"the loss starts at {loss[0]:.3g} instead of ln 2 = {LN2:.3f}",
        f"accuracy there: {accuracy[0]:.2f}",
        causes=(
            ("reference-mismatch", 0.9, "margins of several nats before any update"),
            ("sampler-mismatch", 0.3, "log-probs of other texts give the same"),
        ),
        fix=advice(
            "policy and reference disagree before the first update",
            f"a first loss of {LN2:.3f}",
            "the loss of the untrained policy is ln 2 within 0.02",
        ),
        series=("loss/total", "preference/accuracy"),
        early=True,
    )


@rule("D802", "preference-fails", "preference/accuracy", proof="real")
def preference_fails(s: Signals) -> Iterator[Finding]:
    """Preference accuracy lies below chance.

    What: the recent accuracy's whole interval lies below one half.
    Why it matters: the model prefers what it should reject; a falling loss then comes from another
    term.
    Evidence needed: accuracy over 20 points, or with the number of pairs.
    Traps: a small evaluation set: 6 of 20 right still has one half in its reach. Ties counted as
    errors press the accuracy down while the mean margin is positive.
    Fix: check the direction of the labels, then ties and identical pairs.
    Source: Bradley and Terry 1952; Wilson 1927.
    Causes: preference-fails.
    """
    x_N = s.values("preference/accuracy")
    if len(x_N) < 10:
        return
    now = s.late("preference/accuracy")
    if now.high >= CHANCE:
        return
    loss = s.trend("loss/total") if s.has("loss/total") else None
    falls = loss is not None and loss.direction == "down"
    yield found(
        "critical",
        "fault",
        "preference/accuracy",
        f"preference accuracy is {now.value:.2f}, below chance"
        + (", while the loss falls" if falls else ""),
        f"95% interval {now.low:.2f} to {now.high:.2f}",
        causes=(("preference-fails", 0.9, "the model prefers what it should reject"),),
        series=("preference/accuracy", "loss/total"),
        early=True,
    )


@rule(
    "D803",
    "accuracy-against-margin",
    "preference/accuracy|eval/preference_accuracy",
    "preference/margin|eval/preference_margin",
    proof="real",
)
def accuracy_against_margin(s: Signals) -> Iterator[Finding]:
    """Accuracy below one half at a positive mean margin: ties count as errors, or pairs are equal.

    What: the accuracy's estimate lies below one half while the mean margin of the same pairs, of
    training or held out, is positive.
    Why it matters: both cannot be true of distinct pairs with symmetric noise: equal pairs score a
    margin of 0 and count as wrong.
    Evidence needed: accuracy and margin of the same pairs.
    Traps: a few pairs with huge margins can carry the mean; with few pairs chance does it too, so
    this alone is a question to the data, and proof beside another broken invariant.
    Fix: count pairs with equal token ids after parsing and truncation.
    Source: definition of the Bradley-Terry margin.
    Causes: degenerate-pairs.
    """
    for *names, n_pairs in SAME_PAIRS:
        if not all(map(s.has, names)):
            continue
        accuracy, margin = (float(np.mean(s.values(name)[-20:])) for name in names)
        if accuracy >= CHANCE or margin <= 0:
            continue
        text = f"accuracy {accuracy:.2f}, mean margin {margin:+.3g}"
        pairs = s.values(n_pairs)
        if len(pairs) and pairs[-1] >= 1:
            n = float(pairs[-1])
            low, high = statistics.wilson(accuracy * n, n)
            text += f" over {n:g} pairs (95% interval of the accuracy {low:.2f} to {high:.2f})"
        yield found(
            "warning",
            "fault",
            ", ".join(names),
            "accuracy below one half at a positive margin: ties or equal pairs",
            text,
            causes=(("degenerate-pairs", 0.7, "ties count as errors"),),
            series=tuple(names),
            early=True,
        )

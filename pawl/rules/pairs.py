"""Rules about preference accuracy: chance, perfection, training pairs against held-out ones.

Codes D804 to D807. Left out: accuracy below chance (`preference`), margins (`margins`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, wilson

TRAIN, HELD = "preference/accuracy", "eval/preference_accuracy"
PAIRS = ((TRAIN, "preference/pairs"), (HELD, "eval/preference_pairs"))
NEAR = 0.56  # an accuracy that nobody wants
GAP = 0.1


@rule("D804", "accuracy-at-chance", f"{TRAIN}|{HELD}", proof="real")
def at_chance(s: Signals) -> Iterator[Finding]:
    """Preference accuracy cannot be told from a coin.

    What: one half lies within the interval of the recent accuracy; a fault when 30 points or 400
    pairs keep the interval below 0.56, a question when there are too few pairs to say anything.
    Why it matters: a model without a preference gives no reward that is worth maximising.
    Evidence needed: accuracy over 30 points, or with its number of pairs.
    Traps: 20 pairs leave 0.3 to 0.7 within reach of chance: neither "barely better than random"
    nor "below" can be said. A warm-up has not begun to learn.
    Fix: count equal pairs and ties; check which end truncation keeps; then the learning rate.
    Source: Wilson 1927; Bradley and Terry 1952.
    Causes: degenerate-pairs, lr-too-low, preference-fails.
    """
    for name, pairs in PAIRS:
        yield from _few(s, name, pairs)
    x_N = s.values(TRAIN)
    if len(x_N) < 30 or _warming(s):
        return
    now = s.late(TRAIN, 40)
    if not now.low < 0.5 < now.high or now.high >= NEAR or s.better:
        return
    yield found(
        "critical",
        "fault",
        TRAIN,
        f"after {len(x_N)} points the accuracy is {now.value:.2f}: a coin does as well",
        f"last {now.n} points: {now.words}",
        causes=(
            ("preference-fails", 0.8, "no preference was learned"),
            ("degenerate-pairs", 0.4, "equal pairs cannot be told apart"),
            ("lr-too-low", 0.3, "nothing may have moved"),
        ),
        fix=advice(
            "nothing tells chosen from rejected",
            "an accuracy above 0.6 within 100 steps on mended pairs",
            "a bag-of-words model of the same pairs reaches more than 0.5",
        ),
        series=(TRAIN, "loss/total"),
    )


def _few(s: Signals, name: str, pairs: str) -> Iterator[Finding]:
    """A question about one or few accuracies of a known number of pairs with chance in reach."""
    x_N, n = s.values(name), float(s.values(pairs)[-1]) if s.has(pairs) else 0.0
    if not 0 < len(x_N) < 10 or n < 1 or not 0.0 <= x_N[-1] <= 1.0:
        return
    low, high = wilson(float(x_N[-1]) * n, n)
    if low < 0.5 < high:
        needed = math.ceil((2.8 * 0.5 / max(abs(float(x_N[-1]) - 0.5), 0.05)) ** 2)
        yield found(
            "info",
            "nothing",
            name,
            f"an accuracy of {x_N[-1]:.2f} on {n:g} pairs cannot be told from chance",
            f"95% interval {low:.2f} to {high:.2f}; about {needed} pairs would decide it",
            series=(name,),
        )


def _warming(s: Signals) -> bool:
    """Whether the learning rate still rises at the end of the log."""
    lr = s.values("optim/lr")
    return len(lr) >= 5 and lr[-1] >= lr.max() and bool(lr[-1] > 1.05 * lr[len(lr) // 2])


@rule("D805", "accuracy-perfect", TRAIN, proof="real")
def perfect(s: Signals) -> Iterator[Finding]:
    """Nearly all training pairs are right, and nothing says how held-out pairs fare.

    What: the recent accuracy on training pairs is 0.9 or more, without a held-out accuracy.
    Why it matters: people agree on 60 to 75% of such pairs; more than that is memory, or pairs
    that differ in form.
    Evidence needed: accuracy over 30 points and no held-out one.
    Traps: easy pairs (another model's bad answers) are told apart perfectly in health.
    Fix: hold out pairs by prompt and evaluate them; one epoch.
    Source: agreement of annotators in InstructGPT (Ouyang et al. 2022), about 73%.
    Causes: none.
    """
    if len(s.values(TRAIN)) < 30 or s.has(HELD):
        return
    now = s.late(TRAIN)
    if now.value >= 0.9:
        yield found(
            "info",
            "unusual",
            TRAIN,
            f"{now.value:.1%} of the training pairs are right and no held-out accuracy is known",
            fix=advice(
                "accuracy on training pairs can be memory",
                "a held-out accuracy above 0.6",
                "accuracy on pairs of prompts that were held out",
            ),
            series=(TRAIN,),
        )


@rule("D806", "preference-overfit", TRAIN, HELD)
def overfit(s: Signals) -> Iterator[Finding]:
    """Training pairs are learned, held-out pairs are not.

    What: the accuracy on training pairs exceeds the held-out one by over 0.1 and three standard
    errors; a fault when the held-out one falls, or stays at chance.
    Why it matters: the reward that a policy will see is the held-out one.
    Evidence needed: both accuracies, the held-out one at four points or more.
    Traps: a gap while both rise is usual; held-out pairs from elsewhere are harder.
    Fix: stop at the best held-out point; one epoch, weight decay, more prompts.
    Source: generalisation gap; TRL RewardTrainer's advice of one epoch.
    Causes: preference-fails, regression-after-peak.
    """
    if len(s.values(HELD)) < 4 or len(s.values(TRAIN)) < 10:
        return
    train, held = s.late(TRAIN), s.late(HELD, 4)
    if train.value - held.value < GAP or not fell(train, held):
        return
    best = float(s.values(HELD).max())
    falls = s.trend(HELD).direction == "down"
    chance = held.value <= 0.55 and train.value >= 0.75
    if held.value < 0.5 and held.high < 0.5 and train.value > 0.6:
        return  # D807
    yield found(
        "critical" if falls or chance else "warning",
        "fault" if falls or chance else "nothing",
        f"{TRAIN}, {HELD}",
        f"accuracy {train.value:.2f} on training pairs, {held.value:.2f} on held-out ones"
        + (f", which had {best:.2f}" if falls else ""),
        f"held-out: {s.trend(HELD).words}",
        causes=(
            ("regression-after-peak", 0.7 if falls else 0.2, "held-out pairs had been better"),
            ("preference-fails", 0.7 if chance else 0.2, "nothing carries over to new pairs"),
        ),
        fix=prescribe.scaled(
            s,
            "optim.lr",
            1 / 3,
            why="training pairs are memorised",
            expected="a gap below 0.1 at the same held-out accuracy",
            risk="slower learning",
            verify="the held-out accuracy is not lower than the best so far",
        ),
        series=(TRAIN, HELD),
    )


@rule("D807", "labels-swapped", TRAIN, HELD)
def swapped(s: Signals) -> Iterator[Finding]:
    """Held-out accuracy is below chance while training accuracy is above: columns are swapped.

    What: the training accuracy's interval lies above 0.55 and the held-out one's below 0.45.
    Why it matters: a sound model on swapped columns has exactly one minus its accuracy.
    Evidence needed: both accuracies, the held-out one at four points or with its pairs.
    Traps: chance does it with few pairs: intervals decide.
    Fix: compare one held-out pair with its source; chosen must be chosen.
    Source: antisymmetry of the Bradley-Terry margin.
    Causes: preference-fails.
    """
    x_N, held = s.values(TRAIN), s.values(HELD)
    if len(x_N) < 10 or s.late(TRAIN).low < 0.55:
        return
    high = s.late(HELD, 4).high if len(held) >= 4 else 1.0
    n = s.values("eval/preference_pairs")
    if len(held) < 4 and len(n) and n[-1] >= 1 and 0.0 <= held[-1] <= 1.0:
        high = wilson(float(held[-1]) * float(n[-1]), float(n[-1]))[1]
    if high >= 0.45:
        return
    yield found(
        "critical",
        "fault",
        HELD,
        f"held-out accuracy {held[-1]:.2f} beside {s.late(TRAIN).value:.2f} in training: the "
        "held-out columns are swapped",
        f"upper end of its interval: {high:.2f}",
        causes=(("preference-fails", 0.9, "labels point both ways"),),
        series=(TRAIN, HELD),
    )

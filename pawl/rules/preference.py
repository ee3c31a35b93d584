"""Rules about preferences, for DPO and reward models: loss, accuracy, pairs, margins.

Codes D8. Left out: lengths and texts of answers (`length`, `text`).
"""

from __future__ import annotations

import math

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, wilson

LN2 = math.log(2.0)
TRAIN, HELD = "preference/accuracy", "eval/preference_accuracy"
MARGIN = "preference/margin|eval/preference_margin"
PAIRS = {TRAIN: "preference/pairs", HELD: "eval/preference_pairs"}


def _interval(s: Signals, name: str, accuracy: float) -> tuple[float, float, float]:
    """Pairs that an accuracy is of, and its 95% interval; 0, 0 and 1 where they are not known."""
    pairs = s.values(PAIRS[name])
    n = float(pairs[-1]) if len(pairs) and pairs[-1] >= 1 and 0.0 <= accuracy <= 1.0 else 0.0
    return n, *wilson(accuracy * n, n)


def _warming(s: Signals) -> bool:
    """Whether the learning rate still rises at the end of the log."""
    lr = s.values("optim/lr")
    return len(lr) >= 5 and lr[-1] >= lr.max() and bool(lr[-1] > 1.05 * lr[len(lr) // 2])


@rule("D801", "preference-loss-at-start", "loss/total", TRAIN, proof="real")
def loss_at_start(s: Signals) -> Findings:
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
    Causes: reference-mismatch (margins of several nats before any update), sampler-mismatch
    (log-probs of other texts give the same).
    """
    loss, accuracy = s.values("loss/total"), s.values(TRAIN)
    if loss[0] < 1.0 or abs(accuracy[0] - 0.5) > 0.15:
        return
    rewards = [s.values(n)[0] for n in s.family("preference/") if n.endswith("_reward")]
    if rewards and max(map(abs, rewards)) < 1.0:
        return  # margins near 0: the rest of the loss is a likelihood term
    yield found(
        "critical invalid",
        f"the loss starts at {loss[0]:.3g} instead of ln 2 = {LN2:.3f}",
        f"accuracy there: {accuracy[0]:.2f}",
        causes={"reference-mismatch": 0.9, "sampler-mismatch": 0.3},
        fix="the loss of the untrained policy is ln 2 within 0.02",
        at="first point",
    )


@rule("D802", "preference-fails", TRAIN, points=10, proof="real")
def preference_fails(s: Signals) -> Findings:
    """Preference accuracy lies below chance.

    What: the recent accuracy's whole interval lies below one half.
    Why it matters: the model prefers what it should reject; a falling loss then comes from another
    term.
    Evidence needed: accuracy over 20 points, or with the number of pairs.
    Traps: a small evaluation set: 6 of 20 right still has one half in its reach. Equal scores
    counted as errors press the accuracy down while the mean margin is positive.
    Fix: check the direction of the labels, then equal scores and identical pairs.
    Source: Bradley and Terry 1952; Wilson 1927.
    Causes: preference-fails (the model prefers what it should reject).
    """
    now = s.late(TRAIN)
    if now.high >= 0.5:
        return
    falls = ", while the loss falls" if s.trend("loss/total").direction == "down" else ""
    yield found(
        "critical fault",
        f"preference accuracy is {now.value:.2f}, below chance{falls}",
        f"95% interval {now.low:.2f} to {now.high:.2f}",
        causes={"preference-fails": 0.9},
        series=(TRAIN, "loss/total"),
        early=True,
    )


@rule("D803", "accuracy-against-margin", f"{TRAIN}|{HELD}", MARGIN, proof="real")
def accuracy_against_margin(s: Signals) -> Findings:
    """Accuracy below one half at a positive mean margin: equal scores, or pairs, count as errors.

    What: the accuracy's estimate lies below one half while the mean margin of the same pairs, of
    training or held out, is positive.
    Why it matters: both cannot be true of distinct pairs with symmetric noise: equal pairs score a
    margin of 0 and count as wrong.
    Evidence needed: accuracy and margin of the same pairs.
    Traps: a few pairs with huge margins can carry the mean; with few pairs chance does it too, so
    this alone is a question to the data, and proof beside another broken invariant.
    Fix: count pairs with equal token ids after parsing and truncation.
    Source: definition of the Bradley-Terry margin.
    Causes: degenerate-pairs (equal scores count as errors).
    """
    for name in PAIRS:
        names = (name, name.replace("accuracy", "margin"))
        if not all(map(s.has, names)):
            continue
        accuracy, margin = (float(np.mean(s.values(name)[-20:])) for name in names)
        if accuracy >= 0.5 or margin <= 0:
            continue
        n, low, high = _interval(s, name, accuracy)
        of = f" over {n:g} pairs (95% interval of the accuracy {low:.2f} to {high:.2f})"
        yield found(
            "warning fault",
            "accuracy below one half at a positive margin: equal scores or equal pairs",
            f"accuracy {accuracy:.2f}, mean margin {margin:+.3g}" + (of if n else ""),
            causes={"degenerate-pairs": 0.7},
            series=names,
            early=True,
        )


@rule("D804", "accuracy-at-chance", f"{TRAIN}|{HELD}", proof="real")
def at_chance(s: Signals) -> Findings:
    """Preference accuracy cannot be told from a coin.

    What: one half lies within the interval of the recent accuracy; a fault when 30 points or 400
    pairs keep the interval below 0.56, a question when there are too few pairs to say anything.
    Why it matters: a model without a preference gives no reward that is worth maximising.
    Evidence needed: accuracy over 30 points, or with its number of pairs.
    Traps: 20 pairs leave 0.3 to 0.7 within reach of chance: neither "barely better than random"
    nor "below" can be said. A warm-up has not begun to learn.
    Fix: count equal pairs and equal scores; check which end truncation keeps; then the learning
    rate.
    Source: Wilson 1927; Bradley and Terry 1952.
    Causes: degenerate-pairs (equal pairs cannot be told apart), lr-too-low (nothing may have
    moved), preference-fails (no preference was learned).
    """
    for name in PAIRS:
        yield from _few(s, name)
    x_N = s.values(TRAIN)
    if len(x_N) < 30 or _warming(s):
        return
    now = s.late(TRAIN, 40)
    if not now.low < 0.5 < now.high or now.high >= 0.56 or s.better:
        return
    yield found(
        "critical fault",
        f"after {len(x_N)} points the accuracy is {now.value:.2f}: a coin does as well",
        f"last {now.n} points: {now.words}",
        causes={"preference-fails": 0.8, "degenerate-pairs": 0.4, "lr-too-low": 0.3},
        fix="a bag-of-words model of the same pairs reaches more than 0.5",
        series=(TRAIN, "loss/total"),
    )


def _few(s: Signals, name: str) -> Findings:
    """A question about one or few accuracies of a known number of pairs with chance in reach."""
    last = float(s.values(name)[-1]) if s.has(name) else math.nan
    n, low, high = _interval(s, name, last)
    if n and len(s.values(name)) < 10 and low < 0.5 < high:
        needed = math.ceil((2.8 * 0.5 / max(abs(last - 0.5), 0.05)) ** 2)
        yield found(
            "info nothing",
            f"an accuracy of {last:.2f} on {n:g} pairs cannot be told from chance",
            f"95% interval {low:.2f} to {high:.2f}; about {needed} pairs would decide it",
            series=(name,),
        )


@rule("D805", "accuracy-perfect", TRAIN, points=30, proof="real")
def perfect(s: Signals) -> Findings:
    """Nearly all training pairs are right, and nothing says how held-out pairs fare.

    What: the recent accuracy on training pairs is 0.9 or more, without a held-out accuracy.
    Why it matters: people agree on 60 to 75% of such pairs; more than that is memory, or pairs that
    differ in form.
    Evidence needed: accuracy over 30 points and no held-out one.
    Traps: easy pairs (another model's bad answers) are told apart perfectly in healthy runs.
    Fix: hold out pairs by prompt and evaluate them; one epoch.
    Source: agreement of annotators in InstructGPT (Ouyang et al. 2022), about 73%.
    Causes: none.
    """
    now = s.late(TRAIN)
    if now.value >= 0.9 and not s.has(HELD):
        yield found(
            "info unusual",
            f"{now.value:.1%} of the training pairs are right and no held-out accuracy is known",
            fix="accuracy on pairs of prompts that were held out",
        )


@rule("D806", "preference-overfit", TRAIN, HELD, points=10)
def overfit(s: Signals) -> Findings:
    """Training pairs are learned, held-out pairs are not.

    What: the accuracy on training pairs exceeds the held-out one by over 0.1 and three standard
    errors; a fault when the held-out one falls, or stays at chance.
    Why it matters: the reward that a policy will see is the held-out one.
    Evidence needed: both accuracies, the held-out one at four points or more.
    Traps: a gap while both rise is usual; held-out pairs from elsewhere are harder.
    Fix: stop at the best held-out point; a lower learning rate, one epoch, weight decay or more
    prompts.
    Source: generalisation gap; TRL RewardTrainer's advice of one epoch.
    Causes: preference-fails (nothing carries over to new pairs), regression-after-peak (held-out
    pairs had been better).
    """
    train, held = s.late(TRAIN), s.late(HELD, 4)
    swapped = held.high < 0.5 and train.value > 0.6  # D807
    if len(s.values(HELD)) < 4 or train.value - held.value < 0.1 or swapped:
        return
    if not fell(train, held):
        return
    falls = s.trend(HELD).direction == "down"
    passed = 0.7 if falls else 0.2
    chance = held.value <= 0.55 and train.value >= 0.75
    yield found(
        "critical fault" if falls or chance else "warning nothing",
        f"accuracy {train.value:.2f} on training pairs, {held.value:.2f} on held-out ones"
        + (f", which had {s.values(HELD).max():.2f}" if falls else ""),
        f"held-out: {s.trend(HELD).words}",
        causes={"regression-after-peak": passed, "preference-fails": 0.7 if chance else 0.2},
        fix=prescribe.slower(
            s,
            "training pairs are memorised",
            "a gap below 0.1",
            verify="held-out accuracy not lower than the best so far",
        ),
    )


@rule("D807", "labels-swapped", TRAIN, HELD, points=10)
def swapped(s: Signals) -> Findings:
    """Held-out accuracy is below chance while training accuracy is above: columns are swapped.

    What: the training accuracy's interval lies above 0.55 and the held-out one's below 0.45.
    Why it matters: a sound model on swapped columns has exactly one minus its accuracy.
    Evidence needed: both accuracies, the held-out one at four points or with its pairs.
    Traps: chance does it with few pairs: intervals decide.
    Fix: compare one held-out pair with its source; chosen must be chosen.
    Source: antisymmetry of the Bradley-Terry margin.
    Causes: preference-fails (labels point both ways).
    """
    held = s.values(HELD)
    high = s.late(HELD, 4).high if len(held) >= 4 else _interval(s, HELD, float(held[-1]))[2]
    if s.late(TRAIN).low < 0.55 or high >= 0.45:
        return
    yield found(
        "critical fault",
        f"held-out accuracy {held[-1]:.2f} beside {s.late(TRAIN).value:.2f} in training: the "
        "held-out columns are swapped",
        f"upper end of its interval: {high:.2f}",
        causes={"preference-fails": 0.9},
    )


@rule("D808", "likelihood-displacement", "preference/margin", kinds=("preference",))
def displacement(s: Signals) -> Findings:
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
    chosen, rejected = (s.trend(name) for name in names)
    ways = [s.trend("preference/margin").direction, chosen.direction, rejected.direction]
    lost = chosen.difference <= -20.0 if kind == "logp" else chosen.last <= -0.5
    if ways != ["up", "down", "down"] or not lost:
        return
    yield found(
        "warning unusual",
        f"the margin grows while the chosen answers lose: {chosen.first:.3g} to {chosen.last:.3g}",
        f"rejected: {rejected.first:.3g} to {rejected.last:.3g}",
        fix="sampled answers of the trained model are not worse than those of the reference",
        series=(*names, "preference/margin"),
    )


@rule("D809", "loss-rests-at-ln2", "loss/total", f"{TRAIN}|preference/margin", points=50)
def rests(s: Signals) -> Findings:
    """The preference loss never leaves ln 2.

    What: after 50 points the loss still lies within 0.01 of 0.693, and neither the accuracy's
    interval lies above one half nor the margin's above 0.
    Why it matters: ln 2 is the loss of a model without a preference.
    Evidence needed: the loss over 50 points; the learning rate, to know a warm-up.
    Traps: the first steps, and a warm-up, lie there in healthy runs.
    Fix: count equal pairs; see that the optimiser has the trained weights; then a higher rate.
    Source: -log sigmoid(0) = ln 2.
    Causes: degenerate-pairs (equal pairs have this loss for ever), lr-too-low (nothing moves),
    optimiser-detached (or no update reaches the weights).
    """
    x_N, now = s.values("loss/total"), s.late("loss/total")
    if abs(float(np.median(x_N[:5])) - LN2) > 0.02 or abs(now.value - LN2) > 0.01:
        return
    even = {"preference/accuracy": 0.5, "preference/margin": 0.0}
    learned = any(s.has(name) and s.late(name, 40).low > level for name, level in even.items())
    if learned or s.better or _warming(s):
        return
    yield found(
        "critical fault",
        f"the loss is {now.value:.4f} after {len(x_N)} points: ln 2, as before the first",
        causes={"lr-too-low": 0.6, "degenerate-pairs": 0.6, "optimiser-detached": 0.4},
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
def explodes(s: Signals) -> Findings:
    """Margins grow far beyond what the loss can still see.

    What: the recent mean margin is above 15, five times its early level or more, and still rises.
    Why it matters: at a margin of 15 a pair's loss is below one millionth: what grows on is the
    distance from the reference, or a reward model's overconfidence.
    Evidence needed: margins; kinds of scale differ, so the level alone is a warning.
    Traps: reward models have no scale: compare with the spread of scores before worrying.
    Fix: stop earlier, a larger coefficient or label smoothing, a third of the learning rate.
    Source: -log sigmoid(15) = 3e-7.
    Causes: lr-too-high (updates go on although pairs are decided).
    """
    t = s.trend("preference/margin")
    if t.direction == "up" and t.last > 15.0 and t.last > 5.0 * max(t.first, 0.1):
        yield found(
            "warning nothing",
            f"the mean margin grows to {t.last:.3g}: the loss of such a pair is below 1e-6",
            t.words,
            causes={"lr-too-high": 0.4},
            fix=prescribe.slower(
                s,
                "margins grow beyond what the loss can see",
                "margins below 10",
                verify="held-out accuracy and chosen log-probs not lower",
            ),
            series=("preference/margin", "preference/accuracy"),
        )


@rule("D811", "tied-pairs", "preference/tie_frac")
def tied(s: Signals) -> Findings:
    """Pairs score exactly the same on both sides.

    What: over 1% of the pairs have equal scores; a fault from a fifth on.
    Why it matters: equal answers (after parsing or truncation) have no gradient, and may
    count as errors.
    Evidence needed: the share of pairs with equal scores.
    Traps: scores in half precision are equal by rounding; before training all of them may be.
    Fix: compare token ids of both sides after truncation; drop equal pairs; keep the texts' ends.
    Source: definition of the Bradley-Terry loss at equal scores.
    Causes: degenerate-pairs (both sides are the same).
    """
    now = s.late("preference/tie_frac")
    share = s.level("preference/tie_frac")
    critical = share > 0.2
    if share > 0.01:
        yield found(
            "critical fault" if critical else "warning nothing",
            f"{share:.1%} of the pairs have equal scores",
            f"last {now.n} points: {now.words}" if now.n > 1 else "one value",
            causes={"degenerate-pairs": 0.9},
            fix="no pair has equal token ids after truncation",
            series=("preference/tie_frac", "preference/accuracy"),
            early=critical,
        )

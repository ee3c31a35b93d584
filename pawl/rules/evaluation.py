"""Rules about held-out results: against training, their size, and what they cannot show.

Codes D901 to D905 and D916. Left out: the order of the data (`data`).
"""

from __future__ import annotations

import math

import numpy as np

from pawl.rules.rule import Findings, Grade, found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, trend

PAIRS = (
    ("verifier/pass_frac", "eval/pass_at_1"),
    ("reward/mean", "eval/reward_mean"),
    ("preference/accuracy", "eval/preference_accuracy"),
)
TRAIN, HELD = ("|".join(names) for names in zip(*PAIRS, strict=True))


def beside(s: Signals, train: str, held: str) -> tuple[Floats, Floats]:
    """For each evaluation the mean of the 3 to 10 training points before it, and its own value."""
    sums = np.concatenate([[0.0], np.cumsum(s.values(train))])
    ends = np.searchsorted(s.rows(train), s.rows(held), side="right")
    good = ends >= 3
    ends = ends[good]
    starts = np.maximum(ends - 10, 0)
    return (sums[ends] - sums[starts]) / (ends - starts), s.values(held)[good]


@rule("D901", "train-minus-probe", TRAIN, HELD)
def train_minus_probe(s: Signals) -> Findings:
    """Training gains that the held-out measure does not share.

    What: the training metric minus the held-out one of the same scale widens beyond noise; a fault
    when the held-out one does not rise (overfitting), a critical one when it falls.
    Why it matters: what is learned is the training problems, or a way to earn reward for something
    else; only the held-out measure tells how good the policy is.
    Evidence needed: both measures at six evaluations or more.
    Traps: a gap that widens while both rise is usual; a training rise alone is what training does
    first; evaluation at another temperature shifts the gap without widening it.
    Fix: keep the best held-out checkpoint; more problems instead of more epochs; audit the reward.
    Source: generalisation gap; Gao et al. 2022 for rewards that part from the truth.
    Causes: data-order (few problems seen many times are learned by heart), regression-after-peak
    (training went on past the best held-out state), reward-bug (training may reward something
    else).
    """
    train, held = next(((a, b) for a, b in PAIRS if s.has(a) and s.has(b)), ("", ""))
    a_N, b_N = beside(s, train, held)
    gap, up, own = trend(a_N - b_N), s.trend(train), s.trend(held)
    if len(b_N) < 6 or gap.direction != "up" or up.direction != "up":
        return
    if own.direction == "none" and own.high > 0.5 * up.difference:
        return  # too few evaluations to say that it does not follow
    falls = own.direction == "down" and own.sure
    grade: Grade = "critical fault" if falls else "warning fault"
    does = "falls" if falls else "does not follow"
    causes = {"regression-after-peak": 0.7 if falls else 0.3, "reward-bug": 0.6, "data-order": 0.2}
    if own.direction == "up":
        grade, does, causes = "info nothing", "gains less", {}
    yield found(
        grade,
        f"{train} gains {up.difference:+.3g} and {held} {does}",
        f"gap: {gap.words}",
        f"{held}: {own.words}",
        causes=causes,
        fix="hidden tests on training problems: passing them is memory, failing them a reward bug",
        series=(train, held),
    )


@rule("D902", "held-out-falls", HELD, points=6)
def held_out_regression(s: Signals) -> Findings:
    """The held-out measure falls over the run, whatever the training metric does.

    What: it falls over six evaluations or more, by both trend tests at 1%.
    Why it matters: the run makes the policy worse at what it is for; where the training metric
    rises meanwhile, training rewards something else.
    Evidence needed: six evaluations.
    Traps: another problem set or sampling in the middle of a run breaks the series. A single drop
    from the best is another matter (D215).
    Fix: go back to the best checkpoint; audit the reward; change one thing.
    Source: early stopping; Gao et al. 2022 for rewards that part from the truth.
    Causes: lr-too-high (updates undo what was learned), regression-after-peak (the best was
    passed), reward-bug (a reward that rises while the truth falls).
    """
    held = s.held_out
    own = s.trend(held)
    if own.direction != "down" or not own.sure:
        return
    up = s.goal not in ("", held) and s.better
    bug, lr = (0.75, 0.2) if up else (0.2, 0.4)
    yield found(
        "critical fault",
        f"{held} falls, {own.first:.3g} to {own.last:.3g}"
        + (f", while {s.goal} rises" if up else ""),
        own.words,
        causes={"regression-after-peak": 0.7, "reward-bug": bug, "lr-too-high": lr},
        fix="evaluate the best and the last checkpoint on the same problems, paired",
        series=(held, s.goal),
    )


@rule("D905", "held-out-above-train", "verifier/pass_frac", "eval/pass_at_1")
def above_train(s: Signals) -> Findings:
    """The policy does better on held-out problems than on those it trains on, and ever more so.

    What: held-out minus training pass rate grows beyond noise and ends above 0.1.
    Why it matters: problems that are really unseen do not gain more than trained ones: held-out
    problems may stand in the training set, or be easier and answered at a lower temperature.
    Evidence needed: both pass rates at six evaluations.
    Traps: greedy evaluation beats sampling from the start; a filter that leaves hard problems in
    training lowers its pass rate in healthy runs.
    Fix: compare hashes and 13-word runs of both sets; evaluate both at one temperature.
    Source: contamination checks by n-gram overlap (GPT-3, Brown et al. 2020).
    Causes: leakage (held-out problems may be among the trained ones).
    """
    a_N, b_N = beside(s, "verifier/pass_frac", "eval/pass_at_1")
    gap = trend(b_N - a_N)
    if len(b_N) >= 6 and gap.direction == "up" and gap.last > 0.1:
        yield found(
            "warning fault",
            f"held-out problems are solved more often than trained ones, by {gap.last:.0%} now",
            f"held-out minus training: {gap.words}",
            causes={"leakage": 0.6},
            fix="no equal prompt hash and no shared run of 13 words between the sets",
        )


@rule("D903", "no-held-out", "reward/mean|preference/accuracy", proof="real")
def no_held_out(s: Signals) -> Findings:
    """Nothing was measured on data that is not trained on.

    What: 30 points or more of training and no held-out measure.
    Why it matters: overfitting and rewards that are gamed cannot be seen in training metrics.
    Evidence needed: the absence itself.
    Traps: an evaluation may stand in another file.
    Fix: evaluate 128 problems or more, always the same, every tenth of the run.
    Source: no training metric warns of a gamed reward at a usable rate of false alarms.
    Causes: none.
    """
    if s.n >= 30 and not s.held_out and not s.has("eval/loss"):
        yield found(
            "info nothing",
            "no held-out measure: overfitting and a gamed reward could not be seen here",
            fix="the last checkpoint beats the first one on problems that were never trained on",
            series=(s.goal,),
        )


@rule("D904", "evaluation-too-small", "eval/pass_at_1", "eval/problems")
def too_small(s: Signals) -> Findings:
    """The evaluation has too few problems to show the gain that it shows.

    What: the change of the pass rate is below what a paired comparison on this many problems sees
    with 80% power (a fifth of them changing).
    Why it matters: a gain or loss of this size is luck as likely as not.
    Evidence needed: pass rate and number of problems.
    Traps: several samples a problem lower the error: then the logged error counts.
    Fix: four times the problems halve the smallest visible gain.
    Source: McNemar 1947; power of a paired difference.
    Causes: none.
    """
    x_N = s.values("eval/pass_at_1")
    n = float(s.values("eval/problems")[-1])
    if len(x_N) < 2 or n <= 0:
        return
    change, seen = float(x_N[-1] - x_N[0]), 2.8 * math.sqrt(0.2 / n)
    if s.has("eval/gain_low") and s.has("eval/gain_high"):
        low, high = (float(s.values(f"eval/gain_{end}")[-1]) for end in ("low", "high"))
        seen = (high - low) / 2.0 * 2.8 / 1.96
    if s.trend("eval/pass_at_1").significant or abs(change) >= seen:
        return
    needed = math.ceil(n * (seen / max(abs(change), 0.01)) ** 2)
    yield found(
        "info nothing",
        f"a change of {change:+.1%} on {n:g} problems: nothing below {seen:.1%} can be seen there",
        f"about {needed} problems would show this change",
        series=("eval/pass_at_1",),
    )


@rule("D916", "one-seed", "eval/pass_at_1", kinds=("policy",))
def one_seed(s: Signals) -> Findings:
    """The gain is real for this run, and within what another seed changes.

    What: the held-out pass rate rises beyond noise, by less than 0.06.
    Why it matters: the run's own error does not hold what another seed would bring; a comparison
    with another configuration needs several seeds of both.
    Evidence needed: held-out pass rates with a significant rise.
    Traps: none for the run itself: it did gain. Only comparisons are in doubt.
    Fix: three seeds of each configuration, compared in pairs.
    Source: between-seed deviations of 4 to 9 points in public small runs (Henderson et al. 2018).
    Causes: none.
    """
    t = s.trend("eval/pass_at_1")
    if t.direction == "up" and t.difference < 0.06:
        yield found(
            "info nothing",
            f"a gain of {t.difference:+.1%} is less than seeds differ by: it says nothing of other "
            "configurations yet",
            t.words,
        )

"""Rules about how evaluation is done: not at all, on too few problems, with one seed.

Codes D903, D904 and D916. Left out: what it shows (`held_out`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

DISCORDANT = 0.2  # share of problems whose verdict differs between two evaluations
SEEDS = 0.06  # by which pass rates of small runs differ between seeds


@rule("D903", "no-held-out", "reward/mean|preference/accuracy", proof="real")
def no_held_out(s: Signals) -> Iterator[Finding]:
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
            "info",
            "nothing",
            s.goal,
            "no held-out measure: overfitting and a gamed reward could not be seen here",
            fix=advice(
                "training metrics cannot tell learning from memory",
                "a held-out measure with its error at every tenth of the run",
                "the last checkpoint beats the first one on problems that were never trained on",
            ),
        )


@rule("D904", "evaluation-too-small", "eval/pass_at_1", "eval/problems")
def too_small(s: Signals) -> Iterator[Finding]:
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
    change = float(x_N[-1] - x_N[0])
    seen = 2.8 * math.sqrt(DISCORDANT / n)
    if s.has("eval/gain_low") and s.has("eval/gain_high"):
        low, high = float(s.values("eval/gain_low")[-1]), float(s.values("eval/gain_high")[-1])
        seen = (high - low) / 2.0 * 2.8 / 1.96
    if s.trend("eval/pass_at_1").significant or abs(change) >= seen:
        return
    needed = math.ceil(n * (seen / max(abs(change), 0.01)) ** 2)
    yield found(
        "info",
        "nothing",
        "eval/pass_at_1",
        f"a change of {change:+.1%} on {n:g} problems: nothing below {seen:.1%} can be seen there",
        f"about {needed} problems would show this change",
        series=("eval/pass_at_1",),
    )


@rule("D916", "one-seed", "eval/pass_at_1", kinds=("policy",))
def one_seed(s: Signals) -> Iterator[Finding]:
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
    if t.direction == "up" and t.difference < SEEDS:
        yield found(
            "info",
            "nothing",
            "eval/pass_at_1",
            f"a gain of {t.difference:+.1%} is less than seeds differ by: it says nothing of other "
            "configurations yet",
            t.words,
            series=("eval/pass_at_1",),
        )

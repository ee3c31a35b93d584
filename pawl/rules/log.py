"""Rules about the log itself: steps out of order, too few points.

Codes D105 and D106. Left out: what the numbers say (`series`).
"""

from __future__ import annotations

from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals


@rule("D105", "steps-out-of-order")
def steps_out_of_order(s: Signals) -> Findings:
    """Step numbers repeat or go back.

    What: rows of one step stand twice in the file, or steps decrease.
    Why it matters: a log continued after a resume holds some steps twice; means over it count them
    twice and a trend may be a seam. The diagnosis took the later value of each step.
    Evidence needed: the step column.
    Traps: logs that write one step in several rows (training, evaluation) repeat steps in healthy
    runs; only values that were replaced count.
    Fix: after a resume, cut the log back to the checkpoint.
    Source: observed in public logs (files named `with_duplicates`).
    Causes: none.
    """
    odd = [n for n in s.log.notes if "repeated steps" in n or "steps go back" in n]
    if odd:
        yield found(
            "info nothing", f"the steps of the log are not in order: {odd[0]}", *odd[1:], at="step"
        )


@rule("D106", "few-points", "reward/mean|preference/accuracy|loss/total", proof="real")
def few_points(s: Signals) -> Findings:
    """Too few points for any statement about a trend.

    What: the log has fewer than 30 points of its goal metric.
    Why it matters: over so few points only broken invariants, non-finite values and destruction can
    be told from chance.
    Evidence needed: the goal metric.
    Traps: rows may be means over several steps; then fewer rows say more than they seem to.
    Fix: wait, log every step, or measure a fixed set of held-out problems.
    Source: two-sample test: a change of two standard deviations needs about 20 points.
    Causes: none.
    """
    if 0 < s.n < 30:
        t = s.trend(s.goal)
        yield found(
            "info nothing",
            f"{s.n} points of {s.goal}: no change smaller than {t.detectable:.3g} could be seen",
            f"noise of one point: {t.noise:.3g}",
            series=(s.goal,),
        )

"""Rules about single samples against each other: pay, advantage and text.

Codes D117 to D119. They need rows with problem, text and score, as Pawl writes them and as others'
dumps may. Left out: how often a total occurs (`reward_distribution`), how texts read (`text`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals

PAIRS = 20  # comparisons from which on a share of them means something
Row = Mapping[str, object]


def _total(row: Row) -> float | None:
    """What a row was paid."""
    score = row.get("score")
    value = score.get("total") if isinstance(score, Mapping) else row.get("reward")
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(str(value)) if plain else None


def _rows(s: Signals) -> list[Row]:
    """The first samples and the newest, each once."""
    rows = [*s.log.first_samples, *s.log.samples]
    known = {
        (r.get("step"), r.get("group"), r.get("member"), i if "member" not in r else 0): r
        for i, r in enumerate(rows)
    }
    return list(known.values())


def _by_group(s: Signals) -> list[list[Row]]:
    """Rows of one group and step together; none where rows do not say."""
    groups = defaultdict[tuple[object, object], list[Row]](list)
    for row in _rows(s):
        if row.get("group") is not None and row.get("step") is not None:
            groups[row["step"], row["group"]].append(row)
    return list(groups.values())


@rule("D117", "advantages-against-rewards", "samples", proof="real")
def advantages_against_rewards(s: Signals) -> Findings:
    """Within groups, better samples get lower advantages.

    What: of two neighbours in reward within a group, the better one has the lower advantage in over
    5% of 20 or more pairs.
    Why it matters: the policy learns away from what is paid: a turned sign, or advantages that
    stand at the rows of others.
    Evidence needed: samples with step, group, reward and advantage.
    Traps: a KL in the reward moves advantages a little; a length normaliser does not turn an order.
    Fix: follow one sample from its score to its advantage.
    Source: the advantage is the reward above a baseline (Shao et al. 2024, section 4.1).
    Causes: group-integrity (advantages do not follow rewards), reward-bug (scores that stand at
    other rows give the same).
    """
    turned = seen = 0
    for group in _by_group(s):
        known = [(_total(r), r.get("advantage")) for r in group]
        ranked = sorted((t, float(str(a))) for t, a in known if t is not None and a is not None)
        for (low, below), (high, above) in pairwise(ranked):
            if high - low > 1e-6 and abs(above - below) > 1e-9:
                seen, turned = seen + 1, turned + (above < below)
    if seen >= PAIRS and turned > 0.05 * seen:
        yield found(
            "critical invalid",
            f"the better sample has the lower advantage in {turned} of {seen} pairs",
            causes={"group-integrity": 0.95, "reward-bug": 0.2},
            series=("reward/mean",),
            at="advantage",
        )


@rule("D118", "same-answer-other-pay", "samples", proof="real")
def same_answer_other_pay(s: Signals) -> Findings:
    """The same answer to the same problem is paid differently in one step.

    What: of equal texts in one group, at least two pairs and over a tenth differ in reward.
    Why it matters: scores stand at the wrong rows, or the judge rolls dice: either way advantages
    are noise.
    Evidence needed: samples with text, problem and reward, some of them equal.
    Traps: judges that sample differ by design (their spread should be known); timeouts on a busy
    machine flip a verdict now and then.
    Fix: score one completion twice; then follow the order of rows from sampling to scores.
    Source: a function gives one value for one argument.
    Causes: group-integrity (scores stand at other rows), reward-bug (the reward is not a function
    of the answer).
    """
    equal, differ = 0, 0
    for group in _by_group(s):
        by_text = defaultdict[object, list[float]](list)
        for row in group:
            total = _total(row)
            if total is not None and row.get("text"):
                by_text[row.get("problem_id"), row["text"]].append(total)
        for totals in by_text.values():
            equal += len(totals) - 1
            differ += sum(abs(a - totals[0]) > 1e-6 for a in totals[1:])
    if differ >= 2 and differ > 0.1 * equal:
        yield found(
            "critical invalid",
            f"{differ} of {equal} repeated answers were paid differently from their first copy",
            causes={"group-integrity": 0.8, "reward-bug": 0.6},
            fix="score twelve samples twice and compare with the record",
            at="total",
        )


@rule("D119", "pay-ignores-tests", "samples", proof="real")
def pay_ignores_tests(s: Signals) -> Findings:
    """Failing answers are paid one amount, whatever share of the tests they pass.

    What: among samples that fail, the tests' component takes three values or more and over 90% of
    them are paid one total, which (but in runs of Pawl, whose reward pays for tests) is not the
    least that any sample earned.
    Why it matters: partial credit that does not follow the tests is a fixed payment: it pays for
    being wrong in any way.
    Evidence needed: samples with components, 20 of them failing with some tests passed.
    Traps: a reward may pay passes only: then failures earn the least, and this is silent.
    Fix: compute the total from its components; score answers that pass 1, 2 and 3 tests.
    Source: a staged reward is the weighted sum of its stages.
    Causes: reward-bug (the total does not follow its components).
    """
    rows = [r["score"] for r in _rows(s) if isinstance(r.get("score"), Mapping)]
    bodies = [b for b in rows if isinstance(b, Mapping) and b.get("status") == "scored"]
    seen = [
        (float(str(parts["tests"])), float(str(b["total"])))
        for b in bodies
        if b.get("verdict") != "pass" and b.get("total") is not None
        if isinstance(parts := b.get("components"), Mapping) and parts.get("tests")
    ]
    totals = [t for r in _rows(s) if (t := _total(r)) is not None]
    if len(seen) < PAIRS or len({round(t, 6) for t, _ in seen}) < 3:
        return
    value, count = np.unique(np.round([t for _, t in seen], 6), return_counts=True)
    top = int(np.argmax(count))
    share = float(count[top]) / len(seen)
    partial = s.log.library == "pawl" or float(value[top]) > min(totals) + 1e-9
    if share > 0.9 and partial:
        yield found(
            "critical fault",
            f"{share:.0%} of {len(seen)} failing answers earn {value[top]:g}, whatever they pass",
            f"their share of tests passed: {min(t for t, _ in seen):.2f} to "
            f"{max(t for t, _ in seen):.2f}",
            causes={"reward-bug": 0.9},
            at="total",
            early=True,
        )

"""Rules about single samples against each other: pay, advantage and text.

Codes D117 to D119. They need rows with problem, text and score, as Pawl writes them and as others'
dumps may. Left out: how often a total occurs (`reward_distribution`), how texts read (`text`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from pawl.logs.table import Row
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import row_rewards, shares
from pawl.rules.signals import Signals

PAIRS = 20  # comparisons from which on a share of them means something


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
        groups[row.get("step"), row.get("group")].append(row)
    return [rows for where, rows in groups.items() if None not in where]


@rule("D117", "advantages-against-rewards", "samples", proof="real")
def advantages_against_rewards(s: Signals) -> Findings:
    """Within groups, better samples get lower advantages.

    What: of two neighbours in reward within a group, the better one has the lower advantage in over
    5% of 20 or more pairs.
    Why it matters: the policy learns away from the reward: a turned sign, or advantages that
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
        known = [
            (p.total, r.get("advantage")) for p, r in zip(row_rewards(group), group, strict=True)
        ]
        ranked = sorted((t, float(str(a))) for t, a in known if t is not None and a is not None)
        for (low, below), (high, above) in pairwise(ranked):
            if high - low > 1e-6 and abs(above - below) > 1e-9:
                seen, turned = seen + 1, turned + (above < below)
    if seen >= PAIRS and turned > 0.05 * seen:
        yield found(
            "critical invalid",
            f"the better sample has the lower advantage in {turned} of {seen} pairs",
            causes={"group-integrity": 0.95, "reward-bug": 0.2},
            series=("samples", "reward/mean"),
            at="advantage",
        )


@rule("D118", "same-answer-other-pay", "samples", proof="real")
def same_answer_other_pay(s: Signals) -> Findings:
    """The same answer to the same problem is rewarded differently in one step.

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
    equal = differ = 0
    for group in _by_group(s):
        by_text = defaultdict[object, list[float]](list)
        for row, p in zip(group, row_rewards(group), strict=True):
            if p.total is not None and row.get("text"):
                by_text[row.get("problem_id"), row["text"]].append(p.total)
        for first, *rest in by_text.values():
            equal += len(rest)
            differ += sum(abs(total - first) > 1e-6 for total in rest)
    if differ >= 2 and differ > 0.1 * equal:
        yield found(
            "critical invalid",
            f"{differ} of {equal} repeated answers have another reward than their first copy",
            causes={"group-integrity": 0.8, "reward-bug": 0.6},
            fix="twelve samples scored twice earn what the record says",
            at="total",
        )


@rule("D119", "pay-ignores-tests", "samples", proof="real")
def pay_ignores_tests(s: Signals) -> Findings:
    """Failing answers have one reward, whatever share of the tests they pass.

    What: among samples that fail, the tests' component takes three values or more and over 90% of
    them have one total, which (but in runs of Pawl, whose reward counts tests) is not the
    least that any sample earned.
    Why it matters: partial credit that does not follow the tests is a constant: it rewards
    being wrong in any way.
    Evidence needed: samples with components, 20 of them failing with some tests passed.
    Traps: a reward may pay passes only: then failures earn the least, and this is silent.
    Fix: compute the total from its components; score answers that pass 1, 2 and 3 tests.
    Source: a staged reward is the weighted sum of its stages.
    Causes: reward-bug (the total does not follow its components).
    """
    rows = _rows(s)
    known = row_rewards(rows)
    failing = [
        (tests, p.total)
        for row, p in zip(rows, known, strict=True)
        if p.status == "scored" and p.verdict != "pass" and p.total is not None
        if (tests := _tests(row))
    ]
    passed = [tests for tests, _ in failing]
    if len(failing) < PAIRS or len({round(tests, 6) for tests in passed}) < 3:
        return
    value, share = shares([total for _, total in failing])[0]
    least = min(p.total for p in known if p.total is not None)
    if share > 0.9 and (s.log.library == "pawl" or value > least + 1e-9):
        yield found(
            "critical fault",
            f"{share:.0%} of {len(failing)} failing answers earn {value:g}, whatever they pass",
            f"their share of tests passed: {min(passed):.2f} to {max(passed):.2f}",
            causes={"reward-bug": 0.9},
            at="total",
            early=True,
        )


def _tests(row: Row) -> float:
    """What the tests add to a sample's score, 0 where it does not say."""
    score = row.get("score")
    parts = score.get("components") if isinstance(score, Mapping) else None
    return float(str(parts.get("tests") or 0.0)) if isinstance(parts, Mapping) else 0.0

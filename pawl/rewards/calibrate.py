"""Proves the reward before training: known-good answers must earn full marks, known-bad ones not.

Every probe is measured once, by the very grader that training uses, in the exact prompt format, and
paid by the run's reward and by every stage of its curriculum. A reward that is the user's alone,
on a scale of its own or for problems without tests, has no full marks that a right answer must
earn: there every right answer must earn more than every known-bad one; where a judge grades, which
errs, in the mean over problems. `require` refuses the run
with the table. Answers that are right for another problem are paid beside them, for the preflight,
which holds all scores against those of the base. Left out: the probes themselves (`probes.py`) and
the audit of the problems (`audit.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pawl.checks import Check, refusing
from pawl.config.options import RewardConfig, RunConfig
from pawl.errors import PawlError
from pawl.rewards.grader import Grader, by_tests_alone, has_judge, has_tests, stage_reward
from pawl.rewards.pay import full_marks, pay
from pawl.rewards.probes import (
    answer_shapes,
    bad_probes,
    canaries,
    constant_text,
    end,
    examples_in,
    reference_shapes,
)
from pawl.types import Completion, Problem, Score

FIXED = 2  # problems to which the code reward is shown text that is the same for all of them
SAMPLE = 6  # problems drawn by seed, beside the ones with the shortest and the longest reference
TOLERANCE = 1e-6
SURE = 2  # standard errors of a mean by which kinds of answers must differ under a judge
ORDERED = 0.9  # least share of pairs of a right and a wrong answer that a judge puts in order
BAR = 0.1  # of a right answer's total: the most for one that does nothing
CALIBRATION = "calibration"  # the name by which train.override lets all probes fail
_SHIPPED = Path(__file__).parent.parent / "models" / "prompts"


@dataclass(frozen=True, slots=True)
class _Probe:
    """A probe on a problem, with what its score must keep. good: a right answer."""

    name: str
    problem: Problem
    text: str
    good: bool
    meaning: str
    marked: bool = True


_Scored = tuple[_Probe, Score]


@dataclass(frozen=True, slots=True)
class Calibration:
    """One check for each probe and stage, and what the run's reward pays for known answers.

    right, wrong: of the probes; swapped: of answers that are right for another problem.
    """

    checks: list[Check]
    right: list[Score]
    wrong: list[Score]
    swapped: list[Score]


def calibrate(
    grader: Grader, problems: Sequence[Problem], cfg: RunConfig, sample: int = SAMPLE
) -> Calibration:
    """Score all probes on a seeded sample; the checks stand in a fixed order.

    Problems without a reference give known-bad probes only. Raises PawlError from the grader when
    the reward itself breaks.
    """
    chosen = choose(problems, cfg.seed, sample)
    probes = list[_Probe]()
    for i, problem in enumerate(chosen):
        everything = i < FIXED or not by_tests_alone(cfg.reward)
        probes += _probes(problem, cfg.reward, everything)
    probes += _example_probes(chosen, cfg)
    # the probes of a problem are a group, as a reward that compares sees it
    groups = [list(group) for _, group in groupby(probes, key=lambda probe: id(probe.problem))]
    asked = [(g[0].problem, [completion_of(p.problem, p.text) for p in g]) for g in groups]
    swaps = list(_swaps(chosen, cfg.reward, grader.whole_group))
    rows = grader.measure([*asked, *swaps])
    rows, swap_rows = rows[: len(asked)], rows[len(asked) :]
    checks = list(_length_gate(problems, cfg.reward))
    known: dict[bool, list[Score]] = {True: [], False: []}
    for stage in [None, *range(len(cfg.curriculum))]:
        reward = cfg.reward if stage is None else stage_reward(cfg, stage)
        if reward is None:
            continue
        reward = reward.model_copy(update={"missing": "sample"})  # no probe does without a part
        found, judged = list[Check](), list[list[_Scored]]()
        for group, (problem, completions), own in zip(groups, asked, rows, strict=True):
            scores = pay(problem, completions, own, reward)
            pairs = list(zip(group, scores, strict=True))
            for probe, score in pairs if stage is None else ():
                known[probe.good].append(score)
            if has_judge(reward):
                judged.append(pairs)
            else:
                found += _judged(pairs, reward, grader)
        found += _in_order(judged)
        suffix = "" if stage is None else f" (stage {cfg.curriculum[stage].name})"
        checks += [replace(check, name=check.name + suffix) for check in found]
    checks += _unchecked(probes, cfg)
    swapped = [pay(*s, own, cfg.reward)[-1] for s, own in zip(swaps, swap_rows, strict=True)]
    return Calibration(checks, known[True], known[False], swapped)


def completion_of(problem: Problem, text: str) -> Completion:
    """As the reward is shown it, its length in tokens guessed."""
    return Completion(problem.id, text, max(1, len(text) // 3))


def marker_of(problem: Problem, cfg: RewardConfig) -> str:
    """The end marker of answers to a problem."""
    return cfg.end_marker if has_tests(cfg) or problem.code else ""


def choose(problems: Sequence[Problem], seed: int, sample: int) -> list[Problem]:
    """A seeded sample of the set, with the shortest and longest reference of a larger draw."""
    rng = random.Random(f"{seed}/calibrate")
    drawn = sorted(rng.sample(range(len(problems)), min(len(problems), 50 * sample)))
    pool = [problems[i] for i in drawn]
    solved = [p for p in pool if p.reference] or pool
    by_length = sorted(solved, key=lambda p: (len(p.reference), p.id))
    picked = rng.sample(solved, min(len(solved), sample))
    unique = {p.id: p for p in [by_length[0], by_length[-1], *picked]}
    for lang in sorted({p.lang for p in pool} - {p.lang for p in unique.values()}):
        other = next(p for p in solved + pool if p.lang == lang)
        unique[other.id] = other
    return list(unique.values())


def _probes(problem: Problem, cfg: RewardConfig, everything: bool) -> Iterator[_Probe]:
    """Good probes with and without end marker, bad ones with it (the form that pays best).

    everything: also those whose text is the same whatever the problem.
    """
    marker = marker_of(problem, cfg)
    if problem.reference:
        for shape, text in reference_shapes(problem):
            meaning = "a right answer in this form must earn full marks"
            yield _Probe(f"reference, {shape}", problem, end(text, marker), True, meaning)
        if everything and problem.code is not None and by_tests_alone(cfg):
            for shape, text in answer_shapes(problem):
                meaning = "a right answer beside other text must be found in it"
                yield _Probe(f"reference, {shape}", problem, end(text, marker), True, meaning)
            ended = f"{end(reference_shapes(problem)[0][1], marker).rstrip()}<|im_end|>"
            meaning = "the end token of a chat template is no part of the answer"
            yield _Probe("reference, with an end token", problem, ended, True, meaning)
        if marker and has_tests(cfg):
            text = reference_shapes(problem)[0][1]
            meaning = "a right answer loses at most the end marker's share without it"
            name = "reference, no end marker"
            yield _Probe(name, problem, text, True, meaning, marked=False)
    constant = constant_text(problem) if problem.code else ""
    for probe in (*bad_probes(problem, constant), *(canaries(problem) if has_judge(cfg) else ())):
        if probe.fixed and not everything:
            continue
        text = end(probe.text, marker) if probe.text.strip() else probe.text
        meaning = "an answer that does nothing must earn no more than one test"
        yield _Probe(probe.name, problem, text, False, meaning)


def _swaps(
    chosen: Sequence[Problem], cfg: RewardConfig, compares: bool
) -> Iterator[tuple[Problem, list[Completion]]]:
    """Groups that end with an answer which is right for another problem.

    Apart from the probes, which a reward that compares would pay otherwise beside it. compares: the
    right answer is in the group too, as such a reward says nothing of one alone.
    """
    for i, problem in enumerate(chosen):
        other = chosen[i - 1]
        alien = problem.lang == other.lang and problem.id != other.id
        if alien and problem.reference and other.reference not in ("", problem.reference):
            answers = [reference_shapes(p)[0][1] for p in ([problem] * compares + [other])]
            marker = marker_of(problem, cfg)
            yield problem, [completion_of(problem, end(text, marker)) for text in answers]


def _example_probes(chosen: Sequence[Problem], cfg: RunConfig) -> Iterator[_Probe]:
    """The solved examples of the prompt template, in their own words and ending."""
    shown, marker = template(cfg.prompt.template), cfg.reward.end_marker
    for lang in sorted({p.code.lang for p in chosen if p.code}):
        for problem, text in examples_in(shown, lang, marker):
            meaning = "the prompt's own solved example must earn full marks"
            ended = text if marker in text else end(text, marker)
            yield _Probe("prompt's own example", problem, ended, True, meaning)


def template(name: str) -> str:
    """Text of the prompt template, "" for none; unreadable ones are reported by the encoder."""
    for path in (_SHIPPED / f"{name}.txt", Path(name).expanduser()):
        if name and path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def _judged(
    pairs: Sequence[tuple[_Probe, Score]], cfg: RewardConfig, grader: Grader
) -> Iterator[Check]:
    """A check for each probe of a problem: by its limits, or right answers against wrong ones."""
    if pairs[0][0].problem.code is not None and grader.scale == (0.0, full_marks(cfg)):
        if not grader.whole_group:
            most = _bar(pairs, cfg)
            yield from (_limited(probe, score, cfg, most) for probe, score in pairs)
            return
    totals = {
        good: [s.total for p, s in pairs if p.good == good and s.total is not None]
        for good in (True, False)
    }
    best, worst = max(totals[False], default=None), min(totals[True], default=None)
    for probe, score in pairs:
        other = best if probe.good else worst
        expected = "" if other is None else f"{'above' if probe.good else 'below'} {other:.4g}"
        meaning = "a right answer must earn more than an answer that says nothing"
        passed: bool | None = None
        if score.total is not None and other is not None:
            passed = score.total > other if probe.good else score.total < other
        yield _row(probe, score, expected or "scored", passed, meaning)


def _in_order(groups: Sequence[Sequence[_Scored]]) -> Iterator[Check]:
    """A check for each kind of probe of a reward that a judge grades, and one for all of them.

    A judge errs, so that a right answer may fall below a wrong one now and then: each kind is held
    to its mean over the problems. A wrong kind must lie below the mean of its problems' right
    answers by more than SURE standard errors, a right one above the wrong ones; and of all pairs of
    a right and a wrong answer ORDERED must be in order.
    """
    gaps: dict[tuple[str, bool], list[float]] = {}
    in_order = list[float]()
    for pairs in groups:
        lost = next(((p, s) for p, s in pairs if s.total is None), None)
        if lost is not None:
            yield _row(*lost, "scored", False, "what the judge cannot grade teaches nothing")
            continue
        rows = [(p, s.total) for p, s in pairs if s.total is not None]
        right = [total for p, total in rows if p.good]
        wrong = [total for p, total in rows if not p.good]
        in_order += [(r > w) + (r == w) / 2 for r in right for w in wrong]
        for probe, total in rows:
            others = wrong if probe.good else right
            gaps.setdefault((probe.name, probe.good), [])
            if others:
                mean = sum(others) / len(others)
                gaps[probe.name, probe.good].append(total - mean if probe.good else mean - total)
    for (name, good), own in gaps.items():
        n, mean = len(own), sum(own) / max(1, len(own))
        error = (sum((g - mean) ** 2 for g in own) / (n - 1) / n) ** 0.5 if n > 1 else 0.0
        seen = f"{mean:+.3g} (standard error {error:.2g}, {n} problems)" if n else "nothing else"
        expected = f"{'above wrong' if good else 'below right'} answers by > {SURE} errors"
        passed = mean > SURE * error + TOLERANCE if n else None
        meaning = "right answers must earn more than answers that say nothing"
        yield Check(name, "", expected, seen, passed, meaning, TOLERANCE, "reward-bug")
    if in_order:
        share = sum(in_order) / len(in_order)
        meaning = "a judge that often prefers a wrong answer teaches wrong answers"
        seen, expected = f"{share:.1%} of {len(in_order)} pairs", f">= {ORDERED:.0%}"
        how = (share >= ORDERED, meaning, 0.0, "reward-bug")
        yield Check("right above wrong", "", expected, seen, *how)


def _bar(pairs: Sequence[tuple[_Probe, Score]], cfg: RewardConfig) -> float:
    """The most that an answer which does nothing may earn, from what the others measured.

    BAR of what right answers earn, and no more than what each of their tests brings that the
    constant does not pass.
    """
    right = [s for p, s in pairs if p.good and p.marked and s.total is not None]
    earned = min((s.total for s in right if s.total is not None), default=full_marks(cfg))
    constant = max((s.passed_cases for p, s in pairs if p.name == "constant"), default=0)
    return min(BAR * earned, earned / max(1, len(pairs[0][0].problem.task.cases) - constant))


def _limited(probe: _Probe, score: Score, cfg: RewardConfig, most: float) -> Check:
    """A probe that must earn full marks, or next to nothing."""
    if probe.good:
        least = full_marks(cfg) * (1.0 if probe.marked else 1.0 - cfg.stages.end_marker)
        expected = f"{'pass, ' if has_tests(cfg) else ''}total >= {least:.4g}"
        passed = score.total is not None and score.total >= least - TOLERANCE
    else:
        expected = f"total <= {most:.4g}"
        passed = score.total is not None and score.total <= most + TOLERANCE
    return _row(probe, score, expected, passed, probe.meaning)


def _row(probe: _Probe, score: Score, expected: str, passed: bool | None, meaning: str) -> Check:
    if score.total is None:
        observed, passed = f"missing: {score.reason}", False
    else:
        verdict = f"{score.verdict}, " if score.verdict else ""
        observed = f"{verdict}total {score.total:.4g} ({score.branch})"
        if probe.good and not passed and score.reason:
            observed += f": {score.reason}"
    cause = "judge-outage" if score.total is None else "reward-bug"
    where = (probe.name, probe.problem.id)
    return Check(*where, expected, observed, passed, meaning, TOLERANCE, cause)


def _length_gate(problems: Sequence[Problem], cfg: RewardConfig) -> Iterator[Check]:
    """`min_lines` may not exceed the shortest reference of the whole set."""
    if not cfg.min_lines:
        return
    lengths = [(sum(1 for x in p.reference.splitlines() if x.strip()), p.id) for p in problems]
    shortest, name = min((n for n in lengths if n[0]), default=(0, ""))
    yield Check(
        "min_lines",
        name,
        f">= {cfg.min_lines} lines",
        f"shortest reference: {shortest} lines",
        shortest >= cfg.min_lines if name else None,
        "a length limit above the shortest right answer punishes right answers",
        cause="reward-bug",
    )


def _unchecked(probes: Sequence[_Probe], cfg: RunConfig) -> Iterator[Check]:
    """What could not be checked, said so."""
    if not any(t.good for t in probes):
        meaning = "no problem has a reference: that right answers are paid is unproved"
        yield Check("reference", "", "full marks", "nothing to score", None, meaning)
    if not any(t.name == "prompt's own example" for t in probes) and cfg.prompt.template:
        meaning = "the prompt template shows no solved example with a call and its result"
        yield Check("prompt's own example", "", "full marks", "none found", None, meaning)


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of a table, failures first; a column without entries is left out."""
    rows = sorted(checks, key=lambda c: (c.passed is not False, c.passed is None))
    head = [("check", "problem", "expected", "observed", "")]
    body = [(c.name, c.problem, _cut(c.expected), _cut(c.observed), mark(c)) for c in rows]
    used = [i for i in range(5) if any(r[i] for r in body)]
    widths = {i: max(len(r[i]) for r in head + body) for i in used}
    return "\n".join("  ".join(r[i].ljust(widths[i]) for i in used).rstrip() for r in head + body)


def _cut(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def mark(check: Check) -> str:
    """What became of a check, in a word."""
    if check.passed is not False:
        return "ok" if check.passed else "not checked"
    return "overridden" if check.overridden else "FAILED" if check.refuses else "warning"


def summary(checks: Sequence[Check]) -> list[Check]:
    """One row for each kind of probe: the worst of its problems, with how many were scored."""
    kinds: dict[str, list[Check]] = {}
    for check in checks:
        kinds.setdefault(check.name, []).append(check)
    rows = []
    for group in kinds.values():
        worst = min(group, key=lambda c: {False: 0, None: 1, True: 2}[c.passed])
        many = f"{worst.problem} (of {len(group)})" if len(group) > 1 else worst.problem
        rows.append(replace(worst, problem=many))
    return rows


def _few(names: Sequence[str]) -> str:
    """At most three different names."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(unique[:3]) + more


def require(checks: Sequence[Check]) -> None:
    """Raises PawlError with the table when a check failed that nobody overrode."""
    failed = refusing(checks)
    if not failed:
        return
    meanings: dict[str, list[str]] = {}
    for c in failed:
        meanings.setdefault(c.meaning, []).append(c.name)
    reasons = "; ".join(f"{_few(names)}: {why}" for why, names in meanings.items())
    raise PawlError(
        f"the reward is refused, {len(failed)} of {len(checks)} probes failed\n"
        f"{table(summary(checks))}",
        "reward",
        f"{reasons}; to start all the same: train.override=[{CALIBRATION}]",
    )

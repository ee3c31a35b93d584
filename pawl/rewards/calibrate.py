"""Proves the reward before training: known-good answers must earn full marks, known-bad ones not.

Every probe is scored by the very pool that training uses, in the exact prompt format, for built-in
and user rewards alike. `require` refuses the run with the table. Left out: the probes themselves
(`probes.py`) and the audit of the problems (`audit.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pawl.checks import Check
from pawl.config.options import RewardConfig, RunConfig
from pawl.errors import PawlError
from pawl.rewards.compose import bad_cap, components_of, full_marks, repay
from pawl.rewards.probes import bad_probes, constant_text, end, examples_in, reference_shapes
from pawl.types import Completion, Problem, Reward, Score

SAMPLE = 6  # problems drawn by seed, beside the ones with the shortest and the longest reference
TOLERANCE = 1e-6
CALIBRATION = "calibration"  # the name by which train.override lets all probes fail
_SHIPPED = Path(__file__).parent.parent / "models" / "prompts"


class Scorer(Protocol):
    """Scores a list in order: `ScorerPool`, or a `Reward` wrapped by `Direct`."""

    def score_all(self, jobs: list[tuple[Problem, Completion]]) -> list[Score]: ...


class Direct:
    """A Reward as a Scorer, in this process."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def score_all(self, jobs: list[tuple[Problem, Completion]]) -> list[Score]:
        """One by one, in order."""
        return [self._reward.score(p, [c])[0] for p, c in jobs]


class Repaid:
    """A Scorer whose scores are paid by the weights of a curriculum's stage."""

    def __init__(self, scorer: Scorer, cfg: RewardConfig, stage: str) -> None:
        self._scorer, self._cfg, self._stage = scorer, cfg, stage

    def score_all(self, jobs: list[tuple[Problem, Completion]]) -> list[Score]:
        """As the stage pays them, in order."""
        return [
            repay(score, problem, completion, self._cfg, self._stage)
            for (problem, completion), score in zip(jobs, self._scorer.score_all(jobs), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Trial:
    """A probe on a problem, with the limits that its score must keep."""

    name: str
    problem: Problem
    text: str
    at_least: float | None
    at_most: float | None
    meaning: str


def calibrate(
    scorer: Scorer, problems: Sequence[Problem], cfg: RunConfig, sample: int = SAMPLE
) -> list[Check]:
    """Score all probes on a seeded sample; one Check for each, in a fixed order.

    Problems without a reference give known-bad probes only. Raises PawlError from the scorer when
    the reward itself breaks.
    """
    chosen = _choose(problems, cfg.seed, sample)
    trials = [t for p in chosen for t in _trials(p, cfg.reward)]
    trials += _example_trials(chosen, cfg)
    jobs = [(t.problem, Completion(t.problem.id, t.text, max(1, len(t.text) // 3))) for t in trials]
    scores = scorer.score_all(jobs)
    checks = [_judge(t, s) for t, s in zip(trials, scores, strict=True)]
    return [*_length_gate(problems, cfg.reward), *checks, *_unchecked(trials, cfg)]


def _choose(problems: Sequence[Problem], seed: int, sample: int) -> list[Problem]:
    """A seeded sample of the set, with the shortest and longest reference of a larger draw."""
    rng = random.Random(f"{seed}/calibrate")
    drawn = sorted(rng.sample(range(len(problems)), min(len(problems), 50 * sample)))
    pool = [problems[i] for i in drawn]
    solved = [p for p in pool if p.solution] or pool
    by_length = sorted(solved, key=lambda p: (len(p.solution), p.id))
    picked = rng.sample(solved, min(len(solved), sample))
    unique = {p.id: p for p in [by_length[0], by_length[-1], *picked]}
    for lang in sorted({p.lang for p in pool} - {p.lang for p in unique.values()}):
        other = next(p for p in solved + pool if p.lang == lang)
        unique[other.id] = other
    return list(unique.values())


def _trials(problem: Problem, cfg: RewardConfig) -> list[_Trial]:
    """Good probes with and without end marker, bad ones with it (the form that pays best)."""
    full, cap = full_marks(cfg), bad_cap(cfg, problem)
    marker = cfg.end_marker
    found = []
    if problem.solution:
        for shape, text in reference_shapes(problem):
            name = f"reference, {shape}"
            meaning = "a right answer in this form must earn full marks"
            found.append(_Trial(name, problem, end(text, marker), full, None, meaning))
        if marker and any(c.use == "code" for c in components_of(cfg)):
            text = reference_shapes(problem)[0][1]
            meaning = "a right answer loses at most the end marker's share without it"
            least = full * (1.0 - cfg.stages.end_marker)
            found.append(_Trial("reference, no end marker", problem, text, least, None, meaning))
    for probe in bad_probes(problem, constant_text(problem)):
        text = end(probe.text, marker) if probe.text.strip() else probe.text
        meaning = "an answer that does nothing must earn no more than one test"
        found.append(_Trial(probe.name, problem, text, None, cap, meaning))
    return found


def _example_trials(chosen: Sequence[Problem], cfg: RunConfig) -> list[_Trial]:
    """The solved examples of the prompt template, in their own words and ending."""
    template = _template(cfg.prompt.template)
    found = []
    for lang in sorted({p.lang for p in chosen}):
        for problem, text in examples_in(template, lang, cfg.reward.end_marker):
            full = full_marks(cfg.reward)
            meaning = "the prompt's own solved example must earn full marks"
            ended = text if cfg.reward.end_marker in text else end(text, cfg.reward.end_marker)
            found.append(_Trial("prompt's own example", problem, ended, full, None, meaning))
    return found


def _template(name: str) -> str:
    """Text of the prompt template, "" for none; unreadable ones are reported by the encoder."""
    for path in (_SHIPPED / f"{name}.txt", Path(name).expanduser()):
        if name and path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def _judge(trial: _Trial, score: Score) -> Check:
    if trial.at_least is not None:
        expected = f"pass, total >= {trial.at_least:.4g}"
    else:
        expected = f"total <= {trial.at_most:.4g}"
    if score.total is None:
        observed, passed = f"missing: {score.reason}", False
    else:
        observed = f"{score.verdict}, total {score.total:.4g} ({score.branch})"
        low = trial.at_least is None or score.total >= trial.at_least - TOLERANCE
        high = trial.at_most is None or score.total <= trial.at_most + TOLERANCE
        passed = low and high
    cause = "judge-outage" if score.total is None else "reward-bug"
    where = (trial.name, trial.problem.id)
    return Check(*where, expected, observed, passed, trial.meaning, TOLERANCE, cause)


def _length_gate(problems: Sequence[Problem], cfg: RewardConfig) -> list[Check]:
    """`min_lines` may not exceed the shortest reference of the whole set."""
    if not cfg.min_lines:
        return []
    lengths = [(sum(1 for x in p.solution.splitlines() if x.strip()), p.id) for p in problems]
    shortest, name = min((n for n in lengths if n[0]), default=(0, ""))
    return [
        Check(
            "min_lines",
            name,
            f">= {cfg.min_lines} lines",
            f"shortest reference: {shortest} lines",
            shortest >= cfg.min_lines if name else None,
            "a length limit above the shortest right answer punishes right answers",
            0.0,
            "reward-bug",
        )
    ]


def _unchecked(trials: Sequence[_Trial], cfg: RunConfig) -> list[Check]:
    """What could not be checked, said so."""
    rows = []
    if not any(t.at_least is not None for t in trials):
        meaning = "no problem has a reference: that right answers are paid is unproved"
        rows.append(Check("reference", "", "full marks", "nothing to score", None, meaning))
    if not any(t.name == "prompt's own example" for t in trials) and cfg.prompt.template:
        meaning = "the prompt template shows no solved example with a call and its result"
        rows.append(Check("prompt's own example", "", "full marks", "none found", None, meaning))
    return rows


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of a table, failures first; a column without entries is left out."""
    rows = sorted(checks, key=lambda c: (c.passed is not False, c.passed is None))
    head = [("check", "problem", "expected", "observed", "")]
    body = [(c.name, c.problem, _cut(c.expected), _cut(c.observed), mark(c)) for c in rows]
    used = [i for i in range(5) if any(r[i] for r in body)]
    widths = {i: max(len(r[i]) for r in head + body) for i in used}
    return "\n".join("  ".join(r[i].ljust(widths[i]) for i in used).rstrip() for r in head + body)


def _cut(text: str, most: int = 50) -> str:
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


def allowed(checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """The rows; failed ones are marked when `names` (train.override) holds CALIBRATION."""
    return [replace(c, overridden=c.passed is False and CALIBRATION in names) for c in checks]


def require(checks: Sequence[Check]) -> None:
    """Raises PawlError with the table when a check failed that nobody overrode."""
    failed = [c for c in checks if c.passed is False and not c.overridden]
    if not failed:
        return
    reasons = "; ".join(dict.fromkeys(f"{c.name}: {c.meaning}" for c in failed))
    raise PawlError(
        f"the reward is refused, {len(failed)} of {len(checks)} probes failed\n"
        f"{table(summary(checks))}",
        "reward",
        f"{reasons}; to start all the same: train.override=[{CALIBRATION}]",
    )

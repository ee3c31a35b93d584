"""What removes problems from a run: the filter's conditions and the limit, with what each took.

Left out: the split, and leakage between sets (`load.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pawl.config.sources import FilterConfig
from pawl.problems.formats import language_name
from pawl.problems.problem_set import Finding, ProblemSet
from pawl.types import Problem


@dataclass(frozen=True, slots=True)
class Removal:
    """How many problems one condition removed from one part of the set."""

    part: str
    condition: str
    removed: int
    left: int


@dataclass(slots=True)
class PrepareReport:
    """What became of every row: bad rows, and removals in the order in which they were applied."""

    bad: list[Finding] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)

    def removed(self, part: str, condition: str, before: int, left: int) -> None:
        """Note what a condition left of a part."""
        self.removals.append(Removal(part, condition, before - left, left))

    def __iter__(self) -> Iterator[str]:
        """A line for each condition that removed something; bad rows by name, ten at most."""
        for b in self.bad[:10]:
            yield f"left out {b.id} ({b.where}): {b.reason}"
        if len(self.bad) > 10:
            yield f"left out {len(self.bad) - 10} more rows that are no problems (see pawl check)"
        for r in self.removals:
            if r.removed:
                yield f"{r.part}: {r.condition} removed {r.removed}, {r.left} left"


def _solution_lines(problem: Problem) -> int:
    return sum(1 for line in problem.reference.splitlines() if line.strip())


def _prompt_chars(problem: Problem) -> int:
    return len(problem.prompt) + sum(len(m.content) for m in problem.messages)


def _conditions(f: FilterConfig) -> list[tuple[str, Callable[[Problem], bool]]]:
    """The conditions that are set, each with what must hold of a kept problem."""
    lang, tags, low, high = language_name(f.lang), set(f.tags), f.min_pass_rate, f.max_pass_rate
    chars, lines = f.max_prompt_chars, f.max_solution_lines
    rated = f"measured pass rate in {low:g}..{high:g}"
    table: list[tuple[object, str, Callable[[Problem], bool]]] = [
        (f.lang, f"lang = {f.lang}", lambda p: p.lang == lang),
        (
            f.difficulty,
            f"difficulty in {', '.join(f.difficulty)}",
            lambda p: p.difficulty in f.difficulty,
        ),
        (tags, f"tags in {', '.join(f.tags)}", lambda p: not tags.isdisjoint(p.tags)),
        (chars, f"prompt <= {chars} characters", lambda p: _prompt_chars(p) <= chars),
        (lines, f"solution <= {lines} lines", lambda p: _solution_lines(p) <= lines),
        (
            low > 0 or high < 1,
            rated,
            lambda p: p.pass_rate is not None and low <= p.pass_rate <= high,
        ),
    ]
    return [(name, holds) for is_set, name, holds in table if is_set]


def filtered(
    problems: ProblemSet, cfg: FilterConfig, part: str, report: PrepareReport
) -> ProblemSet:
    """Apply each condition in turn in one pass; a problem is counted by the first it fails."""
    conditions = _conditions(cfg)
    if not conditions or not len(problems):
        return problems
    removed = [0] * len(conditions)
    kept = []
    for i, problem in enumerate(problems):
        failed = next((k for k, (_, holds) in enumerate(conditions) if not holds(problem)), None)
        if failed is None:
            kept.append(i)
        else:
            removed[failed] += 1
    left = len(problems)
    for (name, _), n in zip(conditions, removed, strict=True):
        report.removed(part, name, left, left - n)
        left -= n
    return problems.select(kept)


def limited(
    problems: ProblemSet, limit: int, seed: int, part: str, report: PrepareReport
) -> ProblemSet:
    """A seeded draw without replacement, in the order of the set."""
    if not limit or limit >= len(problems):
        return problems
    drawn = sorted(random.Random(f"{seed}/problems.limit").sample(range(len(problems)), limit))
    report.removed(part, f"limit = {limit} (seed {seed})", len(problems), limit)
    return problems.select(drawn)

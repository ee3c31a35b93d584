"""From a config to the problems of a run: open, split, filter, limit, and what each removed.

The split is the set's own `split` column; a set without one is split by specification (by the
normalised prompt where there is none), independent of seed and order. The filter applies to
training and held-out problems alike, the limit to training alone. Left out: the audits.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pawl.config.options import FilterConfig, ProblemsConfig
from pawl.errors import PawlError
from pawl.problems.problem_set import BadRow, ProblemSet, open_problems
from pawl.types import Problem

__all__ = ["BadRow", "PrepareReport", "Prepared", "ProblemSet", "open_problems", "prepare"]


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

    bad: list[BadRow] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        """A line for each condition that removed something; bad rows by name, ten at most."""
        for b in self.bad[:10]:
            yield f"left out {b.id} ({b.where}): {b.reason}"
        if len(self.bad) > 10:
            yield f"left out {len(self.bad) - 10} more rows that are no problems (see pawl check)"
        for r in self.removals:
            if r.removed:
                yield f"{r.part}: {r.condition} removed {r.removed}, {r.left} left"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The problems of a run. Held-out families are reported apart from the other held-out ones."""

    train: ProblemSet
    held_out: ProblemSet
    held_out_families: ProblemSet
    report: PrepareReport


def normalised(problem: Problem) -> str:
    """The prompt as lower-case words and single symbols, without layout."""
    text = problem.prompt or "\n".join(m.content for m in problem.messages if m.role != "assistant")
    return " ".join(re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()))


def split_key(problem: Problem) -> str:
    """What may not stand on both sides of a split: the specification, else the prompt."""
    return problem.spec or normalised(problem)


def prepare(cfg: ProblemsConfig, seed: int) -> Prepared:
    """Open, split, filter and limit. Raises PawlError when no training problem is left."""
    report = PrepareReport()
    opened = open_problems(cfg.train, cfg.lang)
    report.bad += opened.bad
    train, held, families = _split(opened, cfg.held_out_frac, keep_all=bool(cfg.held_out))
    if cfg.held_out:
        given = open_problems(cfg.held_out, cfg.lang)
        report.bad += given.bad
        _, held, families = _split(given, 0.0, keep_all=False)
        if not held and not families:
            held = given
    train = _filter(train, cfg.filter, "train", report)
    held = _filter(held, cfg.filter, "held-out", report)
    families = _filter(families, cfg.filter, "held-out families", report)
    train = _limit(train, cfg.limit, seed, report)
    if not train:
        raise PawlError(
            "no training problem is left; " + "; ".join(report), cfg.train, "loosen problems.filter"
        )
    return Prepared(train, held, families, report)


def _split(
    opened: ProblemSet, frac: float, keep_all: bool
) -> tuple[ProblemSet, ProblemSet, ProblemSet]:
    """(train, held out, held-out families)."""
    parts: dict[str, list[int]] = {"": [], "train": [], "held_out": [], "held_out_family": []}
    for i in range(len(opened)):
        parts[opened.split_of(i)].append(i)
    unnamed, train = parts[""], parts["train"]
    if len(unnamed) == len(opened) and frac > 0 and not keep_all:
        keys = [_digest(split_key(p)) for p in opened]
        held = set(sorted(set(keys))[: round(frac * len(set(keys)))])
        parts["held_out"] = [i for i, k in enumerate(keys) if k in held]
        unnamed = [i for i, k in enumerate(keys) if k not in held]
    train = sorted(train + unnamed)
    return (
        opened.select(train),
        opened.select(parts["held_out"]),
        opened.select(parts["held_out_family"]),
    )


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=12).digest()


def _solution_lines(problem: Problem) -> int:
    return sum(1 for line in problem.solution.splitlines() if line.strip())


def _conditions(f: FilterConfig) -> list[tuple[str, Callable[[Problem], bool]]]:
    """The conditions that are set, each with what must hold of a kept problem."""
    made: list[tuple[str, Callable[[Problem], bool]]] = []
    if f.lang:
        made.append((f"lang = {f.lang}", lambda p: p.lang == f.lang))
    if f.difficulty:
        wanted = ", ".join(f.difficulty)
        made.append((f"difficulty in {wanted}", lambda p: p.difficulty in f.difficulty))
    if f.tags:
        made.append((f"tags in {', '.join(f.tags)}", lambda p: bool(set(p.tags) & set(f.tags))))
    if f.max_prompt_chars:
        made.append(
            (
                f"prompt <= {f.max_prompt_chars} characters",
                lambda p: _prompt_chars(p) <= f.max_prompt_chars,
            )
        )
    if f.max_solution_lines:
        made.append(
            (
                f"solution <= {f.max_solution_lines} lines",
                lambda p: _solution_lines(p) <= f.max_solution_lines,
            )
        )
    if f.min_pass_rate > 0 or f.max_pass_rate < 1:
        made.append(
            (
                f"measured pass rate in {f.min_pass_rate:g}..{f.max_pass_rate:g}",
                lambda p: (
                    p.pass_rate is not None and f.min_pass_rate <= p.pass_rate <= f.max_pass_rate
                ),
            )
        )
    return made


def _prompt_chars(problem: Problem) -> int:
    return len(problem.prompt) + sum(len(m.content) for m in problem.messages)


def _filter(
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
        left -= n
        report.removals.append(Removal(part, name, n, left))
    return problems.select(kept)


def _limit(problems: ProblemSet, limit: int, seed: int, report: PrepareReport) -> ProblemSet:
    """A seeded draw without replacement, in the order of the set."""
    if not limit or limit >= len(problems):
        return problems
    drawn = sorted(random.Random(f"{seed}/problems.limit").sample(range(len(problems)), limit))
    report.removals.append(
        Removal("train", f"limit = {limit} (seed {seed})", len(problems) - limit, limit)
    )
    return problems.select(drawn)

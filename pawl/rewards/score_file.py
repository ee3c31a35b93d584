"""`pawl score`: completions of a file against a problem set, one JSON line each, in input order.

Any reward of a config serves: the code reward, a user's, a mix. Lines stream out as soon as all
earlier ones are done; where a reward compares the members of a group, neighbouring lines of one
problem are a group. Left out: shaping and curricula, which are training's.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import ProblemSet, open_problems
from pawl.problems.sources import Placed, json_lines
from pawl.rewards.grader import Grader, has_tests
from pawl.rewards.pay import Row, pay
from pawl.types import Completion, Finish, Problem, Score

WINDOW = 256  # groups in flight or waiting for an earlier one


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines that are scored together."""

    problem: Problem
    completions: tuple[Completion, ...]


def score_file(
    problems: str,
    completions: Path,
    echo: Callable[[str], None],
    reward: RewardConfig,
    sandbox: SandboxConfig,
    lang: str = "",
) -> int:
    """Score every line of `completions` and echo one JSON line for each; returns the exit code.

    Raises PawlError with file:line for a malformed line or an unknown problem id, after the lines
    before it were answered.
    """
    for problem_id, score in score_lines(problems, completions, reward, sandbox, lang):
        echo(json.dumps(as_line(problem_id, score)))
    return int(Exit.OK)


def score_lines(
    problems: str,
    completions: Path,
    reward: RewardConfig,
    sandbox: SandboxConfig,
    lang: str = "",
    function: Callable[..., object] | None = None,
) -> Iterator[tuple[str, Score]]:
    """(problem id, score) of every line, in order; see `score_file`."""
    opened = open_problems(problems, lang, tested=has_tests(reward))
    if not completions.is_file():
        raise PawlError("no such file", str(completions))
    with Grader(reward, sandbox, None, function) as grader:
        seen = False
        for found in _scores(json_lines(completions), opened, grader):
            seen = True
            yield found
    if not seen:
        raise PawlError("there are no completions in the file", str(completions))


def as_line(problem_id: str, score: Score) -> dict[str, object]:
    """The fields of one output line."""
    return {
        "problem_id": problem_id,
        "total": score.total,
        "status": score.status,
        "verdict": score.verdict,
        "branch": score.branch,
        "components": score.components,
        "reason": score.reason,
        "tier": score.tier,
        "time_ms": round(score.time_ms, 3),
    }


def _scores(
    lines: Iterable[Placed], opened: ProblemSet, grader: Grader
) -> Iterator[tuple[str, Score]]:
    """(problem id, score) in input order, with a bounded number in flight."""
    waiting: deque[tuple[int, _Group]] = deque()
    done: dict[Hashable, list[Row]] = {}
    trouble: PawlError | None = None
    groups = enumerate(_groups(lines, opened, grader.whole_group))
    while trouble is None:
        try:
            number, group = next(groups)
        except StopIteration:
            break
        except PawlError as error:
            trouble = error
            break
        waiting.append((number, group))
        for member, completion in enumerate(group.completions):
            size = len(group.completions)
            grader.submit(number, member, size, group.problem, completion)
        done.update(grader.poll(0.0))
        while waiting and (waiting[0][0] in done or len(waiting) >= WINDOW):
            yield from _next(waiting, done, grader)
    while waiting:
        yield from _next(waiting, done, grader)
    if trouble is not None:
        raise trouble


def _next(
    waiting: deque[tuple[int, _Group]], done: dict[Hashable, list[Row]], grader: Grader
) -> Iterator[tuple[str, Score]]:
    """The oldest group's scores; waits for them."""
    number, group = waiting.popleft()
    while number not in done:
        done.update(grader.poll(1.0))
    for score in pay(group.problem, group.completions, done.pop(number), grader.reward):
        yield group.problem.id, score


def _groups(lines: Iterable[Placed], opened: ProblemSet, whole: bool) -> Iterator[_Group]:
    """Lines one by one, or neighbours of one problem together; what was read before an error."""
    known = {p.id: p for p in opened}
    held: list[Completion] = []
    problem: Problem | None = None
    trouble: PawlError | None = None
    rows = iter(lines)
    while trouble is None:
        try:
            where, row = next(rows)
            now, completion = _read(row, where, opened, known)
        except StopIteration:
            break
        except PawlError as error:
            trouble = error
            break
        if problem is not None and (now is not problem or not whole):
            yield _Group(problem, tuple(held))
            held = []
        problem = now
        held.append(completion)
    if problem is not None:
        yield _Group(problem, tuple(held))
    if trouble is not None:
        raise trouble


def _read(
    row: Mapping[str, object], where: str, opened: ProblemSet, known: Mapping[str, Problem]
) -> tuple[Problem, Completion]:
    """One line; raises PawlError with file:line."""
    problem_id, text = row.get("problem_id"), row.get("completion")
    if not isinstance(problem_id, str | int) or not isinstance(text, str):
        raise PawlError(
            "expected the fields problem_id and completion (text)",
            where,
            f"this line has: {', '.join(sorted(row)) or 'nothing'}",
        )
    problem = known.get(str(problem_id))
    if problem is None:
        bad = next((b for b in opened.bad if b.id == str(problem_id)), None)
        why = f": it was left out ({bad.reason})" if bad else ""
        raise PawlError(
            f"no problem {problem_id!r} in {opened.name}{why}", where, "see `pawl check` on the set"
        )
    finish = row.get("finish", "stop")
    tokens = row.get("n_tokens", 0)
    if finish not in ("stop", "length") or not isinstance(tokens, int) or tokens < 0:
        raise PawlError("finish must be stop or length, n_tokens a count", where)
    cut: Finish = "length" if finish == "length" else "stop"
    return problem, Completion(str(problem_id), text, tokens, cut)

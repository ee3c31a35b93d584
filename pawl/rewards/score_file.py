"""`pawl score`: completions of a file against a problem set, one JSON line each, in input order.

Any reward of a config serves: the code reward, a user's, a mix. Lines stream out as soon as all
earlier ones are done; where a reward compares the members of a group, neighbouring lines of one
problem are a group. Left out: shaping and curricula, which are training's.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import count, groupby
from pathlib import Path

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import ProblemSet, open_problems
from pawl.problems.sources import Placed, json_lines
from pawl.rewards.grader import Grader, has_tests
from pawl.rewards.pay import Row, pay
from pawl.types import Completion, Finish, Problem, Score

WINDOW = 256  # groups in flight or waiting for an earlier one


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
        scores = _scores(json_lines(completions), opened, grader)
        first = next(scores, None)
        if first is None:
            raise PawlError("there are no completions in the file", str(completions))
        yield first
        yield from scores


def as_line(problem_id: str, score: Score) -> dict[str, object]:
    """The fields of one output line."""
    names = ("total", "status", "verdict", "branch", "components", "reason", "reading", "tier")
    fields = {name: getattr(score, name) for name in names}
    return {"problem_id": problem_id, **fields, "time_ms": round(score.time_ms, 3)}


def _scores(
    lines: Iterable[Placed], opened: ProblemSet, grader: Grader
) -> Iterator[tuple[str, Score]]:
    """(problem id, score) in input order, with a bounded number of groups in flight."""
    known = {p.id: p for p in opened}
    trouble: list[PawlError] = []
    waiting: deque[tuple[int, Problem, list[Completion]]] = deque()
    done: dict[Hashable, list[Row]] = {}

    def rows() -> Iterator[tuple[Problem, Completion]]:
        """The lines before one that cannot be read."""
        try:
            for where, row in lines:
                yield _read(row, where, opened, known)
        except PawlError as error:
            trouble.append(error)

    def oldest() -> Iterator[tuple[str, Score]]:
        """The oldest group's scores; waits for them."""
        number, problem, members = waiting.popleft()
        while number not in done:
            done.update(grader.poll(1.0))
        for score in pay(problem, members, done.pop(number), grader.reward):
            yield problem.id, score

    line = count()
    whole = grader.whole_group
    groups = groupby(rows(), lambda row: row[0].id if whole else next(line))
    for number, group in enumerate(list(pairs) for _, pairs in groups):
        problem, members = group[0][0], [completion for _, completion in group]
        waiting.append((number, problem, members))
        for member, completion in enumerate(members):
            grader.submit(number, member, len(members), problem, completion)
        done.update(grader.poll(0.0))
        while waiting and (waiting[0][0] in done or len(waiting) >= WINDOW):
            yield from oldest()
    while waiting:
        yield from oldest()
    if trouble:
        raise trouble[0]


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

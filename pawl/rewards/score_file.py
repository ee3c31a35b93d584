"""`pawl score`: completions of a file against a problem set, one JSON line each, in input order.

Any reward of a config serves: the code reward, a user's, a mix. Lines stream out as soon as all
earlier ones are done; where a reward compares the members of a group, neighbouring lines of one
problem are a group. Left out: shaping and curricula, which are training's.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import count, groupby
from pathlib import Path
from typing import NamedTuple

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.config.sources import ProblemsConfig
from pawl.errors import Exit, PawlError, near_file
from pawl.problems.load import ProblemSet, open_problems
from pawl.problems.sources import Placed, json_lines
from pawl.rewards.grader import Grader, has_tests, open_rewards
from pawl.rewards.pay import Row, pay
from pawl.types import Completion, Finish, Problem, Score

WINDOW = 256  # groups in flight or waiting for an earlier one
ROWS = ProblemsConfig()
# As EvalPlus writes them: {"task_id": ..., "completion": ...} or {"task_id": ..., "solution": ...}.
_IDS, _TEXTS = ("problem_id", "task_id", "question_id"), ("completion", "solution")
SECTIONS = ("reward", "sandbox", "problems")  # of the config, that scoring reads


class Line(NamedTuple):
    """A line of the file. problem: None where it cannot be scored, for `reason`."""

    name: str
    problem: Problem | None
    completion: Completion
    reason: str = ""


def score_file(
    problems: str,
    completions: Path,
    echo: Callable[[str], None],
    reward: RewardConfig,
    sandbox: SandboxConfig,
    rows: ProblemsConfig = ROWS,
) -> int:
    """Score every line of `completions` and echo one JSON line for each; returns the exit code.

    A line that names no problem is `missing` and ends nothing; at the end PawlError says how many
    there were, and how many scores the machine or the set kept from being computed. rows: language
    and columns of the set, nothing else of it. Raises
    PawlError with file:line for a line that is no JSON object, after those before it.
    """
    total, lost = 0, list[Score]()
    for problem_id, score in score_lines(problems, completions, reward, sandbox, rows):
        echo(json.dumps(as_line(problem_id, score)))
        total += 1
        unread = score.status == "missing" and score.verdict is None
        if unread or (score.verdict == "infra_error" and has_tests(reward)):
            lost.append(score)
    if lost:
        unread = all(score.verdict is None for score in lost)
        what = f"{len(lost)} of {total} completions have no score: {lost[0].reason}"
        code = Exit.USER if unread else Exit.STOPPED
        raise PawlError(what, str(completions), "`reason` of each line says why", code)
    return int(Exit.OK)


def score_lines(
    problems: str,
    completions: Path,
    reward: RewardConfig,
    sandbox: SandboxConfig,
    rows: ProblemsConfig = ROWS,
    function: Callable[..., object] | None = None,
) -> Iterator[tuple[str, Score]]:
    """(problem id, score) of every line, in order; one that names no problem is missing.

    Raises PawlError with file:line for one that is no JSON object, after those before it.
    """
    if not completions.is_file():
        raise PawlError("no such file", str(completions), near_file(completions))
    rewards = open_rewards(reward, function)
    opened = open_problems(problems, rows.lang, has_tests(reward), rows.fields.given())
    with Grader(reward, sandbox, None, function, rewards) as grader:
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
    known = _by_name(opened)
    trouble: list[PawlError] = []
    waiting: deque[tuple[int, Line, list[Completion]]] = deque()
    done: dict[Hashable, list[Row]] = {}

    def rows() -> Iterator[Line]:
        """The lines before one that is no JSON object."""
        try:
            for where, row in lines:
                yield _read(row, where, opened, known)
        except PawlError as error:
            trouble.append(error)

    def oldest() -> Iterator[tuple[str, Score]]:
        """The oldest group's scores; waits for them."""
        number, first, members = waiting.popleft()
        if first.problem is None:
            yield first.name, Score("missing", None, None, "missing", reason=first.reason)
            return
        while number not in done:
            done.update(grader.poll(1.0))
        for score in pay(first.problem, members, done.pop(number), grader.reward):
            yield first.name, score

    line = count()
    whole = grader.whole_group or grader.reward.missing != "sample"
    groups = groupby(rows(), lambda row: row.name if whole and row.problem else next(line))
    for number, group in enumerate(list(members) for _, members in groups):
        problem, members = group[0].problem, [one.completion for one in group]
        waiting.append((number, group[0], members))
        for member, completion in enumerate(members if problem else ()):
            assert problem is not None, "asked"
            grader.submit(number, member, len(members), problem, completion)
        done.update(grader.poll(0.0))
        while waiting and (waiting[0][0] in done or len(waiting) >= WINDOW):
            yield from oldest()
    while waiting:
        yield from oldest()
    if trouble:
        raise trouble[0]


def _by_name(opened: ProblemSet) -> dict[str, Problem]:
    """Problems by id, and by the last part of an id that no other shares: 0 of HumanEval/0."""
    last = [p.id.rpartition("/")[2] for p in opened]
    shared = {name for name, n in Counter(last).items() if n > 1}
    short = {name: p for name, p in zip(last, opened, strict=True) if name not in shared}
    return short | {p.id: p for p in opened}


def _read(
    row: Mapping[str, object], where: str, opened: ProblemSet, known: Mapping[str, Problem]
) -> Line:
    """One line, or why it cannot be scored."""
    name, text = (next((row[n] for n in names if n in row), None) for names in (_IDS, _TEXTS))
    finish, tokens = row.get("finish", "stop"), row.get("n_tokens", 0)
    name = str(name) if isinstance(name, str | int) else ""
    own = name.rpartition("/")[2]  # Mbpp/2 of a set that calls it 2
    problem = known.get(name) or (known.get(own) if own.isdigit() else None)
    problem = problem if problem is None or problem.id in (name, own) or name == own else None
    reason = ""
    if not name or not isinstance(text, str):
        has = ", ".join(sorted(row)) or "nothing"
        reason = f"expected the fields problem_id and completion (text), this line has: {has}"
    elif problem is None:
        bad = next((b for b in opened.bad if b.id == name), None)
        why = f": it was left out ({bad.reason})" if bad else ""
        reason = f"no problem {name!r} in {opened.name}{why}"
    elif finish not in ("stop", "length") or not isinstance(tokens, int) or tokens < 0:
        reason = "finish must be stop or length, n_tokens a count"
    if reason:
        return Line(name, None, Completion(name, ""), f"{where}: {reason}")
    cut: Finish = "length" if finish == "length" else "stop"
    assert isinstance(text, str) and isinstance(tokens, int), "looked at above"
    return Line(name, problem, Completion(name, text, tokens, cut))

"""`pawl score`: completions of a file against a problem set, one JSON line each, in input order.

Lines stream out as soon as all earlier ones are done. Left out: training's mixes; the built-in code
reward is what is scored.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import ProblemSet, open_problems
from pawl.problems.sources import JsonLines
from pawl.rewards.pool import ScorerPool
from pawl.types import Completion, Finish, Problem, Score

COMPONENTS = ("end_marker", "types", "compile", "tests", "penalty")
WINDOW = 256  # completions in flight or waiting for an earlier one
TierOption = Literal["auto", "bubblewrap", "landlock", "unsafe"]


def score_file(
    problems: str,
    completions: Path,
    tier: str,
    allow_unsafe: bool,
    echo: Callable[[str], None],
    reward: RewardConfig | None = None,
    sandbox: SandboxConfig | None = None,
    lang: str = "",
) -> int:
    """Score every line of `completions` and echo one JSON line for each; returns the exit code.

    tier: "auto" or the tier to force. Raises PawlError with file:line for a malformed line or an
    unknown problem id, after the lines before it were answered.
    """
    opened = open_problems(problems, lang)
    place = {p.id: i for i, p in enumerate(opened)}
    if not completions.is_file():
        raise PawlError("no such file", str(completions))
    limits = (sandbox or SandboxConfig()).model_copy(
        update={"tier": cast(TierOption, tier), "allow_unsafe": allow_unsafe}
    )
    lines = JsonLines(completions)
    if not len(lines):
        raise PawlError("there are no completions in the file", str(completions))
    with ScorerPool(reward or RewardConfig(), limits, None, limits.workers) as pool:
        for problem_id, score in _scores(lines, opened, place, pool):
            echo(json.dumps(as_line(problem_id, score)))
    return int(Exit.OK)


def as_line(problem_id: str, score: Score) -> dict[str, object]:
    """The fields of one output line."""
    return {
        "problem_id": problem_id,
        "total": score.total,
        "status": score.status,
        "verdict": score.verdict,
        "branch": score.branch,
        "components": {k: score.components[k] for k in COMPONENTS if k in score.components},
        "tier": score.tier,
        "time_ms": round(score.time_ms, 3),
    }


def _scores(
    lines: JsonLines, opened: ProblemSet, place: Mapping[str, int], pool: ScorerPool
) -> Iterator[tuple[str, Score]]:
    """(problem id, score) in input order, with a bounded number in flight."""
    waiting: deque[tuple[int, str]] = deque()
    done: dict[object, Score] = {}
    trouble: PawlError | None = None
    for i in range(len(lines)):
        try:
            problem, completion = _read(lines, i, opened, place)
        except PawlError as error:
            trouble = error
            break
        waiting.append((i, problem.id))
        pool.submit(i, problem, completion)
        done.update(pool.poll(0.0))
        while waiting and (waiting[0][0] in done or len(waiting) >= WINDOW):
            yield from _next(waiting, done, pool)
    while waiting:
        yield from _next(waiting, done, pool)
    if trouble is not None:
        raise trouble


def _next(
    waiting: deque[tuple[int, str]], done: dict[object, Score], pool: ScorerPool
) -> Iterator[tuple[str, Score]]:
    """The oldest line's score; waits for it."""
    number, problem_id = waiting.popleft()
    while number not in done:
        done.update(pool.poll(1.0))
    yield problem_id, done.pop(number)


def _read(
    lines: JsonLines, i: int, opened: ProblemSet, place: Mapping[str, int]
) -> tuple[Problem, Completion]:
    """One line; raises PawlError with file:line."""
    row, where = lines.row(i), lines.where(i)
    problem_id, text = row.get("problem_id"), row.get("completion")
    if not isinstance(problem_id, str | int) or not isinstance(text, str):
        raise PawlError(
            "expected the fields problem_id and completion (text)",
            where,
            f"this line has: {', '.join(sorted(row)) or 'nothing'}",
        )
    at = place.get(str(problem_id))
    if at is None:
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
    return opened[at], Completion(str(problem_id), text, tokens, cut)

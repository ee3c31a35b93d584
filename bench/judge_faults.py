"""Wiring faults of a judge, put into `pawl train` one at a time: refused each with its cause.

    python -m bench.judge_faults [NAME ...]

The judge is a simulated teacher on loopback that was told the right answers. Each fault replaces
named functions of Pawl, as in `bench/faults.py`; none is known to the package.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from bench import faults
from bench.faults import call
from bench.replaced import everywhere
from pawl.judge import budget, client, contract, ledger, scorer, wire
from pawl.judge.fake_server import FakeTeacher
from pawl.judge.rubric import Rubric
from pawl.problems.load import open_problems
from pawl.problems.wording import squeezed
from pawl.rewards import grader, pay
from pawl.train import teacher
from pawl.types import Measurement

Made = AbstractContextManager[object]
MIX = (
    "reward.components=[{name: code, use: code}, "
    "{name: taste, use: judge, gate: pass, weight: 0.05}]"
)
LIST, POINT = "judge.mode=listwise", "judge.mode=pointwise"


def right_answers(task: str, candidates: Sequence[str]) -> list[float]:
    """Full marks for the body of a right answer; of other texts a little for their letters."""
    bodies = [body for prompt, body in _solved() if prompt in task]
    found = []
    for text in map(squeezed, candidates):
        right = any(body in text for body in bodies)
        found.append(1.0 if right else 0.3 * sum(map(str.isalpha, text)) / (len(text) + 1))
    return found


@functools.cache
def _solved() -> list[tuple[str, str]]:
    problems = open_problems("starter-ocaml")
    return [(p.prompt, squeezed(p.reference.partition("=")[2])) for p in problems]


@contextmanager
def judged(folder: Path) -> Iterator[list[str]]:
    """Options of a run that is paid by a simulated teacher; its ledger stands in `folder`."""
    with FakeTeacher(right_answers) as server:
        judge = {"api": "chat", "model": "m", "base_url": server.url, "context_tokens": 2048}
        judge |= {"max_usd": 0, "attempt_s": 60, "deadline_s": 180}
        with patch.dict(os.environ, XDG_CACHE_HOME=str(folder / "cache")):
            yield ["reward.use=judge", *(f"judge.{name}={value}" for name, value in judge.items())]


# ---- whose verdict it is ----


def verdicts_roll() -> Made:
    """Each candidate gets the verdict of the next one of its request."""
    real = contract.member_levels
    return everywhere(real, lambda *args: (found := real(*args))[1:] + found[:1])


def order_stays_random() -> Made:
    """Verdicts are taken in the order in which candidates were shown."""
    real = contract.member_levels

    def fake(answers: Any, n: int) -> Any:
        shown = [
            (dataclasses.replace(r, members=tuple(sorted(r.members))), levels)
            for r, levels in answers
        ]
        return real(shown, n)

    return everywhere(real, fake)


def equal_texts_mixed_up() -> Made:
    """Completions are graded once a text, and handed back by the length of the text."""
    real = contract.candidate_text
    seen: dict[int, str] = {}

    def fake(completion: Any) -> str:
        return seen.setdefault(len(completion.text), real(completion))

    return everywhere(real, fake)


def members_roll() -> Made:
    """The grader puts a judge's measurements beside the completions."""
    real = grader.Grader._note

    def fake(self: Any, name: str, key: Any, found: Any) -> None:
        if len(found) > 1:
            found = [*found[1:], found[0]]
        real(self, name, key, found)

    return patch.object(grader.Grader, "_note", fake)


# ---- what a verdict is worth ----


def scale_turned() -> Made:
    """Level 0 is the best."""
    real = contract.value
    return everywhere(real, lambda distribution: 1.0 - real(distribution))


def criteria_swapped() -> Made:
    """The answer to one criterion is read as that to another."""
    real = contract.read_json

    def fake(request: Any, text: str) -> Any:
        names = [c.name for c in request.criteria]
        rows = json.loads(text)
        if len(names) < 3:  # the probe's
            return real(request, text)
        for row in rows["verdicts"]:
            first, second = (row[n] for n in names[1:3])
            row[names[1]], row[names[2]] = second, first
        return real(request, json.dumps(rows))

    return everywhere(real, fake)


def weights_ignored() -> Made:
    """The total is a plain mean of the criteria."""

    def fake(self: Rubric, values: Any) -> Any:
        return {"total": sum(values.values()) / len(values), **values}

    return patch.object(Rubric, "with_total", fake)


def gate_ignored() -> Made:
    """A judge's bonus is paid whether tests pass or not."""
    real = pay._mixed

    def fake(problem: Any, row: Any, parts: Any, values: Any, cfg: Any) -> Any:
        open_ = tuple(c.model_copy(update={"gate": "none"}) for c in cfg.components)
        return real(problem, row, parts, values, cfg.model_copy(update={"components": open_}))

    return everywhere(real, fake)


def bonus_without_bounds() -> Made:
    """A judge's bonus may outweigh tests."""
    real = pay._mixed

    def fake(problem: Any, row: Any, parts: Any, values: Any, cfg: Any) -> Any:
        score, n = real(problem, row, parts, values, cfg), 3.0 * values["taste"]
        return dataclasses.replace(score, total=None if score.total is None else score.total + n)

    return everywhere(real, fake)


# ---- what is not there ----


def lost_is(value: float) -> Made:
    """A judgement that failed is a number."""

    def fake(reason: str, *_: Any) -> Measurement:
        names = ("total", "correctness", "quality", "efficiency", "documentation")
        return Measurement("measured", dict.fromkeys(names, value), reason=reason)

    return patch.object(scorer, "missing", fake)


def failed_calls_left_out() -> Made:
    """What failed is left out of the mean, and counts 0 where nothing is left."""
    real = contract.member_levels

    def fake(answers: Any, n: int) -> Any:
        found = real([a for a in answers if a[1] is not None], n)
        worst = {c.name: (1.0, *[0.0] * (len(c.levels) - 1)) for c in answers[0][0].criteria}
        return [worst if row is None else row for row in found]

    return everywhere(real, fake)


# ---- what the judge reads ----


def rubric_of_another_language() -> Made:
    """The rubric's notes are those of another language."""
    real = contract.requests

    def fake(rubric: Any, mode: str, lang: str, *rest: Any) -> Any:
        return real(rubric, mode, "python" if lang == "ocaml" else "ocaml", *rest)

    return patch.object(contract, "requests", fake)


def levels_upside_down() -> Made:
    """The rubric is shown with its best level first."""
    real = contract.rubric_text

    def fake(criteria: Any) -> str:
        return real([dataclasses.replace(c, levels=c.levels[::-1]) for c in criteria])

    return everywhere(real, fake)


def task_cut() -> Made:
    """The judge reads the end of the task."""
    real = contract.task_text
    return everywhere(real, lambda problem: real(problem)[-60:])


def task_of_the_first() -> Made:
    """The judge reads the task of the first problem that it graded, ever after."""
    real, first = contract.task_text, list[str]()

    def fake(problem: Any) -> str:
        first.append(real(problem))
        return first[0]

    return everywhere(real, fake)


def candidates_cut() -> Made:
    """The judge reads the first 20 characters of each candidate."""
    real = contract.candidate_text
    return everywhere(real, lambda completion: real(completion)[:20])


def candidates_end_early() -> Made:
    """The judge reads a candidate up to its first blank line."""
    real = contract.candidate_text
    return everywhere(real, lambda completion: real(completion).partition("\n\n")[0])


def thinking_shown() -> Made:
    """The judge reads the thinking, too."""
    return everywhere(contract.candidate_text, lambda c: contract.clean(c.text).strip("\n"))


def reference_shown() -> Made:
    """The judge reads the right answer beside the task."""
    real = contract.task_text
    return everywhere(real, lambda p: f"{real(p)}\n\nA right answer:\n{p.reference}")


def fence_of_three() -> Made:
    """Candidates stand in fences of three backticks, which they can close."""
    real = contract.fenced
    return everywhere(real, lambda text, label="": f"````{label}\n{text}\n````")


# ---- what is kept ----


def fixed_ids(n: int, _rng: Any) -> list[str]:
    return [contract.LETTERS[i] * 3 for i in range(n)]


def key_without(*left_out: str) -> Callable[[], Made]:
    """The key of a verdict leaves something out of what is sent; ids are the same in each group."""

    def made() -> Made:
        real = contract.requests

        def remembering(rubric: Any, mode: str, lang: str, task: str, *rest: Any) -> Any:
            told = {"rubric": rubric.digest, "task": task, "candidates": rest[0]}
            told |= {"n": len(rest[0])}
            found = real(rubric, mode, lang, task, *rest)
            for i, request in enumerate(found):
                parts.setdefault(request.prompt, {**told, "i": i})
            return found

        def key(_judge: str, request: Any, _sent: Any) -> str:
            told = parts.get(request.prompt, {"prompt": request.prompt})
            told = {k: v for k, v in told.items() if k not in left_out}
            return hashlib.sha256(json.dumps(told).encode()).hexdigest()

        parts: dict[str, dict[str, Any]] = {}
        both = contextlib.ExitStack()
        both.enter_context(patch.object(contract, "requests", remembering))
        both.enter_context(patch.object(contract, "_ids", fixed_ids))
        both.enter_context(everywhere(client.key_of, key))
        return both

    return made


# ---- money ----


def usage_not_counted() -> Made:
    """What a provider bills is read as nothing."""
    real = wire.read_usage
    return everywhere(real, lambda *args: wire.Usage())


def budget_is_blind() -> Made:
    """What attempts cost is not charged to the ledger."""
    return patch.object(client, "Bill", lambda *args: ledger.Bill(0, 0.0, *args[2:]))


def ledger_of_nobody() -> Made:
    """Attempts are counted under a name of their own at each start, and so is the budget."""
    return everywhere(teacher.ledger_name, lambda *_: uuid4().hex)


def prices_are_zero() -> Made:
    """Every token is free."""
    real = budget.price_of
    return everywhere(real, lambda *_: budget.Price())


_PRICED = ["judge.prices=[2.0, 10.0, 0.1, 2.5]"]
FAULTS: dict[str, tuple[Callable[[], Made], str, list[str]]] = {
    "verdicts roll": (verdicts_roll, "group-integrity", [LIST]),
    "order stays random": (order_stays_random, "group-integrity", [LIST]),
    "equal texts mixed up": (equal_texts_mixed_up, "stale-verdict", [LIST]),
    "judged members roll": (members_roll, "group-integrity", [LIST]),
    "scale turned": (scale_turned, "reward-bug", [LIST]),
    "criteria swapped": (criteria_swapped, "reward-bug", [POINT, "judge.logprobs=false"]),
    "weights ignored": (weights_ignored, "reward-bug", [POINT]),
    "gate ignored": (gate_ignored, "reward-bug", [MIX]),
    "bonus without bounds": (bonus_without_bounds, "reward-bug", [MIX]),
    "lost pays 0.5": (lambda: lost_is(0.5), "error-as-reward", [LIST]),
    "lost pays 0": (lambda: lost_is(0.0), "error-as-reward", [POINT]),
    "failed calls left out": (failed_calls_left_out, "error-as-reward", [LIST, "judge.passes=2"]),
    "another language": (rubric_of_another_language, "judge-prompt", [LIST]),
    "levels upside down": (levels_upside_down, "judge-prompt", [LIST]),
    "task cut": (task_cut, "judge-prompt", [LIST]),
    "task of the first": (task_of_the_first, "judge-prompt", [LIST]),
    "candidates cut": (candidates_cut, "judge-prompt", [LIST]),
    "candidates end early": (candidates_end_early, "judge-prompt", [POINT]),
    "thinking shown": (thinking_shown, "judge-prompt", [LIST]),
    "reference shown": (reference_shown, "judge-prompt", [LIST]),
    "fence too short": (fence_of_three, "judge-prompt", [LIST]),
    "key without candidates": (key_without("candidates"), "stale-verdict", [POINT]),
    "key without task": (key_without("task"), "stale-verdict", [LIST]),
    "key without rubric": (key_without("rubric"), "stale-verdict", [LIST]),
    "usage not counted": (usage_not_counted, "uncounted-cost", [LIST]),
    "budget is blind": (budget_is_blind, "uncounted-cost", [LIST, *_PRICED]),
    "ledger of nobody": (ledger_of_nobody, "uncounted-cost", [LIST]),
}
"""name -> (fault, cause id that must come first, options of a judged run)."""


def main() -> int:
    """Run the faults and print the table; exit 1 when one slips through, or none is refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults by name; none is all, and no fault")
    names = parser.parse_args().names
    good = True
    sound: tuple[Callable[[], Made], str, list[str]] = (contextlib.nullcontext, "none", [LIST])
    for name, (fault, cause, options) in ({"no fault": sound} | FAULTS).items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder, judged(Path(folder)) as base:
            with fault():
                code = call(*faults.BASE, f"runs_dir={folder}", "name=plain", *base, *options)
            rows = faults.refusing(Path(folder) / "plain")
        found = rows[0]["cause"] if rows else "none"
        well = (code == 2) == (cause != "none") and found == cause
        good = good and well
        word = "as wanted" if well else "SLIPPED"
        checks = ", ".join(dict.fromkeys(row["name"] for row in rows[:3]))
        print(f"{name:22} {word} exit {code} cause {found} (wanted {cause}); {checks}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

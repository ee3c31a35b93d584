"""Which problems of a set ask for the same function?

Problems of one type share their inputs: each reference is run on up to 50 inputs gathered from the
whole type group; those that agree on all of them are run on up to 500, their own tests first, and
those that still agree ask for the same thing. Left out: running (`audit.py`), and problems without
a reference or tests.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pawl.types import Case, CodeTask, Problem

SHARED, CONFIRM = 50, 500  # inputs compared at first, and where these tell no difference
LEAST = 10  # fewer answered inputs prove nothing


def shape(problem: Problem) -> str:
    """Problems that can run on each other's inputs have equal shapes."""
    task = problem.task
    if not task.entry_point:
        return f"stdin {problem.id}"  # a program reads the input of its own problem alone
    if task.lang == "ocaml":
        kind = task.signature.partition(":")[2]
        return "ocaml" + re.sub(r"\s+", " ", kind).strip()
    try:
        args = ast.literal_eval(task.cases[0].input)
        value = ast.literal_eval(task.cases[0].expected)
    except (ValueError, SyntaxError, IndexError):
        return f"python {problem.id}"
    return f"python {[_kind(a) for a in args]} -> {_kind(value)}"


def _kind(value: object) -> str:
    """A type's name with the name of what it holds."""
    if isinstance(value, list | tuple | set) and value:
        return f"{type(value).__name__}[{_kind(next(iter(value)))}]"
    return type(value).__name__


def groups_of(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Solved problems with tests by shape, groups of two or more."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.reference and problem.code is not None:
            groups.setdefault(shape(problem), []).append(problem)
    return {name: group for name, group in groups.items() if len(group) > 1}


def shared_inputs(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem of each group with a draw of the group's inputs as its cases."""
    made = []
    for name, group in groups_of(problems).items():
        inputs = _inputs(group)
        if len(inputs) > SHARED:
            inputs = random.Random(name).sample(inputs, SHARED)
        made += [_with_inputs(p, inputs) for p in group]
    return made


def more_inputs(problems: Sequence[Problem], suspects: set[str]) -> list[Problem]:
    """The suspects with up to 500 inputs of their group as cases, the suspects' own ones first."""
    made = []
    for group in groups_of(problems).values():
        ours = [p for p in group if p.id in suspects]
        inputs = list(dict.fromkeys([*_inputs(ours), *_inputs(group)]))[:CONFIRM]
        made += [_with_inputs(p, inputs) for p in ours]
    return made


def _inputs(group: Sequence[Problem]) -> list[str]:
    """All different inputs of a group's tests, in order."""
    return list(dict.fromkeys(_argument(p.task, c) for p in group for c in p.task.cases))


def _argument(task: CodeTask, case: Case) -> str:
    """The input without the entry point's name."""
    if task.lang == "ocaml":
        return re.sub(rf"^{re.escape(task.entry_point)}(?![\w'])", "", case.input).strip()
    return case.input


def _with_inputs(problem: Problem, inputs: Sequence[str]) -> Problem:
    """The problem with these inputs; the expected value only gives a type, it is not compared."""
    task = problem.task
    expected = task.cases[0].expected
    call = f"{task.entry_point} " if task.lang == "ocaml" else ""
    cases = tuple(Case(f"{call}{i}", expected) for i in inputs)
    return replace(problem, code=replace(task, cases=cases))


def twins(
    problems: Sequence[Problem], values: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[Problem, str, int]]:
    """(problem, id of the earlier one that it equals, inputs both answered)."""
    first: dict[tuple[str, tuple[str, ...]], str] = {}
    for problem in problems:
        answers = values.get(problem.id)
        if answers is None:
            continue
        answered = sum(bool(v) for v in answers)
        if answered < min(LEAST, len(answers)) or len(set(answers)) < 2:
            continue
        key = (shape(problem), answers)
        other = first.setdefault(key, problem.id)
        if other != problem.id:
            yield problem, other, answered

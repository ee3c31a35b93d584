"""Problems that a program without their idea answers: its argument, the length of it, sorted, ...

Python's programs are computed from the literals of the tests; OCaml's run in the sandbox, all of a
problem at once, as far as the types allow. Left out: constants, which `best_constant` counts, and
running (`audit.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pawl.rewards.probes import arrow_types
from pawl.sandbox.stdin import alike
from pawl.sandbox.values import stands
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import best_constant
from pawl.types import Case, CodeTask, Problem

Remark = tuple[str, str]  # what the program gives, what is remarkable about it
_PYTHON: dict[str, Callable[[Any], object]] = {
    "itself": lambda x: x,
    "length": len,
    "sorted": lambda x: _like(x, sorted(x)),
    "reversed": lambda x: x[::-1],
    "negated": lambda x: -x,
    "sum": sum,
    "largest item": max,
    "smallest item": min,
    "first item": lambda x: x[0],
    "last item": lambda x: x[-1],
    "text": str,
}
# What a program prints, from the words of its standard input.
_PRINTED: dict[str, Callable[[list[str]], list[str]]] = {
    "the input": lambda words: words,
    "the first word": lambda words: words[:1],
    "the second word": lambda words: words[1:2],
    "the last word": lambda words: words[-1:],
    "the number of words": lambda words: [str(len(words))],
}
# Expressions of x by its type and that of the result; 'a is any one type.
_OCAML: tuple[tuple[str, str, str, str], ...] = (
    ("itself", "'a", "'a", "x"),
    ("length", "'a list", "int", "List.length x"),
    ("sorted", "'a list", "'a list", "List.sort compare x"),
    ("reversed", "'a list", "'a list", "List.rev x"),
    ("first item", "'a list", "'a", "List.hd x"),
    ("last item", "'a list", "'a", "List.hd (List.rev x)"),
    ("sum", "int list", "int", "List.fold_left (+) 0 x"),
    ("sum", "float list", "float", "List.fold_left (+.) 0. x"),
    ("largest item", "'a list", "'a", "List.hd (List.rev (List.sort compare x))"),
    ("smallest item", "'a list", "'a", "List.hd (List.sort compare x)"),
    ("length", "'a array", "int", "Array.length x"),
    ("length", "string", "int", "String.length x"),
    ("reversed", "string", "string",
     "String.init (String.length x) (fun i -> x.[String.length x - 1 - i])"),
    ("negated", "int", "int", "(- x)"),
    ("negated", "float", "float", "(-. x)"),
    ("negated", "bool", "bool", "(not x)"),
)  # fmt: skip


def remarks(problem: Problem, ran: Verification | None) -> list[Remark]:
    """The programs that earn more than one test, or all there are.

    ran: the run of `ocaml_probe`'s problem, None for Python.
    """
    task = problem.task
    by_name = _python_passes(task) if task.lang == "python" else _ocaml_passes(task, ran)
    by_name = by_name if task.entry_point else _printed_passes(task)
    hidden = sum(not c.shown for c in task.cases)
    constant = best_constant(task, problem.where or problem.id)
    found = []
    for name, passes in by_name:
        if passes - constant > 1 or (passes == hidden > constant):
            found.append((name, f"passes {passes} of {hidden} tests, a constant {constant}"))
    return found


def ocaml_probe(problem: Problem) -> Problem | None:
    """The problem with every test asked of each program that its type allows; None where none is.

    The candidate has no part in it: the calls are of local functions.
    """
    task = problem.task
    made = [f for _, f in _ocaml_functions(task)] if task.lang == "ocaml" else []
    if not made:
        return None
    cases = [
        replace(case, input=f"(let {task.entry_point} = {function} in {case.input})")
        for function in made
        for case in task.cases
    ]
    return replace(problem, code=replace(task, cases=tuple(cases)))


def _printed_passes(task: CodeTask) -> Iterator[tuple[str, int]]:
    """Hidden tests that each program passes which prints words of its input."""
    asked = [(c.input.split(), c.expected.split(), c) for c in task.cases if not c.shown]
    for name, program in _PRINTED.items():
        yield name, sum(alike(program(given), want, case) for given, want, case in asked)


def _like(value: object, items: list[Any]) -> object:
    """A sorted text is a text again, a tuple a tuple."""
    if isinstance(value, str):
        return "".join(items)
    return tuple(items) if isinstance(value, tuple) else items


def _python_passes(task: CodeTask) -> Iterator[tuple[str, int]]:
    """Hidden tests that each program passes; tests of a view or an exception count as failed."""
    hidden = [c for c in task.cases if not c.shown and not c.view and c.compare != "raises"]
    try:
        asked = [(ast.literal_eval(c.input), ast.literal_eval(c.expected), c) for c in hidden]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return  # the static part of the audit has said so
    for k in range(min((len(args) for args, _, _ in asked), default=0)):
        for name, program in _PYTHON.items():
            passes = sum(_gives(program, args[k], want, case) for args, want, case in asked)
            yield _told(name, k), passes


def _gives(program: Callable[[Any], object], argument: Any, want: Any, case: Case) -> bool:
    try:
        return stands(program(argument), want, case.close, case.compare)
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError):
        return False


def _told(name: str, k: int) -> str:
    """What a program gives, in words."""
    argument = "the argument" if k == 0 else f"argument {k + 1}"
    if name in ("sorted", "reversed", "negated"):
        return f"{argument} {name}"
    return argument if name == "itself" else f"the {name} of {argument}"


def _ocaml_functions(task: CodeTask) -> list[tuple[str, str]]:
    """(what it gives, function) for each program that the signature allows."""
    *kinds, result = arrow_types(task.signature)
    made = []
    for k, kind in enumerate(kinds):
        names = [f"_x{i}" if i != k else "x" for i in range(len(kinds))]
        for name, takes, gives, text in _OCAML:
            if _matches(takes, gives, kind, result):
                made.append((_told(name, k), f"fun {' '.join(names)} -> {text}"))
    return made


def _matches(takes: str, gives: str, kind: str, result: str) -> bool:
    """Whether types are of a form in which 'a stands for one type."""
    pattern = "^" + re.escape(takes).replace("'a", "(?P<a>.+)") + "$"
    found = re.match(pattern, kind)
    pair = takes != "'a" and "*" in kind and not kind.startswith("(")  # of a pair's second part
    if found is None or pair or any(sign in kind for sign in ("->", ":")):
        return False
    return gives.replace("'a", found.groupdict().get("a", "")) == result


def _ocaml_passes(task: CodeTask, ran: Verification | None) -> Iterator[tuple[str, int]]:
    if ran is None or len(ran.passed) % max(1, len(task.cases)):
        return
    for k, (name, _) in enumerate(_ocaml_functions(task)):
        flags = ran.passed[k * len(task.cases) : (k + 1) * len(task.cases)]
        yield name, sum(ok for ok, case in zip(flags, task.cases, strict=False) if not case.shown)

"""Check a Python candidate: inputs go into the sandbox, values come out, and are compared here.

The judge rebuilds plain values from JSON and compares with ==, so no code of the candidate takes
part. Left out: what runs inside (`driver.py`), reading and comparing values (`values.py`), paying
(`pawl.rewards.pay`).
"""

from __future__ import annotations

import ast
import builtins
import marshal
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pawl.errors import PawlError
from pawl.sandbox.extract import MAX_READINGS, programs_in
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.values import SHORT, NotAValue, decode, equal, same
from pawl.sandbox.verdict import Verification, answers, tested
from pawl.sandbox.watch import Ended
from pawl.types import Case, CodeTask, Verdict

_NUMBERS = {str(i) for i in range(MAX_READINGS)}


def verify_python(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str, place: str
) -> tuple[Verification, Ended]:
    """Run all cases of a Python task against one completion; raises PawlError on a bad case."""
    expected = [_wanted(case, place) for case in task.cases]
    inputs = [(_input(case.input), case.view) for case in task.cases]
    found = programs_in(text, task.head, end_marker, task.entry_point, "python")
    sources = [(r.source, r.kind, list(r.before)) for r in found]
    ended = sandbox.judge_python(marshal.dumps((sources, task.entry_point, inputs), 4))
    if ended.fault:
        return Verification("infra_error", message=ended.fault), ended
    judged, taken = read(task, expected, ended)
    return replace(judged, reading=found[taken].name if 0 <= taken < len(found) else ""), ended


def read(task: CodeTask, expected: Sequence[Any], ended: Ended) -> tuple[Verification, int]:
    """The verdict on what came over the channel, whoever wrote it, and which reading was taken.

    The reading is -1 where none was. Raises nothing.
    """
    lines = ended.out.decode("utf-8", "replace").split("\n")
    stage = {line[:1]: line[2:] for line in reversed(lines) if line[:1] in ("E", "V", "L")}
    taken = int(stage["V"]) if stage.get("V", "") in _NUMBERS else -1
    if "E" in stage:
        kind, _, message = stage["E"].partition(" ")
        nothing = (False,) * len(task.cases)
        if kind == "syntax":
            return Verification("compile", nothing, syntax_error=True, message=message), taken
        verdict: Verdict = "memory" if message.startswith("memory ") else "exception"
        found = Verification(verdict, nothing, types=0.5, compiled=True, message=message)
        return found, taken
    types = (0.5 + 0.5 * ("L" in stage)) * ("V" in stage)
    # what follows the last newline was cut off
    told = answers(lines[:-1])
    return tested(task.cases, expected, told, Python(task.entry_point), ended, types), taken


_RESULT = re.compile(r"\bresult\b")
_RAISED = re.compile(r"(\w+)(?: \((\w+)\))?:")


@dataclass(frozen=True, slots=True)
class Python:
    """Python's values as the driver writes them; see `Language`. entry: the name that is called."""

    entry: str

    def same(self, text: str, want: Any, case: Case) -> bool | None:
        """As `values.same`."""
        return same(text, want, case.close, case.compare)

    def raised(self, message: str, want: Any) -> bool:
        """By name of the exception's class or of the nearest built-in one that it derives from."""
        found = _RAISED.match(message)
        names = set(found.groups()) - {None} if found else set[str]()
        kinds = [getattr(builtins, name, None) for name in names if name is not None]
        wanted = getattr(builtins, str(want), None)
        known = isinstance(wanted, type) and any(
            isinstance(kind, type) and issubclass(kind, wanted) for kind in kinds
        )
        return known or want in names

    def call(self, case: Case) -> str:
        """`f(1, [2])`, and what is asked of its result."""
        called = f"{self.entry}({case.input.strip()[1:-1]})"
        if _RESULT.search(case.view):
            return _RESULT.sub(lambda _: called, case.view)
        return f"{called}; {case.view}" if case.view else called

    def shown(self, text: str, case: Case) -> str:
        """`repr` of a value, a long one cut short before it is read."""
        try:
            return repr(decode(text)) if len(text) <= SHORT else text[:SHORT]
        except (NotAValue, ValueError):  # no value, or an integer too long to write
            return text


def constant_keys(task: CodeTask, place: str) -> list[str]:
    """One key per case; equal keys are answered by the same constant."""
    keys: list[str] = []
    values = [_wanted(case, place) for case in task.cases]
    for i, case in enumerate(task.cases):
        alike = (k for k in range(i) if keys[k] == str(k) and _alike(task.cases[k], case))
        keys.append(str(next((k for k in alike if _one_answer(k, i, values, case)), i)))
    return keys


def _alike(a: Case, b: Case) -> bool:
    """Whether two cases ask for the same of what comes back."""
    return (a.compare, a.view) == (b.compare, b.view)


def _one_answer(k: int, i: int, values: Sequence[Any], case: Case) -> bool:
    """Whether the same constant surely answers both; any exception may be raised."""
    return case.compare == "raises" or equal(values[i], values[k], case.close)


@lru_cache(maxsize=65536)
def _input(source: str) -> bytes | str:
    """Positional arguments as marshal bytes; an expression that is no literal stays text."""
    try:
        return marshal.dumps(tuple(ast.literal_eval(source)), 4)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return source


def _wanted(case: Case, place: str) -> Any:
    """The expected value, or an exception's name."""
    return case.expected if case.compare == "raises" else _expected(case.expected, place)


@lru_cache(maxsize=65536)
def _expected(source: str, where: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise PawlError(
            f"expected value {source[:60]!r} is not a Python literal ({error})",
            where,
            "write it as a literal: numbers, strings, lists, tuples, dicts, sets",
        ) from None

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
from pawl.sandbox.values import SHORT, NotAValue, decode, equal, same, stands
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
    found = programs_in(text, task.head, end_marker, task.defines, "python")
    sources = [(r.source, r.kind, list(r.before)) for r in found]
    request = (sources, task.entry_point, inputs, list(sandbox.folders))
    ended = sandbox.judge_python(marshal.dumps(request, 4))
    if ended.fault:
        return Verification("infra_error", message=ended.fault), ended
    judged, taken = read(task, expected, ended)
    return replace(judged, reading=found[taken].name if 0 <= taken < len(found) else ""), ended


def _derives(name: str, kind: str) -> bool:
    """Whether one exception is another one, or of its kind."""
    found, wanted = getattr(builtins, name, None), getattr(builtins, kind, None)
    if isinstance(found, type) and isinstance(wanted, type):
        return issubclass(found, wanted)
    return name == kind


def read(task: CodeTask, expected: Sequence[Any], ended: Ended) -> tuple[Verification, int]:
    """The verdict on what came over the channel, whoever wrote it, and which reading was taken.

    The reading is -1 where none was. Raises nothing.
    """
    lines = ended.out.decode("utf-8", "replace").split("\n")
    stage = {line[:1]: line[2:] for line in reversed(lines) if line[:1] in ("E", "V", "L")}
    number, _, binds = stage.get("V", "").partition(" ")
    taken = int(number) if number in _NUMBERS else -1
    defines = 0.5 * (binds == "1")
    if "E" in stage:
        kind, _, message = stage["E"].partition(" ")
        nothing = (False,) * len(task.cases)
        if kind == "syntax":
            return Verification("compile", nothing, syntax_error=True, message=message), taken
        verdict: Verdict = "memory" if message.startswith("memory ") else "exception"
        message = message.partition(" ")[2] if kind == "load" else message
        types = 0.0 if kind == "missing" else defines
        found = Verification(verdict, nothing, types=types, compiled=types > 0, message=message)
        return found, taken
    types = 1.0 if "L" in stage else defines
    # what follows the last newline was cut off
    told = answers(lines[:-1])
    return tested(task.cases, expected, told, Python(task.entry_point), ended, types), taken


_RESULT = re.compile(r"\bresult\b")
_INFINITE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\b1e999\b", re.DOTALL)
_RAISED = re.compile(r"(\w+)(?: \((\w+)\))?(?::|$)")


@dataclass(frozen=True, slots=True)
class Python:
    """Python's values as the driver writes them; see `Language`. entry: the name that is called."""

    entry: str
    did = "returned"
    asks = ""

    def same(self, text: str, want: Any, case: Case) -> bool | None:
        """As `values.same`."""
        return same(text, want, case.close, case.compare)

    def raised(self, message: str, want: Any) -> bool:
        """By name of the exception's class or of the nearest built-in one that it derives from.

        want: a name, or several in brackets.
        """
        found = _RAISED.match(message)
        names = [name for name in found.groups() if name] if found else []
        wanted = re.findall(r"\w+", str(want))
        return any(_derives(name, kind) for name in names for kind in wanted)

    def call(self, case: Case) -> str:
        """`f(1, [2])`, and what is asked of its result."""
        called = f"{self.entry}({case.input.strip()[1:-1]})"
        if _RESULT.search(case.view):
            return _RESULT.sub(lambda _: called, case.view)
        return f"{called}; {case.view}" if case.view else called

    def shown(self, text: str, case: Case) -> str:
        """`repr` of a value; of a long one, which would have to be read whole, how long it is."""
        if len(text) > SHORT:
            return f"a value of {len(text)} characters"
        try:
            return repr(decode(text))
        except (NotAValue, ValueError):  # no value, or an integer too long to write
            return text

    def wanted(self, case: Case, want: Any) -> str:
        """As the test has it; infinity, which no literal spells, by its name."""
        return _INFINITE.sub(lambda m: "inf" if m[0] == "1e999" else m[0], case.expected)


def constant_passes(task: CodeTask, place: str) -> int:
    """How many cases that the prompt does not show the best constant answer passes.

    One answer is at most equal to the expected values of one view; of exceptions any may be raised.
    """
    views: dict[str, list[tuple[Case, Any]]] = {}
    raising = 0
    for case in task.cases:
        if case.compare == "raises":
            raising += not case.shown
        elif not case.shown:
            views.setdefault(case.view, []).append((case, _wanted(case, place)))
    return max([raising, *map(_best_answer, views.values())])


def _best_answer(asked: Sequence[tuple[Case, Any]]) -> int:
    """How many of some cases of one view one answer passes."""
    groups: list[tuple[Any, int]] = []  # equal expected values, how many
    others = [(case, want) for case, want in asked if case.compare not in ("==", "json")]
    for case, want in asked:
        if case.compare not in ("==", "json"):
            continue
        for k, (first, count) in enumerate(groups):
            if equal(want, first, case.close):
                groups[k] = (first, count + 1)
                break
        else:
            groups.append((want, 1))
    if not others:
        return max((count for _, count in groups), default=0)
    tried = [*groups, (None, 0), (0, 0), ([], 0), ("", 0)]
    for case, want in others:
        near = want if isinstance(want, (list, tuple, set, dict)) else [want]
        tried += [(one, 0) for one in near if case.compare in ("in", "<=", ">=")]
    return max(
        count + sum(stands(answer, want, case.close, case.compare) for case, want in others)
        for answer, count in tried
    )


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

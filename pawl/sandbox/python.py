"""Check a Python candidate: inputs go into the sandbox, values come out, and are compared here.

The judge rebuilds plain values from JSON and compares with ==, so no code of the candidate takes
part. Left out: what runs inside (`driver.py`), reading and comparing values (`values.py`), paying
(`pawl.rewards.pay`).
"""

from __future__ import annotations

import ast
import marshal
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pawl.errors import PawlError
from pawl.sandbox.extract import variants
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.values import equal, same
from pawl.sandbox.verdict import Verification, answers, tested
from pawl.sandbox.watch import Ended
from pawl.types import Case, CodeTask, Verdict


def verify_python(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str, place: str
) -> tuple[Verification, Ended]:
    """Run all cases of a Python task against one completion; raises PawlError on a bad case."""
    expected = [_expected(case.expected, place) for case in task.cases]
    inputs = [_input(case.input) for case in task.cases]
    sources = list(variants(text, task.head, end_marker, indent=True).items())
    ended = sandbox.judge_python(marshal.dumps((sources, task.entry_point, inputs), 4))
    if ended.fault:
        return Verification("infra_error", message=ended.fault), ended
    return read(task.cases, expected, ended), ended


def read(cases: Sequence[Case], expected: Sequence[Any], ended: Ended) -> Verification:
    """The verdict on what came over the channel, whoever wrote it; raises nothing."""
    lines = ended.out.decode("utf-8", "replace").split("\n")
    stage = {line[:1]: line[2:] for line in reversed(lines) if line[:1] in ("E", "V", "L")}
    if "E" in stage:
        kind, _, message = stage["E"].partition(" ")
        nothing = (False,) * len(cases)
        if kind == "syntax":
            return Verification("compile", nothing, syntax_error=True, message=message)
        verdict: Verdict = "memory" if message.startswith("memory ") else "exception"
        return Verification(verdict, nothing, types=0.5, compiled=True, message=message)
    types = (0.5 + 0.5 * ("L" in stage)) * ("V" in stage)
    # what follows the last newline was cut off
    return tested(cases, expected, answers(lines[:-1]), same, ended, types)


def constant_keys(task: CodeTask, place: str) -> list[str]:
    """One key per case; equal keys are answered by the same constant."""
    keys: list[str] = []
    values = [_expected(case.expected, place) for case in task.cases]
    for i, case in enumerate(task.cases):
        first = (k for k in range(i) if keys[k] == str(k))
        keys.append(str(next((k for k in first if equal(values[i], values[k], case.close)), i)))
    return keys


@lru_cache(maxsize=65536)
def _input(source: str) -> bytes | str:
    """Positional arguments as marshal bytes; an expression that is no literal stays text."""
    try:
        return marshal.dumps(tuple(ast.literal_eval(source)), 4)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return source


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

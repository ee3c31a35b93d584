"""Check a Python candidate: inputs go into the sandbox, values come out, and are compared here.

The judge rebuilds plain values from JSON and compares with ==, so no code of the candidate takes
part. Left out: what runs inside (`driver.py`), paying (`pawl.rewards.pay`).
"""

from __future__ import annotations

import ast
import json
import marshal
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from math import isclose
from typing import Any

from pawl.errors import PawlError
from pawl.sandbox.extract import variants
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.verdict import Verification, answers, tested
from pawl.sandbox.watch import Ended
from pawl.types import CodeTask, Verdict

CLOSE = 1e-6
_BAD = (ValueError, TypeError, RecursionError, InvalidOperation, ZeroDivisionError, MemoryError)


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
    lines = ended.out.decode("utf-8", "replace").split("\n")
    stage = {line[:1]: line[2:] for line in reversed(lines) if line[:1] in ("E", "V", "L")}
    if "E" in stage:
        kind, _, message = stage["E"].partition(" ")
        nothing = (False,) * len(task.cases)
        if kind == "syntax":
            return Verification("compile", nothing, syntax_error=True, message=message), ended
        verdict: Verdict = "memory" if message.startswith("memory ") else "exception"
        return Verification(verdict, nothing, types=0.5, compiled=True, message=message), ended
    types = (0.5 + 0.5 * ("L" in stage)) * ("V" in stage)
    # what follows the last newline was cut off
    return tested(task.cases, expected, answers(lines[:-1]), _same, ended, types), ended


def constant_keys(task: CodeTask, place: str) -> list[str]:
    """One key per case; equal keys are answered by the same constant."""
    keys: list[str] = []
    values = [_expected(case.expected, place) for case in task.cases]
    for i, case in enumerate(task.cases):
        first = (k for k in range(i) if keys[k] == str(k))
        keys.append(str(next((k for k in first if equal(values[i], values[k], case.close)), i)))
    return keys


def equal(got: Any, expected: Any, close: bool) -> bool:
    """== on plain values; with `close`, floats may differ by 1e-6, relative or absolute."""
    if not close:
        return bool(got == expected)
    if isinstance(expected, (int, float)) and isinstance(got, (int, float)):
        return got == expected or isclose(got, expected, rel_tol=CLOSE, abs_tol=CLOSE)
    if type(got) is not type(expected):
        return False
    if isinstance(got, (list, tuple)):
        pairs = zip(got, expected, strict=False)
        return len(got) == len(expected) and all(equal(a, b, True) for a, b in pairs)
    if isinstance(got, dict):
        same = got.keys() == expected.keys()
        return same and all(equal(got[key], expected[key], True) for key in got)
    return bool(got == expected)


def decode(text: str) -> Any:
    """A plain value from the driver's JSON; raises ValueError for anything else."""
    try:
        return json.loads(text, object_hook=_tagged)
    except _BAD as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def _tagged(raw: dict[str, Any]) -> Any:
    if len(raw) != 1:
        raise ValueError("not a tagged value")
    ((tag, value),) = raw.items()
    if tag not in _FORMS:
        raise ValueError(f"unknown tag {tag[:20]}")
    return _FORMS[tag](value)


_FORMS: dict[str, Callable[[Any], Any]] = {
    "t": tuple,
    "d": lambda v: dict(v),
    "s": set,
    "z": frozenset,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "c": lambda v: complex(*v),
    "r": lambda v: range(*v),
    "Counter": lambda v: Counter(dict(v)),
    "OrderedDict": OrderedDict,
    "deque": deque,
    "Decimal": Decimal,
    "Fraction": lambda v: Fraction(*v),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
}


def _same(text: str, expected: Any, close: bool) -> bool | None:
    """Whether the driver's JSON is the expected value; None when it is no plain value."""
    try:
        return equal(decode(text), expected, close)
    except _BAD:
        return None


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

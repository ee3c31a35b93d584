"""Check a Python candidate: inputs go into the sandbox, values come out, and are compared here.

The judge rebuilds plain values from JSON and compares with ==, so no code of the candidate takes
part. Left out: what runs inside (`driver.py`), paying (`code.py`).
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
from pawl.sandbox import verdict as rules
from pawl.sandbox.extract import variants
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.verdict import Verification
from pawl.types import Case, CodeTask, Verdict

CLOSE = 1e-6
_BAD = (ValueError, TypeError, RecursionError, InvalidOperation, ZeroDivisionError, MemoryError)


def verify_python(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str, place: str
) -> Verification:
    """Run all cases of a Python task against one completion; raises PawlError on a bad case."""
    expected = [_expected(case.expected, place) for case in task.cases]
    inputs = [_input(case.input) for case in task.cases]
    sources = list(variants(text, task.head, end_marker, indent=True).items())
    request = marshal.dumps((sources, task.entry_point, inputs), 4)
    ended, retried = sandbox.judge_python(request)
    facts: dict[str, Any] = {
        "tier": sandbox.tier, "time_ms": ended.wall * 1000, "retried": retried
    }  # fmt: skip
    if ended.fault:
        return Verification("infra_error", message=ended.fault, **facts)
    lines = ended.out.split(b"\n")
    stage = {line[:1]: line for line in reversed(lines) if line[:1] in (b"E", b"V", b"L")}
    nothing = tuple(False for _ in task.cases)
    if b"E" in stage:
        kind, _, message = stage[b"E"][2:].decode("utf-8", "replace").partition(" ")
        if kind == "syntax":
            verdict: Verdict = "compile"
            return Verification(
                verdict, nothing, syntax_error=True, message=rules.clean(message), **facts
            )
        verdict = "memory" if message.startswith("memory ") else "exception"
        return Verification(
            verdict, nothing, types=0.5, compiled=True, message=rules.clean(message), **facts
        )
    cases = _cases(lines, task.cases, expected, rules.unanswered(ended))
    found, message = rules.overall(cases)
    parsed, loaded = b"V" in stage, b"L" in stage
    return Verification(
        found,
        tuple(case.passed for case in cases),
        tuple(case.value for case in cases),
        types=(0.5 + 0.5 * loaded) * parsed,
        compiled=parsed,
        message=message,
        **facts,
    )


def constant_keys(task: CodeTask, place: str) -> list[str]:
    """One key per case; equal keys are answered by the same constant."""
    keys: list[str] = []
    values: list[Any] = []
    for case in task.cases:
        value = _expected(case.expected, place)
        seen = next((k for k, other in enumerate(values) if equal(value, other, case.close)), None)
        keys.append(str(len(values)) if seen is None else str(seen))
        if seen is None:
            values.append(value)
        else:
            values.append(object())
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
    return _FORMS[tag](value) if tag in _FORMS else _refuse(tag)


def _refuse(tag: str) -> Any:
    raise ValueError(f"unknown tag {tag[:20]}")


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


def _cases(
    lines: list[bytes],
    cases: tuple[Case, ...],
    expected: list[Any],
    silent: tuple[Verdict, str],
) -> list[rules.Case]:
    """Judge the first line of each index."""
    first: dict[bytes, tuple[bytes, bytes]] = {}
    for line in lines[:-1]:  # what follows the last newline was cut off
        parts = line.split(b" ", 2)
        if len(parts) == 3 and parts[0] in (b"R", b"X"):
            first.setdefault(parts[1], (parts[0], parts[2]))
    out = []
    for i, case in enumerate(cases):
        kind, data = first.get(b"%d" % i, (b"", b""))
        text = data.decode("utf-8", "replace")
        if kind == b"R":
            out.append(_judge(text, expected[i], case.close))
        elif kind == b"X":
            what, _, message = text.partition(" ")
            name: Verdict = "unserialisable" if what == "unserialisable" else "exception"
            out.append(rules.Case(False, "memory" if what == "memory" else name, message))
        else:
            out.append(rules.Case(False, *silent))
    return out


def _judge(text: str, expected: Any, close: bool) -> rules.Case:
    try:
        value = decode(text)
        same = equal(value, expected, close)
    except _BAD:
        return rules.Case(False, "unserialisable", "no plain value")
    return rules.Case(same, "wrong", "" if same else f"returned {text[:120]}", text)


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

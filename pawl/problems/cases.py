"""The many spellings of a test -> `Case`: dictionaries, lists of them, JSON in a string, text.

Knows Pawl's own cases, input/output records with a kind, OCaml call records, parallel lists of
inputs and outputs, lists of assertions and whole test texts. Left out: tests over standard input
and output, which are refused with a reason.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence

from pawl.problems import ocaml_tests, ocaml_text, python_tests
from pawl.problems.columns import decoded
from pawl.problems.python_tests import Read
from pawl.problems.python_text import parse_expression
from pawl.types import Case, Close, Lang

INPUT = ("input", "args", "call", "inputs", "arguments", "params")
EXPECTED = ("expected", "output", "expected_output", "outputs", "result", "want", "answer")


_NO_CALL = "[{'\"-0123456789"  # what begins with one of these is no call of the entry point


class BadProblem(ValueError):
    """A row that cannot become a problem, or none with tests; the message says why."""


def read_cases(value: object, lang: Lang, entry: str, params: tuple[str, ...]) -> Read:
    """Cases, and tests that could not be read; BadProblem when the value is no kind of tests."""
    value = decoded(value)
    if isinstance(value, str):
        return _from_text(value, lang, entry, params)
    if isinstance(value, Mapping):  # {"inputs": [...], "outputs": [...]}: parallel lists
        given, wanted = _first(value, INPUT), _first(value, EXPECTED)
        if not isinstance(given, list) or not isinstance(wanted, list) or len(given) != len(wanted):
            raise BadProblem("tests are an object without inputs and outputs of one length")
        value = [{"input": a, "expected": b} for a, b in zip(given, wanted, strict=True)]
    if not isinstance(value, Sequence):
        raise BadProblem(f"tests are {type(value).__name__}, expected text or a list")
    items = [decoded(v) for v in value]
    if all(isinstance(v, str) for v in items):
        lines = [str(v) for v in items]
        if lang == "ocaml":
            lines = [t if "assert" in t else f"assert ({t})" for t in lines]
        return _from_text("\n".join(lines), lang, entry, params)
    if lang == "python" and len(params) == 1:
        items = _wrap_single(items)
    found = [_from_record(item, lang, entry, params) for item in items]
    return [c for c in found if isinstance(c, Case)], [c for c in found if isinstance(c, str)]


def _from_text(text: str, lang: Lang, entry: str, params: tuple[str, ...]) -> Read:
    if lang == "ocaml":
        return ocaml_tests.parse_tests(text, entry)
    try:
        return python_tests.parse_tests(text, entry, params)
    except ValueError as error:
        raise BadProblem(str(error)) from error


def _first(row: Mapping[str, object], names: Sequence[str]) -> object:
    return next((row[n] for n in names if row.get(n) is not None), None)


def _wrap_single(items: list[object]) -> list[object]:
    """One-parameter functions: when some input is no list of one argument, all are bare values."""
    values = []
    for item in items:
        given = _first(item, INPUT) if isinstance(item, Mapping) else None
        try:
            if isinstance(given, str):
                given = python_tests.value_of(given.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            given = None
        values.append(given)
    if not any(isinstance(v, list) and len(v) != 1 for v in values):
        return items
    return [
        {**item, "input": repr([value])}
        if isinstance(item, Mapping) and value is not None
        else item
        for item, value in zip(items, values, strict=True)
    ]


def _from_record(item: object, lang: Lang, entry: str, params: tuple[str, ...]) -> Case | str:
    """One test record; a string says why it could not be read."""
    if isinstance(item, str):
        read, unread = _from_text(item, lang, entry, params)
        return read[0] if len(read) == 1 and not unread else item[:200]
    if isinstance(item, list) and len(item) == 2:
        item = {"input": item[0], "expected": item[1]}
    if not isinstance(item, Mapping):
        return str(item)[:200]
    given, wanted = _first(item, INPUT), _first(item, EXPECTED)
    kind = str(item.get("kind") or item.get("type") or "eq")
    if kind in ("stdin", "stdin_stdout"):
        raise BadProblem("tests use standard input and output; Pawl calls a function")
    if given is None or (wanted is None and "expected" not in item and "output" not in item):
        return f"no input or no expected value in {sorted(item)}"
    close = _closeness(item.get("close")) or (
        Close() if kind.startswith(("approx", "close")) else None
    )
    shown = bool(item.get("shown") or item.get("visible") or item.get("is_public"))
    try:
        if lang == "ocaml":
            return Case(_ocaml_call(given, entry), _ocaml_value(wanted), shown, close)
        expected = {"truthy": "True", "falsy": "False"}.get(kind) or _python_value(wanted)
        if kind == "tuple":  # the test converted the result; functions return the list
            expected = python_tests.literal(list(ast.literal_eval(expected)))
        return Case(_python_args(given, entry, params), expected, shown, close)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        return f"{str(given)[:80]}: {error}"


def _closeness(stated: object) -> Close | None:
    """What a record says of closeness: whether, how far (absolute), or both numbers by name."""
    if isinstance(stated, Mapping):
        rel, absolute = (stated.get(name, 0.0) for name in ("rel", "abs"))
    elif isinstance(stated, bool) or stated is None:
        return Close() if stated else None
    elif isinstance(stated, list) and len(stated) == 2:
        rel, absolute = stated
    else:
        rel, absolute = 0.0, stated
    numbers = isinstance(rel, int | float) and isinstance(absolute, int | float)
    if not numbers or not 0 <= rel < 1 or not 0 <= absolute < math.inf:
        raise BadProblem(f"close is {stated!r}, expected true, a number, or rel and abs")
    return Close(float(rel), float(absolute))


def _ocaml_call(given: object, entry: str) -> str:
    text = " ".join(map(_ocaml_value, given)) if isinstance(given, list) else _ocaml_value(given)
    return text if ocaml_text.names(text, entry) else f"{entry} {text}"


def _ocaml_value(value: object) -> str:
    """Source text as it is; JSON numbers, booleans and lists in OCaml's spelling."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"({value!r})" if value < 0 else repr(value)
    if isinstance(value, list):
        return "[" + "; ".join(map(_ocaml_value, value)) + "]"
    if not isinstance(value, str):
        raise ValueError("no OCaml expression")
    return value


def _python_args(given: object, entry: str, params: tuple[str, ...]) -> str:
    """A literal list of positional arguments."""
    if isinstance(given, Mapping):
        if not set(given) <= set(params):
            raise ValueError(f"input names {sorted(given)}, the signature has {list(params)}")
        return python_tests.literal([given[p] for p in params if p in given])
    if isinstance(given, str) and given.strip()[:1] in _NO_CALL:
        value = python_tests.value_of(given.strip())
    elif isinstance(given, str):
        node = parse_expression(given.strip())
        if isinstance(node, ast.Call) and ast.unparse(node.func) == entry:
            cases, _ = python_tests.parse_tests(f"assert {given.strip()} == 0", entry, params)
            if len(cases) == 1:
                return cases[0].input
            raise ValueError("a call with arguments that are no constants")
        value = python_tests.constant(node, {})
    else:
        value = given
    return python_tests.literal(list(value) if isinstance(value, list | tuple) else [value])


def _python_value(wanted: object) -> str:
    """A literal: text that reads as one, or the value itself."""
    if isinstance(wanted, str):
        try:
            return python_tests.literal(python_tests.value_of(wanted.strip()))
        except (ValueError, SyntaxError):
            return repr(wanted)
    return python_tests.literal(wanted)

"""The many spellings of a test -> `Case`: dictionaries, lists of them, JSON in a string, text.

Knows Pawl's own cases, input/output records with a kind, OCaml call records, parallel lists of
inputs and outputs, lists of assertions and whole test texts. Left out: tests of contests
(`contest.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

from pawl.problems import ocaml_tests, ocaml_text, python_tests
from pawl.problems.columns import decoded
from pawl.problems.python_records import KINDS, Asked, Signature, read_records
from pawl.problems.python_tests import Read
from pawl.types import Case, Close, Compare, Lang

INPUT = ("input", "args", "call", "inputs", "arguments", "params")
EXPECTED = ("expected", "output", "expected_output", "outputs", "result", "want", "answer")


class BadProblem(ValueError):
    """A row that cannot become a problem, or none with tests; the message says why."""


class Tests(NamedTuple):
    """Cases, what of the tests could not be read, and what of them was ambiguous."""

    cases: list[Case]
    unread: list[str]
    notes: Sequence[str] = ()


def read_cases(value: object, lang: Lang, entry: str, known: Signature) -> Tests:
    """The tests of a problem; BadProblem when the value is no kind of tests."""
    value = decoded(value)
    if isinstance(value, str):
        return Tests(*_from_text(value, lang, entry, known))
    if isinstance(value, Mapping):  # {"inputs": [...], "outputs": [...]}: parallel lists
        given, wanted = first_of(value, INPUT), first_of(value, EXPECTED)
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
        return Tests(*_from_text("\n".join(lines), lang, entry, known))
    cases, unread, asked = list[Case](), list[str](), list[Asked]()
    for item in items:
        if isinstance(item, str):
            read, left = _from_text(item, lang, entry, known)
            cases += read
            unread += left
            continue
        found = _own(item) or _record(item)
        if isinstance(found, Case):
            cases.append(found)
            continue
        if isinstance(found, str):
            unread.append(found)
        else:
            asked.append(found)
    if lang == "python":
        made, left, notes = read_records(asked, entry, known)
        return Tests([*cases, *made], [*unread, *left], notes)
    for one in asked:
        try:
            cases.append(
                Case(_ocaml_call(one.given, entry), _ocaml_value(one.wanted), one.shown, one.close)
            )
        except ValueError as error:
            unread.append(f"{str(one.given)[:80]}: {error}")
    return Tests(cases, unread)


def _from_text(text: str, lang: Lang, entry: str, known: Signature) -> Read:
    if lang == "ocaml":
        return ocaml_tests.parse_tests(text, entry)
    try:
        return python_tests.parse_tests(text, entry, known.params)
    except ValueError as error:
        raise BadProblem(str(error)) from error


def first_of(row: Mapping[str, object], names: Sequence[str]) -> object:
    """What a record holds under the first of some names."""
    return next((row[n] for n in names if row.get(n) is not None), None)


def _own(item: object) -> Case | None:
    """A case as Pawl writes it, which says how it compares; None for any other record."""
    if not isinstance(item, Mapping) or item.get("compare") not in get_args(Compare):
        return None
    given, wanted = (str(item.get(name, "")) for name in ("input", "expected"))
    close, view = closeness(item.get("close")), str(item.get("view") or "")
    return Case(given, wanted, bool(item.get("shown")), close, item["compare"], view)


def _record(item: object) -> Asked | str:
    """The parts of one test record; a string says why it is none."""
    if isinstance(item, list) and len(item) == 2:
        item = {"input": item[0], "expected": item[1]}
    if not isinstance(item, Mapping):
        return str(item)[:200]
    given, wanted = first_of(item, INPUT), first_of(item, EXPECTED)
    kind = str(item.get("kind") or "eq")
    near = kind.startswith(("approx", "close"))
    if kind not in KINDS and not near:
        return f"a test of kind {kind!r}"
    if item.get("type") in ("regex", "raises", "exception", "error"):
        return f"a test of type {item['type']!r}"
    if not any(name in item for name in INPUT) or not any(name in item for name in EXPECTED):
        return f"no input or no expected value in {sorted(item)}"
    close = closeness(item.get("close")) or (_near(kind) if near else None)
    shown = bool(item.get("shown") or item.get("visible") or item.get("is_public"))
    return Asked(given, wanted, shown, close, kind, item.get("kwargs"))


def _near(kind: str) -> Close:
    """How far `approx:0.01` lets numbers be, absolutely; `approx` alone has the usual bounds."""
    _, _, bound = kind.partition(":")
    try:
        return closeness(float(bound)) or Close() if bound else Close()
    except ValueError as error:
        raise BadProblem(f"a test of kind {kind!r}: no number behind the colon") from error


def closeness(stated: object) -> Close | None:
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

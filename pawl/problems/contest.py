"""Tests of programming contests: text for standard input, or arguments of a named function.

Knows lists of records with a type, and parallel lists of inputs and outputs with or without the
name of a function, as APPS, TACO, LiveCodeBench and the sets made of them have them. Left out:
where in a row they stand (`layouts.py`), and checkers of a problem's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from pawl.problems.cases import EXPECTED, INPUT, BadProblem, closeness, first_of
from pawl.problems.columns import cell, decoded
from pawl.problems.python_values import literal
from pawl.types import Case, Close

STDIN = {"stdin", "stdin_stdout", "stdio", "standard_input", "io_stdin"}
CALLS = {"functional", "function_call", "fn", "call"}
# Of numbers that are expected with a fraction, where the set says nothing: as APPS compares.
NEAR = Close(1e-5, 1e-8)
_SEVERAL = re.compile(
    r"\b(?:print|output|find|return|choose)\s+any\b|\bany\s+of\s+them\b"
    r"|\b(?:multiple|several)\s+(?:possible\s+)?(?:answers|solutions)\b",
    re.IGNORECASE,
)


class Contest(NamedTuple):
    """Cases for a program (entry "") or for a function, and what could not be read."""

    entry: str
    cases: list[Case]
    unread: list[str]
    notes: list[str]


def read_contest(value: object, entry: str, called: str, shown: str) -> Contest | None:
    """The tests of a contest; None where the value has no such form.

    entry: the function that the row names, "" for none. called: the one that tests of a function
    call where they name none. shown: what the prompt displays.
    """
    value = decoded(value)
    found = _parallel(value, entry) if isinstance(value, Mapping) else value
    if not isinstance(found, list) or not found:
        return None
    items = [item for item in map(decoded, found) if isinstance(item, Mapping) and _kind(item)]
    if len(items) < len(found):
        return None
    kinds = {_kind(item) for item in items}
    names = {_called(item) or called for item in items if _kind(item) == "f"}
    if len(kinds) > 1 or len(names) > 1 or names == {""}:
        raise BadProblem("tests of several kinds, or of a function without a name")
    notes: list[str] = []
    if not names:
        if several := _SEVERAL.search(shown):
            notes = [f"the prompt may allow several answers, the tests hold one: {several[0]!r}"]
        return Contest("", [_printed(item) for item in items], [], notes)
    wanted = [first_of(item, EXPECTED) for item in items]
    boxed = all(isinstance(w, list) and len(w) == 1 for w in wanted)
    notes += ["outputs of one item are taken as the value in it, not as a list"] * boxed
    cases, unread = list[Case](), list[str]()
    for item, want in zip(items, wanted, strict=True):
        try:
            made = want[0] if boxed and isinstance(want, list) else _json(want)
            args = literal(_arguments(first_of(item, INPUT)))
            close = _close(item) if _fractional(made) else None
            cases.append(Case(args, literal(made), _is_shown(item), close, "json"))
        except (ValueError, TypeError, RecursionError) as error:
            unread.append(f"{str(item)[:80]}: {error}")
    return Contest(names.pop(), cases, unread, notes)


def _parallel(value: Mapping[str, object], entry: str) -> list[object] | None:
    """Records of parallel lists; None where they are arguments of a function of the row's own."""
    ins, outs = first_of(value, INPUT), first_of(value, EXPECTED)
    if not isinstance(ins, list) or not isinstance(outs, list) or len(ins) != len(outs):
        return None
    name = value.get("fn_name")
    if not name and (entry or not all(map(_is_text, [*ins, *outs]))):
        return None
    same = {"type": "call", "fn_name": name} if name else {"type": "stdin"}
    return [{"input": a, "output": b, **same} for a, b in zip(ins, outs, strict=True)]


def _is_text(value: object) -> bool:
    """Text, or lines of it."""
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(line, str) for line in value)
    )


def _kind(item: Mapping[str, object]) -> str:
    """s: standard input; f: a function's arguments; "" for another record."""
    told = {str(item.get(name) or "").lower() for name in ("testtype", "type", "kind")}
    return "s" if told & STDIN else "f" if told & CALLS else ""


def _called(item: Mapping[str, object]) -> str:
    return str(item.get("fn_name") or cell(item, "metadata.func_name") or "")


def _is_shown(item: Mapping[str, object]) -> bool:
    return any(bool(item.get(name)) for name in ("shown", "visible", "is_public"))


def _close(item: Mapping[str, object]) -> Close | None:
    return closeness(item["close"]) if "close" in item else NEAR


def _printed(item: Mapping[str, object]) -> Case:
    view = "lower" if item.get("lower") or item.get("view") == "lower" else ""
    given, wanted = (_text(first_of(item, names)) for names in (INPUT, EXPECTED))
    return Case(given, wanted, _is_shown(item), _close(item), view=view)


def _text(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    return "" if value is None else str(value)


def _arguments(given: object) -> list[object]:
    """A list of JSON values as it is, a text as a JSON value on each line."""
    if isinstance(given, str):
        return [json.loads(line) for line in given.strip("\n").split("\n")] if given.strip() else []
    if not isinstance(given, list):
        raise ValueError("no list of arguments")
    return given


def _fractional(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, list) and any(map(_fractional, value)))


def _json(value: object) -> object:
    """A value that travels as JSON text; a text that is none stands for itself."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value

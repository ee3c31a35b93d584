"""Tests that expect an exception: `try`, `match ... with exception`, `assert_raises`.

The expected exception is kept as source text: a constructor, alone or with the argument that it
must carry; `_` stands for any. Left out: guards, several exceptions at once, and handlers that
would catch the test's own failure.
"""

from __future__ import annotations

from pawl.problems.ocaml_grammar import (
    OPEN_ENDED,
    Toks,
    application,
    binding,
    first_step,
    function_of,
    own_in,
    pattern_names,
)
from pawl.problems.ocaml_scope import MAX_TEXT, Scope, spelled
from pawl.problems.ocaml_text import split_top, step_of, strip_parens
from pawl.types import Case

_FAILS = {"failwith", "raise", "exit", "assert_failure", "invalid_arg"}
_OWN = {"assert": "Assert_failure", "failwith": "Failure", "invalid_arg": "Invalid_argument"}


def raising(toks: Toks, scope: Scope) -> Case | None:
    """`try E; false with X -> true`, `match E with exception X -> true | _ -> false`; as statements
    too, with `()` for true and `assert false` for false."""
    toks = strip_parens(toks)
    depth = 0
    for i, t in enumerate(toks):
        if depth == 1 and t.text == "with" and toks[0].text in ("try", "match"):
            body, arms = toks[1:i], [_arm(a) for a in _arms(toks[i + 1 :])]
            known = [a for a in arms if a is not None]
            if len(known) < len(arms):
                return None
            return (_try if toks[0].text == "try" else _match)(body, known, scope)
        depth += step_of(t) + (t.text in ("try", "match")) - (t.text == "with")
    return None


def _arms(toks: Toks) -> list[Toks]:
    arms = split_top(toks, "|")
    return arms[1:] if not arms[0] else arms


def _arm(toks: Toks) -> tuple[Toks, Toks] | None:
    """(pattern, result)."""
    sides = split_top(toks, "->")
    if len(sides) != 2 or any(t.text in OPEN_ENDED | {"when"} for t in toks):
        return None
    result = strip_parens(sides[1])
    if len(result) > 2 and result[0].text == "assert":
        result = strip_parens(result[1:])
    return sides[0], result


def _good(toks: Toks) -> bool:
    return [t.text for t in toks] in (["true"], ["(", ")"], [])


def _bad(toks: Toks) -> bool:
    """`false`, or the test's own failure."""
    toks = strip_parens(toks)
    text = [t.text.rpartition(".")[2] for t in toks]
    return text in (["false"], ["assert", "false"]) or bool(text) and text[0] in _FAILS


def _try(body: Toks, arms: list[tuple[Toks, Toks]], scope: Scope) -> Case | None:
    """The call, then the failure; the first handler is the expected one, others fail."""
    call, end, inner = _call_then(body, scope)
    if not call or not _bad(end) or not arms or not all(_bad(r) for _, r in arms[1:]):
        return None
    wanted = _exception(*arms[0], scope)
    own = _OWN.get(strip_parens(end)[0].text.rpartition(".")[2], "")
    caught = wanted.partition(" ")[0]
    if not wanted or (strip_parens(end)[0].text != "false" and caught in ("_", own)):
        return None
    if strip_parens(end)[0].text == "raise" and caught in {t.text for t in end}:
        return None
    return raised(call, wanted, inner)


def _match(body: Toks, arms: list[tuple[Toks, Toks]], scope: Scope) -> Case | None:
    expected = [(p[1:], r) for p, r in arms if p and p[0].text == "exception"]
    others = [r for p, r in arms if not p or p[0].text != "exception"]
    if not expected or not others or not all(map(_bad, others)):
        return None
    if not all(_bad(r) for _, r in expected[1:]):
        return None
    wanted = _exception(*expected[0], scope)
    return raised(body, wanted, scope) if wanted else None


def _call_then(body: Toks, scope: Scope) -> tuple[Toks, Toks, Scope]:
    """(last call, what follows it, scope before the call) of a `try`'s body."""
    inner = scope.copy()
    body = strip_parens(body)
    call: Toks = []
    while body:
        if close := own_in(body):
            found = binding(body[:close])
            if found is None:
                break
            step, body = found.value, strip_parens(body[close + 1 :])
            if not found.unit:
                inner.define(found)
                call = step if scope.entry in _texts(step) else call
                continue
        else:
            step, body = first_step(body)
        if not body:
            return call, step, inner
        inner.do(call)
        call = step
        body = body if first_step(body)[1] else strip_parens(body)
    return [], [], inner


def _texts(toks: Toks) -> set[str]:
    return {t.text for t in toks}


def _exception(pattern: Toks, result: Toks, scope: Scope) -> str:
    """The expected exception as text, "" when it is not certain.

    `Failure m -> m = "x"` is one with that argument.
    """
    pattern = strip_parens(pattern)
    if len(pattern) == 1 and (pattern[0].text == "_" or pattern[0].text[:1].islower()):
        return "_" if _good(result) else ""
    called = application(pattern)
    if called is None or not called.head[:1].isupper() or len(called.args) > 1:
        return ""
    if not called.args:
        return called.head if _good(result) else ""
    argument = strip_parens(called.args[0].toks)
    name = argument[0].text if len(argument) == 1 else ""
    variable = name == "_" or name[:1].islower() or name[:1] == "_"
    if variable and name not in ("true", "false"):
        sides = split_top(result, "=")
        if len(sides) == 2 and name in (sides[0][0].text, sides[1][0].text):
            other = sides[1] if _texts(sides[0]) == {name} else sides[0]
            literal = len(other) == 1 and other[0].kind in ("string", "number")
            return f"{called.head} {other[0].text}" if literal else ""
        return f"{called.head} _" if _good(result) else ""
    if pattern_names(argument) or "_" in _texts(argument):  # known in part: the constructor alone
        return f"{called.head} _" if _good(result) else ""
    return spelled(scope.text, pattern) if _good(result) else ""


def raised(call: Toks, wanted: str, scope: Scope) -> Case | None:
    """A case that expects an exception of a call."""
    call = strip_parens(scope.reduced(call))
    called = application(call)
    while called is not None and called.head == "ignore" and len(called.args) == 1:
        call = strip_parens(split_top(strip_parens(called.args[0].toks), ":")[0])
        called = application(call)
    if not call or not scope.mentions(call):
        return None
    text = scope.spell(call)
    return Case(text, wanted, compare="raises") if len(text) <= MAX_TEXT else None


def assert_raises(exception: Toks, thunk: Toks, scope: Scope) -> Case | None:
    """OUnit's `assert_raises E (fun () -> call)`."""
    written = function_of(thunk)
    wanted = strip_parens(exception)
    if written is None or not wanted or not wanted[0].text[:1].isupper():
        return None
    if any(t.kind == "word" and t.text[:1].islower() for t in wanted):
        return None
    inner, body = scope.copy(), strip_parens(written[1])
    while close := own_in(body):
        found = binding(body[:close])
        if found is None:
            return None
        if found.unit:
            return raised(found.value, spelled(scope.text, wanted), inner)
        inner.define(found)
        body = strip_parens(body[close + 1 :])
    while (steps := first_step(body))[1]:
        inner.do(steps[0])
        body = strip_parens(steps[1])
    return raised(body, spelled(scope.text, wanted), inner)

"""OCaml tests as text -> cases: `assert (f x = y)` and its usual relatives.

Reads equalities between a call of the entry point and an expression, in either order, joined by
`&&`, negated, as a bare boolean, within a tolerance, as OUnit's `assert_equal`, and with local
`let` bindings in front. Left out: anything else (loops, exceptions, properties): it is reported as
unreadable, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter

from pawl.problems.ocaml_text import Token, close_of, source, split_top, strip_parens, tokens
from pawl.types import Case

_EQUAL = ("=", "==")
_ABS = ("abs_float", "Float.abs", "abs", "fabs")


def called_names(text: str) -> Counter[str]:
    """How often each lower-case name stands right after `assert (` (or `assert_equal`)."""
    return Counter(re.findall(r"\bassert\s*\(+\s*(?:not\s*\(*\s*)?([a-z_][\w']*)", text))


def parse_tests(text: str, entry_point: str) -> tuple[list[Case], list[str]]:
    """(cases, asserts that could not be read) of a test text for one function."""
    toks = list(tokens(text))
    cases: list[Case] = []
    unread: list[str] = []
    local: list[Token] = []
    i = 0
    while i < len(toks):
        t = toks[i]
        if t.text in (";;",) or (t.text == "let" and _is_unit_binding(toks, i)):
            local = []
        elif t.text == "let":
            j = _end_of_let(toks, i)
            local, i = local + toks[i : j + 1], j + 1
            continue
        if t.text == "assert" and i + 1 < len(toks) and toks[i + 1].text in ("(", "begin"):
            j = close_of(toks, i + 1)
            if j < 0:
                unread.append(text[t.start :].strip()[:200] + " (a bracket never closes)")
                break
            _take(text, toks[i + 2 : j], entry_point, local, cases, unread)
            i = j + 1
            continue
        if t.text == "assert_equal":
            i = _ounit(text, toks, i, entry_point, cases, unread)
            continue
        i += 1
    return cases, unread


def _is_unit_binding(toks: list[Token], i: int) -> bool:
    """`let () =` and `let _ =`: a new test item, not a local name."""
    following = [t.text for t in toks[i + 1 : i + 4]]
    return following == ["(", ")", "="] or following[:2] == ["_", "="]


def _end_of_let(toks: list[Token], i: int) -> int:
    """Index of the `in` of a local `let`; of the token itself when there is none before `;;`."""
    depth = 0
    for j in range(i + 1, len(toks)):
        depth += (toks[j].text == "let") - (toks[j].text == "in")
        if depth < 0:
            return j
        if toks[j].text == ";;" or toks[j].text == "assert":
            break
    return i


def _take(
    text: str,
    toks: list[Token],
    entry: str,
    local: list[Token],
    cases: list[Case],
    unread: list[str],
) -> None:
    """One asserted expression: its conjuncts become cases, or it is reported."""
    for part in split_top(strip_parens(toks), "&&"):
        case = _case(text, strip_parens(part), entry, local)
        if case is None:
            unread.append(source(text, part))
        else:
            cases.append(case)


def _case(text: str, toks: list[Token], entry: str, local: list[Token]) -> Case | None:
    close = _tolerance(text, toks, entry)
    if close is not None:
        return close
    if toks and toks[0].text == "not":
        inner = strip_parens(toks[1:])
        if _is_call(inner, entry) and len(split_top(inner, *_EQUAL)) == 1:
            return Case(_with(text, local, inner, entry), "false")
        return None
    sides = split_top(toks, *_EQUAL)
    if len(sides) == 1 and _is_call(toks, entry) and not _has_operator(toks):
        return Case(_with(text, local, toks, entry), "true")
    if len(sides) != 2:
        return None
    left, right = strip_parens(sides[0]), strip_parens(sides[1])
    if not _is_call(left, entry):
        left, right = right, left
    return _pair(text, left, right, entry, local)


def _pair(
    text: str, call: list[Token], value: list[Token], entry: str, local: list[Token]
) -> Case | None:
    """A call and what it must equal; None unless exactly the call names the entry point."""
    if not _is_call(call, entry) or _has_operator(call) or not value:
        return None
    if any(t.text == entry for t in value):
        return None
    return Case(_with(text, local, call, entry), _with(text, local, value, ""))


def _tolerance(text: str, toks: list[Token], entry: str) -> Case | None:
    """`abs_float (f x -. y) < 1e-6`."""
    sides = split_top(toks, "<", "<=")
    if len(sides) != 2 or not sides[0] or sides[0][0].text not in _ABS:
        return None
    terms = split_top(strip_parens(sides[0][1:]), "-.")
    if len(terms) != 2:
        return None
    a, b = strip_parens(terms[0]), strip_parens(terms[1])
    if not _is_call(a, entry):
        a, b = b, a
    if not _is_call(a, entry) or not b:
        return None
    return Case(source(text, a), source(text, b), close=True)


def _ounit(
    text: str,
    toks: list[Token],
    i: int,
    entry: str,
    cases: list[Case],
    unread: list[str],
) -> int:
    """`assert_equal [~label:x ...] a b`; returns the index after it."""
    j = i + 1
    args: list[list[Token]] = []
    while j < len(toks) and len(args) < 2:
        if toks[j].text == "~":
            j += 3 if j + 2 < len(toks) and toks[j + 2].text == ":" else 2
            if toks[j - 1].text == ":" and j < len(toks):
                j = close_of(toks, j) + 1 if toks[j].kind == "open" else j + 1
            continue
        end = close_of(toks, j) if toks[j].kind == "open" else j
        if end < 0:
            break
        args.append(toks[j : end + 1])
        j = end + 1
    if len(args) == 2:
        a, b = strip_parens(args[0]), strip_parens(args[1])
        case = _pair(text, a, b, entry, []) or _pair(text, b, a, entry, [])
        if case is not None:
            cases.append(case)
            return j
    unread.append(source(text, toks[i:j]))
    return max(j, i + 1)


def _is_call(toks: list[Token], entry: str) -> bool:
    return len(toks) >= 2 and toks[0].text == entry


def _has_operator(toks: list[Token]) -> bool:
    """True when an operator at depth 0 combines the call with something else.

    A prefix minus or dereference before a number or name (`f -1`) is an operator too: OCaml reads
    it as a subtraction, so such a test does not mean what it says.
    """
    depth = 0
    for k, t in enumerate(toks):
        depth += (t.kind == "open") - (t.kind == "close")
        if depth == 0 and k and t.kind == "symbol" and t.text not in ("~", "?", ":", "!", ".", "`"):
            return True
        if depth == 0 and t.text in ("mod", "land", "lor", "lxor", "lsl", "lsr", "asr", "or"):
            return True
    return False


def _with(text: str, local: list[Token], toks: list[Token], entry: str) -> str:
    """The expression, with the local bindings that it uses in front."""
    body = source(text, toks)
    bound = {b.text for a, b in zip(local, local[1:], strict=False) if a.text in ("let", "rec")}
    if not any(t.text in bound for t in toks):
        return body
    return f"({source(text, local)} {body})"

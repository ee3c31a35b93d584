"""One claim of an OCaml test -> a case: what is called, and what must come of it.

Of an equality or an order exactly one side names the entry point: that side is the input, the
other the expected value. Membership, the standard library's equalities, tolerances, expected
exceptions and plain booleans are read too. The input never holds what is expected: where a value to
compare with may be hidden in it, the claim is not read. Left out: finding the claims
(`ocaml_tests.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pawl.problems.ocaml_grammar import (
    Application,
    Argument,
    Toks,
    application,
    arguments,
    binding,
    first_step,
    function_of,
    own_in,
    split_operators,
    words,
)
from pawl.problems.ocaml_raises import raising
from pawl.problems.ocaml_scope import MAX_TEXT, Helper, Scope, Step, spelled
from pawl.problems.ocaml_sharing import shares
from pawl.problems.ocaml_text import Token, close_of, split_top, strip_parens
from pawl.types import Case, Close, Compare

_COMPARE: dict[str, Compare] = {
    "=": "==", "==": "==", "<>": "!=", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=",
}  # fmt: skip
_SWAPPED: dict[Compare, Compare] = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_OPPOSITE: dict[Compare, Compare] = {
    "==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in",
    "not in": "in",
}  # fmt: skip
_ABS = {"abs_float", "Float.abs", "abs", "fabs"}
_MODULES = ("String", "Int", "Float", "Bool", "Char", "Bytes", "Int64", "Int32", "Nativeint")
_EQUALS = {f"{m}.equal" for m in _MODULES} | {"Stdlib.(=)", "Unit.equal"}
_EQUALS_BY = {"List.equal": 1, "Option.equal": 1, "Result.equal": 2, "Seq.equal": 1}
_COMPARES = {f"{m}.compare" for m in _MODULES} | {"compare", "Stdlib.compare"}
_MEMBERS = {"List.mem": "", "List.memq": "", "Array.mem": "Array.to_list "}
# What these ask of the result, the text of the test says as well: their own literals are harmless.
_ASKS = {
    "List.mem": 1, "List.memq": 1, "Array.mem": 1, "List.mem_assoc": 1, "Hashtbl.mem": 0,
    "String.contains": 0, "String.starts_with": 0, "String.ends_with": 0,
}  # fmt: skip
_COMPARING = {"equal", "compare", "match", "function", "mem", "memq", "contains", "lxor"}
# Of these the result may tell less than what the call gave, and the literal beside it the rest.
_BOUNDING = {
    "/", "mod", "max", "min", "land", "lor", "lxor", "lsl", "lsr", "asr", "rem", "div", "logand",
    "logor", "logxor", "mod_float", "fmod", "clamp",
}  # fmt: skip
_SORTS = ("sort", "stable_sort", "fast_sort", "sort_uniq")
_NUMERIC = {
    "max_int", "min_int", "infinity", "neg_infinity", "epsilon_float", "max_float", "min_float",
    "Float.pi", "Int.max_int", "Int.min_int", "mod", "abs", "abs_float", "float_of_int", "sqrt",
    "String.length", "List.length", "Array.length",
}  # fmt: skip
_ARITHMETIC = {"+", "-", "*", "/", "+.", "-.", "*.", "/.", "**", "~-", "~-."}
MAX_DEPTH = 12


def number(text: str) -> float | None:
    """A float literal of OCaml, not negative; None for anything else."""
    given = {"epsilon_float": "2.220446049250313e-16", "Float.epsilon": "2.220446049250313e-16"}
    try:
        value = float(given.get(text, text.replace("_", "")))
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def claim(toks: Toks, scope: Scope, holds: bool = True, depth: int = 0) -> Case | None:
    """The case of an expression that must be true (or false); None when it is not certain."""
    toks = strip_parens(scope.reduced(toks))
    if not toks or depth > MAX_DEPTH:
        return None
    if toks[0].text == "let":
        close = own_in(toks)
        found = binding(toks[:close])
        if not close or found is None or found.unit:
            return None
        inner = scope.copy()
        inner.define(found)
        return claim(toks[close + 1 :], inner, holds, depth + 1)
    if toks[0].text in ("try", "match"):
        return raising(toks, scope) if holds else None
    step, rest = first_step(toks)
    if rest:
        inner = scope.copy()
        inner.do(step)
        return claim(rest, inner, holds, depth + 1)
    if toks[0].text in ("fun", "function", "if"):
        return None
    either, _ = split_operators(toks, ("||", "or"))
    if len(either) > 1:
        return _either(either, scope, holds)
    if len(split_operators(toks, ("&&", "&"))[0]) > 1:
        return None
    terms = _difference(toks)
    if terms is not None:
        return _tolerance(*terms, scope) if holds else None
    sides, operators = split_operators(toks, tuple(_COMPARE))
    if len(sides) == 2:
        return comparison(sides[0], _COMPARE[operators[0]], sides[1], scope, holds, depth)
    return _asked(toks, scope, holds, depth) if len(sides) == 1 else None


def _asked(toks: Toks, scope: Scope, holds: bool, depth: int) -> Case | None:
    """A boolean without a comparison: a function of the tests or of the library, or the call."""
    called = application(toks)
    if called is None:
        return _bare(toks, scope, holds, None)
    plain = called.plain
    if called.head == "not" and len(called.args) == 1 and len(plain) == 1:
        return claim(plain[0], scope, not holds, depth + 1)
    pair = equal_pair(called)
    if pair is not None:
        return comparison(pair[0], "==", pair[1], scope, holds, depth)
    if called.head in _MEMBERS and len(plain) == 2 and scope.mentions(plain[0]):
        return _case(scope, plain[0], "in" if holds else "not in", plain[1], _MEMBERS[called.head])
    expanded = _inlined(called, scope)
    if expanded is not None:
        found = claim(expanded[0], expanded[1], holds, depth + 1)
        if found is not None:
            return found
    return _bare(toks, scope, holds, called)


def equal_pair(called: Application) -> tuple[Toks, Toks] | None:
    """The two sides of `String.equal a b` and its like."""
    plain, by = called.plain, _EQUALS_BY.get(called.head, 0)
    if called.head == "" and "".join(t.text for t in called.function) in ("=", "=="):
        by = 0  # (=) a b
    elif called.head not in _EQUALS and not by:
        return None
    whole = len(plain) == len(called.args) == by + 2
    if not whole or not all(is_equality(p) for p in plain[:by]):
        return None
    return plain[by], plain[by + 1]


def is_equality(toks: Toks) -> bool:
    """Whether an argument is the usual equality: `(=)`, `String.equal`, `(List.equal (=))`."""
    toks = strip_parens(toks)
    if [t.text for t in toks] in (["="], ["=="]):
        return True
    called = application(toks)
    if called is None:
        return False
    by = _EQUALS_BY.get(called.head, 0)
    known = called.head in _EQUALS or by
    return bool(known) and len(called.args) == by and all(map(is_equality, called.plain))


def _inlined(called: Application, scope: Scope) -> tuple[Toks, Scope] | None:
    """A call of a function of the tests, or of one written on the spot, as its body."""
    helper = scope.helpers.get(called.head)
    if called.head and helper and not helper.recursive and len(called.plain) == len(called.args):
        whole = len(called.args) == len(helper.params)
        scope.mark(scope.callers(frozenset({called.head})))
        return scope.expand(helper, called.plain) if whole else None
    written = function_of(called.function) if not called.head else None
    if written is None or not len(written[0]) == len(called.plain) == len(called.args):
        return None
    return scope.expand(Helper(*written, False, scope.last), called.plain)


def comparison(
    a: Toks, compare: Compare, b: Toks, scope: Scope, holds: bool = True, depth: int = 0
) -> Case | None:
    """`a compare b`, of which exactly one names the entry point."""
    if len(split_top(a, ",")) > 1 or len(split_top(b, ",")) > 1:  # `f x = 1, 2` is a pair
        return None
    a, b = strip_parens(scope.reduced(a)), strip_parens(scope.reduced(b))
    if not a or not b:
        return None
    claims = not scope.mentions(a) and not scope.mentions(b)
    first, second = scope.mentions(a, claims), scope.mentions(b, claims)
    if first == second:
        return None
    call, value = (a, b) if first else (b, a)
    compare = compare if first else _SWAPPED.get(compare, compare)
    if not holds:
        if compare in _SWAPPED and any("." in t.text for t in value):
            return None  # with nan, not < is no >=
        compare = _OPPOSITE[compare]
    if len(value) == 1 and value[0].text in ("true", "false") and not is_call(call, scope.entry):
        return claim(call, scope, (value[0].text == "true") == (compare == "=="), depth + 1)
    called = application(call)
    if called is not None and called.head in _COMPARES and compare in ("==", "!="):
        zero = len(value) == 1 and value[0].text == "0" and len(called.plain) == 2
        return comparison(called.plain[0], compare, called.plain[1], scope) if zero else None
    if compare in _SWAPPED and not _is_numeric(value):
        return None
    return _case(scope, call, compare, value, claims=claims)


def _case(
    scope: Scope, call: Toks, compare: Compare, value: Toks, by: str = "", claims: bool = False
) -> Case | None:
    """The case, unless the call means something else or holds a value to compare with."""
    call, value = strip_parens(call), strip_parens(value)
    if not value or not means_a_call(call, scope):
        return None
    if scope.mentions(value, claims) or scope.lost & words(value):
        return None
    if _hides(call, scope, claims) or shares(call, value, scope, claims):
        return None
    given, wanted = scope.spell(call, claims), scope.spell(value)
    if max(len(given), len(wanted)) > MAX_TEXT:
        return None
    return Case(given, f"{by}({wanted})" if by else wanted, compare=compare)


def _bare(toks: Toks, scope: Scope, holds: bool, called: Application | None) -> Case | None:
    """A boolean in which nothing can be an expected value in disguise."""
    expected = "true" if holds else "false"
    head = called.head if called else ""
    if head == "not" or not scope.mentions(toks) or not means_a_call(toks, scope):
        return None
    if not is_call(toks, scope.entry):
        at = _ASKS.get(head, -1)
        if called is not None and 0 <= at < len(called.plain):
            others = [t for k, p in enumerate(called.plain) if k != at for t in p]
            looked = called.plain[at]
            if scope.entry in words(others) or not scope.mentions(looked):
                return None
        else:
            looked = toks
        if _hides(looked, scope, least=True):
            return None
    text = scope.spell(toks)
    return Case(text, expected) if len(text) <= MAX_TEXT else None


def is_call(toks: Toks, entry: str) -> bool:
    """Whether the whole is one call of the entry point."""
    return len(toks) > 1 and toks[0].text == entry and arguments(toks, 1)[1] == len(toks)


def means_a_call(toks: Toks, scope: Scope) -> bool:
    """False for `f -1`, which is a subtraction, and for a function."""
    if not toks or toks[0].text in ("fun", "function"):
        return False
    for i, t in enumerate(toks):
        if t.text != scope.entry or t.kind != "word":
            continue
        end = arguments(toks, i + 1)[1]
        if end + 1 < len(toks) and toks[end].text in ("-", "-.", "+", "+."):
            sign, after = toks[end], toks[end + 1]
            apart = toks[end - 1].end < sign.start
            if end == i + 1 or (apart and sign.end == after.start):
                return False
    return True


def _hides(call: Toks, scope: Scope, claims: bool = False, least: bool = False) -> bool:
    """Whether a value to compare with may stand around the calls of the entry point.

    Looked at: the expression and what it needs, without the calls' own arguments. A value that is
    compared with is one; with `least`, any but 0 and 1.
    """
    own = _outside(call, scope.entry)
    steps = scope.needed(own, claims)
    passed = words(_inside(call, scope.entry)).union(*(_passed(s, scope) for s in steps))
    passed |= _aliases(steps, passed)
    around = [_Around.of(own, False)]
    for step in steps:
        made = step.kind == "do" and scope.entry not in step.uses
        if not (step.names & passed or (made and step.uses & passed)):  # an argument of the call
            around.append(_around(step, scope))
    if any(one.listed for one in around):
        return True
    larger = any(one.larger for one in around)
    if larger and any(one.bounds for one in around):
        return True
    literal = any(one.literal for one in around)
    return (literal and any(one.compares for one in around)) or (least and larger)


class _Around(NamedTuple):
    """What stands around the calls in one part of an input.

    A list with literals; a literal, one other than 0 and 1; what compares, what divides or limits.
    """

    listed: bool
    literal: bool
    larger: bool
    compares: bool
    bounds: bool

    @classmethod
    def of(cls, toks: Toks, recursive: bool) -> _Around:
        """Of tokens without the calls."""
        larger = _literals(toks, True)
        literal = larger if recursive else _literals(toks, False)
        return cls(_list_of_literals(toks), literal, larger, _compares(toks), _bounds(toks))


def _passed(step: Step, scope: Scope) -> frozenset[str]:
    """The names in the arguments of the calls in a step."""
    found = scope.passed.get(step)
    if found is None:
        found = words(_inside(step.toks, scope.entry))
        scope.passed[step] = found = found | _aliases(step.of, found)
    return found


def _aliases(steps: Sequence[Step], passed: frozenset[str]) -> frozenset[str]:
    """The names that stand behind others: `a` of `let b = a`, where b is passed."""
    found = passed
    for step in reversed(steps):
        if len(step.value) == 1 and step.names & found:
            found |= words(step.value)
    return found


def _around(step: Step, scope: Scope) -> _Around:
    found = scope.around.get(step)
    if not isinstance(found, _Around):
        written = step.kind == "let" and not step.value
        toks = step.toks[step.toks.index(_defines(step.toks)) + 1 :] if written else step.toks
        recursive = len(step.toks) > 1 and step.toks[1].text == "rec"
        found = _Around.of(_outside(step.value or toks, scope.entry), recursive)
        scope.around[step] = found
    return found


def _bounds(toks: Toks) -> bool:
    """Whether something is divided, masked or limited here, other than to round it."""
    texts = {t.text for t in toks}
    rounds = "/." in texts and "*." not in texts
    return rounds or any(text.rpartition(".")[2] in _BOUNDING for text in texts)


def _defines(toks: Toks) -> Token:
    return next((t for t in toks if t.text == "="), toks[0])


def _inside(toks: Toks, entry: str) -> Toks:
    """The arguments of the calls of the entry point."""
    at = [i for i, t in enumerate(toks) if t.text == entry and t.kind == "word"]
    return [t for i in at for t in toks[i + 1 : arguments(toks, i + 1)[1]]]


def _outside(toks: Toks, entry: str) -> Toks:
    """Without the calls of the entry point."""
    out: Toks = []
    i = 0
    while i < len(toks):
        if toks[i].text == entry and toks[i].kind == "word":
            i = arguments(toks, i + 1)[1]
        else:
            out.append(toks[i])
            i += 1
    return out


def _compares(toks: Toks) -> bool:
    """Whether something is compared here, other than to sort; a difference is a comparison too."""
    for i, t in enumerate(toks):
        before = toks[i - 1] if i else None
        last = t.text.rpartition(".")[2]
        sorts = before is not None and before.text.rpartition(".")[2] in _SORTS
        binds = i > 1 and t.text == "=" and toks[i - 2].text in ("for", "let", "and", "rec")
        if t.kind == "symbol" and t.text in ("=", "==", "<>", "!=") and not binds:
            return True
        closed = i + 1 < len(toks) and toks[i + 1].kind == "close"  # (-)
        prefix = not closed and before is not None and before.kind in ("open", "symbol", "sep")
        if t.text in ("-", "-.") and not prefix:
            return True
        if t.kind == "word" and last in _COMPARING and not sorts:
            return True
    return False


def _literals(toks: Toks, few: bool) -> bool:
    """Whether there is a literal; few: other than 0, 1, a list, and an arm's true or false."""
    for i, t in enumerate(toks):
        if t.kind in ("string", "char", "quoted") or t.text in ("[|", "{"):
            return True
        if t.kind == "number" and not (few and t.text in ("0", "1", "0.", "1.")):
            return True
        if t.text == "[" and not few:
            return True
        arm = few and i > 0 and toks[i - 1].text in ("->", "then", "else")
        constructor = t.text[:1].isupper() and "." not in t.text and not _is_module(toks, i)
        if t.kind == "word" and (t.text in ("true", "false") or constructor) and not arm:
            return True
    return False


def _list_of_literals(toks: Toks) -> bool:
    """Whether a list or an array with literals in it is written out."""
    for i, t in enumerate(toks):
        if t.text in ("[", "[|"):
            inside = toks[i + 1 : max(close_of(toks, i), i + 1)]
            if any(u.kind in ("number", "string", "char", "quoted") for u in inside):
                return True
    return False


def _is_module(toks: Toks, i: int) -> bool:
    return i + 1 < len(toks) and toks[i + 1].text == "."


def _is_numeric(toks: Toks) -> bool:
    """A number or a string, written out or reckoned from numbers: what has an order everywhere."""
    if len(toks) == 1 and toks[0].kind in ("string", "quoted"):
        return True
    counts = any(t.text in ("String.length", "List.length", "Array.length") for t in toks)
    return counts or all(
        t.kind == "number" or t.text in _NUMERIC or t.text in _ARITHMETIC or t.text in ("(", ")")
        for t in toks
    )


def _either(parts: list[Toks], scope: Scope, holds: bool) -> Case | None:
    """`f x = 1 || f x = 2`: one of these."""
    found = [claim(part, scope) for part in parts]
    cases = [c for c in found if c is not None and c.compare == "==" and c.close is None]
    if not holds or len(cases) < len(parts) or len({c.input for c in cases}) > 1:
        return None
    listed = "; ".join(c.expected for c in cases)
    return replace(cases[0], expected=f"[{listed}]", compare="in")


def _difference(toks: Toks) -> tuple[Toks, Toks] | None:
    """(a difference, its bound) of `abs_float (a -. b) < bound`, either way round."""
    sides, _ = split_operators(toks, ("<", "<="))
    if len(sides) != 2:
        sides = split_operators(toks, (">", ">="))[0][::-1]
    called = application(sides[0]) if len(sides) == 2 else None
    if called is None or called.head not in _ABS or len(called.plain) != 1:
        return None
    return strip_parens(called.plain[0]), strip_parens(sides[1])


def _tolerance(difference: Toks, bound: Toks, scope: Scope) -> Case | None:
    """The bound is a number; integers have no tolerance."""
    terms = split_top(difference, "-.")
    size = number(spelled(scope.text, scope.value_of(bound)))
    if len(terms) != 2 or size is None:
        return None
    return within(terms[0], terms[1], Close(0.0, size), scope)


def within(a: Toks, b: Toks, close: Close, scope: Scope) -> Case | None:
    """An equality up to a tolerance."""
    found = comparison(a, "==", b, scope)
    return replace(found, close=close) if found and found.compare == "==" else None


def equality(a: Toks, b: Toks, cmp: Toks, scope: Scope) -> Case | None:
    """OUnit's `assert_equal ~cmp a b`."""
    if not cmp or is_equality(cmp):
        return comparison(a, "==", b, scope)
    called = application(cmp)
    if called is not None and called.head.rpartition(".")[2] == "cmp_float" and not called.plain:
        epsilon = called.label("epsilon")
        size = number(spelled(scope.text, strip_parens(epsilon))) if epsilon else 1e-5
        return within(a, b, Close(size, 0.0), scope) if size is not None and size < 1 else None
    applied = Application("", strip_parens(cmp), [Argument("", a), Argument("", b)])
    if called is not None and called.head and not called.args:
        applied = Application(called.head, called.function, applied.args)
    expanded = _inlined(applied, scope)
    return claim(expanded[0], expanded[1]) if expanded is not None else None

"""Operations that generated problems are made of: words, OCaml, Python and meaning, side by side.

An `Op` is a map, a predicate, an aggregate or an ordering with its arguments filled in. Templates
hold `{x}` for the operand. Operations whose meaning differs between the two languages (remainders
of negative numbers, integer division, overflow beyond 63 bits) are left out. No torch, no I/O.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Lang = Literal["ocaml", "python"]
ATOM = re.compile(r"[A-Za-z_][A-Za-z0-9_.']*|[0-9][0-9.]*|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: `key` names it with its arguments, `words` are phrasings of it.

    ml / py: templates over `{x}`. fn: the meaning. For an aggregate or an ordering, ml / py apply
    to a whole list, `init` and `step` (over `{v}` and `{acc}`) are the same as a loop, and `post`
    says that the list is built first and the template is applied to it afterwards.
    """

    key: str
    words: tuple[str, ...]
    ml: str
    py: str
    fn: Callable[..., Any]
    init: str = ""
    step_ml: str = ""
    step_py: str = ""
    post: bool = False

    def code(self, lang: Lang, operand: str) -> str:
        """The operation applied to an operand, parenthesised where it must be."""
        template = self.ml if lang == "ocaml" else self.py
        return fill(template, operand)


def fill(template: str, operand: str) -> str:
    """`{x}` replaced; a compound operand gets parentheses unless the template brings them."""
    if ATOM.fullmatch(operand):
        return template.replace("{x}", operand)
    return template.replace("({x})", f"({operand})").replace("{x}", f"({operand})")


def _with(numbers: range, build: Callable[[int], Op]) -> tuple[Op, ...]:
    return tuple(build(k) for k in numbers)


def _plus(k: int) -> Op:
    words = (f"plus {k}", f"increased by {k}")
    return Op(f"add {k}", words, f"{{x}} + {k}", f"{{x}} + {k}", lambda x: x + k)


def _minus(k: int) -> Op:
    words = (f"minus {k}", f"reduced by {k}")
    return Op(f"sub {k}", words, f"{{x}} - {k}", f"{{x}} - {k}", lambda x: x - k)


def _times(k: int) -> Op:
    words = (f"times {k}", f"multiplied by {k}")
    return Op(f"mul {k}", words, f"{{x}} * {k}", f"{{x}} * {k}", lambda x: x * k)


def _at_least(k: int) -> Op:
    words = (f"raised to at least {k}", f"made at least {k}")
    return Op(f"max {k}", words, f"max {k} {{x}}", f"max({k}, {{x}})", lambda x: max(k, x))


def _at_most(k: int) -> Op:
    words = (f"cut to at most {k}", f"capped at {k}")
    return Op(f"min {k}", words, f"min {k} {{x}}", f"min({k}, {{x}})", lambda x: min(k, x))


INT_MAPS = (
    *_with(range(1, 10), _plus),
    *_with(range(1, 10), _minus),
    *_with(range(2, 10), _times),
    Op("neg", ("negated", "with its sign changed"), "-{x}", "-{x}", lambda x: -x),
    Op("square", ("squared", "times itself"), "{x} * {x}", "{x} * {x}", lambda x: x * x),
    Op("abs", ("without its sign", "in absolute value"), "abs {x}", "abs({x})", abs),
    *_with(range(1, 8), _at_least),
    *_with(range(2, 9), _at_most),
)


def _greater(k: int) -> Op:
    words = (f"are greater than {k}", f"are above {k}")
    return Op(f"gt {k}", words, f"{{x}} > {k}", f"{{x}} > {k}", lambda x: x > k)


def _less(k: int) -> Op:
    words = (f"are less than {k}", f"are below {k}")
    return Op(f"lt {k}", words, f"{{x}} < {k}", f"{{x}} < {k}", lambda x: x < k)


def _divides(k: int) -> Op:
    words = (f"are divisible by {k}", f"are multiples of {k}")
    return Op(f"div {k}", words, f"{{x}} mod {k} = 0", f"{{x}} % {k} == 0", lambda x: x % k == 0)


def _differs(k: int) -> Op:
    words = (f"are different from {k}", f"are not {k}")
    return Op(f"ne {k}", words, f"{{x}} <> {k}", f"{{x}} != {k}", lambda x: x != k)


INT_PREDS = (
    Op("even", ("are even",), "{x} mod 2 = 0", "{x} % 2 == 0", lambda x: x % 2 == 0),
    Op("odd", ("are odd",), "{x} mod 2 <> 0", "{x} % 2 != 0", lambda x: x % 2 != 0),
    Op("gt 0", ("are positive",), "{x} > 0", "{x} > 0", lambda x: x > 0),
    Op("lt 0", ("are negative",), "{x} < 0", "{x} < 0", lambda x: x < 0),
    *_with(range(1, 9), _greater),
    *_with(range(1, 9), _less),
    *_with(range(3, 8), _divides),
    *_with(range(1, 6), _differs),
)


def _real(name: str, words: tuple[str, ...], sign: str, fn: Callable[..., Any], k: int) -> Op:
    filled = tuple(f"{w} {k}" for w in words)
    return Op(f"{name} {k}", filled, f"{{x}} {sign}. {k}.0", f"{{x}} {sign} {k}.0", fn)


REAL_MAPS = (
    *_with(
        range(1, 10), lambda k: _real("fadd", ("plus", "increased by"), "+", lambda x: x + k, k)
    ),
    *_with(range(1, 10), lambda k: _real("fsub", ("minus", "reduced by"), "-", lambda x: x - k, k)),
    *_with(
        range(2, 10), lambda k: _real("fmul", ("times", "multiplied by"), "*", lambda x: x * k, k)
    ),
    Op("fdiv 2", ("halved", "divided by 2"), "{x} /. 2.0", "{x} / 2.0", lambda x: x / 2),
    Op("fdiv 4", ("divided by 4", "over 4"), "{x} /. 4.0", "{x} / 4.0", lambda x: x / 4),
    Op("fneg", ("negated", "with its sign changed"), "-.{x}", "-{x}", lambda x: -x),
    Op("fsquare", ("squared", "times itself"), "{x} *. {x}", "{x} * {x}", lambda x: x * x),
    Op("fabs", ("without its sign", "in absolute value"), "abs_float {x}", "abs({x})", abs),
)

PIECES = ("a", "b", "c", "x", "ab", "ok", "no", "yes", "up", "!", "?", "-")


def _append(piece: str) -> Op:
    words = (f'followed by "{piece}"', f'with "{piece}" at the end')
    return Op(
        f"append {piece}", words, f'{{x}} ^ "{piece}"', f'{{x}} + "{piece}"', lambda s: s + piece
    )


def _prepend(piece: str) -> Op:
    words = (f'preceded by "{piece}"', f'with "{piece}" in front')
    return Op(
        f"prepend {piece}", words, f'"{piece}" ^ {{x}}', f'"{piece}" + {{x}}', lambda s: piece + s
    )


TEXT_MAPS = (
    Op(
        "upper",
        ("in upper case", "in capitals"),
        "String.uppercase_ascii {x}",
        "{x}.upper()",
        str.upper,
    ),
    Op(
        "lower",
        ("in lower case", "in small letters"),
        "String.lowercase_ascii {x}",
        "{x}.lower()",
        str.lower,
    ),
    Op("twice", ("written twice", "doubled"), "{x} ^ {x}", "{x} + {x}", lambda s: s + s),
    *(_append(p) for p in PIECES),
    *(_prepend(p) for p in PIECES),
)


def _longer(k: int) -> Op:
    words = (f"are longer than {k}", f"have more than {k} letters")
    return Op(
        f"longer {k}",
        words,
        f"String.length {{x}} > {k}",
        f"len({{x}}) > {k}",
        lambda s: len(s) > k,
    )


def _shorter(k: int) -> Op:
    words = (f"are shorter than {k}", f"have fewer than {k} letters")
    return Op(
        f"shorter {k}",
        words,
        f"String.length {{x}} < {k}",
        f"len({{x}}) < {k}",
        lambda s: len(s) < k,
    )


def _contains(c: str) -> Op:
    words = (f"contain '{c}'", f"have '{c}' in them")
    return Op(
        f"has {c}", words, f"String.contains {{x}} '{c}'", f"'{c}' in {{x}}", lambda s: c in s
    )


TEXT_PREDS = (
    *_with(range(1, 6), _longer),
    *_with(range(2, 7), _shorter),
    *(_contains(c) for c in "abdeor"),
)
TOTALS = (
    Op("sum", ("sum", "total"), "List.fold_left (+) 0 {x}", "sum({x})", sum,
       "0", "{v} + {acc}", "{acc} += {v}"),
    Op("product", ("product",), "List.fold_left ( * ) 1 {x}", "math.prod({x})", math.prod,
       "1", "{v} * {acc}", "{acc} *= {v}"),
    Op("count", ("number", "count"), "List.length {x}", "len({x})", len,
       "0", "1 + {acc}", "{acc} += 1"),
    Op("largest", ("largest of 0 and", "maximum of 0 and"), "List.fold_left max 0 {x}",
       "max([0] + {x})", lambda xs: max([0, *xs]), "0", "max {v} {acc}", "{acc} = max({acc}, {v})"),
)  # fmt: skip
REVERSED = Op("rev", ("in reverse order", "from last to first"), "List.rev {x}", "{x}[::-1]",
              lambda xs: xs[::-1], post=True)  # fmt: skip
SORTED = Op("sort", ("sorted", "in ascending order"), "List.sort compare {x}", "sorted({x})",
            sorted, post=True)  # fmt: skip


def _joined(name: str, sep: str) -> Op:
    words = (f"joined with {name}", f"put together with {name}")
    return Op(f"join {name}", words, f'String.concat "{sep}" {{x}}', f'"{sep}".join({{x}})',
              sep.join, post=True)  # fmt: skip


JOINS = (
    _joined("spaces", " "),
    _joined("commas", ","),
    _joined("dashes", "-"),
    _joined("nothing", ""),
    _joined("slashes", "/"),
)

SOME = Op("some", (), "List.exists", "any", any, "false", "{v} || {acc}")
EVERY = Op("all", (), "List.for_all", "all", all, "true", "{v} && {acc}")


def plural(pred: Op, pick: Callable[[tuple[str, ...]], str]) -> str:
    """A predicate after `that`: `are even`, `contain 'a'`."""
    return pick(pred.words)


def singular(pred: Op, pick: Callable[[tuple[str, ...]], str]) -> str:
    """A predicate after `it`: `is even`, `contains 'a'`."""
    verb, rest = pick(pred.words).split(" ", 1)
    forms = {"are": "is", "have": "has", "contain": "contains"}
    return f"{forms[verb]} {rest}".replace("multiples", "a multiple").replace("in them", "in it")

"""OCaml tests as text -> cases: `assert (f x = y)` and its usual relatives.

Reads equalities between a call of the entry point and an expression, in either order, joined by
`&&`, negated, as a bare boolean, within a tolerance, as OUnit's `assert_equal`, and with local
`let` bindings in front. Left out: anything else (loops, exceptions, properties): it is reported as
unreadable, never guessed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from pawl.problems.ocaml_text import Token, close_of, source, split_top, strip_parens, tokens
from pawl.types import Case, Close

_EQUAL = ("=", "==")
_ABS = ("abs_float", "Float.abs", "abs", "fabs")


def called_names(text: str) -> Counter[str]:
    """How often each lower-case name stands right after `assert (` (or `assert_equal`)."""
    return Counter(re.findall(r"\bassert\s*\(+\s*(?:not\s*\(*\s*)?([a-z_][\w']*)", text))


def parse_tests(text: str, entry_point: str) -> tuple[list[Case], list[str]]:
    """(cases, asserts that could not be read) of a test text for one function."""
    reader = _Reader(text, entry_point)
    reader.walk(list(tokens(text)))
    return reader.cases, reader.unread


@dataclass
class _Reader:
    """Walks a test text in order and collects cases."""

    text: str
    entry: str
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def walk(self, toks: list[Token]) -> None:
        local: list[Token] = []
        i = 0
        while i < len(toks):
            t = toks[i]
            if t.text == "let" and not _is_unit_binding(toks, i):
                j = _end_of_let(toks, i)
                local, i = local + toks[i : j + 1], j + 1
            elif t.text == "assert" and i + 1 < len(toks) and toks[i + 1].text in ("(", "begin"):
                j = close_of(toks, i + 1)
                if j < 0:
                    rest = self.text[t.start :].strip()[:200]
                    self.unread.append(f"{rest} (a bracket never closes)")
                    break
                for part in split_top(strip_parens(toks[i + 2 : j]), "&&"):
                    self.note(self.claim(strip_parens(part), local), part)
                i = j + 1
            elif t.text == "assert_equal":
                args, j = _ounit_args(toks, i)
                self.note(self.equality(args, []) if len(args) == 2 else None, toks[i:j])
                i = j
            else:
                local = [] if t.text in (";;", "let") else local
                i += 1

    def note(self, case: Case | None, toks: list[Token]) -> None:
        """What was claimed is a case, or is reported."""
        if case is None:
            self.unread.append(source(self.text, toks))
        else:
            self.cases.append(case)

    def claim(self, toks: list[Token], local: list[Token]) -> Case | None:
        """One asserted expression behind its local bindings."""
        close = self.tolerance(toks)
        if close is not None:
            return close
        if toks and toks[0].text == "not":
            inner = strip_parens(toks[1:])
            if self.is_call(inner) and len(split_top(inner, *_EQUAL)) == 1:
                return Case(self.bound(local, inner), "false")
            return None
        sides = split_top(toks, *_EQUAL)
        if len(sides) == 1 and self.is_call(toks) and not _has_operator(toks):
            return Case(self.bound(local, toks), "true")
        return self.equality(sides, local) if len(sides) == 2 else None

    def equality(self, pair: list[list[Token]], local: list[Token]) -> Case | None:
        """A call and what it must equal; None unless exactly the call names the entry point."""
        call, value = self.sides(*pair)
        if not self.is_call(call) or _has_operator(call) or not value:
            return None
        if any(t.text == self.entry for t in value):
            return None
        return Case(self.bound(local, call), self.bound(local, value))

    def tolerance(self, toks: list[Token]) -> Case | None:
        """`abs_float (f x -. y) < 1e-6`, either way round; the bound is a number."""
        sides = split_top(toks, "<", "<=")
        if len(sides) != 2:
            sides = split_top(toks, ">", ">=")[::-1]
        if len(sides) != 2 or not sides[0] or sides[0][0].text not in _ABS:
            return None
        terms = split_top(strip_parens(sides[0][1:]), "-.")
        bound = _number(source(self.text, strip_parens(sides[1])))
        if len(terms) != 2 or bound is None:
            return None
        call, value = self.sides(*terms)
        if not self.is_call(call) or not value:
            return None
        close = Close(0.0, bound)
        return Case(source(self.text, call), source(self.text, value), close=close)

    def is_call(self, toks: list[Token]) -> bool:
        return len(toks) >= 2 and toks[0].text == self.entry

    def sides(self, a: list[Token], b: list[Token]) -> tuple[list[Token], list[Token]]:
        """Both without brackets, the call first."""
        a, b = strip_parens(a), strip_parens(b)
        return (a, b) if self.is_call(a) else (b, a)

    def bound(self, local: list[Token], toks: list[Token]) -> str:
        """The expression, with the local bindings in front when it uses one."""
        names = {b.text for a, b in zip(local, local[1:], strict=False) if a.text in ("let", "rec")}
        body = source(self.text, toks)
        used = any(t.text in names for t in toks)
        return f"({source(self.text, local)} {body})" if used else body


def _number(text: str) -> float | None:
    """A float literal of OCaml, not negative; None for anything else."""
    spelled = {"epsilon_float": "2.220446049250313e-16", "Float.epsilon": "2.220446049250313e-16"}
    try:
        value = float(spelled.get(text, text.replace("_", "")))
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


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


def _ounit_args(toks: list[Token], i: int) -> tuple[list[list[Token]], int]:
    """Both arguments of the `assert_equal [~label:x ...] a b` at i, and the index after it."""
    j = i + 1
    args: list[list[Token]] = []
    while j < len(toks) and len(args) < 2:
        label = toks[j].text == "~"
        if label:
            j += 3 if j + 2 < len(toks) and toks[j + 2].text == ":" else 2
            if j >= len(toks) or toks[j - 1].text != ":":
                continue
        end = close_of(toks, j) if toks[j].kind == "open" else j
        if end < 0:
            break
        if not label:
            args.append(toks[j : end + 1])
        j = end + 1
    return args, j


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

"""What stands before a test's claim: local names, calls that change them, and the tests' helpers.

An expression gets those definitions and calls in front that it needs, in their order, and no
others, so that the side with the candidate's call never holds what only the other side uses. A
helper's parameters are replaced by the arguments. Left out: reading claims (`ocaml_claims.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pawl.problems.ocaml_grammar import (
    OPEN_ENDED,
    Binding,
    Toks,
    bracketed,
    function_of,
    pattern_names,
    words,
)
from pawl.problems.ocaml_text import Token, split_top, strip_parens

MAX_TEXT = 20_000  # characters of one side of a test
_STANDARD = {
    "Array", "Bool", "Buffer", "Bytes", "Char", "Float", "Fun", "Hashtbl", "Int", "Int32", "Int64",
    "List", "Map", "Nativeint", "Option", "Printf", "Queue", "Result", "Seq", "Set", "Stack",
    "Stdlib", "Str", "String", "Sys", "Unix",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A definition or a call before a claim.

    kind: "let"; "do", a call for its effect; "open"; "claim", a call that was itself claimed about,
    which counts only where nothing else names the entry point. fixed: what it binds can surely not
    be changed later.
    """

    toks: Toks
    kind: str
    names: frozenset[str]
    uses: frozenset[str]
    fixed: bool = False
    value: Toks = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Helper:
    """A function of the tests: parameters, body, whether it is recursive, steps before it."""

    params: list[Toks]
    body: Toks
    recursive: bool
    before: int


@dataclass(slots=True)
class Scope:
    """Steps so far, in order, and helpers by name."""

    text: str
    entry: str
    steps: list[Step] = field(default_factory=list)
    helpers: dict[str, Helper] = field(default_factory=dict)
    loose: frozenset[str] = frozenset()  # names whose values a call may change

    def copy(self) -> Scope:
        """For what is local."""
        return replace(self, steps=list(self.steps), helpers=dict(self.helpers))

    def define(self, b: Binding) -> None:
        """A `let`; a function can be put in place of its calls too."""
        self.helpers = {n: h for n, h in self.helpers.items() if n not in b.names}
        function = (b.params, b.value) if b.params else function_of(b.value)
        if b.name and function is not None:
            self.helpers[b.name] = Helper(*function, b.recursive, len(self.steps))
        uses = words(b.toks) - b.names - {"let", "rec", "and"}
        if b.recursive or not b.value:
            uses |= words(b.toks) & b.names
        if b.params:
            uses -= pattern_names([t for p in b.params for t in p])
        fixed = function is not None or bool(b.value) and all(map(_is_fixed, b.value))
        value = b.value if b.name and not b.params else []
        self.steps.append(Step(b.toks, "let", b.names, uses, fixed, value))
        self.loose = self.loose if fixed else self.loose | b.names

    def do(self, toks: Toks, kind: str = "do") -> None:
        """A call for its effect, if there is something that it may change."""
        if words(toks) & self.loose:
            self.steps.append(Step(toks, kind, frozenset(), words(toks)))

    def open(self, toks: Toks) -> None:
        """`open M`, of the standard library; others are a test framework's."""
        if len(toks) == 2 and is_standard(toks[1].text):
            self.steps.append(Step(toks, "open", frozenset(), frozenset()))

    def value_of(self, toks: Toks) -> Toks:
        """What a name is bound to, where the text is one; else the text."""
        for _ in range(20):
            if len(toks) != 1 or toks[0].kind != "word":
                return toks
            found = next((s for s in reversed(self.steps) if toks[0].text in s.names), None)
            if found is None or not found.value:
                return toks
            toks = strip_parens(found.value)
        return toks

    # ---- what an expression needs ----------------------------------------------------------------

    def needed(self, toks: Toks, claims: bool = False) -> list[Step]:
        """The steps that an expression needs, in order; claims: also calls that were claimed of."""
        want = words(toks)
        kept: list[Step] = []
        for at in range(len(self.steps) - 1, -1, -1):
            step = self.steps[at]
            if step.kind == "open":
                kept.append(step)
                continue
            if step.kind == "claim" and not claims:
                continue
            acts = step.kind != "let" or self.entry in step.uses
            acts = acts and bool(step.uses & self.loose)
            if step.names & want or (acts and step.uses & self._changeable(want, at)):
                kept.append(step)
                want = (want - step.names) | step.uses
        return kept[::-1]

    def _changeable(self, want: frozenset[str], at: int) -> frozenset[str]:
        """Names among these, or that these are made of, that a call before `at` may change."""
        found: set[str] = set()
        waiting, seen = [(name, at) for name in want], set[tuple[str, int]]()
        while waiting:
            name, before = waiting.pop()
            known = (k for k in range(before - 1, -1, -1) if name in self.steps[k].names)
            where = next(known, -1)
            if where < 0 or (name, where) in seen:
                continue
            seen.add((name, where))
            if not self.steps[where].fixed:
                found.add(name)
                waiting += [(used, where) for used in self.steps[where].uses]
        return frozenset(found)

    def spell(self, toks: Toks, claims: bool = False) -> str:
        """The expression behind what it needs, as source text."""
        toks = strip_parens(toks)
        steps = self.needed(toks, claims)
        while steps and len(toks) == 1 and steps[-1].value and toks[0].text in steps[-1].names:
            toks = strip_parens(steps.pop().value)
        body = spelled(self.text, toks)
        body = f"({body})" if len(split_top(toks, ",")) > 1 else body
        if not any(s.kind != "open" for s in steps):
            steps = [s for s in steps if len(toks) > 1 or toks[0].kind == "word"]
        if not steps:
            return body
        return f"({' '.join(map(self._step, steps))} {body})"

    def _step(self, step: Step) -> str:
        text = spelled(self.text, step.toks)
        if step.kind == "open":
            return f"let {text} in"
        if step.kind == "let":
            return f"{text} in"
        return f"({text});" if any(t.text in OPEN_ENDED for t in step.toks) else f"{text};"

    def mentions(self, toks: Toks, claims: bool = False) -> bool:
        """Whether the entry point is called in the expression or in what it needs."""
        if any(self.entry in step.names for step in self.steps):
            return False  # the name is another function's here
        if self.entry in words(toks):
            return True
        return any(self.entry in step.uses for step in self.needed(toks, claims))

    # ---- helpers ---------------------------------------------------------------------------------

    def expand(self, helper: Helper, args: Sequence[Toks]) -> tuple[Toks, Scope] | None:
        """The body with arguments for parameters, and the scope to read it in; None if unsure.

        Arguments beyond the parameters are appended; missing ones are left out where the body does
        not use them.
        """
        inner = self.copy()
        used = words(helper.body)
        rest = helper.params[len(args) :]
        if any(pattern_names(p) & used for p in rest):
            return None
        swaps: dict[str, Toks] = {}
        for param, arg in zip(helper.params, args, strict=False):
            if not _match(strip_parens(param), arg, swaps, used):
                return None
        own = _bound_inside(helper.body)
        given = words([t for toks in swaps.values() for t in toks])
        later = {name for step in self.steps[helper.before + 1 :] for name in step.names}
        if own & (given | swaps.keys()) or later & (used - swaps.keys() - own):
            return None
        body = _substituted(helper.body, swaps)
        extra = [t for arg in args[len(helper.params) :] for t in bracketed(arg)]
        return (bracketed(body) + extra if extra and helper.params else body + extra), inner


def is_standard(name: str) -> bool:
    """Whether a name is of a module of the standard library, or such a module."""
    return name.partition(".")[0] in _STANDARD


def _is_fixed(t: Token) -> bool:
    if t.kind in ("number", "string", "char", "quoted", "sep"):
        return True
    if t.kind == "word":
        return t.text in ("true", "false") or (t.text[0].isupper() and "." not in t.text)
    return t.text in ("[", "]", "(", ")", "::", "-", "-.", "~-", "~-.", "`")


def _match(pattern: Toks, arg: Toks, swaps: dict[str, Toks], used: frozenset[str]) -> bool:
    """Adds what each name of a pattern stands for; False when that is not certain."""
    typed = split_top(pattern, ":")
    pattern, arg = strip_parens(typed[0]), strip_parens(arg)
    if not pattern:
        return not arg or not typed[1:]
    if len(pattern) == 1 and pattern[0].kind == "word":
        swaps[pattern[0].text] = arg
        return bool(arg)
    parts, given = split_top(pattern, ","), split_top(arg, ",")
    if len(parts) > 1 and len(parts) == len(given):
        pairs = zip(parts, given, strict=True)
        return all(_match(strip_parens(p), a, swaps, used) for p, a in pairs)
    return not pattern_names(pattern) & used


def _bound_inside(toks: Toks) -> frozenset[str]:
    """Names that a body binds itself."""
    found: set[str] = set()
    for i, t in enumerate(toks):
        if t.text in ("let", "and", "fun", "function", "|", "with", "for"):
            stop = next((j for j in range(i, len(toks)) if toks[j].text in ("=", "->")), i)
            found |= pattern_names(toks[i + 1 : stop])
    return frozenset(found)


def _substituted(toks: Toks, swaps: Mapping[str, Toks]) -> Toks:
    out: Toks = []
    for i, t in enumerate(toks):
        name, dot, rest = t.text.partition(".")
        value = swaps.get(name) if t.kind == "word" else None
        label = i > 0 and toks[i - 1].text in ("~", "?")
        named = label and i + 1 < len(toks) and toks[i + 1].text == ":"
        field_name = i > 0 and toks[i - 1].text == "." and toks[i - 1].kind == "symbol"
        if value is None or named or field_name:
            out.append(t)
            continue
        if label:
            out += [t, Token("symbol", ":", t.end, t.end)]
        out += bracketed(value)
        if dot:
            out.append(Token("symbol", ".", t.end, t.end))
            out.append(Token("word", rest, t.end, t.end))
    return out


def spelled(text: str, toks: Toks) -> str:
    """Tokens as text: with the blanks between them where they stand together, else with one."""
    out: list[str] = []
    for before, t in zip([None, *toks], toks, strict=False):
        if before is not None:
            out.append(_gap(text, before, t))
        out.append(t.text)
    return "".join(out)


def _gap(text: str, a: Token, b: Token) -> str:
    between = text[a.end : b.start] if a.end <= b.start else "x"
    own = a.text == text[a.start : a.end] and b.text == text[b.start : b.end]
    if own and not between.strip() and (between or not _glued(a, b)):
        return re.sub(r"\s*\n\s*", " ", between)
    if a.kind == "open" or b.kind in ("close", "sep") or "." in (a.text, b.text):
        return ""
    if a.text in ("~", "?", "!") or (b.text == ":" and a.kind == "word"):
        return ""
    return "" if a.text == ":" and b.text == "(" else " "


def _glued(a: Token, b: Token) -> bool:
    """Whether two tokens would read as one."""
    return a.kind in ("word", "number") and b.kind in ("word", "number")

"""What stands before a test's claim: local names, calls that change them, and the tests' helpers.

An expression gets those definitions and calls in front that it needs, in their order, and no
others, so that the side with the candidate's call never holds what only the other side uses. A
helper's parameters are replaced by the arguments. Left out: reading claims (`ocaml_claims.py`).
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pawl.problems.ocaml_grammar import (
    OPEN_ENDED,
    Binding,
    Toks,
    binding,
    bound_inside,
    bracketed,
    function_of,
    is_fixed,
    parts_of,
    pattern_names,
    words,
)
from pawl.problems.ocaml_reduce import reduced
from pawl.problems.ocaml_text import Token, split_top, strip_parens

MAX_TEXT = 20_000  # characters of one side of a test
MAX_STEPS = 1_000  # definitions and calls before it
_STANDARD = {
    "Array", "Bool", "Buffer", "Bytes", "Char", "Float", "Fun", "Hashtbl", "Int", "Int32", "Int64",
    "List", "Map", "Nativeint", "Option", "Printf", "Queue", "Result", "Seq", "Set", "Stack",
    "Stdlib", "Str", "String", "Sys", "Unix",
}  # fmt: skip


# Tokens that stand nowhere in the text.
_LET, _IN = Token("word", "let", -1, 10**9), Token("word", "in", -1, 10**9)
_THEN = Token("sep", ";", -1, 10**9)
_OPEN, _CLOSE = Token("open", "(", -1, 10**9), Token("close", ")", -1, 10**9)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A definition or a call before a claim.

    kind: "let"; "do", a call for its effect; "open"; "claim", a call that was itself claimed about,
    which counts only where nothing else names the entry point. fixed: what it binds can surely not
    be changed later. calls: whether it names the entry point, or a name that does. of: the steps
    that it stands for, where a local scope left its effects behind.
    """

    toks: Toks
    kind: str
    names: frozenset[str]
    uses: frozenset[str]
    fixed: bool = False
    value: Toks = field(default_factory=list)
    calls: bool = False
    of: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Helper:
    """A function of the tests: parameters, body, whether it is recursive, the last step before."""

    params: list[Toks]
    body: Toks
    recursive: bool
    before: int


@dataclass(slots=True)
class Scope:
    """Steps so far, in order, and helpers by name.

    bound: where each name is bound, by index; acting: where something may act on what it is given,
    claimed: or may have, when it was claimed about. lost: names of local scopes that were left.
    used: the steps that any case needed, in all scopes. texts, passed, around: what was found out
    about steps, here and in `ocaml_claims.py`, which is looked up often.
    """

    text: str
    entry: str
    steps: list[Step] = field(default_factory=list)
    helpers: dict[str, Helper] = field(default_factory=dict)
    loose: frozenset[str] = frozenset()  # names whose values a call may change
    bound: dict[str, tuple[int, ...]] = field(default_factory=dict)
    acting: list[int] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    used: set[Step] = field(default_factory=set)
    texts: dict[Step, str] = field(default_factory=dict)
    passed: dict[Step, frozenset[str]] = field(default_factory=dict)
    around: dict[Step, object] = field(default_factory=dict)
    looked_up: dict[tuple[frozenset[str], bool], list[Step]] = field(default_factory=dict)

    def copy(self) -> Scope:
        """For what is local."""
        return replace(
            self, steps=list(self.steps), helpers=dict(self.helpers), bound=dict(self.bound),
            acting=list(self.acting), claimed=list(self.claimed), lost=set(self.lost), looked_up={},
        )  # fmt: skip

    @property
    def last(self) -> int:
        """The index of the last step."""
        return len(self.steps) - 1

    def latest(self, name: str, before: int | None = None) -> int:
        """The index of the step that binds a name, the last one (before another); -1 for none."""
        at = self.bound.get(name, ())
        k = len(at) if before is None else bisect_left(at, before)
        return at[k - 1] if k else -1

    def add(self, step: Step) -> None:
        """A step behind all others."""
        at = len(self.steps)
        self.steps.append(step)
        for name in step.names:
            self.bound[name] = (*self.bound.get(name, ()), at)
        if step.kind == "claim":
            self.claimed.append(at)
        elif step.kind != "let" or self.entry in step.uses:
            self.acting.append(at)
        self.lost -= step.names
        self.looked_up.clear()

    def calls(self, names: frozenset[str]) -> bool:
        """Whether one of these names is the entry point, or made with it."""
        return self.entry in names or bool(self.callers(names))

    def callers(self, names: frozenset[str]) -> list[Step]:
        """The steps that bind these names and name the entry point."""
        found = {at for name in names if (at := self.latest(name)) >= 0}
        return [self.steps[at] for at in sorted(found) if self.steps[at].calls]

    def define(self, b: Binding) -> None:
        """A `let`; a function can be put in place of its calls too; a pair is two of them."""
        made = self.reduced(b.toks)
        b = binding(made) or b if made is not b.toks else b
        for part in parts_of(b):
            self._define(part)

    def reduced(self, toks: Toks) -> Toks:
        """With the parts of pairs and records that are known in place of `fst`, `snd`, fields."""

        def look(name: Toks) -> Toks:
            return name if "<-" in self.text else self.value_of(name)

        return reduced(toks, look, self.entry)

    def _define(self, b: Binding) -> None:
        for name in b.names:
            self.helpers.pop(name, None)
        function = (b.params, b.value) if b.params else function_of(b.value)
        if b.name and function is not None:
            self.helpers[b.name] = Helper(*function, b.recursive, len(self.steps))
        uses = words(b.toks) - b.names - {"let", "rec", "and"}
        uses |= words(b.value or b.toks) & b.names  # let x = x + 1
        if b.recursive:
            uses |= words(b.toks) & b.names
        if b.params:
            uses -= pattern_names([t for p in b.params for t in p])
        fixed = function is not None or bool(b.value) and all(map(is_fixed, b.value))
        value = b.value if b.name and not b.params else []
        self.add(Step(b.toks, "let", b.names, uses, fixed, value, self.calls(uses)))
        self.loose = self.loose if fixed else self.loose | b.names

    def do(self, toks: Toks, kind: str = "do") -> None:
        """A call for its effect, if there is something that it may change."""
        names = words(toks)
        if names & self.loose:
            self.add(Step(toks, kind, frozenset(), names, calls=self.calls(names)))

    def open(self, toks: Toks) -> None:
        """`open M`, of the standard library; others are a test framework's."""
        if len(toks) == 2 and is_standard(toks[1].text):
            self.add(Step(toks, "open", frozenset(), frozenset()))

    def leave(self, inner: Scope, lost: bool = False) -> None:
        """What a local scope, a copy of this one, did to what is known here.

        lost: its names may seem to be known behind it, in tests that are no OCaml as a whole.
        """
        made = inner.steps[len(self.steps) :]
        own = frozenset[str]().union(*(step.names for step in made))
        self.lost |= own - self.bound.keys() if lost else set()
        acts = [s for s in made if s.kind in ("do", "claim") or (s.kind == "let" and s.calls)]
        if all(s.kind != "let" and not s.uses & own for s in acts):
            opened = [s for s in made if s.kind == "open"]
            for step in acts:
                before = [t for s in opened for t in (*_opened(s), _IN)]
                self.add(replace(step, toks=before + step.toks, of=(step,)))
            return
        for kind in ("do", "claim"):
            chosen = {s for s in acts if s.kind == kind or (kind == "do" and s.kind == "let")}
            if any(s.kind == kind or s.uses & self.loose for s in chosen):
                self._leave(made, chosen, kind)

    def _leave(self, made: list[Step], acts: set[Step], kind: str) -> None:
        """The effects together, behind the local definitions that they need, as one step."""
        want: frozenset[str] = frozenset()
        kept: list[Step] = []
        for step in reversed(made):
            if step in acts or step.kind == "open" or step.names & want:
                kept.append(step)
                want = (want - step.names) | step.uses
        if not want & self.loose:
            return
        toks: Toks = []
        for step in reversed(kept):
            if step.kind == "let":
                toks += [*step.toks, _IN]
            elif step.kind == "open":
                toks += [*_opened(step), _IN]
            else:
                toks += [*bracketed(step.toks), _THEN]
        toks += [_OPEN, _CLOSE]
        self.add(
            Step(toks, kind, frozenset(), want, calls=self.calls(want), of=tuple(reversed(kept)))
        )

    def value_of(self, toks: Toks) -> Toks:
        """What a name is bound to, where the text is one; else the text."""
        before: int | None = None
        while len(toks) == 1 and toks[0].kind == "word":
            at = self.latest(toks[0].text, before)
            if at < 0 or not self.steps[at].value:
                return toks
            self.used.add(self.steps[at])
            toks, before = strip_parens(self.steps[at].value), at
        return toks

    # ---- what an expression needs ----------------------------------------------------------------

    def needed(self, toks: Toks, claims: bool = False) -> list[Step]:
        """The steps that an expression needs, in order; claims: also calls that were claimed of."""
        key = words(toks), claims
        if key not in self.looked_up:
            self.looked_up[key] = self._needed(*key)
        return self.looked_up[key]

    def _needed(self, want: frozenset[str], claims: bool) -> list[Step]:
        kept: list[Step] = []
        waiting = [-self.latest(name) for name in want if name in self.bound]
        heapq.heapify(waiting)
        acting = sorted([*self.acting, *self.claimed]) if claims else list(self.acting)
        before, changeable = len(self.steps), frozenset[str]()
        stale = True  # what may be changed is to be looked up again
        while waiting or acting:
            at = -waiting[0] if waiting else -1
            if acting and acting[-1] >= at:
                at = acting.pop()
            else:
                heapq.heappop(waiting)
            if at >= before:
                continue
            before, step = at, self.steps[at]
            if step.kind == "open":
                kept.append(step)
                continue
            needed = bool(step.names & want)
            acts = step.kind != "let" or self.entry in step.uses
            if not needed and acts and step.uses & self.loose:
                changeable = self._changeable(want, at) if stale else changeable
                stale = False
                needed = bool(step.uses & changeable)
            if needed:
                kept.append(step)
                fresh = step.uses - (want - step.names)
                stale = stale or bool(fresh or step.names)
                want = (want - step.names) | step.uses
                for name in fresh:
                    if (known := self.latest(name, at)) >= 0:
                        heapq.heappush(waiting, -known)
                if len(kept) > MAX_STEPS:
                    break
        return kept[::-1]

    def _changeable(self, want: frozenset[str], at: int) -> frozenset[str]:
        """Names among these, or that these are made of, that a call before `at` may change."""
        found: set[str] = set()
        waiting, seen = [(name, at) for name in want], set[tuple[str, int]]()
        while waiting:
            name, before = waiting.pop()
            where = self.latest(name, before)
            if where < 0 or (name, where) in seen:
                continue
            seen.add((name, where))
            if not self.steps[where].fixed:
                found.add(name)
                waiting += [(used, where) for used in self.steps[where].uses]
        return frozenset(found)

    def spell(self, toks: Toks, claims: bool = False) -> str:
        """The expression behind what it needs, as source text; longer than MAX_TEXT if too much."""
        toks = strip_parens(toks)
        steps = list(self.needed(toks, claims))
        if len(steps) > MAX_STEPS:
            return " " * (MAX_TEXT + 1)
        self.mark(steps)
        while steps and len(toks) == 1 and steps[-1].value and toks[0].text in steps[-1].names:
            toks = strip_parens(steps.pop().value)
        body = spelled(self.text, toks)
        body = f"({body})" if len(split_top(toks, ",")) > 1 else body
        if not any(s.kind != "open" for s in steps):
            steps = [s for s in steps if len(toks) > 1 or toks[0].kind == "word"]
        if not steps:
            return body
        return f"({' '.join(map(self._step, steps))} {body})"

    def mark(self, steps: Iterable[Step]) -> None:
        """These steps, and those that they stand for, belong to a case."""
        for step in steps:
            if step not in self.used:
                self.used.add(step)
                self.mark(step.of)

    def _step(self, step: Step) -> str:
        if step not in self.texts:
            self.texts[step] = self._step_text(step)
        return self.texts[step]

    def _step_text(self, step: Step) -> str:
        text = spelled(self.text, step.toks)
        if step.kind == "open":
            return f"let {text} in"
        if step.kind == "let":
            return f"{text} in"
        return f"({text});" if any(t.text in OPEN_ENDED for t in step.toks) else f"{text};"

    def mentions(self, toks: Toks, claims: bool = False) -> bool:
        """Whether the entry point is called in the expression or in what it needs."""
        if self.entry in self.bound or words(toks) & self.lost:
            return False  # the name is another function's here, or the text no OCaml
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
        own = bound_inside(helper.body)
        given = words([t for toks in swaps.values() for t in toks])
        free = used - swaps.keys() - own
        later = any(self.latest(name) > helper.before for name in free)
        if own & (given | swaps.keys()) or later:
            return None
        body = _substituted(helper.body, swaps)
        extra = [t for arg in args[len(helper.params) :] for t in bracketed(arg)]
        return (bracketed(body) + extra if extra and helper.params else body + extra), inner


def _opened(step: Step) -> Toks:
    """`let open M`."""
    return [_LET, *step.toks]


def is_standard(name: str) -> bool:
    """Whether a name is of a module of the standard library, or such a module."""
    return name.partition(".")[0] in _STANDARD


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

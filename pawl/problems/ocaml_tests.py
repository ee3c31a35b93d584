"""OCaml tests as text -> cases: asserts, OUnit, helpers of the tests and tables of examples.

Walks a text in order, keeps what a claim may need (`ocaml_scope.py`), puts helpers of the tests in
place of their calls, and has each claim read (`ocaml_claims.py`, `ocaml_raises.py`). Left out:
running anything; loops, properties and whatever else is not certain are reported as unreadable,
never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from pawl.problems.ocaml_claims import claim, equality
from pawl.problems.ocaml_grammar import (
    OUNIT,
    Application,
    Binding,
    Toks,
    application,
    binding,
    elements,
    first_step,
    function_of,
    items,
    own_in,
    parts_of,
    pattern_names,
    separated,
    split_operators,
    words,
)
from pawl.problems.ocaml_raises import assert_raises, raising
from pawl.problems.ocaml_scope import Helper, Scope, Step, is_standard, spelled
from pawl.problems.ocaml_text import close_of, split_top, strip_parens, tokens
from pawl.types import Case

MAX_EXPANDED = 10_000  # calls of helpers and rows of tables
_ITERATIONS = {"List.iter", "Array.iter", "List.map"}
_PRINTS = ("print", "prerr", "Printf", "Format", "ignore", "output")
_EXTENSIONS = {"test_eq", "test_result", "test_pred"}  # [%test_eq: int] a b
_FAILURES = {"failwith", "raise", "exit", "assert_failure", "invalid_arg"}


def called_names(text: str) -> Counter[str]:
    """How often each lower-case name stands right after `assert (` (or `assert_equal`)."""
    return Counter(re.findall(r"\bassert\s*\(+\s*(?:not\s*\(*\s*)?([a-z_][\w']*)", text))


def parse_tests(text: str, entry_point: str) -> tuple[list[Case], list[str]]:
    """(cases, asserts that could not be read) of a test text for one function."""
    reader = _Reader(text, entry_point)
    reader.walk(separated(list(tokens(text)), text), Scope(text, entry_point))
    return reader.cases, reader.unread


@dataclass(eq=False)
class _Claiming:
    """A helper of the tests that claims something; used: whether a claim came of it."""

    body: Toks
    used: bool = False


@dataclass(eq=False)
class _Waiting:
    """What names the entry point and gave no case, unless a later one needs it.

    made: the steps that it left; callers: those that it names; function: a definition of one.
    """

    toks: Toks
    made: list[Step]
    callers: list[Step]
    definition: bool = False
    function: bool = False


@dataclass
class _Reader:
    """Walks a test text in order and collects cases."""

    text: str
    entry: str
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    tests: dict[str, _Claiming] = field(default_factory=dict)  # helpers that claim, by name
    claiming: list[_Claiming] = field(default_factory=list)  # all of these there ever were
    waiting: list[_Waiting] = field(default_factory=list)
    expanded: int = 0

    def walk(self, toks: Toks, scope: Scope) -> None:
        """All top-level items; then what no call of a helper and no case reached."""
        for item in items(toks):
            try:
                self.item(item, scope)
            except RecursionError:
                self.unread.append(f"{spelled(self.text, item[:40])} (nested too deeply)")
        for helper in self.claiming:
            if not helper.used:
                self.note(None, helper.body)
        told = dict.fromkeys(spelled(self.text, one.toks)[:200] for one in self.left(scope.used))
        self.unread += [text for text in told if text not in self.unread]

    def left(self, used: set[Step]) -> list[_Waiting]:
        """What names the entry point and had no part in any case.

        A function that does stands for the statements that name it, which are often lists of
        tests; a value is reported through these.
        """
        waiting = [one for one in self.waiting if not used.intersection(one.made)]
        functions = {step for one in waiting if one.function for step in one.made}
        stated = {
            one
            for one in waiting
            if not one.definition
            and (self.entry in words(one.toks) or not functions.issuperset(one.callers))
        }
        named = {step for one in stated for step in one.callers}
        return [
            one
            for one in waiting
            if one in stated
            or one.function
            or (one.definition and not named.intersection(one.made))
        ]

    def note(self, case: Case | None, toks: Toks) -> None:
        """What was claimed is a case, or is reported."""
        if case is None:
            told = spelled(self.text, toks)[:200]
            why = "" if toks and _closed(toks) else " (a bracket never closes)"
            self.unread.append(told + why)
        else:
            self.cases.append(case)

    @property
    def progress(self) -> tuple[int, int, int]:
        """How much was read, reported, or waits to be."""
        return len(self.cases), len(self.unread), len(self.waiting)

    # ---- items -----------------------------------------------------------------------------------

    def item(self, toks: Toks, scope: Scope) -> None:
        first = toks[0].text
        if own_in(toks):
            self.local(toks, scope, lost=True)
        elif first == "let" and len(toks) > 1 and toks[1].text == "%":
            self.extension(toks, scope)
        elif first == "let":
            found = binding(toks)
            if found is None:
                self.step(toks[1:], scope)
            elif self.entry not in found.names:  # else an answer that the tests carry along
                self.define(found, scope)
        elif first == "open":
            scope.open(toks)
        elif first == "module" and "struct" in (t.text for t in toks) and self.claims(toks):
            self.module(toks, scope)
        elif first in ("module", "include", "external", "class"):
            if scope.calls(words(toks)):
                self.waiting.append(_Waiting(toks, [], scope.callers(words(toks))))
        elif first not in ("type", "exception"):
            self.sequence(toks, scope)

    def module(self, toks: Toks, scope: Scope) -> None:
        """The items between `struct` and `end`, whose names are known there alone."""
        at = next(i for i, t in enumerate(toks) if t.text == "struct")
        close = close_of(toks, at)
        inner, tests = scope.copy(), self.tests
        self.tests = dict(tests)
        for item in items(toks[at + 1 : close if close > 0 else len(toks)]):
            self.item(item, inner)
        self.tests = tests
        scope.leave(inner)

    def extension(self, toks: Toks, scope: Scope) -> None:
        """`let%test "name" = E`, `let%test_unit`, `let%test_module`; others are reported."""
        kind = toks[2].text if len(toks) > 2 else ""
        sides = split_top(toks[3:], "=")
        named = len(sides) > 1 and len(sides[0]) == 1
        value = toks[4 + len(sides[0]) :] if named else []
        if kind == "test" and value:
            self.claimed(value, scope)
        elif kind == "test_unit" and value:
            self.local(value, scope)
        elif kind == "test_module" and value and any(t.text == "struct" for t in value):
            self.module(value, scope)
        elif self.claims(toks) or scope.calls(words(toks)):
            self.note(None, toks)

    def local(self, toks: Toks, scope: Scope, lost: bool = False) -> None:
        """What is defined here is not known behind it; what is changed is."""
        inner = scope.copy()
        self.within(inner, toks)
        scope.leave(inner, lost)

    def within(self, inner: Scope, toks: Toks) -> None:
        """A sequence with helpers of its own."""
        tests = self.tests
        self.tests = dict(tests)
        self.sequence(toks, inner)
        self.tests = tests

    def define(self, b: Binding, scope: Scope) -> None:
        """A definition: a name to be used later, a helper that claims, or tests."""
        for part in parts_of(b):
            self.defined(part, scope)

    def defined(self, b: Binding, scope: Scope) -> None:
        if b.unit and not b.params:
            self.local(b.value, scope)
            return
        if not self.claims(b.toks):
            for name in b.names:
                self.tests.pop(name, None)
            scope.define(b)
            made = scope.steps[-1]
            if made.calls:
                function = bool(b.params) or function_of(b.value) is not None
                callers = scope.callers(made.uses - b.names)
                self.waiting.append(_Waiting(b.toks, [made], callers, True, function))
            return
        written = (b.params, b.value) if b.params else function_of(b.value)
        if written is not None:
            params, body = written
            if any(pattern_names(p) & words(body) for p in params):
                self.helper(b, Helper(params, body, b.recursive, scope.last), scope)
            else:
                self.within(scope.copy(), body)
            return
        called = application(b.value)
        short = called is not None and called.head.rpartition(".")[2] in OUNIT
        if called is not None and short and len(called.plain) < 2:
            self.helper(b, Helper([], b.value, False, scope.last), scope)
        elif called is not None and self.partial(called, scope):
            self.helper(b, Helper([], b.value, False, scope.last), scope)
        elif b.value:
            self.container(b.value, scope)
        else:
            self.note(None, b.toks)

    def helper(self, b: Binding, helper: Helper, scope: Scope) -> None:
        for name in b.names:
            scope.helpers[name] = helper
            self.tests[name] = _Claiming(b.value or b.toks)
            self.claiming.append(self.tests[name])

    def partial(self, called: Application, scope: Scope) -> bool:
        """Whether a claiming helper gets too few arguments: it is a helper itself."""
        helper = scope.helpers.get(called.head)
        return called.head in self.tests and helper is not None and any(
            pattern_names(p) & words(helper.body) for p in helper.params[len(called.plain) :]
        )  # fmt: skip

    def claims(self, toks: Toks) -> bool:
        """Whether something is claimed in these tokens, or a suite is made of what was."""
        return self.asserts(toks) or any(t.text in (">::", ">:::") for t in toks)

    def asserts(self, toks: Toks) -> bool:
        """Whether something is claimed in these tokens themselves."""
        return any(
            t.kind == "word"
            and (t.text.startswith("assert") or t.text in _EXTENSIONS or t.text in self.tests)
            or t.text.rpartition(".")[2] in OUNIT
            for t in toks
        )

    # ---- tests in lists --------------------------------------------------------------------------

    def container(self, toks: Toks, scope: Scope) -> None:
        """A suite: lists of named tests, at any depth."""
        toks = strip_parens(toks)
        for mark in (">:::", ">::"):
            sides, _ = split_operators(toks, (mark,))
            if len(sides) > 1:
                self.container(sides[-1], scope)
                return
        listed = elements(toks)
        parts = split_top(toks, ",")
        if listed is not None or len(parts) > 1:
            for part in listed if listed is not None else parts:
                if self.claims(part):
                    self.container(part, scope)
            return
        written = function_of(toks)
        if written is None:
            self.sequence(toks, scope)
        elif any(pattern_names(p) & words(written[1]) for p in written[0]):
            self.note(None, toks)
        else:
            self.within(scope.copy(), written[1])

    # ---- statements ------------------------------------------------------------------------------

    def sequence(self, toks: Toks, scope: Scope) -> None:
        """`let ... in a; b; c`; what is defined stays for what follows."""
        while toks:
            close = own_in(toks)
            if close:
                head = toks[:close]
                if len(head) > 1 and head[1].text == "open":
                    scope.open(head[1:])
                elif (found := binding(head)) is not None:
                    self.define(found, scope)
                toks = toks[close + 1 :]
                continue
            step, toks = first_step(toks)
            self.step(step, scope)

    def step(self, toks: Toks, scope: Scope) -> None:
        """One step of a sequence; what gave neither a case nor a report is reported.

        Without a claim that is known, if it names the entry point and no later case needs it.
        """
        before, steps = self.progress, len(scope.steps)
        inside = strip_parens(toks)
        if len(inside) < len(toks) and inside and self.claims(inside):
            self.local(inside, scope)
        elif inside:
            self.done(inside, scope)
        if self.progress != before:
            return
        names = words(toks)
        called = application(toks) if self.asserts(toks) else None
        bare = called is not None and not called.args and called.head in self.tests
        if self.asserts(toks) and not bare:
            self.note(None, toks)
        elif scope.calls(names):
            self.waiting.append(_Waiting(toks, scope.steps[steps:], scope.callers(names)))

    def done(self, toks: Toks, scope: Scope) -> None:
        first = toks[0].text
        if first == "assert":
            self.asserted(toks, scope)
        elif first in ("try", "match"):
            case = raising(toks, scope)
            fails = self.entry in words(toks) and bool(words(toks) & _FAILURES)
            if case is not None or fails or self.claims(toks):
                self.note(case, toks)
        elif first == "if":
            self.condition(toks, scope)
        else:
            self.call(toks, scope)

    def asserted(self, toks: Toks, scope: Scope) -> None:
        """`assert E`: each part of a conjunction is a claim."""
        inside = strip_parens(toks[1:])
        if not inside or len(inside) == len(toks) - 1:  # nothing, or no brackets around it
            self.note(None, toks[1:] or toks)
        else:
            self.claimed(inside, scope)

    def claimed(self, toks: Toks, scope: Scope) -> None:
        toks = strip_parens(toks)
        either, _ = split_operators(toks, ("||", "or"))  # it binds weaker
        parts, _ = split_operators(toks, ("&&", "&"))
        if len(parts) > 1 and len(either) == 1:
            for part in parts:
                self.claimed(part, scope)
            return
        self.note(claim(toks, scope), toks)
        sides, _ = split_operators(toks, ("=", "==", "<>", "!=", "<", ">", "<=", ">="))
        scope.do(_call_of(sides, scope), "claim")

    def condition(self, toks: Toks, scope: Scope) -> None:
        """`if C then failwith "..."`, `if C then () else failwith "..."`."""
        then = next((i for i, t in enumerate(toks) if t.text == "then"), 0)
        sides = split_top(toks[then + 1 :], "else")
        bad = [_fails(side) for side in sides]
        if then and bad in ([True], [True, False], [False, True]):
            self.note(claim(toks[1:then], scope, holds=not bad[0]), toks)
        elif self.claims(toks):
            self.note(None, toks)

    def call(self, toks: Toks, scope: Scope) -> None:
        """An application: OUnit, an iteration over a table, a helper, or a call for its effect."""
        called = application(toks)
        name = called.head.rpartition(".")[2] if called else ""
        if called is not None and name in OUNIT:
            self.ounit(name, called, toks, scope)
        elif called is not None and _extension(called) in ("test_eq", "test_result"):
            self.extended(called, toks, scope)
        elif called is not None and called.head in _ITERATIONS and len(called.plain) == 2:
            self.iterate(called, toks, scope)
        elif called is not None and self.helped(called, toks, scope):
            return
        elif called is not None and self.tried(called, toks, scope):
            return
        elif called is None and len(split_operators(toks, (">::", ">:::"))[0]) > 1:
            self.container(toks, scope)
        elif called is not None and called.args and self.claims(toks):
            for argument in called.args:
                if self.claims(argument.toks):
                    self.container(argument.toks, scope)
        elif called is not None and self.foreign(called, toks, scope):
            self.note(None, toks)
        else:
            scope.do(toks)

    def foreign(self, called: Application, toks: Toks, scope: Scope) -> bool:
        """Whether a function that is not known here gets the call and more: some other check."""
        known = called.head == self.entry or called.head in scope.helpers
        if known or is_standard(called.head) or called.head.startswith(_PRINTS):
            return False
        return len(called.args) > 1 and self.entry in words(toks)

    def ounit(self, name: str, called: Application, toks: Toks, scope: Scope) -> None:
        plain = called.plain
        if len(plain) < 2:
            self.note(None, toks)
        elif name == "assert_bool":
            self.claimed(plain[1], scope)
        elif name == "assert_raises":
            self.note(assert_raises(plain[0], plain[1], scope), toks)
        else:
            self.note(equality(plain[0], plain[1], called.label("cmp"), scope), toks)
            scope.do(_call_of(plain[:2], scope), "claim")

    def extended(self, called: Application, toks: Toks, scope: Scope) -> None:
        """`[%test_eq: t] a b` and `[%test_result: t] a ~expect:b`, with the usual equality."""
        sides = called.plain + ([called.label("expect")] if called.label("expect") else [])
        usual = {a.label for a in called.args} <= {"", "expect", "message", "here"}
        whole = len(sides) == 2 and usual
        self.note(equality(sides[0], sides[1], [], scope) if whole else None, toks)
        scope.do(_call_of(sides, scope), "claim")

    def helped(self, called: Application, toks: Toks, scope: Scope) -> bool:
        """A call of a helper that claims is read as the helper's body."""
        helper = scope.helpers.get(called.head)
        if helper is None or called.head not in self.tests:
            return False
        self.tests[called.head].used = True
        self.run(helper, [a.toks for a in called.args], toks, scope)
        return True

    def tried(self, called: Application, toks: Toks, scope: Scope) -> bool:
        """A call of a helper that fails by itself: read as its body, if claims come of it."""
        helper = scope.helpers.get(called.head)
        if helper is None or not _may_fail(helper.body):
            return False
        if self.entry not in words(toks) | words(helper.body):
            return False
        before, unread, waiting = self.progress
        self.run(helper, [a.toks for a in called.args], toks, scope)
        if len(self.cases) == before and self.entry not in words(helper.body):
            del self.unread[unread:], self.waiting[waiting:]
            return False
        scope.mark(scope.callers(frozenset({called.head})))
        return True

    def run(self, helper: Helper, args: list[Toks], toks: Toks, scope: Scope) -> None:
        self.expanded += 1
        found = None
        if not helper.recursive and self.expanded < MAX_EXPANDED:
            found = scope.expand(helper, args)
        if found is None:
            self.note(None, toks)
            return
        body, inner = found
        tests = self.tests
        self.tests = dict(tests)
        self.container(body, inner)
        self.tests = tests
        scope.leave(inner)

    def iterate(self, called: Application, toks: Toks, scope: Scope) -> None:
        """`List.iter (fun (x, y) -> assert (f x = y)) [(1, 2); (3, 4)]`."""
        function, table = called.plain
        written = function_of(function)
        name = function[0].text if len(function) == 1 else ""
        helper = scope.helpers.get(name) if name in self.tests else None
        claims = written is not None and (self.claims(written[1]) or _may_fail(written[1]))
        if helper is None and written is not None and claims:
            helper = Helper(*written, False, scope.last)
        rows = elements(scope.value_of(strip_parens(table)))
        if name in self.tests:
            self.tests[name].used = True
        if helper is None and not self.claims(toks):
            scope.do(toks)
        elif helper is None or rows is None:
            self.note(None, toks)
        else:
            for row in rows:
                self.run(helper, [row], toks, scope)


def _extension(called: Application) -> str:
    """The name in `[%name: type]`, where that is what is called; "" else."""
    found = [t.text for t in called.function[:3]]
    return found[2] if found[:2] == ["[", "%"] and len(found) == 3 else ""


def _closed(toks: Toks) -> bool:
    """Whether each bracket that opens here closes."""
    return all(close_of(toks, i) >= 0 for i, t in enumerate(toks) if t.kind == "open")


def _call_of(sides: list[Toks], scope: Scope) -> Toks:
    """The side of a claim that calls the entry point, for its effect; [] if unsure."""
    calls = [side for side in sides if scope.entry in words(side)]
    return calls[0] if len(calls) == 1 and len(sides) == 2 else []


def _may_fail(toks: Toks) -> bool:
    """Whether a body fails on a condition."""
    texts = {t.text.rpartition(".")[2] for t in toks}
    return "if" in texts and bool(texts & _FAILURES)


def _fails(toks: Toks) -> bool:
    """Whether a branch ends in a failure."""
    toks = strip_parens(toks)
    while (step := first_step(toks))[1]:
        toks = strip_parens(step[1])
    if not toks:
        return False
    return toks[0].text.rpartition(".")[2] in _FAILURES or [t.text for t in toks] == [
        "assert",
        "false",
    ]

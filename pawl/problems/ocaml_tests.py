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
    pattern_names,
    separated,
    split_operators,
    words,
)
from pawl.problems.ocaml_raises import assert_raises, raising
from pawl.problems.ocaml_scope import Helper, Scope, is_standard, spelled
from pawl.problems.ocaml_text import close_of, split_top, strip_parens, tokens
from pawl.types import Case

MAX_EXPANDED = 10_000  # calls of helpers and rows of tables
_ITERATIONS = {"List.iter", "Array.iter", "List.map"}
_PRINTS = ("print", "prerr", "Printf", "Format", "ignore", "output")
_FAILURES = {"failwith", "raise", "exit", "assert_failure", "invalid_arg"}


def called_names(text: str) -> Counter[str]:
    """How often each lower-case name stands right after `assert (` (or `assert_equal`)."""
    return Counter(re.findall(r"\bassert\s*\(+\s*(?:not\s*\(*\s*)?([a-z_][\w']*)", text))


def parse_tests(text: str, entry_point: str) -> tuple[list[Case], list[str]]:
    """(cases, asserts that could not be read) of a test text for one function."""
    reader = _Reader(text, entry_point)
    reader.walk(separated(list(tokens(text)), text), Scope(text, entry_point))
    return reader.cases, reader.unread


@dataclass
class _Reader:
    """Walks a test text in order and collects cases."""

    text: str
    entry: str
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    tests: dict[str, Toks] = field(default_factory=dict)  # helpers that claim, not yet used: bodies
    used: set[str] = field(default_factory=set)
    expanded: int = 0

    def walk(self, toks: Toks, scope: Scope) -> None:
        """All top-level items; then what no call of a helper reached."""
        for item in items(toks):
            try:
                self.item(item, scope)
            except RecursionError:
                self.unread.append(f"{spelled(self.text, item[:40])} (nested too deeply)")
        for name, body in self.tests.items():
            if name not in self.used:
                self.note(None, body)

    def note(self, case: Case | None, toks: Toks) -> None:
        """What was claimed is a case, or is reported."""
        if case is None:
            told = spelled(self.text, toks)[:200]
            why = "" if toks and _closed(toks) else " (a bracket never closes)"
            self.unread.append(told + why)
        else:
            self.cases.append(case)

    # ---- items -----------------------------------------------------------------------------------

    def item(self, toks: Toks, scope: Scope) -> None:
        first = toks[0].text
        if own_in(toks):
            self.sequence(toks, scope)
        elif first == "let":
            found = binding(toks)
            if found is None:
                self.step(toks[1:], scope)
            elif self.entry not in found.names:  # else an answer that the tests carry along
                self.define(found, scope)
        elif first == "open":
            scope.open(toks)
        elif first == "module" and "struct" in (t.text for t in toks) and self.claims(toks):
            at = next(i for i, t in enumerate(toks) if t.text == "struct")
            close = close_of(toks, at)
            for item in items(toks[at + 1 : close if close > 0 else len(toks)]):
                self.item(item, scope)
        elif first not in ("type", "module", "exception", "include", "external", "class"):
            self.sequence(toks, scope)

    def define(self, b: Binding, scope: Scope) -> None:
        """A definition: a name to be used later, a helper that claims, or tests."""
        if b.unit and not b.params:
            self.sequence(b.value, scope)
            return
        if not self.claims(b.toks):
            scope.define(b)
            return
        written = (b.params, b.value) if b.params else function_of(b.value)
        if written is not None:
            params, body = written
            if any(pattern_names(p) & words(body) for p in params):
                self.helper(b, Helper(params, body, b.recursive, len(scope.steps)), scope)
            else:
                self.sequence(body, scope.copy())
            return
        called = application(b.value)
        short = called is not None and called.head.rpartition(".")[2] in OUNIT
        if called is not None and short and len(called.plain) < 2:
            self.helper(b, Helper([], b.value, False, len(scope.steps)), scope)
        elif called is not None and self.partial(called, scope):
            self.helper(b, Helper([], b.value, False, len(scope.steps)), scope)
        else:
            self.container(b.value, scope)

    def helper(self, b: Binding, helper: Helper, scope: Scope) -> None:
        for name in b.names:
            scope.helpers[name] = helper
            self.tests[name] = b.value or b.toks
            self.used.discard(name)

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
            and (t.text.startswith("assert") or t.text in self.tests)
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
            self.sequence(written[1], scope.copy())

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
        """One step of a sequence; claims that gave neither a case nor a report are reported."""
        before = len(self.cases), len(self.unread)
        inside = strip_parens(toks)
        if len(inside) < len(toks) and inside and self.claims(inside):
            self.sequence(inside, scope)
        elif inside:
            self.done(inside, scope)
        if self.asserts(toks) and before == (len(self.cases), len(self.unread)):
            called = application(toks)
            if called is None or called.args or called.head not in self.tests:
                self.note(None, toks)

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
        parts, _ = split_operators(toks, ("&&", "&"))
        if len(parts) > 1:
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

    def helped(self, called: Application, toks: Toks, scope: Scope) -> bool:
        """A call of a helper that claims is read as the helper's body."""
        helper = scope.helpers.get(called.head)
        if helper is None or called.head not in self.tests:
            return False
        self.used.add(called.head)
        self.run(helper, [a.toks for a in called.args], toks, scope)
        return True

    def tried(self, called: Application, toks: Toks, scope: Scope) -> bool:
        """A call of a helper that fails by itself: read as its body, if claims come of it."""
        helper = scope.helpers.get(called.head)
        if helper is None or not _may_fail(helper.body):
            return False
        if self.entry not in words(toks) | words(helper.body):
            return False
        before = len(self.cases)
        self.run(helper, [a.toks for a in called.args], toks, scope)
        return len(self.cases) > before or self.entry in words(helper.body)

    def run(self, helper: Helper, args: list[Toks], toks: Toks, scope: Scope) -> None:
        self.expanded += 1
        found = None
        if not helper.recursive and self.expanded < MAX_EXPANDED:
            found = scope.expand(helper, args)
        if found is None:
            self.note(None, toks)
        else:
            self.container(*found)

    def iterate(self, called: Application, toks: Toks, scope: Scope) -> None:
        """`List.iter (fun (x, y) -> assert (f x = y)) [(1, 2); (3, 4)]`."""
        function, table = called.plain
        written = function_of(function)
        name = function[0].text if len(function) == 1 else ""
        helper = scope.helpers.get(name) if name in self.tests else None
        claims = written is not None and (self.claims(written[1]) or _may_fail(written[1]))
        if helper is None and written is not None and claims:
            helper = Helper(*written, False, len(scope.steps))
        rows = elements(scope.value_of(strip_parens(table)))
        if helper is None and not self.claims(toks):
            scope.do(toks)
        elif helper is None or rows is None:
            self.used.add(name)
            self.note(None, toks)
        else:
            self.used.add(name)
            for row in rows:
                self.run(helper, [row], toks, scope)


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

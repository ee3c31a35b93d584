"""Python tests as text -> cases, by `ast`: nothing of the text is ever executed.

Walks functions, classes, loops over constants, branches whose condition is known, parameter sets
and helpers that are called with constants, and keeps what names stand for; each assertion is read
by `python_claims.py`. What it cannot follow (an unknown condition, a name that something changed)
makes the assertions behind it unreadable, which is reported. Left out: properties, several calls in
one assertion, tests that are skipped or expected to fail.
"""

from __future__ import annotations

import ast
import doctest
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from pawl.problems.python_claims import ARRAYS, ASSERTS, RAISES, Claim, Claims
from pawl.problems.python_text import parse
from pawl.problems.python_values import constant, holds, unpacked
from pawl.problems.python_views import Env, Names, last_name, outcome, speaks, with_item
from pawl.types import Case

_NOT_ENTRY = {
    *("candidate", "check", "abs", "isclose", "set", "sorted", "list", "tuple", "len", "not"),
    *("str", "int", "float", "bool", "dict", "round", "sum", "max", "min", "all", "any", "type"),
    *("isinstance", "frozenset", "Counter", "repr", "next", "iter", "map", "filter", "zip"),
}
_MAX_TURNS = 10_000  # of loops, parameter sets and helpers
_ASIDE = ("skip", "skipIf", "skipUnless", "xfail", "expectedFailure")
_HARMLESS = {"print", "append", "log", "info", "debug", "write"}  # what may be done with a result
_RAISED = (ValueError, TypeError, MemoryError, RecursionError)
_Flow = Literal["", "break", "continue", "return", "unsure"]
Read = tuple[list[Case], list[str]]  # with what could not be read


def called_names(text: str) -> Counter[str]:
    """How often each name is called in an assertion; a `check(candidate)` alias resolved."""
    names = Counter[str]()
    for line in re.findall(r"\bassert[^\n]*", text):
        names += Counter(re.findall(r"\b([A-Za-z_]\w*)\s*\(", line)[:4])
    for alias in re.findall(r"^\s*check\((\w+)\)", text, re.MULTILINE):
        names[alias] += 1000
    return Counter(
        {n: c for n, c in names.items() if n not in _NOT_ENTRY and not n.startswith("assert")}
    )


@dataclass
class _Reader:
    """Walks a test module in order.

    helpers: functions of the tests with parameters of their own, read where they are called. turns:
    how often loops and calls of helpers may go on.
    """

    claims: Claims
    helpers: dict[str, ast.FunctionDef] = field(default_factory=dict)
    turns: int = _MAX_TURNS

    @property
    def of(self) -> Names:
        """What is called."""
        return self.claims.of

    def block(self, body: Sequence[ast.stmt], env: dict[str, object]) -> _Flow:
        """Statements in order; env holds what they bind. How it ended, "" for at its end."""
        for k, node in enumerate(body):
            flow = self.statement(node, env)
            if flow == "unsure":
                for rest in body[k + 1 :]:
                    if _asserts(rest):
                        self.claims.report(rest)
            if flow:
                return flow
        return ""

    def statement(self, node: ast.stmt, env: dict[str, object]) -> _Flow:
        """One statement."""
        if isinstance(node, ast.Assert):
            self.claims.claim(node, partial(self.claims.read, node.test, env))
            self.claims.touch(node.test, env)
            self.forget(node, env)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            self.bind(node, env)
        elif isinstance(node, ast.FunctionDef):
            self.function(node, env)
        elif isinstance(node, ast.ClassDef):
            self.classed(node, env)
        elif isinstance(node, ast.With):
            return self.within(node, env)
        elif isinstance(node, ast.If):
            return self.condition(node, env)
        elif isinstance(node, ast.Expr):
            self.expression(node, env)
        elif isinstance(node, ast.For):
            return self.loop(node, env)
        elif isinstance(node, ast.Try):
            self.claims.claim(node, partial(self.tried, node, env))
            self.forget(node, env)
        elif isinstance(node, ast.Continue | ast.Break):
            return "continue" if isinstance(node, ast.Continue) else "break"
        elif isinstance(node, ast.Return | ast.Raise):
            return "return"
        else:
            self.forget(node, env)
            if _asserts(node):
                self.claims.report(node)
        return ""

    # ---- names -----------------------------------------------------------------------------------

    def forget(self, node: ast.AST, env: dict[str, object]) -> None:
        """Names that a statement binds, deletes or changes stand for nothing that is known."""
        changed = _changed(node)
        same = [env[name] for name in changed if isinstance(env.get(name), list | dict | set)]
        for name in [*changed, *(n for n, v in env.items() if any(_holds(v, one) for one in same))]:
            env.pop(name, None)
            self.claims.touched.pop(name, None)

    def bind(self, node: ast.Assign | ast.AnnAssign, env: dict[str, object]) -> None:
        """A name stands for a constant, for what a call gave, or for the entry point."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        alias = isinstance(node.value, ast.Name | ast.Attribute) and (
            last_name(node.value) in self.of.calls
        )
        self.forget(node, env)
        self.of.calls -= {t.id for t in targets if isinstance(t, ast.Name)}
        if node.value is None or len(targets) != 1:
            return
        if alias:
            self.of.calls.add(last_name(targets[0]))
            return
        try:
            found = outcome(node.value, env, self.of)
            self.claims.touch(node.value, env)
            if found is None:
                env.update(unpacked(targets[0], constant(node.value, env)))
            elif isinstance(targets[0], ast.Tuple):
                parts = [with_item(found, i) for i in range(len(targets[0].elts))]
                env.update(unpacked(targets[0], parts))
            else:
                env.update(unpacked(targets[0], found))
        except _RAISED:
            if isinstance(targets[0], ast.Name) and isinstance(node.value, ast.Compare):
                env[targets[0].id] = Claim(node.value, dict(env))

    # ---- statements that hold others -------------------------------------------------------------

    def condition(self, node: ast.If, env: dict[str, object]) -> _Flow:
        """The branch that is taken; where that depends on the result, what both branches say.

        A branch that allows a tolerance, where the other one compares the same, decides.
        """
        truth = holds(node.test, env)
        if truth is not None:
            return self.block(node.body if truth else node.orelse, env)
        if node.body and not node.orelse and _fails(node.body[-1]):
            self.claims.claim(node, partial(self.claims.truth, node.test, False, env))
            return ""
        if _asserts(node):
            branches = []
            for body in (node.body, node.orelse):
                inner = _Reader(Claims(self.of), self.helpers, self.turns)
                inner.block(body, dict(env))
                branches.append(inner.claims)
            found, other = branches[0].cases, branches[1].cases
            asked = {(c.input, c.expected, c.view) for c in other}
            near = [c for c in found if c.close and (c.input, c.expected, c.view) in asked]
            if len(other) == len(near) == 1 and not branches[1].unread:
                self.claims.cases += near
            elif found == other and not branches[0].unread + branches[1].unread:
                self.claims.cases += found
            else:
                self.claims.report(node)
        self.forget(node, env)
        leaves = (ast.Return, ast.Raise, ast.Continue, ast.Break)
        return "unsure" if any(isinstance(n, leaves) for n in ast.walk(node)) else ""

    def loop(self, node: ast.For, env: dict[str, object]) -> _Flow:
        """The body for each item of a constant; otherwise its assertions are unreadable."""
        mark = len(self.claims.unread)
        flow: _Flow = ""
        try:
            rows = [unpacked(node.target, item) for item in constant(node.iter, env)]
        except _RAISED:
            rows, flow = [], "unsure"
        for row in rows:
            self.turns -= 1
            flow = "unsure"
            if self.turns > 0:
                self.forget(node.target, env)
                env.update(row)
                flow = self.block(node.body, env)
            if flow not in ("", "continue"):
                break
        told = dict.fromkeys(self.claims.unread[mark:])  # one line of the text, said once
        self.claims.unread[mark:] = told
        if flow == "unsure":
            if _asserts(node) and not told:
                self.claims.report(node)
            self.forget(node, env)
            return ""
        if flow == "return":
            return flow
        return self.block(node.orelse, env) if flow != "break" else ""

    def within(self, node: ast.With, env: dict[str, object]) -> _Flow:
        """`with pytest.raises(E):` is an assertion; the body of any other is read as it stands."""
        call = node.items[0].context_expr
        if isinstance(call, ast.Call) and last_name(call.func) in RAISES and call.args:
            whole = len(call.args) == 1 and not call.keywords
            self.claims.claim(node, partial(self.raising, call.args[0], node.body, env, whole))
            return ""
        return self.block(node.body, env)

    def tried(self, node: ast.Try, env: dict[str, object]) -> bool:
        """`try: f(x); assert False` with a handler that says which exception is meant."""
        inside = [*node.body, *node.orelse]
        kinds = [h.type for h in node.handlers if h.type is not None]
        says = any(_asserts(handler) for handler in node.handlers)
        if not any(map(_fails, inside)) or len(kinds) != 1:
            self.block([*inside, *node.finalbody], env)
            return not says
        return self.raising(kinds[0], [s for s in inside if not _fails(s)], env, not says)

    def raising(
        self, kind: ast.expr, body: Sequence[ast.stmt], env: dict[str, object], whole: bool
    ) -> bool:
        """The last statement calls the entry point, which must raise. whole: and nothing else."""
        *before, last = body
        inner = dict(env)
        self.block(before, inner)
        value = last.value if isinstance(last, ast.Expr | ast.Assign) else None
        return whole and value is not None and self.claims.raises(kind, value, inner)

    def classed(self, node: ast.ClassDef, env: dict[str, object]) -> None:
        """The tests of a class; its helpers may stand behind them."""
        if _is_aside(node):
            self.claims.report(node)
            return
        held = dict(self.helpers)
        self.helpers |= self.of.helpers_in(node.body)
        self.block(node.body, dict(env))
        self.helpers = held

    def function(self, node: ast.FunctionDef, env: dict[str, object]) -> None:
        """A test is read at once, once for each of its parameter sets; a helper where it is called.

        A parameter that nothing binds is a fixture, or `candidate`.
        """
        if self.of.is_helper(node):
            self.helpers[node.name] = node
            return
        if _is_aside(node) and _asserts(node):
            self.claims.report(node)
            return
        held, self.claims.touched = self.claims.touched, {}
        calls = set(self.of.calls)
        sets = [d for d in node.decorator_list if isinstance(d, ast.Call) and _parametrises(d)]
        try:
            rows, left = _parameter_rows(sets, env)
        except _RAISED:
            rows, left = [], True
        if left:
            self.claims.report(sets[0])
        for row in rows:
            self.turns -= 1
            if self.turns > 0:
                self.block(node.body, {**env, **row})
                if not node.name.lower().startswith("setup"):
                    self.of.calls = set(calls)  # a name of one test is none of the next
        self.claims.touched = held

    # ---- calls -----------------------------------------------------------------------------------

    def expression(self, node: ast.Expr, env: dict[str, object]) -> None:
        """A call for its effect: of an assertion, a helper, or the entry point."""
        call = node.value
        if not isinstance(call, ast.Call):
            return
        name = last_name(call.func)
        if name in ASSERTS and isinstance(call.func, ast.Attribute):
            self.claims.claim(node, partial(self.claims.unittest, name, call, env))
        elif name in ARRAYS:
            self.claims.claim(node, partial(self.claims.arrays, name, call, env))
        elif name in self.of.calls:
            self.claims.touch(call, env)
            env.update({n: found for n, found in self.claims.touched.items() if n in env})
        elif name in self.helpers:
            self.claims.claim(node, partial(self.helped, self.helpers[name], call, env))
            if _changed(self.helpers[name]) & {a.arg for a in self.helpers[name].args.args}:
                self.forget(node, env)
        elif name.startswith("assert") or (
            name not in _HARMLESS and any(speaks(a, env, self.of) for a in call.args)
        ):
            self.claims.report(node)  # a check that is not known here
        else:
            self.forget(node, env)
            if name in self.of.functions:  # of the tests, without parameters
                self.forget(self.of.functions[name], env)

    def helped(self, helper: ast.FunctionDef, call: ast.Call, env: dict[str, object]) -> bool:
        """A helper with its arguments put in; the entry point may be one of them."""
        self.turns -= 1
        params = [*helper.args.posonlyargs, *helper.args.args]
        names = [a.arg for a in params if a.arg not in ("self", "cls")]
        given = dict(zip(names, call.args, strict=False))
        given |= {k.arg: k.value for k in call.keywords if k.arg}
        defaults = dict(zip(names[::-1], helper.args.defaults[::-1], strict=False))
        inner = dict(env)
        for name in names:
            value = given.get(name, defaults.get(name))
            if isinstance(value, ast.Name) and value.id in self.of.calls:
                self.of.calls.add(name)
            elif value is not None:
                inner[name] = outcome(value, env, self.of) or constant(value, env)
        before = len(self.claims.cases) + len(self.claims.unread)
        if self.turns <= 0:
            return False
        del self.helpers[helper.name]  # one that calls itself is not read
        held, self.claims.touched = self.claims.touched, {}
        self.block(helper.body, inner)
        self.claims.touched = held
        self.helpers[helper.name] = helper
        return len(self.claims.cases) + len(self.claims.unread) > before


_CHANGES = set("append extend insert remove pop clear sort reverse update add discard".split())
_CHANGES |= {"popitem", "setdefault", "popleft", "appendleft"}


def _holds(value: object, part: object) -> bool:
    """Whether a value is another one, or has it inside: then it changes with it."""
    if value is part:
        return True
    if isinstance(value, dict):
        return any(_holds(v, part) for v in value.values())
    return isinstance(value, list | tuple) and any(_holds(v, part) for v in value)


def _changed(node: ast.AST) -> set[str]:
    """Names that are bound, deleted, or whose methods are called, and what functions are given."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            if inner.func.attr in _CHANGES and isinstance(inner.func.value, ast.Name):
                found.add(inner.func.value.id)
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            found.add(inner.id)
        elif isinstance(inner, ast.AugAssign | ast.Subscript | ast.Attribute):
            target = inner.target if isinstance(inner, ast.AugAssign) else inner
            if isinstance(inner, ast.AugAssign) or not isinstance(inner.ctx, ast.Load):
                found |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
            call = inner.value
            owner = call.func.value if isinstance(call.func, ast.Attribute) else None
            given = [] if last_name(call.func) == "print" else call.args
            found |= {n.id for n in [owner, *given] if isinstance(n, ast.Name)}
    return found


def _asserts(node: ast.AST) -> bool:
    """Whether an assertion stands in a statement."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call) and last_name(inner.func) in ASSERTS | ARRAYS.keys():
            return True
    return False


def _fails(node: ast.stmt) -> bool:
    """`assert False`, `raise`, `self.fail()`: a place that must not be reached."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return last_name(node.value.func) == "fail"
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and not node.test.value
    return isinstance(node, ast.Raise)


def _is_aside(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a test is skipped, or expected to fail."""
    found = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(last_name(d) in _ASIDE for d in found)


def _parametrises(decorator: ast.Call) -> bool:
    """`@pytest.mark.parametrize(names, values)`."""
    return last_name(decorator.func) == "parametrize" and len(decorator.args) >= 2


def _parameter_rows(sets: Sequence[ast.Call], env: Env) -> tuple[list[dict[str, object]], bool]:
    """What each call of a parametrised test binds, and whether some were left out.

    One empty row where there are no parameters; ValueError where there are too many.
    """
    rows: list[dict[str, object]] = [{}]
    left = False
    for decorator in sets:
        names = constant(decorator.args[0], env)
        one = isinstance(names, str) and "," not in names
        split = [names] if one else [n.strip() for n in _split(names)]
        given, aside = _plain_params(decorator.args[1], one)
        left = left or aside
        values = list(constant(given, env))
        if len(rows) * len(values) > _MAX_TURNS:
            raise ValueError("too many parameter sets")
        found = [dict(zip(split, [v] if one else v, strict=True)) for v in values]
        rows = [{**row, **new} for new in found for row in rows]
    return rows, left


def _split(names: str | Sequence[str]) -> Sequence[str]:
    return names.split(",") if isinstance(names, str) else names


def _plain_params(values: ast.expr, one: bool) -> tuple[ast.expr, bool]:
    """`pytest.param(a, b, id=..)` as the tuple `(a, b)`; whether some with marks were left out."""
    if not isinstance(values, ast.List | ast.Tuple):
        return values, False
    made: list[ast.expr] = []
    left = False
    for v in values.elts:
        if not isinstance(v, ast.Call) or last_name(v.func) != "param":
            made.append(v)
        elif any(k.arg == "marks" for k in v.keywords):
            left = True
        else:
            made.append(v.args[0] if one else ast.Tuple(v.args, ast.Load()))
    return ast.List(made, ast.Load()), left


def parse_tests(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """The cases of a text; ValueError when it is no Python."""
    if re.search(r"^\s*>>> ", text, re.MULTILINE) and "assert" not in text:
        return parse_doctest(text, entry_point, params)
    try:
        tree = parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the tests are no Python: {error}") from error
    names = Names.of(tree, entry_point, params)
    reader = _Reader(Claims(names), names.helpers_in(tree.body))
    reader.block(tree.body, {})
    return reader.claims.cases, reader.claims.unread


def parse_doctest(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """Cases of `>>> f(x)` lines followed by a literal or a traceback."""
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return [], []
    reader = _Reader(Claims(Names.of(ast.Module([], []), entry_point, params)))
    env: dict[str, object] = {}
    for example in examples:
        source = example.source.strip()
        if example.exc_msg is not None:
            kind = example.exc_msg.partition(":")[0].strip().rpartition(".")[2]
            source = f"with raises({kind}):\n    {source}"
        elif example.want.strip():
            source = f"assert (\n{source}\n) == (\n{example.want.strip()}\n)"
        try:
            reader.block(parse(source).body, env)
        except (SyntaxError, ValueError):
            reader.claims.unread.append(example.source.strip())
    return reader.claims.cases, reader.claims.unread

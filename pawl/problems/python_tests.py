"""Python tests as text -> cases, by `ast`: nothing of the text is ever executed.

Reads assertions about one call of the entry point: comparisons, truth, membership, tolerances,
expected exceptions, what became of an argument; with assert, unittest, pytest and doctest; inside
functions, classes, loops over constants and helpers that are called with constants; directly, of a
name that the result was bound to, and through functions of the result (`python_views.py`). Left
out: properties, several calls in one assertion: reported as unreadable.
"""

from __future__ import annotations

import ast
import doctest
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pawl.problems.python_text import parse
from pawl.problems.python_values import constant, known, literal, unpacked
from pawl.problems.python_views import Env, Names, Outcome, call_of, outcome, with_item
from pawl.types import Case, Close, Compare

_NOT_ENTRY = {
    *("candidate", "check", "abs", "isclose", "set", "sorted", "list", "tuple", "len", "not"),
    *("str", "int", "float", "bool", "dict", "round", "sum", "max", "min", "all", "any", "type"),
    *("isinstance", "frozenset", "Counter", "repr", "next", "iter", "map", "filter", "zip"),
}
_MAX_TURNS = 10_000
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


_EQUAL = {f"assert{kind}Equal" for kind in ("", "List", "Tuple", "Dict", "Set", "Sequence")}
_EQUAL |= {"assertEquals", "assertMultiLineEqual", "assertIs"}
_COMPARED: dict[str, Compare] = {
    **dict.fromkeys(_EQUAL, "=="),
    **dict.fromkeys(("assertNotEqual", "assertIsNot"), "!="),
    **{"assertIn": "in", "assertNotIn": "not in", "assertGreater": ">", "assertLess": "<"},
    **{"assertGreaterEqual": ">=", "assertLessEqual": "<="},
}
_TRUTH = {"assertTrue": True, "assertFalse": False}
_NONE: dict[str, Compare] = {"assertIsNone": "==", "assertIsNotNone": "!="}
_RAISES = ("raises", "assertRaises", "assertRaisesRegex")
_ASSERTS = {*_COMPARED, *_TRUTH, *_NONE, "assertAlmostEqual", "assertCountEqual", *_RAISES}
# Functions of two numbers: their arguments from the second on, and what holds where none is given.
_CLOSE = {
    **dict.fromkeys(
        ("math.isclose", "isclose"), (("", "", "rel_tol", "abs_tol"), Close(1e-9, 0.0))
    ),
    **dict.fromkeys(
        ("np.isclose", "np.allclose", "numpy.isclose", "numpy.allclose"),
        (("", "", "rtol", "atol"), Close(1e-5, 1e-8)),
    ),
}
_ALIKE = {f"{np}.array_equal" for np in ("np", "numpy")}
# Of numpy.testing, the arguments and what holds where none is given; None compares exactly.
_ARRAYS: dict[str, tuple[tuple[str, ...], Close | None]] = {
    "assert_array_equal": ((), None),
    "assert_equal": ((), None),
    "assert_allclose": (("", "", "rtol", "atol"), Close(1e-7, 0.0)),
}
_SIGNS: dict[type[ast.cmpop], Compare] = {
    **{ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="},
    **{ast.Is: "==", ast.IsNot: "!=", ast.In: "in", ast.NotIn: "not in"},
}
_MIRRORED: dict[Compare, Compare] = {
    **{"<": ">", ">": "<", "<=": ">=", ">=": "<=", "in": "contains", "not in": "lacks"},
}
_NEGATED: dict[Compare, Compare] = {
    **{"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"},
    **{"in": "not in", "not in": "in"},
}


class Claim(NamedTuple):
    """A comparison that a name is bound to, and what its own names meant there."""

    test: ast.Compare
    env: dict[str, object]


def _bound(node: ast.expr, env: Env) -> float:
    """A constant that is a finite number and not negative; ValueError otherwise."""
    value = constant(node, env)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("no bound")
    return float(value)


def _bounds(call: ast.Call, names: Sequence[str], default: Close, env: Env) -> Close:
    """How close a call says; names: of its arguments, the last two being relative and absolute."""
    given = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords}
    rel, far = (
        _bound(given[name], env) if name in given else number
        for name, number in zip(names[-2:], default, strict=True)
    )
    return Close(rel, far)


def _last_name(function: ast.expr) -> str:
    """`f` of `f` and of `a.b.f`, "" for anything else."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@dataclass
class _Reader:
    """Walks a test module in order and collects cases.

    touched: what became of names that were handed to the last call. helpers: functions of the tests
    with parameters of their own, read where they are called. turns: how often loops may go on.
    """

    of: Names
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    touched: dict[str, Outcome] = field(default_factory=dict)
    helpers: dict[str, ast.FunctionDef] = field(default_factory=dict)
    turns: int = _MAX_TURNS

    # ---- statements ------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt], env: dict[str, object]) -> None:
        """Statements in order; env holds what they bind."""
        for node in body:
            if isinstance(node, ast.Assert):
                self.claim(node, partial(self.read, node.test, env))
                self.touch(node.test, env)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                self.bind(node, env)
            elif isinstance(node, ast.FunctionDef):
                self.function(node, env)
            elif isinstance(node, ast.With):
                self.within(node, env)
            elif isinstance(node, ast.If):
                self.condition(node, env)
            elif isinstance(node, ast.ClassDef):
                self.block(node.body, dict(env))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                self.called(node, node.value, env)
            elif isinstance(node, ast.For):
                self.loop(node, env)
            elif isinstance(node, ast.Try):
                self.claim(node, partial(self.tried, node, env))
            elif isinstance(node, ast.While) and _asserts(node):
                self.unread.append(ast.unparse(node).split("\n")[0])

    def bind(self, node: ast.Assign | ast.AnnAssign, env: dict[str, object]) -> None:
        """A name stands for a constant, for what a call gave, or for the entry point."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for name in [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]:
                env.pop(name, None)
                self.touched.pop(name, None)
                self.of.calls.discard(name)
        if node.value is None or len(targets) != 1:
            return
        if isinstance(node.value, ast.Name) and node.value.id in self.of.calls:
            self.of.calls.add(_last_name(targets[0]))
            return
        try:
            found = outcome(node.value, env, self.of)
            self.touch(node.value, env)
            if found is None:
                env.update(unpacked(targets[0], constant(node.value, env)))
            elif isinstance(targets[0], ast.Tuple):
                parts = [with_item(found, i) for i in range(len(targets[0].elts))]
                env.update(unpacked(targets[0], parts))
            else:
                env.update(unpacked(targets[0], found))
        except (ValueError, TypeError, MemoryError, RecursionError):
            if isinstance(targets[0], ast.Name) and isinstance(node.value, ast.Compare):
                env[targets[0].id] = Claim(node.value, dict(env))

    def condition(self, node: ast.If, env: dict[str, object]) -> None:
        """The branch that is taken; where that depends on the result, what both branches say.

        A branch that allows a tolerance, where the other one compares the same, decides.
        """
        truth = known(node.test, env)
        if truth is not None:
            self.block(node.body if truth else node.orelse, env)
            return
        if not _asserts(node):
            for name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
                env.pop(name, None)
            return
        branches = []
        for body in (node.body, node.orelse):
            inner = _Reader(self.of, helpers=self.helpers, turns=self.turns)
            inner.block(body, dict(env))
            branches.append(inner)
        found, other = branches[0].cases, branches[1].cases
        asked = {(c.input, c.expected, c.view) for c in other}
        near = [c for c in found if c.close and (c.input, c.expected, c.view) in asked]
        if len(other) == len(near) == 1 and not branches[1].unread:
            self.cases += near
        elif found == other and not branches[0].unread + branches[1].unread:
            self.cases += found
        else:
            self.unread.append(ast.unparse(node).split("\n")[0])

    def touch(self, node: ast.expr, env: dict[str, object]) -> None:
        """Note which names a call may have changed."""
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and _last_name(call.func) in self.of.calls:
                try:
                    args = call_of(call, env, self.of)
                except (ValueError, TypeError, MemoryError, RecursionError):
                    continue
                for i, arg in enumerate(call.args):
                    if isinstance(arg, ast.Name) and isinstance(env.get(arg.id), list | dict | set):
                        self.touched[arg.id] = Outcome(args, f"args[{i}]")

    def called(self, node: ast.Expr, call: ast.Call, env: dict[str, object]) -> None:
        """A call for its effect: of an assertion, a helper, or the entry point."""
        name = _last_name(call.func)
        if name in _ASSERTS and isinstance(call.func, ast.Attribute):
            self.claim(node, partial(self.unittest, name, call, env))
        elif name in _ARRAYS:
            self.claim(node, partial(self.arrays, name, call, env))
        elif name in self.of.calls:
            self.touch(call, env)
            env.update({n: self.touched[n] for n in self.touched if n in env})
        elif name in self.helpers:
            self.claim(node, partial(self.helped, self.helpers[name], call, env))
        elif name.startswith("assert"):
            self.unread.append(ast.unparse(node)[:200])

    def function(self, node: ast.FunctionDef, env: dict[str, object]) -> None:
        """A test is read at once, once for each of its parameter sets; a helper where it is called.

        A parameter that nothing binds is a fixture, or `candidate`.
        """
        params = [a.arg for a in [*node.args.posonlyargs, *node.args.args]]
        own = [p for p in params if p not in ("self", "cls", *self.of.calls)]
        sets = [d for d in node.decorator_list if isinstance(d, ast.Call) and _parametrises(d)]
        if own and not sets and node.name in self.of.helped:
            self.helpers[node.name] = node
            return
        held, self.touched = self.touched, {}
        try:
            rows = _parameter_rows(sets, env)
        except (ValueError, TypeError, MemoryError, RecursionError):
            self.unread.append(ast.unparse(sets[0])[:200])
            rows = []
        for row in rows:
            self.block(node.body, {**env, **row})
        self.touched = held

    def helped(self, helper: ast.FunctionDef, call: ast.Call, env: dict[str, object]) -> bool:
        """A helper with its arguments put in; the entry point may be one of them."""
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
        before = len(self.cases) + len(self.unread)
        del self.helpers[helper.name]  # one that calls itself is not read
        self.block(helper.body, inner)
        self.helpers[helper.name] = helper
        return len(self.cases) + len(self.unread) > before

    def loop(self, node: ast.For, env: dict[str, object]) -> None:
        """The body for each item of a constant; otherwise its assertions are unreadable."""
        try:
            items = constant(node.iter, env)
            rows = [unpacked(node.target, item) for item in items]
        except (ValueError, TypeError, MemoryError, RecursionError):
            if _asserts(node):
                self.unread.append(ast.unparse(node).split("\n")[0])
            return
        mark = len(self.unread)
        for row in rows:
            self.turns -= 1
            if self.turns > 0:
                self.block(node.body, {**env, **row})
        if self.turns <= 0 and _asserts(node):
            self.unread.append(ast.unparse(node).split("\n")[0])
        self.unread[mark:] = dict.fromkeys(self.unread[mark:])  # one line of the text, said once

    def within(self, node: ast.With, env: dict[str, object]) -> None:
        """`with pytest.raises(E):` is an assertion; the body of any other is read as it stands."""
        (first, *_) = node.items
        call = first.context_expr
        if isinstance(call, ast.Call) and _last_name(call.func) in _RAISES and call.args:
            self.claim(node, partial(self.raising, call.args[0], node.body, env))
        else:
            self.block(node.body, dict(env))

    def tried(self, node: ast.Try, env: dict[str, object]) -> bool:
        """`try: f(x); assert False` with a handler that says which exception is meant."""
        inside = [*node.body, *node.orelse]
        kinds = [h.type for h in node.handlers if h.type is not None]
        if not any(map(_fails, inside)) or len(kinds) != 1:
            self.block([*inside, *node.finalbody], dict(env))
            return not any(_asserts(handler) for handler in node.handlers)
        return self.raising(kinds[0], [s for s in inside if not _fails(s)], env)

    def raising(self, kind: ast.expr, body: Sequence[ast.stmt], env: dict[str, object]) -> bool:
        """The last statement calls the entry point, which must raise."""
        *before, last = body
        inner = dict(env)
        self.block(before, inner)
        value = last.value if isinstance(last, ast.Expr | ast.Assign) else None
        found = outcome(value, inner, self.of) if value is not None else None
        return found is not None and self.add(found, ast.unparse(kind), "raises")

    # ---- assertions ------------------------------------------------------------------------------

    def claim(self, whole: ast.stmt, read: Callable[[], bool]) -> None:
        """One assertion: it becomes cases, or is reported."""
        mark = len(self.cases)
        try:
            done = read()
        except (ValueError, TypeError, LookupError, SyntaxError, MemoryError, RecursionError):
            done = False
        if not done:
            del self.cases[mark:]
            self.unread.append(ast.unparse(whole)[:200])

    def add(
        self, found: Outcome, expected: str, compare: Compare = "==", close: Close | None = None
    ) -> bool:
        """One more case."""
        self.cases.append(Case(found.args, expected, close=close, compare=compare, view=found.view))
        return True

    def compare(
        self, a: ast.expr, sign: Compare, b: ast.expr, env: Env, close: Close | None = None
    ) -> bool:
        """Add `a sign b` where one side speaks of a call and the other is a constant."""
        for seen in (env, {**env, **self.touched}):  # last: what became of an argument
            found = outcome(a, seen, self.of)
            if found is not None:
                return self.add(found, literal(constant(b, env)), sign, close)
            found = outcome(b, seen, self.of)
            if found is not None:
                mirrored = _MIRRORED.get(sign, sign)
                return self.add(found, literal(constant(a, env)), mirrored, close)
        return _speaks_of_nothing(a, env) and _speaks_of_nothing(b, env)

    def truth(self, test: ast.expr, wanted: bool, env: Env) -> bool:
        """An expression that is taken for true or false."""
        stated = env.get(test.id) if isinstance(test, ast.Name) else None
        if isinstance(stated, Claim):
            return self.truth(stated.test, wanted, stated.env)
        if isinstance(test, ast.Compare) or (isinstance(test, ast.Call) and self.isclose(test)):
            return self.read(test, env) if wanted else self.denied(test, env)
        found = outcome(test, env, self.of)
        if found is None:
            return _speaks_of_nothing(test, env)
        return self.add(found._replace(view=f"bool({found.view or 'result'})"), str(wanted))

    def isclose(self, call: ast.Call) -> bool:
        """Whether a call compares two numbers within bounds."""
        return ast.unparse(call.func) in _CLOSE

    def arrays(self, name: str, call: ast.Call, env: dict[str, object]) -> bool:
        """One of numpy.testing's assertions; an array comes back as a list."""
        names, default = _ARRAYS[name]
        close = default and _bounds(call, names, default, env)
        self.touch(call, env)
        return self.compare(call.args[0], "json", call.args[1], env, close)

    def denied(self, test: ast.expr, env: Env) -> bool:
        """`not` in front of one comparison."""
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return False
        sign = _NEGATED[_SIGNS[type(test.ops[0])]]
        return self.compare(test.left, sign, test.comparators[0], env)

    def read(self, test: ast.expr, env: Env) -> bool:
        """One asserted expression; True when it became cases."""
        if isinstance(test, ast.BoolOp):
            every = isinstance(test.op, ast.And)
            return all(self.read(v, env) for v in test.values) if every else self.either(test, env)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.truth(test.operand, False, env)
        if isinstance(test, ast.Call) and self.isclose(test):
            close = _bounds(test, *_CLOSE[ast.unparse(test.func)], env)
            arrays = ast.unparse(test.func).startswith(("np.", "numpy."))
            sign: Compare = "json" if arrays else "=="
            return self.compare(test.args[0], sign, test.args[1], env, close)
        if isinstance(test, ast.Call) and ast.unparse(test.func) in _ALIKE:
            return self.compare(test.args[0], "json", test.args[1], env)
        if not isinstance(test, ast.Compare):
            return self.truth(test, True, env)
        sides = [test.left, *test.comparators]
        pairs = zip(sides, test.ops, sides[1:], strict=False)
        return all(self.relation(a, _SIGNS[type(op)], b, env) for a, op, b in pairs)

    def relation(self, a: ast.expr, sign: Compare, b: ast.expr, env: Env) -> bool:
        """One comparison; a difference below a bound and `approx` are tolerances."""
        if sign in ("<", "<=") and isinstance(a, ast.Call) and len(a.args) == 1:
            inner = a.args[0]
            if ast.unparse(a.func) in ("abs", "math.fabs") and isinstance(inner, ast.BinOp):
                if isinstance(inner.op, ast.Sub):
                    close = Close(0.0, _bound(b, env))
                    return self.compare(inner.left, "==", inner.right, env, close)
        for near, other in ((b, a), (a, b)):
            if isinstance(near, ast.Call) and _last_name(near.func) == "approx":
                named = {k.arg for k in near.keywords}
                close = _bounds(near, ("", "rel", "abs"), Close(1e-6, 1e-12), env)
                if "abs" in named and "rel" not in named and len(near.args) < 2:
                    close = close._replace(rel=0.0)
                return sign == "==" and self.compare(other, "==", near.args[0], env, close)
        return self.compare(a, sign, b, env)

    def either(self, test: ast.BoolOp, env: Env) -> bool:
        """`f(x) == a or f(x) == b`: the result is one of several values."""
        mark = len(self.cases)
        done = all(self.read(v, env) for v in test.values)
        made = self.cases[mark:]
        del self.cases[mark:]
        alike = {(c.input, c.view, c.close, c.compare) for c in made}
        if not done or len(made) != len(test.values) or len(alike) != 1 or made[0].compare != "==":
            return False
        values = [constant(ast.parse(c.expected, mode="eval").body, {}) for c in made]
        found = Outcome(made[0].input, made[0].view)
        return self.add(found, literal(values), "in", made[0].close)

    def unittest(self, name: str, call: ast.Call, env: dict[str, object]) -> bool:
        """One of unittest's assertions."""
        args = call.args
        if name in _RAISES:
            if isinstance(args[1], ast.Lambda):
                body: ast.expr = args[1].body
            else:
                body = ast.Call(args[1], args[2:], call.keywords)
            return self.raising(args[0], [ast.Expr(body)], env)
        self.touch(call, env)
        if name in _TRUTH:
            return self.truth(args[0], _TRUTH[name], env)
        if name in _NONE:
            return self.compare(args[0], _NONE[name], ast.Constant(None), env)
        if name == "assertCountEqual":
            sides = [ast.parse(f"sorted({ast.unparse(a)}, key=repr)", mode="eval") for a in args]
            found = outcome(sides[0].body, env, self.of)
            wanted = sorted(constant(args[1], env), key=repr)
            return found is not None and self.add(found, literal(wanted))
        if name == "assertAlmostEqual":
            given = dict(zip(("places", "msg", "delta"), args[2:], strict=False))
            given |= {k.arg: k.value for k in call.keywords if k.arg}
            places = _bound(given.get("places", ast.Constant(7)), env)
            far = _bound(given["delta"], env) if "delta" in given else 0.5 * 10.0**-places
            return self.compare(args[0], "==", args[1], env, Close(0.0, far))
        return self.compare(args[0], _COMPARED[name], args[1], env)


def _asserts(node: ast.AST) -> bool:
    """Whether an assertion stands in a statement."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call) and _last_name(inner.func) in _ASSERTS:
            return True
    return False


def _fails(node: ast.stmt) -> bool:
    """`assert False`, `raise`, `self.fail()`: a place that must not be reached."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _last_name(node.value.func) == "fail"
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and not node.test.value
    return isinstance(node, ast.Raise)


def _speaks_of_nothing(node: ast.expr, env: Env) -> bool:
    """Whether an expression is a constant, so that an assertion of it tests nothing."""
    constant(node, env)
    return True


def _parametrises(decorator: ast.Call) -> bool:
    """`@pytest.mark.parametrize(names, values)`."""
    return _last_name(decorator.func) == "parametrize" and len(decorator.args) >= 2


def _parameter_rows(sets: Sequence[ast.Call], env: Env) -> list[dict[str, object]]:
    """What each call of a parametrised test binds; one empty row where there are no parameters."""
    rows: list[dict[str, object]] = [{}]
    for decorator in sets:
        names = constant(decorator.args[0], env)
        split = names.replace(",", " ").split() if isinstance(names, str) else [*names]
        values = list(constant(_plain_params(decorator.args[1]), env))
        found = [dict(zip(split, v if len(split) > 1 else [v], strict=True)) for v in values]
        rows = [{**row, **one} for one in found for row in rows]
    return rows


def _plain_params(values: ast.expr) -> ast.expr:
    """`pytest.param(a, b, id=..)` as the tuple `(a, b)`."""
    if isinstance(values, ast.List | ast.Tuple):
        made = [
            ast.Tuple(v.args, ast.Load()) if isinstance(v, ast.Call) and _is_param(v) else v
            for v in values.elts
        ]
        return ast.List(made, ast.Load())
    return values


def _is_param(call: ast.Call) -> bool:
    return _last_name(call.func) == "param"


def parse_tests(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """The cases of a text; ValueError when it is no Python."""
    if re.search(r"^\s*>>> ", text, re.MULTILINE) and "assert" not in text:
        return parse_doctest(text, entry_point, params)
    try:
        tree = parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the tests are no Python: {error}") from error
    reader = _Reader(Names.of(tree, entry_point, params))
    reader.block(tree.body, {})
    return reader.cases, reader.unread


def parse_doctest(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """Cases of `>>> f(x)` lines followed by a literal or a traceback."""
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return [], []
    reader = _Reader(Names.of(ast.Module([], []), entry_point, params))
    env: dict[str, object] = {}
    for example in examples:
        source = example.source.strip()
        if example.exc_msg is not None:
            kind = example.exc_msg.partition(":")[0].strip().rpartition(".")[2]
            source = f"with raises({kind}):\n    {source}"
        elif example.want.strip():
            source = f"assert ({source}) == ({example.want.strip()})"
        try:
            reader.block(parse(source).body, env)
        except (SyntaxError, ValueError):
            reader.unread.append(example.source.strip())
    return reader.cases, reader.unread

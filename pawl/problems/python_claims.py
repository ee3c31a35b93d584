"""One assertion of a Python test -> a case: what is called, and what must come of it.

Comparisons, truth, membership, tolerances, unittest's and numpy's assertions, expected exceptions.
One side speaks of one call of the entry point, the other is a constant. Left out: which assertions
there are, and what the names in them mean (`python_tests.py`).
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pawl.problems.python_values import Nodes, constant, literal
from pawl.problems.python_views import Env, Names, Outcome, call_of, last_name, outcome
from pawl.types import Case, Close, Compare

MAX_TEXT = 8_000_000  # characters of all cases of a problem
_EQUAL = {f"assert{kind}Equal" for kind in ("", "List", "Tuple", "Dict", "Set", "Sequence")}
_EQUAL |= {"assertEquals", "assertMultiLineEqual", "assertIs"}
_COMPARED: dict[str, Compare] = {
    **dict.fromkeys(_EQUAL, "=="),
    "assertNotEqual": "!=",
    **{"assertIn": "in", "assertNotIn": "not in", "assertGreater": ">", "assertLess": "<"},
    **{"assertGreaterEqual": ">=", "assertLessEqual": "<="},
}
_TRUTH = {"assertTrue": True, "assertFalse": False}
_NONE: dict[str, Compare] = {"assertIsNone": "==", "assertIsNotNone": "!="}
RAISES = ("raises", "assertRaises", "assertRaisesRegex")
ASSERTS = {*_COMPARED, *_TRUTH, *_NONE, "assertAlmostEqual", "assertCountEqual", *RAISES}
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
_ALIKE = {f"{np}.array_equal" for np in ("np", "numpy")} | {"is_same_list", "is_same_tree"}
# Of numpy.testing, the arguments and what holds where none is given; None compares exactly.
ARRAYS: dict[str, tuple[tuple[str, ...], Close | None]] = {
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


@dataclass
class Claims:
    """What was read so far. touched: what became of names that were handed to the last call."""

    of: Names
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    touched: dict[str, Outcome] = field(default_factory=dict)
    text: int = 0

    def claim(self, whole: ast.stmt, read: Callable[[], bool]) -> None:
        """One assertion: it becomes cases, or is reported."""
        mark = len(self.cases)
        try:
            done = read()
        except (ValueError, TypeError, LookupError, SyntaxError, MemoryError, RecursionError):
            done = False
        if not done:
            del self.cases[mark:]
            self.report(whole)

    def report(self, whole: ast.AST) -> None:
        """Something that was not read, by its first line."""
        try:
            self.unread.append(ast.unparse(whole).split("\n")[0][:200])
        except RecursionError:
            self.unread.append("an assertion that is nested too deeply")

    def add(
        self, found: Outcome, expected: str, compare: Compare = "==", close: Close | None = None
    ) -> bool:
        """One more case."""
        self.text += len(found.args) + len(expected)
        if self.text > MAX_TEXT:
            raise ValueError("too much")
        self.cases.append(Case(found.args, expected, close=close, compare=compare, view=found.view))
        return True

    def compare(
        self, a: ast.expr, sign: Compare, b: ast.expr, env: Env, close: Close | None = None
    ) -> bool:
        """Add `a sign b` where one side speaks of a call and the other is a constant."""
        for seen in (env, {**env, **self.touched}):  # last: what became of an argument
            found = outcome(a, seen, self.of)
            if found is not None:
                return self.add(found, _told(b, env), sign, close)
            found = outcome(b, seen, self.of)
            if found is not None:
                mirrored = _MIRRORED.get(sign, sign)
                return self.add(found, _told(a, env), mirrored, close)
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

    def near(self, call: ast.Call, close: Close, env: Env) -> bool:
        """`math.isclose`, or numpy's, which adds its two bounds and takes lists for tuples."""
        a, b = call.args[:2]
        if not ast.unparse(call.func).startswith(("np.", "numpy.")):
            return self.compare(a, "==", b, env, close)
        wanted = constant(b, env) if outcome(b, env, self.of) is None else None
        if isinstance(wanted, int | float):
            close = Close(0.0, close.abs + close.rel * abs(wanted))
        return self.compare(a, "json", b, env, close)

    def arrays(self, name: str, call: ast.Call, env: dict[str, object]) -> bool:
        """One of numpy.testing's assertions; an array comes back as a list."""
        names, default = ARRAYS[name]
        close = default and _bounds(call, names, default, env)
        self.touch(call, env)
        return self.compare(call.args[0], "json", call.args[1], env, close)

    def denied(self, test: ast.expr, env: Env) -> bool:
        """`not` in front of one comparison."""
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return False
        (op,), (right,) = test.ops, test.comparators
        if isinstance(op, ast.Is) and not _names_one(right):
            return False  # another object is not another value
        return self.relation(test.left, _NEGATED[_SIGNS[type(op)]], right, env)

    def read(self, test: ast.expr, env: Env) -> bool:
        """One asserted expression; True when it became cases."""
        if isinstance(test, ast.BoolOp):
            every = isinstance(test.op, ast.And)
            return all(self.read(v, env) for v in test.values) if every else self.either(test, env)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.truth(test.operand, False, env)
        if isinstance(test, ast.Call) and self.isclose(test):
            close = _bounds(test, *_CLOSE[ast.unparse(test.func)], env)
            return self.near(test, close, env)
        if isinstance(test, ast.Call) and ast.unparse(test.func) in _ALIKE:
            return self.compare(test.args[0], "json", test.args[1], env)
        if not isinstance(test, ast.Compare):
            return self.truth(test, True, env)
        sides = [test.left, *test.comparators]
        pairs = zip(sides, test.ops, sides[1:], strict=False)
        if any(isinstance(op, ast.IsNot) for op in test.ops) and not _names_one(sides[-1]):
            return False  # another object is not another value
        return all(self.relation(a, _SIGNS[type(op)], b, env) for a, op, b in pairs)

    def relation(self, a: ast.expr, sign: Compare, b: ast.expr, env: Env) -> bool:
        """One comparison; a difference below a bound and `approx` are tolerances."""
        if sign in (">", ">="):
            return self.relation(b, "<" if sign == ">" else "<=", a, env)
        if sign in ("<", "<=") and isinstance(a, ast.Call) and len(a.args) == 1:
            inner = a.args[0]
            if ast.unparse(a.func) in ("abs", "math.fabs") and isinstance(inner, ast.BinOp):
                if isinstance(inner.op, ast.Sub):
                    far = _bound(b, env)
                    close = Close(0.0, math.nextafter(far, 0.0) if sign == "<" else far)
                    return self.compare(inner.left, "==", inner.right, env, close)
        for near, other in ((b, a), (a, b)):
            if isinstance(near, ast.Call) and last_name(near.func) == "approx":
                named = {k.arg for k in near.keywords}
                close = _bounds(near, ("", "rel", "abs"), Close(1e-6, 1e-12), env)
                if "abs" in named and "rel" not in named and len(near.args) < 2:
                    close = close._replace(rel=0.0)
                return sign == "==" and self.compare(other, "json", near.args[0], env, close)
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

    def raises(self, kind: ast.expr, body: ast.expr, env: Env) -> bool:
        """A call that must raise: built-in exceptions, or classes by their name."""
        kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        names = [last_name(k) for k in kinds]
        found = outcome(body, env, self.of)
        known = all(_is_exception(name) for name in names)
        wanted = names[0] if len(names) == 1 else f"({', '.join(names)})"
        return known and found is not None and self.add(found, wanted, "raises")

    def unittest(self, name: str, call: ast.Call, env: dict[str, object]) -> bool:
        """One of unittest's assertions."""
        args = call.args
        if name in RAISES:
            if isinstance(args[1], ast.Lambda):
                body: ast.expr = args[1].body
            else:
                body = ast.Call(args[1], args[2:], call.keywords)
            return "Regex" not in name and self.raises(args[0], body, env)
        self.touch(call, env)
        if name in _TRUTH:
            return self.truth(args[0], _TRUTH[name], env)
        if name in _NONE:
            return self.compare(args[0], _NONE[name], ast.Constant(None), env)
        if name == "assertCountEqual":
            sides = [ast.parse(f"sorted({ast.unparse(a)}, key=repr)", mode="eval") for a in args]
            found = outcome(sides[0].body, env, self.of)
            wanted = sorted(constant(args[1], env), key=repr)
            apart = "{" not in literal(wanted)  # the text of sets and dictionaries has no order
            return apart and found is not None and self.add(found, literal(wanted))
        if name == "assertAlmostEqual":
            given = dict(zip(("places", "msg", "delta"), args[2:], strict=False))
            given |= {k.arg: k.value for k in call.keywords if k.arg}
            places = _bound(given.get("places", ast.Constant(7)), env)
            far = _bound(given["delta"], env) if "delta" in given else 0.5 * 10.0**-places
            return self.compare(args[0], "==", args[1], env, Close(0.0, far))
        return self.compare(args[0], _COMPARED[name], args[1], env)

    def touch(self, node: ast.expr, env: dict[str, object]) -> None:
        """Note which names a call may have changed."""
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and last_name(call.func) in self.of.calls:
                try:
                    args = call_of(call, env, self.of)
                except (ValueError, TypeError, MemoryError, RecursionError):
                    continue
                for i, arg in enumerate(call.args):
                    if isinstance(arg, ast.Name) and isinstance(env.get(arg.id), list | dict | set):
                        self.touched[arg.id] = Outcome(args, f"args[{i}]")


def _told(node: ast.expr, env: Env) -> str:
    """An expected value as text."""
    value = constant(node, env)
    return literal(value.returned if isinstance(value, Nodes) else value)


def _names_one(node: ast.expr) -> bool:
    """`None`, `True` or `False`: what is one object."""
    return isinstance(node, ast.Constant) and node.value in (None, True, False)


def _is_exception(name: str) -> bool:
    """A built-in exception, or a name that is written like a class."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type):
        return issubclass(kind, BaseException)
    return kind is None and name[:1].isupper() and not name.isupper()


def _speaks_of_nothing(node: ast.expr, env: Env) -> bool:
    """True for a constant, so that an assertion of it tests nothing; ValueError otherwise."""
    constant(node, env)
    return True

"""Python tests as text -> cases, by `ast`: nothing of the text is ever executed.

Reads `assert f(..) == value` and its usual relatives (reversed, bare, `not`, `is`, tolerance,
`math.isclose`, unittest's assertEqual family, doctest lines), inside functions, classes and after
assignments of constants. Left out: loops, exceptions, properties: reported as unreadable.
"""

from __future__ import annotations

import ast
import doctest
import json
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pawl.problems.python_text import parse, parse_expression
from pawl.types import Case, Close

_NOT_ENTRY = {
    "candidate",
    "check",
    "abs",
    "isclose",
    "set",
    "sorted",
    "list",
    "tuple",
    "len",
    "not",
}
_DOUBTFUL = re.compile(r"\b(?:inf|nan|frozenset|range)\b")  # what repr writes that no literal is
_MAX_REPR = 200_000
_MAX_ITEMS = 100_000
Read = tuple[list[Case], list[str]]  # with what could not be read
_read_json = json.JSONDecoder().decode
_WORDS = {"True": True, "False": False, "None": None}
# Numbers and strings without a quote or backslash inside, in lists: JSON but for the quotes.
_LIKE_JSON = re.compile(r"""(?:[][0-9,. \-]++|'[^'"\\\n]*'|"[^'"\\\n]*")*""")
_BUILD = dict[str, Any](list=list, tuple=tuple, set=set, dict=dict, range=range, sorted=sorted)
_SEQUENCE = (str, bytes, list, tuple)
_NUMBER = (int, float, complex)
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def constant(node: ast.AST, env: Mapping[str, object]) -> object:
    """The value of a constant expression; ValueError when it is none (or too large).

    Knows literals, names bound to constants, unary minus, + and * of constants, and
    list/tuple/set/dict/range/sorted/float of constants.
    """
    try:
        return _value(node, env)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _value(node: ast.AST, env: Mapping[str, object]) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in env:
        return env[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        args: list[Any] = [_value(a, env) for a in node.args]
        if node.func.id == "float" and len(args) == 1 and isinstance(args[0], str | int | float):
            return float(args[0])
        if node.func.id in _BUILD:
            if any(isinstance(a, range) and len(a) > _MAX_ITEMS for a in args):
                raise ValueError("range too large")
            return _BUILD[node.func.id](*args)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Pow):
        return _binary(node.op, _value(node.left, env), _value(node.right, env))
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        made = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return made([_value(e, env) for e in node.elts])
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_value(k, env) for k in node.keys if k is not None]
        return dict(zip(keys, [_value(v, env) for v in node.values], strict=True))
    try:
        return ast.literal_eval(node)
    except ValueError as error:  # its message names the node by its place in memory
        raise ValueError(f"`{ast.unparse(node)[:80]}` is no constant") from error


def _size(value: object) -> int:
    """Items in a value, those of its parts among them: what its text will hold."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return max(1, sum(map(_size, value))) if isinstance(value, list | tuple | set) else 1


def _binary(op: ast.operator, a: Any, b: Any) -> object:
    """+, -, * and ** of numbers, + and * of sequences, bounded in size."""
    numbers = isinstance(a, _NUMBER) and isinstance(b, _NUMBER)
    if isinstance(op, ast.Pow):
        if not (isinstance(a, int) and isinstance(b, int) and 0 <= b <= 4096 and abs(a) < 2**64):
            raise ValueError("power of non-integers")
        return a**b
    if isinstance(op, ast.Mult) and not numbers:
        sized, times = (a, b) if isinstance(a, _SEQUENCE) else (b, a)
        if not (isinstance(sized, _SEQUENCE) and isinstance(times, int)):
            raise ValueError("not a product of constants")
        if _size(sized) * times > _MAX_ITEMS:
            raise ValueError("repetition too large")
    elif not numbers:
        if not (isinstance(op, ast.Add) and isinstance(a, _SEQUENCE) and type(a) is type(b)):
            raise ValueError("not a sum of constants")
    return _OPERATORS[type(op)](a, b)


def value_of(text: str) -> object:
    """The value of a constant expression in a text.

    Raises ValueError, SyntaxError, TypeError, MemoryError or RecursionError when it is none. What
    JSON spells in the same way is read as JSON, in a tenth of the time.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _LIKE_JSON.fullmatch(text):
        try:
            return _read_json(text.replace("'", '"'))
        except (ValueError, RecursionError):
            pass  # `[1,]`, `007`: the other grammar decides
    return constant(parse_expression(text), {})


def literal(value: object) -> str:
    """Source text that `ast.literal_eval` reads back as the same value; ValueError otherwise."""
    text = repr(value)
    if "{" in text or "set()" in text:  # it may hold sets
        text = _ordered(value)
    if len(text) > _MAX_REPR:
        raise ValueError("value too large")
    if _DOUBTFUL.search(text) and ast.literal_eval(text) != value:
        raise ValueError(f"{text[:60]} is no literal")
    return text


def _ordered(value: object) -> str:
    """`repr`, but the items of sets in one order, which `repr` changes from process to process."""
    if isinstance(value, set):
        return "{" + ", ".join(sorted(map(_ordered, value))) + "}" if value else "set()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_ordered(k)}: {_ordered(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_ordered, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_ordered, value)) + (",)" if len(value) == 1 else ")")
    return repr(value)


def called_names(text: str) -> Counter[str]:
    """How often each name is called in an assertion; a `check(candidate)` alias resolved."""
    names = Counter(re.findall(r"\bassert[^\n]*?\b([A-Za-z_]\w*)\s*\(", text))
    names += Counter(re.findall(r"assert\w*\(\s*([A-Za-z_]\w*)\(", text))
    for alias in re.findall(r"^\s*check\((\w+)\)", text, re.MULTILINE):
        names[alias] += 1000
    return Counter({n: c for n, c in names.items() if n not in _NOT_ENTRY})


_EQUAL = ("assertEqual", "assertEquals", "assertListEqual", "assertAlmostEqual")
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
_IS = {"assertTrue": True, "assertFalse": False, "assertIsNone": None}


def _bound(node: ast.expr, env: Mapping[str, object]) -> float:
    """A constant that is a finite number and not negative; ValueError otherwise."""
    value = constant(node, env)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("no bound")
    return float(value)


def _bounds(
    call: ast.Call, names: Sequence[str], default: Close, env: Mapping[str, object]
) -> Close:
    """How close a call says; names: of its arguments, the last two being relative and absolute."""
    given = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords}
    rel, far = (
        _bound(given[name], env) if name in given else number
        for name, number in zip(names[-2:], default, strict=True)
    )
    return Close(rel, far)


@dataclass
class _Reader:
    """Walks a test module in order and collects cases."""

    names: set[str]
    params: tuple[str, ...]
    cases: list[Case] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def block(self, body: list[ast.stmt], env: dict[str, object]) -> None:
        for node in body:
            if isinstance(node, ast.Assert):
                self.claim(node, partial(self.read, node.test, env))
            elif isinstance(node, ast.Assign) and len(node.targets) == 1:
                self.bind(node, env)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.With | ast.If):
                self.block(node.body, dict(env))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                call = node.value
                name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
                if name in _EQUAL or name in _IS:
                    self.claim(node, partial(self.unittest, name, call, env))
            elif isinstance(node, ast.For | ast.While | ast.Try):
                if any(isinstance(n, ast.Assert) for n in ast.walk(node)):
                    self.unread.append(ast.unparse(node).split("\n")[0])

    def bind(self, node: ast.Assign, env: dict[str, object]) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Name):
            env.pop(target.id, None)
            try:
                env[target.id] = constant(node.value, env)
            except ValueError:
                return

    def call_of(self, node: ast.expr, env: dict[str, object]) -> str | None:
        """The argument list of a call of the entry point, as a literal; None if it is none."""
        if not isinstance(node, ast.Call):
            return None
        f = node.func
        name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
        if name not in self.names:
            return None
        by_name = {k.arg: k.value for k in node.keywords}
        rest = self.params[len(node.args) :][: len(by_name)]
        if set(by_name) != set(rest):
            raise ValueError("keyword arguments that the signature does not name, or with a gap")
        return literal([constant(a, env) for a in [*node.args, *(by_name[p] for p in rest)]])

    def add(
        self, a: ast.expr, b: ast.expr, env: dict[str, object], close: Close | None = None
    ) -> bool:
        """Add `a == b` where one side is the call."""
        for call, value in ((a, b), (b, a)):
            args = self.call_of(call, env)
            if args is not None:
                self.cases.append(Case(args, literal(constant(value, env)), close=close))
                return True
        return False

    def claim(self, whole: ast.stmt, read: Callable[[], bool]) -> None:
        """One assertion: it becomes cases, or is reported."""
        try:
            done = read()
        except (ValueError, TypeError, LookupError, SyntaxError, MemoryError, RecursionError):
            done = False
        if not done:
            self.unread.append(ast.unparse(whole)[:200])

    def read(self, test: ast.expr, env: dict[str, object]) -> bool:
        """One asserted expression; True when it became cases."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            mark = len(self.cases)
            if all(self.read(v, env) for v in test.values):
                return True
            del self.cases[mark:]
            return False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.add(test.operand, ast.Constant(False), env)
        if isinstance(test, ast.Call):
            stated = _CLOSE.get(ast.unparse(test.func))
            if stated is not None:
                close = _bounds(test, *stated, env)
                return self.add(test.args[0], test.args[1], env, close)
            return self.add(test, ast.Constant(True), env)
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return False
        left, op, right = test.left, test.ops[0], test.comparators[0]
        if isinstance(op, ast.Lt | ast.LtE) and isinstance(left, ast.Call):
            inner = left.args[0] if left.args else None
            if ast.unparse(left.func) in ("abs", "math.fabs") and isinstance(inner, ast.BinOp):
                if not isinstance(inner.op, ast.Sub):
                    return False
                return self.add(inner.left, inner.right, env, Close(0.0, _bound(right, env)))
        if not isinstance(op, ast.Eq | ast.Is):
            return False
        if isinstance(right, ast.Call) and ast.unparse(right.func).endswith("approx"):
            named = {k.arg for k in right.keywords}
            close = _bounds(right, ("", "rel", "abs"), Close(1e-6, 1e-12), env)
            only_abs = "abs" in named and "rel" not in named and len(right.args) < 2
            return self.add(
                left, right.args[0], env, close._replace(rel=0.0) if only_abs else close
            )
        return self.add(left, right, env)

    def unittest(self, name: str, call: ast.Call, env: dict[str, object]) -> bool:
        args = call.args
        if name == "assertAlmostEqual":
            given = dict(zip(("places", "msg", "delta"), args[2:], strict=False))
            given |= {k.arg: k.value for k in call.keywords if k.arg}
            places = _bound(given.get("places", ast.Constant(7)), env)
            far = _bound(given["delta"], env) if "delta" in given else 0.5 * 10.0**-places
            return self.add(args[0], args[1], env, Close(0.0, far))
        if name in _EQUAL:
            return self.add(args[0], args[1], env)
        done = name == "assertTrue" and self.read(args[0], env)
        return done or self.add(args[0], ast.Constant(_IS[name]), env)


def parse_tests(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """The cases of a text; ValueError when it is no Python."""
    names = {entry_point, "candidate"} if entry_point else {"candidate"}
    reader = _Reader(names, params)
    if re.search(r"^\s*>>> ", text, re.MULTILINE) and "assert" not in text:
        return parse_doctest(text, entry_point, params)
    try:
        tree = parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the tests are no Python: {error}") from error
    reader.block(tree.body, {})
    return reader.cases, reader.unread


def parse_doctest(text: str, entry_point: str, params: tuple[str, ...] = ()) -> Read:
    """Cases of `>>> f(x)` lines followed by a literal."""
    reader = _Reader({entry_point}, params)
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return [], []
    for example in examples:
        line = f"assert ({example.source.strip()}) == ({example.want.strip()})"
        try:
            reader.block(parse(line).body, {})
        except (SyntaxError, ValueError):
            reader.unread.append(example.source.strip())
    return reader.cases, reader.unread

"""Python tests as text -> cases, by `ast`: nothing of the text is ever executed.

Reads `assert f(..) == value` and its usual relatives (reversed, bare, `not`, `is`, tolerance,
`math.isclose`, unittest's assertEqual family, doctest lines), inside functions, classes and after
assignments of constants. Left out: loops, exceptions, properties: reported as unreadable.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
from collections import Counter
from dataclasses import dataclass, field

from pawl.problems.python_text import parse, parse_expression
from pawl.types import Case

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
_read_json = json.JSONDecoder().decode
_WORDS = {"True": True, "False": False, "None": None}
# Numbers and strings without a quote or backslash inside, in lists: JSON but for the quotes.
_LIKE_JSON = re.compile(r"""(?:[][0-9,. \-]++|'[^'"\\\n]*'|"[^'"\\\n]*")*""")
_TYPES = (int, float, complex, str, bytes, bool, list, tuple, dict, set, type(None))
_BUILD = {"list": list, "tuple": tuple, "set": set, "dict": dict, "range": range, "sorted": sorted}


def constant(node: ast.AST, env: dict[str, object]) -> object:
    """The value of a constant expression; ValueError when it is none (or too large).

    Knows literals, names bound to constants, unary minus, + and * of constants, and
    list/tuple/set/dict/range/sorted/float of constants.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in env:
        return env[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        args = [constant(a, env) for a in node.args]
        if node.func.id == "float" and len(args) == 1 and isinstance(args[0], str | int | float):
            return _to_float(args[0])
        if node.func.id in _BUILD and all(isinstance(a, range | _TYPES) for a in args):
            return _bounded(_BUILD[node.func.id], args)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Pow):
        return _binary(node, env)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [constant(e, env) for e in node.elts]
        made = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return _hashed(made, items)
    if isinstance(node, ast.Dict) and all(k is not None for k in node.keys):
        pairs: list[object] = [
            (constant(k, env), constant(v, env))
            for k, v in zip(node.keys, node.values, strict=True)
            if k is not None
        ]
        return _hashed(dict, pairs)
    try:
        return ast.literal_eval(node)
    except ValueError as error:  # its message names the node by its place in memory
        raise ValueError(f"`{ast.unparse(node)[:80]}` is no constant") from error


def _hashed(make: type, items: list[object]) -> object:
    try:
        return make(items)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _to_float(value: str | int | float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _bounded(make: object, args: list[object]) -> object:
    try:
        if any(isinstance(a, range) and len(a) > _MAX_ITEMS for a in args):
            raise ValueError("range too large")
        return make(*args)  # type: ignore[operator]  # one of six builtin constructors
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _size(value: object) -> int:
    """Items in a value, those of its parts among them: what its text will hold."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return max(1, sum(map(_size, value))) if isinstance(value, list | tuple | set) else 1


def _binary(node: ast.BinOp, env: dict[str, object]) -> object:
    """+, -, * and ** of numbers, + and * of sequences, bounded in size."""
    a, b = constant(node.left, env), constant(node.right, env)
    numbers = isinstance(a, int | float | complex) and isinstance(b, int | float | complex)
    if isinstance(node.op, ast.Pow):
        if not (isinstance(a, int) and isinstance(b, int) and 0 <= b <= 4096 and abs(a) < 2**64):
            raise ValueError("power of non-integers")
        return a**b
    if isinstance(node.op, ast.Mult) and not numbers:
        sized, times = (a, b) if isinstance(a, str | bytes | list | tuple) else (b, a)
        if not (isinstance(sized, str | bytes | list | tuple) and isinstance(times, int)):
            raise ValueError("not a product of constants")
        if _size(sized) * times > _MAX_ITEMS:
            raise ValueError("repetition too large")
        return sized * times
    if numbers and isinstance(a, int | float | complex) and isinstance(b, int | float | complex):
        return _arithmetic(node.op, a, b)
    if isinstance(node.op, ast.Add):
        return _joined(a, b)
    raise ValueError("not a sum of constants")


def _arithmetic(op: ast.operator, a: complex, b: complex) -> complex:
    try:
        if isinstance(op, ast.Mult):
            return a * b
        return a + b if isinstance(op, ast.Add) else a - b
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _joined(a: object, b: object) -> object:
    if isinstance(a, str) and isinstance(b, str):
        return a + b
    if isinstance(a, bytes) and isinstance(b, bytes):
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        return a + b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return a + b
    raise ValueError("not a sum of constants")


def value_of(text: str) -> object:
    """The value of a constant expression in a text.

    Raises ValueError, SyntaxError, TypeError, MemoryError or RecursionError when it is none. What
    JSON spells in the same way is read as JSON, in a tenth of the time.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _LIKE_JSON.fullmatch(text):
        try:
            value: object = _read_json(text.replace("'", '"'))
        except (ValueError, RecursionError):
            pass  # `[1,]`, `007`: the other grammar decides
        else:
            return value
    return constant(parse_expression(text), {})


def literal(value: object) -> str:
    """Source text that `ast.literal_eval` reads back as the same value; ValueError otherwise."""
    text = repr(value)
    if ("{" in text or "set()" in text) and _holds_set(value):
        text = _ordered(value)
    if len(text) > _MAX_REPR:
        raise ValueError("value too large")
    if _DOUBTFUL.search(text) and ast.literal_eval(text) != value:
        raise ValueError(f"{text[:60]} is no literal")
    return text


def _holds_set(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_set, value)) or any(map(_holds_set, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_set, value))
    return isinstance(value, set)


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
                self.claim(node.test, env, node)
            elif isinstance(node, ast.Assign) and len(node.targets) == 1:
                self.bind(node, env)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.With | ast.If):
                self.block(node.body, dict(env))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                self.unittest(node.value, env)
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
        if None in by_name or not set(by_name) <= set(self.params[len(node.args) :]):
            raise ValueError("keyword arguments that the signature does not name")
        rest = [by_name[p] for p in self.params[len(node.args) :] if p in by_name]
        if (
            len(rest) != len(by_name)
            or list(by_name)
            and list(self.params[len(node.args) :])[: len(rest)]
            != [p for p in self.params[len(node.args) :] if p in by_name]
        ):
            raise ValueError("keyword arguments that leave a gap")
        return literal([constant(a, env) for a in [*node.args, *rest]])

    def add(self, a: ast.expr, b: ast.expr, env: dict[str, object], close: bool) -> bool:
        """Add `a == b` where one side is the call."""
        for call, value in ((a, b), (b, a)):
            args = self.call_of(call, env)
            if args is not None:
                self.cases.append(Case(args, literal(constant(value, env)), close=close))
                return True
        return False

    def claim(self, test: ast.expr, env: dict[str, object], whole: ast.AST) -> None:
        try:
            done = self.read(test, env)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError):
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
            return self.add(test.operand, ast.Constant(False), env, False)
        if isinstance(test, ast.Call):
            if ast.unparse(test.func) in ("math.isclose", "isclose", "np.isclose", "np.allclose"):
                return self.add(test.args[0], test.args[1], env, True)
            return self.add(test, ast.Constant(True), env, False)
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return False
        left, op, right = test.left, test.ops[0], test.comparators[0]
        if isinstance(op, ast.Lt | ast.LtE) and isinstance(left, ast.Call):
            inner = left.args[0] if left.args else None
            if ast.unparse(left.func) in ("abs", "math.fabs") and isinstance(inner, ast.BinOp):
                return self.add(inner.left, inner.right, env, True)
        if not isinstance(op, ast.Eq | ast.Is):
            return False
        if isinstance(right, ast.Call) and ast.unparse(right.func).endswith("approx"):
            return self.add(left, right.args[0], env, True)
        return self.add(left, right, env, False)

    def unittest(self, node: ast.Call, env: dict[str, object]) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        args = list(node.args)
        try:
            if name in ("assertEqual", "assertEquals", "assertListEqual", "assertAlmostEqual"):
                done = self.add(args[0], args[1], env, name == "assertAlmostEqual")
            elif name in ("assertTrue", "assertFalse", "assertIsNone"):
                value = {"assertTrue": True, "assertFalse": False}.get(name)
                done = self.read(args[0], env) if name == "assertTrue" else False
                done = done or self.add(args[0], ast.Constant(value), env, False)
            else:
                return
        except (ValueError, TypeError, IndexError):
            done = False
        if not done:
            self.unread.append(ast.unparse(node)[:200])


def parse_tests(
    text: str, entry_point: str, params: tuple[str, ...] = ()
) -> tuple[list[Case], list[str]]:
    """(cases, assertions that could not be read); ValueError when the text is no Python."""
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


def parse_doctest(
    text: str, entry_point: str, params: tuple[str, ...] = ()
) -> tuple[list[Case], list[str]]:
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

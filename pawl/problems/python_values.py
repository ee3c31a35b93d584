"""Constant expressions of Python tests -> values, and values -> literals: nothing is ever executed.

Knows what tests are written with: literals, arithmetic, names bound before, a few constructors and
functions of constants, comprehensions. All is bounded in size. Left out: calls of anything else.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pawl.problems.python_text import parse_expression

_DOUBTFUL = re.compile(r"\b(?:inf|nan|frozenset|range)\b")  # what repr writes that no literal is
_MAX_REPR = 200_000
_MAX_ITEMS = 100_000
_read_json = json.JSONDecoder().decode
_WORDS = {"True": True, "False": False, "None": None}
# Numbers and strings without a quote or backslash inside, in lists: JSON but for the quotes.
_LIKE_JSON = re.compile(r"""(?:[][0-9,. \-]++|'[^'"\\\n]*'|"[^'"\\\n]*")*""")
_SEQUENCE = (str, bytes, list, tuple)
_NUMBER = (int, float, complex)
_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not},
    **{ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
}
_TYPES: dict[str, type] = {
    **{"int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple},
    **{"dict": dict, "set": set, "frozenset": frozenset, "bytes": bytes, "complex": complex},
}


@dataclass(frozen=True)
class Nodes:
    """A linked list or a tree, by the helper of LeetCode's problems that makes it of values.

    Its text is the call of the helper, which the head of such a problem defines.
    """

    helper: str
    values: list[object]

    def __repr__(self) -> str:
        return f"{self.helper}({self.values!r})"

    @property
    def returned(self) -> object:
        """As a candidate's list or tree comes back: level by level, None for an empty one."""
        items = list(self.values)
        while items and items[-1] is None and self.helper == "tree_node":
            items.pop()
        return items or None


_DISPLAY = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_CALLS: dict[str, Callable[..., Any]] = {
    **{"list": list, "tuple": tuple, "set": set, "dict": dict, "range": range, "sorted": sorted},
    **{"zip": zip, "enumerate": enumerate, "reversed": reversed, "frozenset": frozenset},
    **{"len": len, "sum": sum, "min": min, "max": max, "abs": abs, "round": round, "int": int},
    **{"float": float, "str": str, "bool": bool, "divmod": divmod, "complex": complex},
    **{"Counter": Counter, "collections.Counter": Counter},
}
_CALLS |= {name: partial(Nodes, name) for name in ("list_node", "tree_node")}
_CALLS |= dict.fromkeys(("np.array", "numpy.array"), list)  # what comes back is a list too
_MATH = "sqrt sin cos tan asin acos atan log log2 log10 exp floor ceil fabs radians degrees".split()
_CALLS |= {f"math.{name}": getattr(math, name) for name in _MATH}
_NAMED = {f"math.{name}": getattr(math, name) for name in ("pi", "e", "tau", "inf")}
_NAMED["sys.maxsize"] = sys.maxsize
_DIGITS = 400  # to which a number is rounded
_NESTED = 300  # items of a comprehension around another one


def constant(node: ast.AST, env: Mapping[str, object]) -> Any:
    """The value of a constant expression; ValueError when it is none (or too large).

    env: the values of names, whatever their type; a name with any other value makes no constant.
    """
    try:
        return _value(node, env)
    except (TypeError, ArithmeticError, LookupError) as error:
        raise ValueError(str(error)) from error


def plain(value: object) -> bool:
    """Whether a value of an environment is one of Python's own, and no note of the reader's."""
    return type(value).__module__ in ("builtins", "collections")


def _value(node: ast.AST, env: Mapping[str, object]) -> Any:
    if isinstance(node, ast.Constant) and node.value is not ...:
        return node.value
    if isinstance(node, ast.Name) and node.id in env and plain(env[node.id]):
        return env[node.id]
    if isinstance(node, ast.Attribute) and ast.unparse(node) in _NAMED:
        return _NAMED[ast.unparse(node)]
    if isinstance(node, ast.Call):
        return _called(node, env)
    if isinstance(node, ast.BinOp):
        return _binary(node.op, _value(node.left, env), _value(node.right, env))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, env))
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
        return _value(node.value, env)[_value(node.slice, env)]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return _DISPLAY[type(node)](_value(e, env) for e in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_value(k, env) for k in node.keys if k is not None]
        return dict(zip(keys, [_value(v, env) for v in node.values], strict=True))
    if isinstance(node, ast.ListComp | ast.SetComp):
        made = list(_comprehended(node, env))
        return made if isinstance(node, ast.ListComp) else set(made)
    raise ValueError(f"`{ast.unparse(node)[:80]}` is no constant")


def holds(test: ast.expr, env: Mapping[str, object]) -> bool | None:
    """Whether a condition of constants holds; None where it is not certain."""
    if isinstance(test, ast.BoolOp):
        parts = [holds(v, env) for v in test.values]
        decides = isinstance(test.op, ast.Or)
        if decides in parts:
            return decides
        return None if None in parts else not decides
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = holds(test.operand, env)
        return None if inner is None else not inner
    if ast.unparse(test) == "__name__ == '__main__'":
        return True
    try:
        if isinstance(test, ast.Compare):
            sides = [constant(side, env) for side in (test.left, *test.comparators)]
            pairs = zip(sides, test.ops, sides[1:], strict=False)
            return all(bool(_COMPARED[type(op)](a, b)) for a, op, b in pairs)
        if isinstance(test, ast.Call) and len(test.args) in (1, 2):
            return _asked(test, env)
        return bool(constant(test, env))
    except (ValueError, TypeError, LookupError):
        return None


def _asked(test: ast.Call, env: Mapping[str, object]) -> bool:
    """`isinstance` of a constant; `is_floats`, by which EvalPlus chooses a tolerance."""
    value, name = constant(test.args[0], env), ast.unparse(test.func)
    if name == "isinstance":
        kinds = re.findall(r"\w+", ast.unparse(test.args[1]))
        return any(isinstance(value, _TYPES[kind]) for kind in kinds)
    if name == "is_floats":
        many = isinstance(value, list | tuple)
        return all(isinstance(v, float) for v in (value if many else [value]))
    return bool(constant(test, env))


def _called(node: ast.Call, env: Mapping[str, object]) -> Any:
    """A function of constants."""
    function = _CALLS.get(ast.unparse(node.func))
    if function is None:
        raise ValueError(f"`{ast.unparse(node)[:80]}` is no constant")
    args = [_value(a, env) for a in node.args]
    named = {k.arg: _value(k.value, env) for k in node.keywords if k.arg}
    if len(named) < len(node.keywords) or not set(named) <= {"key", "reverse", "start", "strict"}:
        raise ValueError("arguments that no constant has")
    if any(isinstance(a, range) and len(a) > _MAX_ITEMS for a in args):
        raise ValueError("range too large")
    if function is round and len(args) > 1 and abs(args[1]) > _DIGITS:
        raise ValueError("digits without end")
    made = function(*args, **named)
    return list(made) if isinstance(made, Iterator) else made  # zip and its like


def _comprehended(node: ast.ListComp | ast.SetComp, env: Mapping[str, object]) -> Iterator[Any]:
    """What a comprehension over constants holds, bounded in size."""
    around = sum(isinstance(n, ast.ListComp | ast.SetComp) for n in ast.walk(node.elt))
    (loop,) = node.generators
    items = _value(loop.iter, env)
    if loop.ifs or around > 1 or len(items) > (_NESTED if around else _MAX_ITEMS):
        raise ValueError("a comprehension of another kind, or too large")
    size = 0
    for item in items:
        made = _value(node.elt, {**env, **unpacked(loop.target, item)})
        size += _size(made)
        if size > _MAX_ITEMS:
            raise ValueError("a comprehension too large")
        yield made


def unpacked(target: ast.expr, value: Any) -> dict[str, object]:
    """The names that a target binds; ValueError where it is no name, or the value has no parts."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    if not isinstance(target, ast.Tuple | ast.List) or len(target.elts) != len(value):
        raise ValueError("a target of another form")
    bound: dict[str, object] = {}
    for part, item in zip(target.elts, value, strict=True):
        bound |= unpacked(part, item)
    return bound


def _size(value: object) -> int:
    """Items in a value, those of its parts among them: what its text will hold."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return (
        max(1, sum(map(_size, value))) if isinstance(value, list | tuple | set | frozenset) else 1
    )


def _binary(op: ast.operator, a: Any, b: Any) -> object:
    """Arithmetic of numbers, + and * of sequences, bounded in size."""
    numbers = isinstance(a, _NUMBER) and isinstance(b, _NUMBER)
    if isinstance(op, ast.Pow):
        whole = isinstance(a, int) and isinstance(b, int)
        if not numbers or (whole and not (b <= 4096 and abs(a) < 2**64)):
            raise ValueError("power too large, or of no numbers")
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
    return _BINARY[type(op)](a, b)


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
    if "{" in text or "set()" in text or "inf" in text:  # it may hold sets, or no end of numbers
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
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return repr(value)

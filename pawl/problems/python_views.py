"""What an expression of a test says of one call: its arguments, and what is compared of its result.

    sorted(f([2, 1]))  ->  arguments "[[2, 1]]", view "sorted(result)"

Also of names that a result or a changed argument is bound to. A view goes into the sandbox with the
candidate, so it may hold nothing that looks like an expected value: no comparison, no collection of
constants. Left out: assertions around it (`python_tests.py`), evaluating it (the sandbox's driver).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pawl.problems.python_values import constant, literal, plain

Env = Mapping[str, object]  # values of names, or an Outcome

_FUNCTIONS = {
    *("abs", "all", "any", "bool", "bytes", "dict", "divmod", "enumerate", "filter", "float"),
    *("frozenset", "int", "isinstance", "len", "list", "map", "max", "min", "next", "ord", "chr"),
    *("range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip", "iter"),
    *("complex", "math", "collections"),
}
# Methods whose argument is what is expected.
_TELLING = {"startswith", "endswith", "issubset", "issuperset", "isdisjoint", "equals"}


class Outcome(NamedTuple):
    """One call by its arguments (a literal list), and an expression of `result` and `args`.

    view: "" for the result itself.
    """

    args: str
    view: str = ""


@dataclass
class Names:
    """What the tests call. calls: names that stand for the entry point; params: of its signature.

    helped: functions of the tests themselves that are called by name.
    """

    calls: set[str]
    params: tuple[str, ...]
    helped: set[str]

    @classmethod
    def of(cls, tree: ast.Module, entry: str, params: tuple[str, ...]) -> Names:
        """Of a module of tests."""
        called = {
            getattr(n.func, "id", getattr(n.func, "attr", ""))
            for n in ast.walk(tree)
            if isinstance(n, ast.Call)
        }
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        calls = {entry, "candidate"} if entry else {"candidate"}
        return cls(calls, params, (called & defined) - calls)


def call_of(call: ast.Call, env: Env, names: Names) -> str:
    """The arguments of a call of the entry point, in order, as a literal list.

    Raises ValueError for what is no constant, and for keywords that the signature does not place.
    """
    given: list[object] = []
    for arg in call.args:
        if isinstance(arg, ast.Starred):
            given += constant(arg.value, env)
        else:
            given.append(constant(arg, env))
    by_name = {k.arg: k.value for k in call.keywords}
    rest = names.params[len(given) :][: len(by_name)]
    if set(by_name) != set(rest):
        raise ValueError("keyword arguments that the signature does not name, or with a gap")
    return literal([*given, *(constant(by_name[p], env) for p in rest)])


def outcome(node: ast.expr, env: Env, names: Names) -> Outcome | None:
    """What an expression says of a call, None when it speaks of none.

    Raises ValueError when it speaks of one in a way that cannot be read.
    """
    if not _speaks(node, env, names):
        return None
    own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    view = _View(env, names, own)  # names of comprehensions are the expression's own
    made = view.visit(copy.deepcopy(node))
    if len(view.found) != 1:
        raise ValueError("it speaks of several calls")
    text = ast.unparse(made)
    return Outcome(view.found.pop(), "" if text == "result" else text)


def with_item(found: Outcome, i: int) -> Outcome:
    """The i-th part of what a call gave."""
    return found._replace(view=f"{found.view or 'result'}[{i}]")


def _calls(node: ast.AST, names: Names) -> bool:
    """Whether a node is a call of the entry point."""
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "id", getattr(node.func, "attr", "")) in names.calls


def _speaks(node: ast.expr, env: Env, names: Names) -> bool:
    """Whether a call of the entry point, or a name for what it gave, stands in an expression."""
    return any(
        _calls(n, names) or (isinstance(n, ast.Name) and isinstance(env.get(n.id), Outcome))
        for n in ast.walk(node)
    )


class _View(ast.NodeTransformer):
    """Puts `result` and `args` in the place of calls and names; refuses what tells too much."""

    def __init__(self, env: Env, names: Names, own: set[str]) -> None:
        self.env, self.names, self.own = env, names, own
        self.found: set[str] = set()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _calls(node, self.names):
            self.found.add(call_of(node, self.env, self.names))
            return ast.Name("result", ast.Load())
        if isinstance(node.func, ast.Attribute) and node.func.attr in _TELLING:
            raise ValueError("its argument is what is expected")
        return self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.own |= {a.arg for a in node.args.args}
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self.env.get(node.id)
        if node.id in self.own:
            return node
        if isinstance(value, Outcome):
            self.found.add(value.args)
            return ast.parse(value.view or "result", mode="eval").body
        if node.id in self.env and plain(value):
            made: ast.AST = self.visit(ast.parse(literal(value), mode="eval").body)
            return made
        if node.id == "Counter":
            return ast.parse("collections.Counter", mode="eval").body
        if node.id not in _FUNCTIONS:
            raise ValueError(f"{node.id} is not known")
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.op, ast.Add | ast.Sub):
            raise ValueError("a sum or difference may hold what is expected")
        return self.generic_visit(node)

    def refuse(self, node: ast.AST) -> ast.AST:
        raise ValueError(f"`{ast.unparse(node)[:60]}` may tell what is expected")

    visit_Compare = visit_BoolOp = visit_List = visit_Set = visit_Dict = refuse
    visit_JoinedStr = visit_IfExp = visit_NamedExpr = refuse

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        if any(isinstance(n, ast.Constant) for n in ast.walk(node)):
            return self.refuse(node)
        return self.generic_visit(node)

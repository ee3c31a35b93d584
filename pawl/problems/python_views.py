"""What an expression of a test says of one call: its arguments, and what is compared of its result.

    sorted(f([2, 1]))  ->  arguments "[[2, 1]]", view "sorted(result)"

Also of names that a result or a changed argument is bound to. A view goes into the sandbox with the
candidate, so it may hold nothing that looks like an expected value: no comparison, no collection of
constants. Left out: assertions around it (`python_tests.py`), evaluating it (the sandbox's driver).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping, Sequence
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
_SMALL = 2  # a larger number, or a longer text, may be what is expected
_MODULUS = 10


class Outcome(NamedTuple):
    """One call by its arguments (a literal list), and an expression of `result` and `args`.

    view: "" for the result itself.
    """

    args: str
    view: str = ""


@dataclass
class Names:
    """What the tests call. calls: names that stand for the entry point; params: of its signature.

    called: every name that the tests call; functions: those that they define.
    """

    calls: set[str]
    params: tuple[str, ...]
    called: set[str]
    functions: dict[str, ast.FunctionDef]

    @classmethod
    def of(cls, tree: ast.Module, entry: str, params: tuple[str, ...]) -> Names:
        """Of a module of tests."""
        called = {last_name(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        return cls({entry, "candidate"} if entry else {"candidate"}, params, called, functions)

    def is_helper(self, node: ast.FunctionDef) -> bool:
        """Whether a function of the tests is read where it is called: it has parameters."""
        params = {a.arg for a in [*node.args.posonlyargs, *node.args.args]}
        own = params - {"self", "cls"} - self.calls
        return bool(own) and not node.decorator_list and node.name in self.called - self.calls

    def helpers_in(self, body: Sequence[ast.stmt]) -> dict[str, ast.FunctionDef]:
        """The helpers of a module or class, which may stand behind what calls them."""
        functions = [n for n in body if isinstance(n, ast.FunctionDef)]
        return {n.name: n for n in functions if self.is_helper(n)}


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
    if not speaks(node, env, names):
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


def last_name(function: ast.AST) -> str:
    """`f` of `f` and of `a.b.f`, "" for anything else."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _calls(node: ast.AST, names: Names) -> bool:
    """Whether a node is a call of the entry point."""
    return isinstance(node, ast.Call) and last_name(node.func) in names.calls


def speaks(node: ast.expr, env: Env, names: Names) -> bool:
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
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in _TELLING or method.startswith("_"):
            raise ValueError("its argument is what is expected")
        if last_name(node.func) == "round" and len(node.args) == 2:
            node.args[0] = self.visit(node.args[0])
            return node
        if method == "join" and isinstance(node.func, ast.Attribute):
            node.args = [self.visit(a) for a in node.args]
            return node
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        if any(isinstance(n, ast.Name) for n in ast.walk(node.slice)):
            node.slice = self.visit(node.slice)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        long = isinstance(value, str | bytes) and len(value) > 1
        if long or (isinstance(value, int | float) and abs(value) > _SMALL):
            return self.refuse(node)
        return node

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
        if not isinstance(node.op, ast.Mod) or not isinstance(node.right, ast.Constant):
            return self.refuse(node)
        if not isinstance(node.right.value, int) or not 0 < node.right.value <= _MODULUS:
            return self.refuse(node)
        node.left = self.visit(node.left)
        return node

    def refuse(self, node: ast.AST) -> ast.AST:
        raise ValueError(f"`{ast.unparse(node)[:60]}` may tell what is expected")

    visit_Compare = visit_BoolOp = visit_List = visit_Set = visit_Dict = refuse
    visit_JoinedStr = visit_IfExp = visit_NamedExpr = refuse

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        if any(isinstance(n, ast.Constant) for n in ast.walk(node)):
            return self.refuse(node)
        return self.generic_visit(node)

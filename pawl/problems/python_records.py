"""Records of an input and an expected value -> cases of Python: source text, or values of JSON.

A text may be the source of a literal ("[1, 2]", one list of arguments) or the value itself ("12",
which a function of text gets as it is). The inputs of a problem decide it together; annotations of
the definition, and what the reference does with its parameter, decide what the inputs leave open;
what stays open is said in a note. Values of JSON keep their types. Left out: assertions
(`python_tests.py`), OCaml's records (`cases.py`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from pawl.problems.python_tests import parse_tests
from pawl.problems.python_text import find_definition, parse, parse_expression
from pawl.problems.python_values import literal, value_of
from pawl.types import Case, Close, Compare

_RAISED = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "MutableSequence", "deque"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "Counter", "defaultdict", "OrderedDict"}
_TUPLES, _SETS = {"tuple", "Tuple"}, {"set", "Set", "frozenset", "FrozenSet", "AbstractSet"}
_SCALARS: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)
}  # fmt: skip
# What a function calls of one thing of many, of a number, of a text.
_FUNCTIONS = {
    "many": set("len sum sorted min max set list tuple enumerate reversed any all Counter".split())
    | set("map zip filter iter join".split()),
    "number": set("range abs round sqrt floor ceil factorial gcd isqrt bin".split()),
    "text": {"ord"},
}
_METHODS = {
    "many": {"append", "sort", "pop", "extend", "insert", "remove"},
    "text": set("split upper lower strip replace join isdigit isalpha title startswith".split())
    | set("endswith swapcase encode find isupper islower capitalize".split()),
}
_SPELLED = {"True", "False", "None"}
_NUMBER = re.compile(r"[-+]?[\d_.]+(?:e[-+]?\d+)?j?|\(.*j\)|-?inf|float\(.*\)", re.IGNORECASE)
_TEXTUAL = re.compile(rf"\bstr\b|\.(?:{'|'.join(_METHODS['text'])})\(|\bord\(")  # seen at once
_ONE_ITEM = "inputs of one item are taken as lists of one argument, not as the argument"
_VIEWS = {"tuple": "tuple(result)", "int": "int(result)", "set": "set(result)"}
_VIEWS |= {"truthy": "bool(result)", "falsy": "bool(result)", "sorted": "sorted(result)"}
_COMPARED: dict[str, Compare] = {"raises": "raises", "in": "in", "contains": "contains"}


class Asked(NamedTuple):
    """A record, its parts named. given, wanted: text, or values of JSON. kind: how it compares.

    named: arguments by name beside the given ones.
    """

    given: object
    wanted: object
    shown: bool = False
    close: Close | None = None
    kind: str = "eq"
    named: object = None


KINDS = {"", "eq", "equal", "equals", "equality", "==", "exact", "io", "tuple", "int", "set"}
KINDS |= {"truthy", "falsy", "sorted", "raises", "in", "contains"}


@dataclass(frozen=True)
class Signature:
    """What is known of a function, read when it is asked for: most records leave nothing open."""

    params: tuple[str, ...]
    head: str = ""
    solved: str = ""
    entry: str = ""

    @cached_property
    def _definitions(self) -> list[ast.FunctionDef]:
        """In the reference and in the head, where they can be read; the head counts more."""
        found = [_function(text, self.entry) for text in (self.solved, self.head)]
        return [node for node in found if node is not None]

    @cached_property
    def kinds(self) -> dict[str, ast.expr]:
        """Annotations of the parameters."""
        if ":" not in self.head.partition("(")[2].rpartition(")")[0] and not self.solved:
            return {}
        args = [a for n in self._definitions for a in (*n.args.posonlyargs, *n.args.args)]
        return {a.arg: a.annotation for a in args if a.annotation is not None}

    @cached_property
    def returns(self) -> ast.expr | None:
        """Annotation of the result."""
        if "->" not in self.head + self.solved:
            return None
        told = [n.returns for n in self._definitions if n.returns is not None]
        return told[-1] if told else None

    @cached_property
    def uses(self) -> str:
        """What the reference takes its first parameter for: many, number, text, "" unknown."""
        for node in self._definitions:
            args = [*node.args.posonlyargs, *node.args.args]
            if args and (found := _uses(node, args[0].arg)):
                return found
        return ""


NO_SIGNATURE = Signature(())

# ---- what the definition says --------------------------------------------------------------------


def _function(text: str, entry: str) -> ast.FunctionDef | None:
    """The last definition of a name in a text that parses, else of its head alone."""
    found = find_definition(text, entry) if text else None
    for code in (text, f"{found.head}\n    pass" if found else ""):
        try:
            nodes = [n for n in ast.walk(parse(code)) if isinstance(n, ast.FunctionDef)]
        except _RAISED:
            continue
        named = [n for n in nodes if n.name == entry]
        if named:
            return named[-1]
    return None


def _uses(function: ast.FunctionDef, name: str) -> str:
    """What a function takes a parameter for, "" where that is not one thing."""
    told = {kind for node in ast.walk(function) for kind in _evidence(node, name)}
    if told == {"many", "text"}:
        return "text"
    return told.pop() if len(told) == 1 else ""


def _evidence(node: ast.AST, name: str) -> Iterator[str]:
    """What one node says of the parameter."""

    def own(part: object) -> bool:
        return isinstance(part, ast.Name) and part.id == name

    def numeric(part: object) -> bool:
        return isinstance(part, ast.Constant) and type(part.value) in (int, float)

    if isinstance(node, ast.For | ast.comprehension) and own(node.iter):
        yield "many"
    elif isinstance(node, ast.Subscript) and own(node.value):
        yield "many"
    elif isinstance(node, ast.BinOp) and own(node.left):
        if isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Pow | ast.Mod):
            yield "number"
        elif isinstance(node.op, ast.Add) and numeric(node.right):
            yield "number"
    elif isinstance(node, ast.Compare) and own(node.left) and any(map(numeric, node.comparators)):
        yield "number"
    elif isinstance(node, ast.Call):
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called in ("min", "max") and len(node.args) > 1:
            called = "abs"  # of numbers, if several
        if isinstance(node.func, ast.Attribute) and own(node.func.value):
            yield from (kind for kind, names in _METHODS.items() if called in names)
        elif any(map(own, node.args)):
            yield from (kind for kind, names in _FUNCTIONS.items() if called in names)


def _fits(value: object, kind: ast.expr | None) -> bool | None:
    """Whether an annotation allows a value; None where it says nothing of it."""
    if kind is None:
        return None
    if isinstance(kind, ast.Constant):
        return value is None if kind.value is None else None
    if isinstance(kind, ast.BinOp):  # int | None
        sides = [_fits(value, kind.left), _fits(value, kind.right)]
        return True if True in sides else None if None in sides else False
    name, inner = _parts(kind)
    if name in ("Optional", "Union"):
        sides = [_fits(value, k) for k in inner] + ([value is None] if name == "Optional" else [])
        return True if True in sides else None if None in sides else False
    if name in _SCALARS:
        return isinstance(value, _SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
    if name in _LISTS | _TUPLES | _SETS:
        if not isinstance(value, list | tuple | set):
            return False
        one = inner[0] if len(inner) == 1 or (inner and name in _LISTS) else None
        return all(_fits(item, one) is not False for item in value)
    return isinstance(value, Mapping) if name in _MAPPINGS else None


def _parts(kind: ast.expr) -> tuple[str, list[ast.expr]]:
    """Name and parameters of an annotation: `List[int]` -> List, [int]."""
    base = kind.value if isinstance(kind, ast.Subscript) else kind
    name = getattr(base, "id", getattr(base, "attr", ""))
    if not isinstance(kind, ast.Subscript):
        return name, []
    return name, kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]


def _shaped(value: Any, kind: ast.expr | None) -> Any:
    """A value of JSON as the annotation has it: tuples, sets and keys that are numbers."""
    if kind is None:
        return value
    name, inner = _parts(kind)
    if name == "Optional" and inner:
        return value if value is None else _shaped(value, inner[0])
    if isinstance(value, list):
        made = [_shaped(v, k) for v, k in zip(value, _of_items(value, inner), strict=False)]
        return tuple(made) if name in _TUPLES else set(made) if name in _SETS else made
    if isinstance(value, dict) and name in _MAPPINGS and inner:
        keys = _parts(inner[0])[0]
        read: type = {"int": int, "float": float}.get(keys, str)
        return {read(k): _shaped(v, inner[-1]) for k, v in value.items()}
    return value


def _of_items(value: list[Any], inner: Sequence[ast.expr]) -> list[ast.expr | None]:
    """The annotation of each item: one for all, or one for each of a tuple."""
    own = [k for k in inner if not (isinstance(k, ast.Constant) and k.value is ...)]
    if len(own) == len(value) and len(own) > 1:
        return [*own]
    return [own[0] if own else None] * len(value)


# ---- records -------------------------------------------------------------------------------------


def read_records(
    asked: Sequence[Asked], entry: str, known: Signature
) -> tuple[list[Case], list[str], list[str]]:
    """(cases, records that could not be read, what was ambiguous) of the records of one problem."""
    notes: list[str] = []
    sources = [_source(one.given, entry, known) for one in asked]
    texts = all(isinstance(one.given, str) for one in asked)
    if texts and (not all(sources) or _takes_text(sources, known)):
        sources, notes = _bare(asked, known)
    given = [s[0] if s else one.given for s, one in zip(sources, asked, strict=True)]
    alone: bool | None = False
    if len(known.params) == 1 and any(isinstance(one.given, Mapping) for one in asked):
        alone = not all(isinstance(v, Mapping) and set(v) == set(known.params) for v in given)
    elif len(known.params) == 1:
        alone = _is_the_argument(given, known, all(sources))
    notes += [_ONE_ITEM] if alone is None else []
    spelled = _spelling(asked, all(sources), known)
    cases, unread = list[Case](), list[str]()
    for one, source, value in zip(asked, sources, given, strict=True):
        try:
            args = _with_names([value] if alone else _arguments(value, known), one.named, known)
            if not source:
                args = _as_annotated(args, known)
            cases.append(_case(one, literal(args), spelled, known))
        except _RAISED as error:
            unread.append(f"{str(one.given)[:80]}: {error}")
    return cases, unread, notes


def _literal_of(text: str) -> Any:
    """The value that a text spells, in Python or in JSON; raises as `value_of`."""
    text = text.strip()
    try:
        value = value_of(text)
        if isinstance(value, str | list | tuple | dict | set) or text in _SPELLED:
            if isinstance(value, tuple) and text[:1] not in "([":
                raise ValueError("several values")
        elif not _NUMBER.fullmatch(text):
            raise ValueError("a sum, a date")
        return value
    except _RAISED:
        if text.strip() in ("true", "false", "null") or text.strip()[:1] in ("[", "{"):
            return json.loads(text)
        raise


def _source(given: object, entry: str, known: Signature) -> tuple[Any] | None:
    """The arguments that a text is the source of: a list, a tuple, a call, a line for each; else
    None. A tuple around them, as they may be anything.
    """
    if not isinstance(given, str):
        return None
    try:
        if given.strip()[:1] not in "[({'\"-0123456789":
            node = parse_expression(given.strip())
            if isinstance(node, ast.Call) and ast.unparse(node.func) == entry:
                cases, _ = parse_tests(f"assert {given.strip()} == 0", entry, known.params)
                return (value_of(cases[0].input),) if len(cases) == 1 else None
        lines = given.strip().split("\n")
        if len(lines) == len(known.params) > 1:
            return ([_literal_of(line) for line in lines],)
        if given.strip()[:1] not in "[(" and "," in given:
            value = value_of(given.strip())  # "1, 2": arguments without brackets
        else:
            value = _literal_of(given)
    except _RAISED:
        return None
    return (value,) if isinstance(value, list | tuple) else None


def _takes_text(sources: Sequence[tuple[Any] | None], known: Signature) -> bool:
    """Whether a function of one text gets it as it is, though it spells a list: `[()]`.

    Not where all spell one list of one text: that is the list of arguments.
    """
    if len(known.params) != 1 or not _TEXTUAL.search(known.head + known.solved):
        return False
    text = _fits("", known.kinds.get(known.params[0])) or known.uses == "text"
    items = [s[0] for s in sources if s]
    return bool(text) and not all(len(v) == 1 and isinstance(v[0], str) for v in items)


def _bare(asked: Sequence[Asked], known: Signature) -> tuple[list[tuple[Any] | None], list[str]]:
    """Texts that are one argument each: sources where the definition takes no text."""
    values: list[Any] = []
    spelled = 0
    for one in asked:
        try:
            values.append(_literal_of(str(one.given)))
            spelled += 1
        except _RAISED:
            values.append(one.given)
    if len(known.params) > 1:
        return [None] * len(asked), ["the inputs are one text for several parameters"]
    if spelled == len(asked) and all(isinstance(v, str) for v in values):  # texts in quotes
        return [([v],) for v in values], []
    kind = known.kinds.get(known.params[0]) if known.params else None
    fits = [_fits(v, kind) for v in values]
    literals = spelled == len(asked)
    told = kind is not None and None not in fits
    lists = all(isinstance(v, list | tuple) for v in values)
    used = literals and (known.uses == "number" or (known.uses == "many" and lists))
    if literals and (all(fits) if told else used):
        return [(v if isinstance(v, list | tuple) else [v],) for v in values], []
    if told or known.uses or not literals:
        return [None] * len(asked), []
    note = "the inputs are text that spells other values: taken as text, as nothing says more"
    return [None] * len(asked), [note]


def _is_the_argument(given: Sequence[Any], known: Signature, source: bool) -> bool | None:
    """Of a function of one parameter: whether each input is the argument, not a list of it.

    None where nothing says so: then it is the list. source: they were source text, whose lists are
    those of the arguments, if that can be.
    """
    if any(not isinstance(v, list) or len(v) != 1 for v in given):
        return not all(isinstance(v, tuple) and len(v) == 1 for v in given)
    kind = known.kinds.get(known.params[0])
    whole, item = [_fits(v, kind) for v in given], [_fits(v[0], kind) for v in given]
    if (False in whole) != (False in item):
        return False not in whole
    items = [v[0] for v in given]
    if source or any(isinstance(v, list | tuple | set | Mapping) for v in items):
        return False
    if known.uses == "number":
        return False
    if known.uses == "many" and not any(isinstance(v, str) for v in items):
        return True
    return None if not known.uses and kind is None else False


def _arguments(value: Any, known: Signature) -> list[Any]:
    """Positional arguments of one input."""
    if isinstance(value, Mapping):
        first = known.params[: len(value)]
        if set(value) == set(first):
            return [value[p] for p in first]
        if known.params:
            names = f"input names {sorted(value)}, the signature has {list(known.params)}"
            raise ValueError(names)
        return [value]
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_names(args: list[Any], named: object, known: Signature) -> list[Any]:
    """Positional arguments, and behind them those that a record gives by name."""
    if not named:
        return args
    rest = known.params[len(args) :]
    if not isinstance(named, Mapping) or set(named) != set(rest[: len(named)]):
        raise ValueError("arguments by name that the signature does not have, or with a gap")
    return [*args, *(named[p] for p in rest[: len(named)])]


def _as_annotated(args: list[Any], known: Signature) -> list[Any]:
    kinds = [known.kinds.get(p) for p in known.params]
    return [_shaped(a, k) for a, k in zip(args, [*kinds, *[None] * len(args)], strict=False)]


def _spelling(asked: Sequence[Asked], source: bool, known: Signature) -> bool:
    """Whether expected texts are the source of values: all spell one, and none is asked as text.

    source: whether the inputs are source text.
    """
    texts = [one.wanted for one in asked if isinstance(one.wanted, str)]
    text = _fits("", known.returns)
    if not texts or not (source or text is False):
        return False
    try:
        values = [_literal_of(t) for t in texts]
    except _RAISED:
        return False
    return not text or any(_fits(v, known.returns) is not False for v in values)


def _case(one: Asked, args: str, spelled: bool, known: Signature) -> Case:
    """The case of one record. spelled: its expected text is the source of a value."""
    view = _VIEWS.get(one.kind, "")
    if one.kind in ("truthy", "falsy"):
        return Case(args, str(one.kind == "truthy"), one.shown, one.close, view=view)
    wanted: Any = one.wanted
    if one.kind == "raises":
        if not isinstance(wanted, str) or not wanted.isidentifier():
            raise ValueError("the exception is no name")
        return Case(args, wanted, one.shown, compare="raises")
    compare = _COMPARED.get(one.kind, "json" if isinstance(wanted, list | Mapping) else "==")
    if isinstance(wanted, str):
        wanted = _literal_of(wanted) if spelled else wanted
    else:
        wanted = _shaped(wanted, known.returns)
    if one.kind == "in" and not isinstance(wanted, str | list | tuple | set | dict):
        raise ValueError("nothing to be in")
    if one.kind == "set":
        wanted, compare = set(wanted), "=="
    return Case(args, literal(wanted), one.shown, one.close, compare, view)

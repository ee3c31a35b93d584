"""OCaml's dumped values: how they stand to expected ones, and as a person writes them.

A dump gives shapes; the type, where it is known, says which of the values of that shape it is. The
type comes from the signature, or from the literal that a value was compared with. Text of a
candidate's channel is read under a bound and never believed: no function here raises anything. Left
out: equality of dumps (`ocaml_report.py`), values of types that only the candidate knows, which
are written by their shape.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pawl.sandbox.ocaml_report import equal
from pawl.types import Case

SHORT = 1 << 12  # characters of a value that are read to be shown
_BEGINS = tuple("iflLns([")  # of every dump, of which the whole may be too long to be looked at
DEPTH = 40  # levels that are shown
_TOKEN = re.compile(r'[()\[\]]|s"(?:[^"\\]|\\.)*"|[^\s()\[\]]+')
_NUMBER = re.compile(r"[ilLn](-?[0-9]{1,20})")
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(slots=True)
class Node:
    """A dumped value: a scalar's text, or a block's tag ("[" for an array of floats) and fields."""

    text: str
    fields: list[Node] = field(default_factory=list)
    block: bool = False


def node(text: str) -> Node | None:
    """The dump as a tree, open ends closed; None where it is no dump."""
    found: list[Node] = []
    stack: list[Node] = []
    fresh = False  # the next token is a block's tag
    for m in _TOKEN.finditer(text):
        t = m[0]
        if fresh:
            if not t.isdecimal():
                return None
            stack[-1].text, fresh = t, False
        elif t in "([":
            made = Node("[", block=True)
            (stack[-1].fields if stack else found).append(made)
            stack.append(made)
            fresh = t == "("
        elif t in ")]":
            if not stack or (stack.pop().text == "[") != (t == "]"):
                return None
        else:
            (stack[-1].fields if stack else found).append(Node(t))
    return found[0] if len(found) == 1 and not fresh else None


def _spelled(value: Node) -> str:
    """The dump of a tree, as the driver writes it."""
    out: list[str] = []
    waiting: list[Node | str] = [value]
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            out.append(at)
        elif not at.block:
            out.append(at.text)
        else:
            out.append("[" if at.text == "[" else f"({at.text}")
            waiting.append("]" if at.text == "[" else ")")
            for part in reversed(at.fields):
                waiting += [part, " "]
    return "".join(out)


def _members(value: Node | None) -> Iterator[Node]:
    """The members of a list."""
    while value is not None and value.block and len(value.fields) == 2:
        yield value.fields[0]
        value = value.fields[1]


def stands(text: str, want: str, case: Case) -> bool | None:
    """Whether a dump stands to the expected one as the case says; None when it is no value."""
    if case.compare in ("==", "json"):
        return equal(text, want, case.close)
    if text[:1] not in _BEGINS:
        return None
    if case.compare == "!=":
        return not equal(text, want, case.close)
    if case.compare in ("in", "not in"):
        known = (equal(text, _spelled(member), case.close) for member in _members(node(want)))
        return any(known) == (case.compare == "in")
    got, bound, order = scalar(text), scalar(want), _ORDER.get(case.compare)
    if got is None or order is None or type(got) is not type(bound):
        return None
    return bool(order(got, bound))


def scalar(text: str) -> int | float | bytes | None:
    """A dumped number or string as Python's; None for anything else."""
    if found := _NUMBER.fullmatch(text):
        return int(found[1])
    if text[:1] == "f":
        return _float(text)
    if re.fullmatch(r's"(?:[^"\\]|\\.)*"', text):
        return _ESCAPE.sub(_letter, text[2:-1].encode("utf-8", "replace"))
    return None


_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"r": b"\r"}


def _letter(m: re.Match[bytes]) -> bytes:
    if len(m[1]) == 3:
        return bytes([int(m[1]) & 255])
    return _LETTERS.get(m[1], m[1])


def _float(text: str) -> float | None:
    try:
        return float.fromhex(text[1:])
    except (ValueError, OverflowError):
        return None


# ---- exceptions ----------------------------------------------------------------------------------

_EXCEPTION = re.compile(r"\s*([A-Z][\w']*(?:\.[A-Z][\w']*)*)\s*(.*?)\s*", re.DOTALL)
_SAYS = {
    "Match_failure": "Pattern matching failed",
    "Assert_failure": "Assertion failed",
    "Stack_overflow": "Stack overflow",
}


def exception(source: str) -> tuple[str, str]:
    """(constructor, source text of its argument) of an expected exception; "_" is any.

    The argument is "" where only the constructor is compared.
    """
    found = _EXCEPTION.fullmatch(source)
    if found is None:
        return "_", ""
    any_argument = re.fullmatch(r"\(?\s*(?:_|[a-z_][\w']*)?\s*\)?", found[2])
    return found[1], "" if any_argument else found[2]


def carrying(name: str, dump: str) -> str:
    """What OCaml prints of an exception with an argument; the name alone where that is less."""
    value = node(dump)
    if value is None:
        return name
    parts = value.fields if value.block and value.text == "0" else [value]
    if any(p.block or p.text[:1] not in ("i", "s") for p in parts):
        return name
    return f"{name}({', '.join(p.text[1:] for p in parts)})"


def raised(message: str, want: str) -> bool:
    """Whether an exception, as OCaml prints it, is the expected one; modules may be left out."""
    if want == "_":
        return True
    name, bracket, argument = want.partition("(")
    if name in _SAYS and not bracket:
        return _SAYS[name] in message or message.startswith(name)
    got, got_bracket, got_argument = message.partition("(")
    path, wanted = got.strip().split("."), name.split(".")
    wanted = wanted[1:] if wanted[0] == "Stdlib" else wanted
    if path[-len(wanted) :] != wanted:
        return False
    if len(message) >= 300:  # the driver cut it off
        return argument.startswith(got_argument)
    return not bracket or (got_bracket, got_argument) == (bracket, argument)


# ---- types ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: its name ("*" for a tuple, "" when it is not known) and its parameters."""

    name: str = ""
    of: tuple[Kind, ...] = ()


_ANY = Kind()
_TYPE = re.compile(r"[A-Za-z_][\w.']*|'\w+|[()*,]|->|\S")
_ALIASES = {
    "Int64.t": "int64", "Int32.t": "int32", "Nativeint.t": "nativeint", "String.t": "string",
    "Int.t": "int", "Float.t": "float", "Bool.t": "bool", "Char.t": "char", "Unit.t": "unit",
    "Bytes.t": "bytes", "List.t": "list", "Option.t": "option", "Result.t": "result",
    "Either.t": "either",
}  # fmt: skip


def kind(text: str) -> Kind:
    """A type as it is written; what is not understood is the type that is not known."""
    toks = _TYPE.findall(text[:2000])
    found, end = _tuple_type(toks, 0, 0)
    return found if end == len(toks) else _ANY


def _tuple_type(toks: Sequence[str], i: int, depth: int) -> tuple[Kind, int]:
    parts = []
    while True:
        part, i = _applied_type(toks, i, depth)
        parts.append(part)
        if i >= len(toks) or toks[i] != "*":
            return (parts[0] if len(parts) == 1 else Kind("*", tuple(parts))), i
        i += 1


def _applied_type(toks: Sequence[str], i: int, depth: int) -> tuple[Kind, int]:
    """An atom and the type constructors behind it."""
    given: list[Kind] = []
    if i >= len(toks) or depth > DEPTH:
        return _ANY, len(toks) + 1
    if toks[i] == "(":
        while toks[i] in ("(", ","):
            part, i = _tuple_type(toks, i + 1, depth + 1)
            given.append(part)
            if i >= len(toks):
                return _ANY, len(toks) + 1
        if toks[i] != ")":
            return _ANY, len(toks) + 1
    else:
        given.append(_ANY if toks[i][0] == "'" else Kind(_name(toks[i])))
    i += 1
    while i < len(toks) and re.match(r"[a-zA-Z_]", toks[i]):
        given, i = [Kind(_name(toks[i]), tuple(given))], i + 1
    return (given[0] if len(given) == 1 else _ANY), i


def _name(text: str) -> str:
    text = text.removeprefix("Stdlib.")
    return _ALIASES.get(text, text)


_LITERAL = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|(?P<char>'(?:[^'\\]|\\[^']+|\\')')
    |(?P<number>-?\s*(?:[0-9][0-9_]*(?:\.[0-9_]*)?[eE][+-]?[0-9]+|[0-9][0-9a-zA-Z_]*(?:\.[0-9_]*)?))
    |(?P<word>[A-Za-z_][\w.']*)|(?P<mark>\[\||\|\]|[][();,])|(?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = {"true": Kind("bool"), "false": Kind("bool"), "None": Kind("option", (_ANY,))}
_SUFFIX = {"l": "int32", "L": "int64", "n": "nativeint"}


def literal_kind(text: str) -> Kind:
    """The type of a value that is written out; not known for any other expression."""
    toks = [(str(m.lastgroup), m[0]) for m in _LITERAL.finditer(text[:2000])]
    found, end = _literal(toks, 0, 0)
    return found if end == len(toks) else _ANY


def _literal(toks: Sequence[tuple[str, str]], i: int, depth: int) -> tuple[Kind, int]:
    """(type, next index); an index beyond the end where it is no literal."""
    nothing = _ANY, len(toks) + 1
    if i >= len(toks) or depth > DEPTH:
        return nothing
    group, text = toks[i]
    if group in ("string", "char"):
        return Kind(group), i + 1
    if group == "number":
        real = "." in text or (text[:2].lower() != "0x" and "e" in text.lower())
        return Kind(_SUFFIX.get(text[-1], "float" if real else "int")), i + 1
    if text in _CONSTANTS:
        return _CONSTANTS[text], i + 1
    if text in ("Some", "Ok", "Error"):
        inner, i = _literal(toks, i + 1, depth + 1)
        given = {"Some": (inner,), "Ok": (inner, _ANY), "Error": (_ANY, inner)}[text]
        return Kind("option" if text == "Some" else "result", given), i
    close = {"[": "]", "[|": "|]", "(": ")"}.get(text)
    if group != "mark" or close is None:
        return nothing
    parts, i = list[Kind](), i + 1
    while i < len(toks) and toks[i][1] != close:
        part, i = _literal(toks, i, depth + 1)
        parts.append(part)
        if i < len(toks) and toks[i][1] == ("," if text == "(" else ";"):
            i += 1
        elif i < len(toks) and toks[i][1] != close:
            return nothing
    if text != "(":
        return Kind("list" if text == "[" else "array", (_merged(parts),)), i + 1
    whole = parts[0] if len(parts) == 1 else Kind("*" if parts else "unit", tuple(parts))
    return whole, i + 1


def _merged(kinds: Sequence[Kind]) -> Kind:
    """The one type that members have, as far as each of them says."""
    known = [k for k in kinds if k.name]
    if not known:
        return _ANY
    alike = [k for k in known if (k.name, len(k.of)) == (known[0].name, len(known[0].of))]
    return Kind(
        known[0].name, tuple(_merged(parts) for parts in zip(*(k.of for k in alike), strict=True))
    )


# ---- OCaml's syntax ------------------------------------------------------------------------------

_BOXED = {"l": "l", "L": "L", "n": "n"}
_CHARS = {7: None, 8: "\\b", 9: "\\t", 10: "\\n", 13: "\\r", 39: "\\'", 92: "\\\\"}


def shown(text: str, of: Kind) -> str:
    """A dump in OCaml's syntax, of a long one the start; a short text that is none, as it is."""
    if len(text) <= SHORT:
        value = node(text)
        return text if value is None else _show(value, of, 0, False)
    value = node(_cut(text[:SHORT]))
    told = "" if value is None else _show(value, of, 0, False).rstrip(')]|"')
    return f"{told}..." if told else f"a value of {len(text)} characters"


def _cut(text: str) -> str:
    """The start of a dump up to its last whole token; a string that goes on is closed."""
    whole = 0  # where the last token that surely is one ends
    for m in _TOKEN.finditer(text):
        if m[0][:2] == 's"' and (len(m[0]) == 2 or m[0][-1] != '"'):
            return text.removesuffix("\\" * (len(text) - len(text.rstrip("\\")))) + '"'
        if m.end() < len(text):
            whole = m.end()
    return text[:whole]


def _show(value: Node, of: Kind, depth: int, inside: bool) -> str:
    """inside: as an argument, where a sign or a constructor needs brackets."""
    if depth > DEPTH:
        return "..."
    if not value.block:
        return _scalar(value.text, of, inside)
    fields = value.fields
    if of.name == "list":
        return _list(value, of.of[0] if of.of else _ANY, depth)
    if of.name == "array" or value.text == "[":
        inner = of.of[0] if of.name == "array" and of.of else _ANY
        return "[|" + "; ".join(_show(f, inner, depth + 1, False) for f in fields) + "|]"
    known = {"option": {"0": ("Some", 0)}, "ref": {"0": ("ref", 0)},
             "result": {"0": ("Ok", 0), "1": ("Error", 1)},
             "either": {"0": ("Left", 0), "1": ("Right", 1)}}  # fmt: skip
    found = known.get(of.name, {}).get(value.text)
    if found is not None and len(fields) == 1:
        inner = of.of[found[1]] if found[1] < len(of.of) else _ANY
        told = f"{found[0]} {_show(fields[0], inner, depth + 1, True)}"
        return f"({told})" if inside else told
    if not of.name and value.text == "0" and _ends_as_list(value):
        return _list(value, _ANY, depth)
    kinds = of.of if of.name == "*" and len(of.of) == len(fields) else (_ANY,) * len(fields)
    told = ", ".join(_show(f, k, depth + 1, False) for f, k in zip(fields, kinds, strict=True))
    return f"({told})" if value.text == "0" else f"#{value.text}({told})"


def _list(value: Node, of: Kind, depth: int) -> str:
    told = [_show(member, of, depth + 1, False) for member in _members(value)]
    return "[" + "; ".join(told) + "]"


def _ends_as_list(value: Node) -> bool:
    """Whether a block of an unknown type looks like a list of two or more."""
    count = 0
    while value.block and value.text == "0" and len(value.fields) == 2:
        value, count = value.fields[1], count + 1
    return count > 1 and value.text == "i0"


def _scalar(text: str, of: Kind, inside: bool) -> str:
    mark, rest = text[:1], text[1:]
    if mark == "f":
        number = _float(text)
        return text if number is None else _signed(float_text(number), inside)
    if mark == "s" and rest[:1] == '"':
        return rest if of.name != "bytes" else f"Bytes.of_string {rest}"
    if not _NUMBER.fullmatch(text):
        return text
    if mark == "i":
        special = {"bool": {"0": "false", "1": "true"}, "unit": {"0": "()"}, "list": {"0": "[]"},
                   "option": {"0": "None"}, "array": {"0": "[||]"}}  # fmt: skip
        if of.name in special:
            return special[of.name].get(rest, rest)
        if of.name == "char" and rest.isdecimal() and len(rest) < 4 and int(rest) < 256:
            return char_text(int(rest))
        return _signed(rest, inside)
    return _signed(rest + _BOXED[mark], inside)


def _signed(text: str, inside: bool) -> str:
    return f"({text})" if inside and text[:1] == "-" else text


def float_text(value: float) -> str:
    """The shortest decimal that OCaml reads back as this float."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "infinity" if value > 0 else "neg_infinity"
    text = repr(value)
    return text.removesuffix("0") if text.endswith(".0") else text


def char_text(code: int) -> str:
    """A character literal."""
    escaped = _CHARS.get(code)
    if escaped is None:
        escaped = chr(code) if 32 <= code < 127 else f"\\{code:03d}"
    return f"'{escaped}'"

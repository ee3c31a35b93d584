"""Reads Python text around a definition: heads, parameters, calls shown in prose.

Works on prompts that are code (HumanEval's), prose with code in it, or chat. Left out: running
anything; a head that does not parse as Python is not taken.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

_DEF = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+([A-Za-z_]\w*)[ \t]*\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Definition:
    """`def NAME(params):` with the code in front of it (imports, helpers) when that parses."""

    name: str
    params: tuple[str, ...]
    head: str
    start: int
    end: int


def parse(code: str) -> ast.Module:
    """`ast.parse` that keeps its remarks on strange escapes to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def parse_expression(code: str) -> ast.expr:
    """One expression, as quietly."""
    body = parse(f"({code}\n)").body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise SyntaxError("not one expression")
    return body[0].value


def close_bracket(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`, strings skipped; -1 if none."""
    depth = 0
    i = start
    while i < len(text):
        c = text[i]
        if c in "\"'":
            m = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"").match(text, i)
            i = m.end() if m else i + 1
            continue
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return i
        i += 1
    return -1


def definitions(text: str) -> list[Definition]:
    """Every `def` head that parses, in order; the head holds the code before it when it can."""
    found = []
    for m in _DEF.finditer(text):
        close = close_bracket(text, m.end() - 1)
        if close < 0:
            continue
        tail = re.compile(r"\)[ \t]*(?:->[^\n:]*(?:\[[^\n]*\])?[^\n:]*)?:").match(text, close)
        if tail is None:
            continue
        own = text[m.start() : tail.end()]
        params = _params(own)
        if params is None:
            continue
        before = text[: m.start()]
        code = before.strip() and not m.group(1) and _parses(before + own + "\n    pass")
        head = (before + own).lstrip("\n") if code else _dedent(own, m.group(1))
        found.append(Definition(m.group(2), params, head, m.start(), tail.end()))
    return found


def _dedent(own: str, margin: str) -> str:
    return "\n".join(line.removeprefix(margin) for line in own.split("\n"))


def _parses(code: str) -> bool:
    try:
        parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _params(head: str) -> tuple[str, ...] | None:
    """Names of the positional parameters; None when the head does not parse."""
    try:
        node = parse(head.strip() + "\n    pass").body[0]
    except (SyntaxError, ValueError):
        return None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    a = node.args
    return tuple(x.arg for x in [*a.posonlyargs, *a.args])


def find_definition(text: str, name: str = "") -> Definition | None:
    """The last definition of `name` (of any name when empty)."""
    found = [d for d in definitions(text) if not name or d.name == name]
    return found[-1] if found else None


def defines(code: str, name: str) -> bool:
    """True when the code parses and binds `name` at its top level."""
    try:
        body = parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == name:
                return True
        elif isinstance(node, ast.Assign):
            if any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                return True
    return False


def calls_in(text: str, name: str) -> list[str]:
    """Argument texts of every call of `name` in a text that may be prose."""
    found = []
    for m in re.finditer(rf"(?<![\w.]){re.escape(name)}\s*\(", text):
        close = close_bracket(text, m.end() - 1)
        before = text[: m.start()].rstrip()
        if close > 0 and not before.endswith("def"):
            found.append(text[m.end() : close])
    return found


_LEX = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<string>[rbfuRBFU]{0,2}(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}
                               |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
  | (?P<line>\n[ \t]*)
  | (?P<space>[ \t\r\f]+|\\\n)
  | (?P<word>\w+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def normal(text: str) -> str:
    """Tokens joined by one blank, each line behind the depth of its block: equal for texts that
    differ in comments, blank lines, spaces and width of indentation alone. Docstrings stay.
    """
    out, widths, brackets, indent = list[str](), [0], 0, -1
    for m in _LEX.finditer("\n" + text):
        kind, word = m.lastgroup, m.group()
        if kind == "line" and not brackets:
            indent = len(word.expandtabs()) - 1
        elif kind in ("string", "word", "other"):
            if indent >= 0:  # the first token of a line
                while widths[-1] > indent:
                    widths.pop()
                if indent > widths[-1]:
                    widths.append(indent)
                out.append("\n" + ">" * (len(widths) - 1))
                indent = -1
            out.append(word)
            brackets = max(0, brackets + (word in "([{") - (word in ")]}"))
    return " ".join(out)

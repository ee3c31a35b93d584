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
_OPENING = re.compile(r"\s*\(")
_TAIL = re.compile(r"\)[ \t]*(?:->[^\n:]*(?:\[[^\n]*\])?[^\n:]*)?:")
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
_BRACKET_OR_QUOTE = re.compile(r"[()\[\]{}\"']")
_REMARKED = re.compile(r"\\|[0-9][A-Za-z_]")  # strange escapes, `1if`: what the parser remarks on


@dataclass(frozen=True, slots=True)
class Definition:
    """`def NAME(params):` with the code in front of it (imports, helpers) when that parses."""

    name: str
    params: tuple[str, ...]
    head: str
    start: int
    end: int


def parse(code: str) -> ast.Module:
    """`ast.parse` that keeps its remarks on strange escapes and numbers to itself."""
    if not _REMARKED.search(code):
        return ast.parse(code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def parse_expression(code: str) -> ast.expr:
    """One expression, as quietly; SyntaxError for none, also for a comment alone."""
    if not code.strip() or code.lstrip().startswith("#"):
        raise SyntaxError("no expression")
    body = parse(f"({code}\n)").body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise SyntaxError("not one expression")
    return body[0].value


def close_bracket(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`, strings skipped; -1 if none."""
    depth = 0
    i = start
    while (found := _BRACKET_OR_QUOTE.search(text, i)) is not None:
        i = found.end()
        c = found.group()
        if c in "\"'":
            m = _STRING.match(text, i - 1)
            i = m.end() if m else i
            continue
        depth += 1 if c in "([{" else -1
        if depth == 0:
            return i - 1
    return -1


def definitions(text: str) -> list[Definition]:
    """Every `def` head that parses, in order; the head holds the code before it when it can."""
    read = (_definition(text, m) for m in _DEF.finditer(text))
    return [d for d in read if d is not None]


def _definition(text: str, m: re.Match[str]) -> Definition | None:
    close = close_bracket(text, m.end() - 1)
    tail = _TAIL.match(text, close) if close >= 0 else None
    if tail is None:
        return None
    own = text[m.start() : tail.end()]
    tree = _tree(own.strip() + "\n    pass")
    node = tree.body[0] if tree else None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    params = tuple(x.arg for x in [*node.args.posonlyargs, *node.args.args])
    before, margin = text[: m.start()], m.group(1)
    if before.strip() and not margin and _is_code(_tree(before + own + "\n    pass")):
        head = (before + own).lstrip("\n")
    else:
        head = "\n".join(line.removeprefix(margin) for line in own.split("\n"))
    return Definition(m.group(2), params, head, m.start(), tail.end())


def _is_code(tree: ast.Module | None) -> bool:
    """Whether a text is imports and definitions; prose like `Task: sort` parses too."""
    if tree is None:
        return False
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return all(
        isinstance(n, (*kinds, ast.Assign, ast.Try, ast.If))
        or (isinstance(n, ast.AnnAssign) and n.value is not None)
        or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in tree.body
    )


def _tree(code: str) -> ast.Module | None:
    """The code parsed, None where it is no Python."""
    try:
        return parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def parses(code: str) -> bool:
    """Whether a text is Python."""
    return _tree(code) is not None


def find_definition(text: str, name: str = "") -> Definition | None:
    """The last definition of `name` (of any name when empty)."""
    heads = [m for m in _DEF.finditer(text) if not name or m.group(2) == name]
    return next((d for m in reversed(heads) if (d := _definition(text, m)) is not None), None)


def defines(code: str, name: str) -> bool:
    """True when the code parses and binds `name` at its top level."""
    tree = _tree(code)
    for node in tree.body if tree else ():
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
    at = text.find(name)
    while name and at >= 0:
        opening = _OPENING.match(text, at + len(name))
        if opening and not (at and (text[at - 1] in "._" or text[at - 1].isalnum())):
            close = close_bracket(text, opening.end() - 1)
            if close > 0 and not text[:at].rstrip().endswith("def"):
                found.append(text[opening.end() : close])
        at = text.find(name, at + 1)
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

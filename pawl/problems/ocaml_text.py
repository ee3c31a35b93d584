"""Reads OCaml text without a compiler: tokens, asserts as cases, signatures from definitions.

A lexer aware of nested comments, strings, quoted strings, characters and type variables, and a
splitter on operators at bracket depth 0. Left out: a grammar. What it cannot read for certain it
reports as unreadable, and the executed audit settles by compiling whether the rest is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>\(\*(?!\)))
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<quoted>\{(?P<tag>[a-z_]*)\|.*?\|(?P=tag)\})
  | (?P<char>'(?:[^'\\\n]|\\(?:[\\"'ntbr ]|[0-9]{3}|x[0-9a-fA-F]{2}|o[0-7]{3}))')
  | (?P<typevar>'[a-z_][\w']*)
  | (?P<number>[0-9][\w]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]+)?)
  | (?P<word>[A-Za-z_][\w']*(?:\.(?:[A-Za-z_][\w']*|\())*)
  | (?P<open>\[\||\(|\[|\{)
  | (?P<close>\|\]|\)|\]|\})
  | (?P<sep>;;|;|,)
  | (?P<symbol>`|[!$%&*+\-./:<=>?@^|~\#]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_COMMENT_TEXT = re.compile(r'[^"(*]+')
_OPEN_WORDS, _CLOSE_WORDS = {"begin", "struct", "sig", "object", "do"}, {"end", "done"}
_IN_NAME = re.compile(r"[\w']")
_TYPE = re.compile(r"[\w\s.'*,()\->:?~]+")


class Token(NamedTuple):
    """One token with its place in the text; comments and blanks are not tokens."""

    kind: str
    text: str
    start: int
    end: int


def _skip_comment(text: str, i: int) -> int:
    """The index after the comment that opens at i; the text's end when it never closes."""
    depth = 0
    while i < len(text):
        if text.startswith("(*", i):
            depth, i = depth + 1, i + 2
        elif text.startswith("*)", i):
            depth, i = depth - 1, i + 2
            if depth == 0:
                return i
        else:
            m = (_STRING if text[i] == '"' else _COMMENT_TEXT).match(text, i)
            i = m.end() if m else i + 1
    return len(text)


def tokens(text: str) -> Iterator[Token]:
    """Tokens of OCaml source, comments and blanks left out."""
    i = 0
    while i < len(text):
        m = _TOKEN.match(text, i)
        assert m is not None, "the last alternative takes any character"
        kind, end = str(m.lastgroup), m.end()
        if kind == "comment":
            i = _skip_comment(text, i)
            continue
        if kind != "space":
            word = m.group()
            if kind == "tag":
                kind = "quoted"
            elif kind == "word" and word.endswith("("):  # `M.(` opens a bracket of its own
                word, end = word[:-2], end - 2
            yield Token(kind, word, i, end)
        i = end


def step_of(t: Token) -> int:
    """How much deeper in brackets (or `begin`) one is behind a token: 1, 0 or -1."""
    opens = t.kind == "open" or t.text in _OPEN_WORDS
    return opens - (t.kind == "close" or t.text in _CLOSE_WORDS)


def close_of(toks: list[Token], i: int) -> int:
    """Index of the token that closes the bracket (or `begin`) at i, or -1."""
    depth = 0
    for j in range(i, len(toks)):
        step = step_of(toks[j])
        depth += step
        if step < 0 and depth == 0:
            return j
    return -1


def split_top(toks: list[Token], *symbols: str) -> list[list[Token]]:
    """Split at the given tokens where the bracket depth is 0."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for t in toks:
        depth += step_of(t)
        if depth == 0 and t.text in symbols:
            parts.append([])
        else:
            parts[-1].append(t)
    return parts


def strip_parens(toks: list[Token]) -> list[Token]:
    """Without the brackets that enclose the whole."""
    while len(toks) >= 2 and toks[0].text in ("(", "begin") and close_of(toks, 0) == len(toks) - 1:
        toks = toks[1:-1]
    return toks


def source(text: str, toks: list[Token]) -> str:
    """The text from the first to the last token, on one line where it has no strings across."""
    if not toks:
        return ""
    raw = text[toks[0].start : toks[-1].end]
    return re.sub(r"\s*\n\s*", " ", raw) if '"' not in raw else raw


def names(text: str, name: str, at: int = 0) -> bool:
    """Whether a name stands at a place, and no longer one that begins with it."""
    return text.startswith(name, at) and not _IN_NAME.match(text, at + len(name))


def normal(text: str) -> str:
    """Tokens joined by one blank: equal for texts that differ in layout and comments alone."""
    return " ".join(t.text for t in tokens(text))


# ---- definitions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """`let [rec] NAME params : type =`: its head as written and its interface.

    signature: "val NAME : t -> t", or "" when a parameter or the result has no type; params: names
    in order ("" for a pattern); start and end: place of the head in the text.
    """

    name: str
    recursive: bool
    params: tuple[str, ...]
    signature: str
    head: str
    start: int
    end: int


_LET = re.compile(r"\b(?:let|and)\s+(rec\s+)?([a-z_][\w']*)")


def definitions(text: str) -> Iterator[Definition]:
    """Every definition head in a text that may be prose around code, in order."""
    read = (_definition(text, m) for m in _LET.finditer(text))
    return (d for d in read if d is not None)


def _definition(text: str, m: re.Match[str]) -> Definition | None:
    """Parameters up to `=`; None where the words after `let` are no definition."""
    toks = list(_head_tokens(text, m.end()))
    if not toks or toks[-1].text != "=":
        return None
    params: list[str] = []
    types: list[str] = []
    i = 0
    while i < len(toks) and toks[i].text not in (":", "="):
        step = _parameter(text, toks, i)
        if step is None:
            return None
        name, kind, i = step
        params.append(name)
        types.append(_arrow(kind))
    types.append(source(text, toks[i + 1 : -1]) if toks[i].text == ":" else "")
    typed = all(types) and all(_TYPE.fullmatch(t) for t in types)
    signature = f"val {m.group(2)} : {' -> '.join(types)}" if typed else ""
    head = text[m.start() : toks[-1].end]
    head = "let" + head[3:] if head.startswith("and") else head
    return Definition(
        m.group(2),
        bool(m.group(1)),
        tuple(params),
        signature,
        re.sub(r"\s*\n\s*\*?\s*", " ", head),
        m.start(),
        toks[-1].end,
    )


def _head_tokens(text: str, start: int, limit: int = 2000) -> Iterator[Token]:
    """Tokens up to the first `=` at depth 0."""
    depth = 0
    for t in tokens(text[start : start + limit]):
        depth += (t.kind == "open") - (t.kind == "close")
        if depth < 0 or t.text in (";;", "in", "let", "`"):
            return
        yield Token(t.kind, t.text, t.start + start, t.end + start)
        if depth == 0 and t.text == "=":
            return


def _parameter(text: str, toks: list[Token], i: int) -> tuple[str, str, int] | None:
    """(name, type, next index) of one parameter; a label stays with its type."""
    label = toks[i].text if toks[i].text in ("~", "?") else ""
    mark = "?" if label == "?" else ""
    i += len(label)
    t = toks[i]
    if t.kind == "word" and "." not in t.text:
        if not label or [u.text for u in toks[i + 1 : i + 3]] != [":", "("]:
            return t.text, "", i + 1
        inner = _parameter(text, toks, i + 2)  # ~label:(name : type)
        if inner is None:
            return None
        name, kind, end = inner
        return name, kind and f"{mark}{t.text}:{_arrow(kind)}", end
    j = close_of(toks, i) if t.text == "(" else -1
    if j < 0:
        return None
    inside = toks[i + 1 : j]
    if not inside:
        return "()", "unit", j + 1
    parts = split_top(inside, ":")
    if len(parts) < 2:
        return "", "", j + 1
    name = parts[0][0].text if len(parts[0]) == 1 and parts[0][0].kind == "word" else ""
    typed = inside[len(parts[0]) + 1 :]
    kind = source(text, split_top(typed, "=")[0] if label == "?" else typed)
    return name, f"{mark}{name}:{_arrow(kind)}" if label and name else kind, j + 1


def _arrow(kind: str) -> str:
    """A parameter type, in brackets when it is itself a function."""
    bare = re.sub(r"^\??[a-z_]\w*:", "", kind)
    if kind and "->" in bare and not (bare.startswith("(") and bare.endswith(")")):
        return kind.replace(bare, f"({bare})")
    return kind


def find_definition(text: str, name: str = "") -> Definition | None:
    """The last definition of `name` (of any name when empty), a typed one before an untyped."""
    heads = [m for m in _LET.finditer(text) if not name or m.group(2) == name]
    untyped: Definition | None = None
    for m in reversed(heads):
        found = _definition(text, m)
        if found is not None and found.signature:
            return found
        untyped = untyped or found
    return untyped

"""The parts of OCaml's grammar that tests are made of, on tokens: items, sequences, applications.

Splits a text into top-level items, an expression into the steps of a sequence, an application into
head and arguments, and a `let` into pattern, parameters and value. Left out: everything else of
the grammar; each function answers None (or the whole) for what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pawl.problems.ocaml_text import Token, close_of, split_top, step_of, strip_parens

# An expression that begins with one of these goes on as far as it can.
OPEN_ENDED = {"let", "match", "try", "fun", "function", "if"}
_ITEMS = {"open", "module", "type", "exception", "include", "external", "class"}
_KEYWORDS = OPEN_ENDED | _ITEMS | {
    "and", "as", "assert", "constraint", "do", "done", "downto", "else", "end", "for", "in", "lazy",
    "mod", "land", "lor", "lxor", "lsl", "lsr", "asr", "mutable", "new", "of", "or", "rec", "sig",
    "struct", "then", "to", "val", "virtual", "when", "while", "with",
}  # fmt: skip
OUNIT = {"assert_equal": 2, "assert_bool": 2, "assert_raises": 2}  # with their arguments
_ATOMS = {"number", "string", "char", "quoted", "word"}

Toks = list[Token]


def ins(toks: Toks) -> dict[int, int]:
    """The `in` of each `let`, by index; a `let` of a top-level item has none."""
    found: dict[int, int] = {}
    waiting: list[tuple[int, int]] = []
    depth = 0
    for i, t in enumerate(toks):
        depth += step_of(t)
        while waiting and waiting[-1][0] > depth:
            waiting.pop()
        if t.text == "let":
            waiting.append((depth, i))
        elif t.text == "in" and waiting:
            found[waiting.pop()[1]] = i
        elif t.text == ";;":
            waiting.clear()
    return found


def separated(toks: Toks, text: str) -> Toks:
    """With the separators that tests written line by line leave out.

    `assert (..)` and `let .. in` cannot follow what ends an expression; a word at the very start of
    a line, outside brackets, begins something new, an OUnit assertion on any line of its own.
    """
    closed, out, depth = ins(toks), Toks(), 0
    for i, t in enumerate(toks):
        before = toks[i - 1] if i else None
        if before is not None and _ends(before):
            between = text[before.end : t.start]
            starts = depth == 0 and between.endswith("\n")
            own = t.text == "assert" or (t.text == "let" and i in closed)
            own = own or ("\n" in between and t.text.rpartition(".")[2] in OUNIT)
            if own or (starts and t.kind == "word" and t.text not in _KEYWORDS):
                out.append(Token("sep", ";;" if starts else ";", t.start, t.start))
        out.append(t)
        depth += step_of(t)
    return out


def _ends(t: Token) -> bool:
    """Whether an expression can end with a token."""
    if t.kind == "close" or t.text in ("end", "done"):
        return True
    return t.kind in _ATOMS and t.text not in _KEYWORDS


def own_in(toks: Toks) -> int:
    """The `in` of the `let` that these tokens begin with, 0 where there is none."""
    if not toks or toks[0].text != "let":
        return 0
    depth, lets = 0, 0
    for i, t in enumerate(toks):
        depth += step_of(t)
        if depth < 0 or t.text == ";;":
            return 0
        lets += (depth == 0) * ((t.text == "let") - (t.text == "in"))
        if lets == 0:
            return i
    return 0


def items(toks: Toks) -> Iterator[Toks]:
    """The top-level items of a text: definitions, and expressions between `;;`."""
    closed, start, depth = ins(toks), 0, 0
    for i, t in enumerate(toks):
        local = i > 0 and toks[i - 1].text in ("let", "|", "with", "(")
        begins = t.text in _ITEMS and not local or t.text == "let" and i not in closed
        if depth <= 0 and (begins or t.text == ";;"):
            if toks[start:i]:
                yield toks[start:i]
            start = i + (t.text == ";;")
        depth += step_of(t)
    if toks[start:]:
        yield toks[start:]


def first_step(toks: Toks) -> tuple[Toks, Toks]:
    """(what comes before the first `;` of a sequence, the rest); the rest is [] when there is none.

    `match`, `try` and functions take what follows with them.
    """
    depth = 0
    for i, t in enumerate(toks):
        depth += step_of(t)
        if depth == 0 and t.text in OPEN_ENDED - {"if"}:
            break
        if depth == 0 and t.text == ";":
            return toks[:i], toks[i + 1 :]
    return toks, []


def split_operators(toks: Toks, symbols: Sequence[str]) -> tuple[list[Toks], list[str]]:
    """Operands and operators at depth 0, up to an operand that goes on as far as it can."""
    parts: list[Toks] = [[]]
    found: list[str] = []
    depth = 0
    for i, t in enumerate(toks):
        if depth == 0 and t.text in OPEN_ENDED:
            parts[-1] += toks[i:]
            break
        depth += step_of(t)
        if depth == 0 and t.text in symbols:
            found.append(t.text)
            parts.append([])
        else:
            parts[-1].append(t)
    return parts, found


def atom_end(toks: Toks, i: int) -> int:
    """The index after the argument that begins at i; i itself when none does."""
    start = i
    while i < len(toks) and toks[i].text in ("!", "~-", "~-.", "`"):
        i += 1
    if i >= len(toks):
        return start
    t = toks[i]
    if t.kind == "open" or t.text == "begin":
        close = close_of(toks, i)
        if close < 0:
            return start
        i = close + 1
    elif t.kind in _ATOMS and t.text not in _KEYWORDS:
        i += 1
    else:
        return start
    while i + 1 < len(toks) and toks[i].text == ".":  # a field, an element
        if toks[i + 1].kind == "open":
            close = close_of(toks, i + 1)
            if close < 0:
                return start
            i = close + 1
        elif toks[i + 1].kind == "word":
            i += 2
        else:
            break
    return i


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an application; label: "" for none."""

    label: str
    toks: Toks


def arguments(toks: Toks, i: int) -> tuple[list[Argument], int]:
    """The arguments that begin at i, and the index after the last."""
    found: list[Argument] = []
    while i < len(toks):
        label, at = "", i
        if toks[i].text in ("~", "?") and i + 1 < len(toks) and toks[i + 1].kind == "word":
            label, at = toks[i + 1].text, i + 2
            if at >= len(toks) or toks[at].text != ":":
                found.append(Argument(label, toks[i + 1 : i + 2]))
                i = at
                continue
            at += 1
        end = atom_end(toks, at)
        if end == at:
            break
        found.append(Argument(label, toks[at:end]))
        i = end
    return found, i


@dataclass(frozen=True, slots=True)
class Application:
    """`head arg ...`; head: a name, or a bracket's tokens as text "" with `function` set."""

    head: str
    function: Toks
    args: list[Argument]

    @property
    def plain(self) -> list[Toks]:
        """The arguments without labels."""
        return [a.toks for a in self.args if not a.label]

    def label(self, name: str) -> Toks:
        """The argument of that label, [] when there is none."""
        return next((a.toks for a in self.args if a.label == name), [])


def application(toks: Toks) -> Application | None:
    """The whole as one application, `@@` and `|>` resolved; None when it is something else."""
    toks = _applied(strip_parens(toks))
    end = atom_end(toks, 0)
    if not end:
        return None
    args, stop = arguments(toks, end)
    if stop != len(toks):
        return None
    function = strip_parens(toks[:end])
    inner = application(function) if len(function) < end else None  # (f a) b
    if inner is not None:
        return Application(inner.head, inner.function, inner.args + args)
    head = function[0].text if len(function) == 1 and function[0].kind == "word" else ""
    return Application(head, function, args)


def _applied(toks: Toks) -> Toks:
    """`f @@ x` as `f (x)`, `x |> f` as `f (x)`."""
    parts, _ = split_operators(toks, ("|>",))
    if len(parts) > 1 and all(parts):
        value = parts[0]
        for function in parts[1:]:
            value = function + bracketed(value)
        return value
    parts, _ = split_operators(toks, ("@@",))
    if len(parts) > 1 and all(parts):
        value = parts[-1]
        for function in reversed(parts[:-1]):
            value = function + bracketed(value)
        return value
    return toks


def bracketed(toks: Toks) -> Toks:
    """In brackets, unless it is one token or has some."""
    if len(toks) == 1 or not toks:
        return toks
    if toks[0].kind == "open" and close_of(toks, 0) == len(toks) - 1:
        return toks
    a, b = toks[0].start, toks[-1].end
    return [Token("open", "(", a, a), *toks, Token("close", ")", b, b)]


def function_of(toks: Toks) -> tuple[list[Toks], Toks] | None:
    """(parameters, body) of `fun p q -> body` or `function p -> body`; None for anything else."""
    toks = strip_parens(toks)
    if not toks or toks[0].text not in ("fun", "function"):
        return None
    depth = 0
    for i, t in enumerate(toks):
        depth += step_of(t)
        if depth == 0 and t.text == "->":
            if toks[0].text == "function":
                params, body = [toks[1:i]], toks[i + 1 :]
                return (params, body) if len(split_top(body, "|")) == 1 else None
            found, stop = arguments(toks[:i], 1)
            whole = stop == i and not any(a.label for a in found)
            return ([a.toks for a in found], toks[i + 1 :]) if whole and found else None
    return None


@dataclass(frozen=True, slots=True)
class Binding:
    """`let [rec] pattern params [: type] = value`; value is [] of several joined by `and`."""

    toks: Toks
    names: frozenset[str]
    params: list[Toks]
    value: Toks
    recursive: bool = False

    @property
    def name(self) -> str:
        """The one name that is bound, "" for a pattern."""
        return next(iter(self.names)) if len(self.names) == 1 and self.value else ""

    @property
    def unit(self) -> bool:
        """`let () =` and `let _ =`: something that is done, not a name."""
        return not self.names and bool(self.value)


def binding(toks: Toks) -> Binding | None:
    """A `let` without its `in`; None when it is no definition (`let open`, no `=`)."""
    recursive = len(toks) > 1 and toks[1].text == "rec"
    body = toks[1 + recursive :]
    if body[:1] and body[0].text == "%":  # let%test "name" = ...
        body = body[2:] if len(body) > 2 and body[2].kind != "symbol" else body
        body = [t for t in body[:1] if t.text == "_"] + body[1:]
    heads = [_head(part) for part in _joined(body)]
    known = [h for h in heads if h is not None]
    if not known or len(known) < len(heads):
        return None
    if len(known) > 1:
        names = frozenset[str]().union(*(h[0] for h in known))
        return Binding(toks, names, [], [], recursive)
    names, params, value = known[0]
    return Binding(toks, names, params, value, recursive)


def parts_of(b: Binding) -> list[Binding]:
    """The definitions that a binding is made of: `let (a, b) = (1, 2)`, `let a = 1 and b = 2`.

    None may use another's name; else the binding stays whole.
    """
    if b.recursive or b.params:
        return [b]
    let, body = b.toks[:1], b.toks[1:]
    texts = _joined(body)
    if b.value:
        pattern = strip_parens(split_top(body[: -len(b.value) - 1], ":")[0])
        value = strip_parens(b.value)
        names, values = split_top(pattern, ","), split_top(value, ",")
        open_ended = any(part and part[0].text in OPEN_ENDED for part in values)
        if not 1 < len(names) == len(values) or open_ended:
            return [b]
        equals = body[-len(b.value) - 1 : -len(b.value)]
        texts = [[*n, *equals, *v] for n, v in zip(names, values, strict=True)]
    made = [binding([*let, *text]) for text in texts]
    parts = [p for p in made if p is not None]
    apart = not any(p.names & words(q.value) for p in parts for q in parts if p is not q)
    if len(parts) < len(made) or not all(p.value for p in parts) or not apart:
        return [b]
    return [part for p in parts for part in parts_of(p)]


def _joined(toks: Toks) -> list[Toks]:
    """The definitions between `and`s that belong to this `let`."""
    parts: list[Toks] = [[]]
    depth = 0
    for t in toks:
        depth += step_of(t) + (t.text == "let") - (t.text == "in")
        if depth == 0 and t.text == "and":
            parts.append([])
        else:
            parts[-1].append(t)
    return parts


def _head(toks: Toks) -> tuple[frozenset[str], list[Toks], Toks] | None:
    """(names, parameters, value) of one definition."""
    sides = split_top(toks, "=")
    head = sides[0]
    value = toks[len(head) + 1 :]
    if not head or not value:
        return None
    first = head[0]
    if first.kind == "word" and first.text[0].islower() and first.text not in _KEYWORDS:
        args, stop = arguments(head, 1)
        if stop == len(head) or head[stop].text == ":":
            return frozenset({first.text}), [a.toks for a in args], value
    pattern = split_top(strip_parens(split_top(head, ":")[0]), ":")[0]  # without its type
    return pattern_names(pattern), [], value


def pattern_names(toks: Toks) -> frozenset[str]:
    """The names that a pattern binds, types among them at worst."""
    return frozenset(
        t.text
        for t in toks
        if t.kind == "word" and (t.text[0].islower() or t.text[0] == "_") and len(t.text.strip("_"))
        and t.text not in ("true", "false") and t.text not in _KEYWORDS
    )  # fmt: skip


def bound_inside(toks: Toks) -> frozenset[str]:
    """Names that a body binds itself."""
    found: set[str] = set()
    for i, t in enumerate(toks):
        if t.text in ("let", "and", "fun", "function", "|", "with", "for"):
            stop = next((j for j in range(i, len(toks)) if toks[j].text in ("=", "->")), i)
            found |= pattern_names(toks[i + 1 : stop])
    return frozenset(found)


def is_fixed(t: Token) -> bool:
    """Whether a token may stand in a value that nothing can change."""
    if t.kind in ("number", "string", "char", "quoted", "sep"):
        return True
    if t.kind == "word":
        return t.text in ("true", "false") or (t.text[0].isupper() and "." not in t.text)
    return t.text in ("[", "]", "(", ")", "::", "-", "-.", "~-", "~-.", "`")


def elements(toks: Toks) -> list[Toks] | None:
    """The elements of a list or array that is written out; None for anything else."""
    toks = strip_parens(toks)
    if not toks or toks[0].text not in ("[", "[|") or close_of(toks, 0) != len(toks) - 1:
        return None
    return [part for part in split_top(toks[1:-1], ";") if part]


def words(toks: Sequence[Token]) -> frozenset[str]:
    """The names that a text uses, each without what follows a dot."""
    return frozenset(t.text.partition(".")[0] for t in toks if t.kind == "word")

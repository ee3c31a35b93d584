"""Parts of pairs and records that an OCaml test writes out: `fst (1, 2)` is `1`.

A table of examples holds inputs and expected values side by side; a part that is picked out where
the whole is known stands for itself, so that the candidate's side needs no whole. A whole that has
a name is looked up, and its part taken if nothing can change it. Left out: lists and arrays.
"""

from __future__ import annotations

from collections.abc import Callable

from pawl.problems.ocaml_grammar import (
    OPEN_ENDED,
    Toks,
    atom_end,
    bound_inside,
    bracketed,
    is_fixed,
    words,
)
from pawl.problems.ocaml_text import Token, close_of, split_top, strip_parens

_PICKS = {"fst": 0, "snd": 1, "Stdlib.fst": 0, "Stdlib.snd": 1}
Look = Callable[[Toks], Toks]


def reduced(toks: Toks, look: Look, entry: str) -> Toks:
    """With the parts in place of `fst`, `snd` and fields of what is written out.

    look: what a name is bound to, the name itself if that is not known. Nothing is left out that
    calls the entry point.
    """
    if not any(t.text in _PICKS or t.text == "{" or _field(t) for t in toks):
        return toks
    own = bound_inside(toks)

    def bound_to(name: Token) -> Toks:
        text = name.text
        found = look([name]) if text not in own else []
        return found if len(found) != 1 or found[0].text != text else []

    out: Toks = []
    i = 0
    while i < len(toks):
        before = toks[i - 1] if i else None
        apart = before is None or before.kind != "symbol" or before.text not in ("~", "?", ".")
        found = _part(toks, i, bound_to, look, entry) if apart else None
        if found is None:
            out.append(toks[i])
            i += 1
        else:
            out += bracketed(reduced(strip_parens(found[0]), look, entry))
            i = found[1]
    return out


def _field(t: Token) -> bool:
    """Whether a word is a name and a field of it."""
    return t.kind == "word" and "." in t.text and (t.text[0].islower() or t.text[0] == "_")


def _part(
    toks: Toks, i: int, bound_to: Callable[[Token], Toks], look: Look, entry: str
) -> tuple[Toks, int] | None:
    """(the part that is picked out at i, the index behind it)."""
    t = toks[i]
    if t.kind == "word" and t.text in _PICKS:
        end = atom_end(toks, i + 1)
        whole = strip_parens(reduced(toks[i + 1 : end], look, entry))
        named = len(whole) == 1 and whole[0].kind == "word"
        pair = split_top(strip_parens(bound_to(whole[0])) if named else whole, ",")
        if len(pair) != 2 or any(not p or p[0].text in OPEN_ENDED for p in pair):
            return None
        part, other = pair[_PICKS[t.text]], pair[1 - _PICKS[t.text]]
        sure = all(map(is_fixed, part)) if named else entry not in words(other)
        return (part, end) if sure else None
    if _field(t):
        name, _, path = t.text.partition(".")
        part = _of_record(strip_parens(bound_to(t._replace(text=name))), path, entry)
        return (part, i + 1) if part and all(map(is_fixed, part)) else None
    if t.text not in ("{", "("):
        return None
    end = close_of(toks, i) + 1
    if not end or end + 1 >= len(toks) or toks[end].text != "." or toks[end + 1].kind != "word":
        return None
    part = _of_record(strip_parens(toks[i:end]), toks[end + 1].text, entry)
    return (part, end + 2) if part else None


def _of_record(whole: Toks, path: str, entry: str) -> Toks:
    """The value of a field of a record that is written out; [] if it is not known."""
    while path:
        name, _, path = path.partition(".")
        if len(whole) < 3 or whole[0].text != "{" or close_of(whole, 0) != len(whole) - 1:
            return []
        fields = [p for p in split_top(whole[1:-1], ";") if p]
        heads = [split_top(part, "=")[0] for part in fields]
        if any(len(h) != 1 or h[0].kind != "word" for h in heads):  # `{r with ...}`, types
            return []
        at = next((k for k, h in enumerate(heads) if h[0].text.rpartition(".")[2] == name), -1)
        others = [t for k, part in enumerate(fields) if k != at for t in part]
        if at < 0 or entry in words(others):
            return []
        whole = strip_parens(fields[at][2:] or heads[at])
    return whole

"""Whether the candidate's side of an OCaml claim holds what the other side is taken from.

What a test binds goes into the input if the call needs it. Where the expected value comes from the
same thing, that is harmless as long as the call needs it whole (`f l = List.length l`) or the value
is that very thing (`decode (encode s) = s`); a table of which each side takes its part is not.
Left out: values to compare with that stand around the call (`ocaml_claims.py`).
"""

from __future__ import annotations

from pawl.problems.ocaml_grammar import Toks, arguments, function_of
from pawl.problems.ocaml_scope import Scope, Step
from pawl.problems.ocaml_text import Token, close_of, split_top, strip_parens

_NUMBERS = {"+", "-", "*", "/", "+.", "-.", "*.", "/.", "**", "~-", "~-.", "(", ")", "mod"}
# These give the whole again, in another form or order.
_WHOLE = {
    "Array.to_list", "Array.of_list", "Array.copy", "List.to_seq", "Array.to_seq", "List.rev",
    "List.length", "Array.length", "String.length", "Bytes.of_string", "Bytes.to_string",
    "String.to_seq", "Bytes.copy", "Hashtbl.copy", "Queue.copy", "Stack.copy", "not",
}  # fmt: skip
_PICKING = {
    "fst", "snd", "hd", "tl", "nth", "nth_opt", "assoc", "assoc_opt", "find", "find_opt", "get",
    "sub", "filter", "partition", "split", "map", "concat_map", "filter_map", "peek", "top",
}  # fmt: skip


def shares(call: Toks, value: Toks, scope: Scope, claims: bool = False) -> bool:
    """Whether a step or an argument on the call's side feeds the expected value too, in part."""
    if _shared_literal(call, value):
        return True
    steps = scope.needed(call, claims)
    others = set(scope.needed(value))
    shared = [s for s in steps if s.kind == "let" and s in others and s.names]
    return any(_feeds(s, call, value, steps, scope.entry) for s in shared)


def _feeds(step: Step, call: Toks, value: Toks, steps: list[Step], entry: str) -> bool:
    """Whether a step that both sides need is not needed whole by the call."""
    function = function_of(step.value) if step.value else None
    recursive = len(step.toks) > 1 and step.toks[1].text == "rec"
    if len(step.names) > 1 and not recursive:  # each side may take its own
        return True
    if function is not None or not step.value:
        return _is_table(step.toks)
    if _is_number(step.value):
        return False
    (name,) = step.names
    alone = [t.text for t in strip_parens(value)] == [name]
    own = strip_parens(call)
    if len(own) > 1 and _uses(own, name, entry, alone):
        return True
    later = [s for s in steps if s is not step and s.kind == "let" and name in s.uses]
    return any(_uses(s.value or s.toks, name, entry, alone) for s in later)


def _is_number(toks: Toks) -> bool:
    """Whether a value is a number, written out or reckoned from others."""
    before = None
    for t in toks:
        word = t.kind == "word" and "." not in t.text and t.text not in _NUMBERS
        applied = before is not None and before.kind in ("word", "number", "close")
        if word and before is not None and before.text not in _NUMBERS and applied:
            return False
        if not (word or t.kind == "number" or t.text in _NUMBERS):
            return False
        before = t
    return True


def _is_table(toks: Toks) -> bool:
    """Whether a function holds data: lists, pairs with literals, or arms that give them."""
    chooses = any(t.text in ("match", "function") for t in toks)
    for i, t in enumerate(toks):
        if t.text in ("[", "[|", "{", "("):
            inside = toks[i + 1 : max(close_of(toks, i), i + 1)]
            several = t.text != "(" or len(split_top(inside, ",")) > 1
            if several and any(u.kind in ("number", "string", "char", "quoted") for u in inside):
                return True
        arm = t.text in ("then", "else") or (t.text == "->" and chooses)
        given = toks[i + 1] if arm and i + 1 < len(toks) else None
        literal = given is not None and given.kind in ("number", "string", "char", "quoted")
        if given is not None and literal and given.text not in ("0", "1"):
            return True
    return False


def _uses(toks: Toks, name: str, entry: str, alone: bool) -> bool:
    """Whether a name is used otherwise than as a whole argument of the entry point.

    alone: the expected value is that very thing; then only a part of it is too little.
    """
    whole = _arguments_of(toks, entry)
    for i, t in enumerate(toks):
        if t.kind != "word" or t.text.partition(".")[0] != name or id(t) in whole:
            continue
        before = toks[i - 1].text.rpartition(".")[2] if i else ""
        picked = "." in t.text or (i + 1 < len(toks) and toks[i + 1].text == ".")
        if not alone or picked or before in _PICKING:
            return True
    return False


def _arguments_of(toks: Toks, entry: str) -> set[int]:
    """The tokens that are whole arguments of the entry point, by identity."""
    found: set[int] = set()
    for i, t in enumerate(toks):
        if t.kind != "word" or t.text != entry:
            continue
        for argument in arguments(toks, i + 1)[0]:
            inside = _unwrapped(argument.toks)
            if len(inside) == 1:
                found.add(id(inside[0]))
        found |= _piped(toks, i)
    return found


def _unwrapped(toks: Toks) -> Toks:
    """An argument without what only changes its form, or dereferences it."""
    toks = strip_parens(toks)
    while len(toks) > 1 and (toks[0].text in _WHOLE or toks[0].text == "!"):
        toks = strip_parens(toks[1:])
    return toks


def _piped(toks: Toks, i: int) -> set[int]:
    """The name in `name |> f` and `f @@ name`, where f is at i."""
    found: set[int] = set()
    if i > 1 and toks[i - 1].text == "|>" and toks[i - 2].kind == "word":
        found.add(id(toks[i - 2]))
    if i + 2 < len(toks) and toks[i + 1].text == "@@" and toks[i + 2].kind == "word":
        found.add(id(toks[i + 2]))
    return found


def _shared_literal(call: Toks, value: Toks) -> bool:
    """Whether a table that is written out on both sides has a part picked from it for the call."""
    said = " ".join(t.text for t in value)
    for i, t in enumerate(call):
        if t.kind != "open":
            continue
        end = close_of(call, i) + 1
        picked = i > 0 and call[i - 1].text.rpartition(".")[2] in _PICKING
        picked = picked or (0 < end < len(call) and call[end].text == ".")
        if picked and end - i > 3 and _spelled(call[i:end]) in said:
            return True
    return False


def _spelled(toks: list[Token]) -> str:
    return " ".join(t.text for t in toks)

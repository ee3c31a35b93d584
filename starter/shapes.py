"""What a family's slots say in words, and what they mean: the functions behind the table.

`*_words` phrase the filled slots, `run_*` give their meaning as a Python function (its second
argument asks for the second reading of a vague wording), `vague_*` say where there are two.
No torch, no I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from starter.ops import TEXT_MAPS, TOTALS, Op, plural, singular

Slots = dict[str, Op | None]
RAISES = "raises an exception"


def _do(op: Op | None, value: Any) -> Any:
    return op.fn(value) if op else value


def _keep(pred: Op | None, values: list[Any]) -> list[Any]:
    return [v for v in values if pred is None or pred.fn(v)]


def _that(slots: Slots, rng: random.Random) -> str:
    """` that are even`, or nothing."""
    pred = slots["keep"]
    return f" that {plural(pred, rng.choice)}" if pred else ""


def _after(op: Op | None, rng: random.Random) -> str:
    """` plus 3`, or nothing."""
    return f" {rng.choice(op.words)}" if op else ""


def both(one: str, two: str) -> Callable[[Slots], bool]:
    """Vague when both slots are filled."""
    return lambda slots: bool(slots[one] and slots[two])


def chain_words(lead: str) -> Callable[[Slots, random.Random], str]:
    return lambda slots, rng: lead + "".join(_after(op, rng) for op in slots.values()) + "."


def run_text(slots: Slots, second: bool) -> Callable[..., Any]:
    one, two = slots["one"], slots["two"]
    return lambda s: _do(one, _do(two, s)) if second else _do(two, _do(one, s))


def vague_text(slots: Slots) -> bool:
    """`s in capitals with "a" in front`: is the "a" in capitals?"""
    return slots["one"] in TEXT_MAPS[:3] and slots["two"] in TEXT_MAPS[3:]


def run_real(slots: Slots, second: bool) -> Callable[..., Any]:
    one, two = slots["one"], slots["two"]
    if second:
        return lambda x: x + _do(two, _do(one, 0))
    return lambda x: _do(two, _do(one, x))


def vague_real(slots: Slots) -> bool:
    """`x plus 3 times 2`: which comes first?"""
    one, two = slots["one"], slots["two"]
    return bool(one and two and one.key[:4] in ("fadd", "fsub") and two.key[:4] in ("fmul", "fdiv"))


def run_list(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(values: list[Any]) -> Any:
        if second:
            return _do(slots["end"], _keep(slots["keep"], [_do(slots["map"], v) for v in values]))
        return _do(slots["end"], [_do(slots["map"], v) for v in _keep(slots["keep"], values)])

    return run


def list_words(noun: str) -> Callable[[Slots, random.Random], str]:
    def words(slots: Slots, rng: random.Random) -> str:
        end = slots["end"]
        what = f"{noun}{_after(slots['map'], rng)}{_that(slots, rng)}"
        if end in TOTALS and end:
            of = " the " if end.key == "largest" else " of the "
            return f"Return the {rng.choice(end.words)}{of}{what}."
        return f"Return the {what}{',' if end else ''}{_after(end, rng)}."

    return words


def choose_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    lead = f"x{_after(slots['yes'], rng)} if it {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise x{_after(slots['no'], rng)}."


def branch_words(slots: Slots, rng: random.Random) -> str:
    test, yes, no = slots["test"], slots["yes"], slots["no"]
    assert test and yes and no
    lead = f"{yes.words[0]} if x{_after(slots['map'], rng)} {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise {no.words[0]}."


def run_choice(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(x: int) -> Any:
        test = slots["test"]
        assert test
        subject = _do(slots["yes"], x) if second else _do(slots.get("map"), x)
        return _do(slots["yes"] if test.fn(subject) else slots["no"], x)

    return run


def compare_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    return f"Tell whether x{_after(slots['map'], rng)} {singular(test, rng.choice)}."


def run_compare(slots: Slots, second: bool) -> Callable[..., Any]:
    test = slots["test"]
    assert test
    return lambda x: bool(test.fn(_do(slots["map"], x)))


def quantify_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    return f"Tell whether elements of xs{_after(slots['map'], rng)} {plural(test, rng.choice)}."


def run_quantify(slots: Slots, second: bool) -> Callable[..., Any]:
    """`elements of xs are even`: all of them, or some?"""
    test = slots["test"]
    assert test
    quantity = any if second else all
    return lambda xs: quantity([bool(test.fn(_do(slots["map"], x))) for x in xs])


def search_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    what = f"element of xs{_after(slots['map'], rng)}"
    return f"Return the first {what} that {singular(test, rng.choice)}, or None."


def run_search(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(xs: list[int]) -> int | None:
        if second:
            return next(iter(_keep(slots["test"], [_do(slots["map"], x) for x in xs])), None)
        found: list[int] = _keep(slots["test"], xs)
        return _do(slots["map"], found[0]) if found else None

    return run


def maybe_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    condition = f" if it {singular(test, rng.choice)}" if test else ""
    return f"Return the value in o{_after(slots['map'], rng)}{condition}, or None."


def run_maybe(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(o: int | None) -> int | None:
        if o is None:
            return None
        subject, test = _do(slots["map"], o) if second else o, slots["test"]
        return _do(slots["map"], o) if test is None or test.fn(subject) else None

    return run


def pair_words(slots: Slots, rng: random.Random) -> str:
    first, second = f"x{_after(slots['first'], rng)}", f"y{_after(slots['second'], rng)}"
    if slots["swap"]:
        first, second = second, first
    return f"Return a pair of {first} and {second}."


def run_pair(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(x: int, y: int) -> tuple[int, int]:
        pair = (_do(slots["first"], x), _do(slots["second"], y))
        return (pair[1], pair[0]) if slots["swap"] and not second else pair

    return run


def split_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    of = f"Split the elements of xs{_after(slots['map'], rng)}"
    return f"{of} into those that {plural(test, rng.choice)} and the others."


def run_split(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(xs: list[int]) -> tuple[list[int], list[int]]:
        test, op = slots["test"], slots["map"]
        assert test
        right = [bool(test.fn(x if second else _do(op, x))) for x in xs]
        parts = [[_do(op, x) for x, r in zip(xs, right, strict=True) if r == k] for k in (1, 0)]
        return parts[0], parts[1]

    return run


def flags_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    element = f"element of xs{_after(slots['map'], rng)}"
    return f"Tell for each {element} if it {singular(test, rng.choice)}."


def run_flags(slots: Slots, second: bool) -> Callable[..., Any]:
    test = slots["test"]
    assert test
    return lambda xs: [bool(test.fn(_do(slots["map"], x))) for x in xs]


def table_words(slots: Slots, rng: random.Random) -> str:
    op = slots["map"]
    assert op
    return f"Pair each of the elements of xs{_that(slots, rng)} with itself {rng.choice(op.words)}."


def run_table(slots: Slots, second: bool) -> Callable[..., Any]:
    return lambda xs: [(x, _do(slots["map"], x)) for x in _keep(slots["keep"], xs)]


def nth_words(noun: str) -> Callable[[Slots, random.Random], str]:
    def words(slots: Slots, rng: random.Random) -> str:
        place = slots["place"]
        assert place
        return f"Return the {rng.choice(place.words)} {noun}{_after(slots['map'], rng)}."

    return words


def run_nth(empty: str | float) -> Callable[[Slots, bool], Callable[..., Any]]:
    def meaning(slots: Slots, second: bool) -> Callable[..., Any]:
        place = slots["place"]
        assert place
        nothing = RAISES if second else _do(slots["map"], empty)
        least = int(place.py[-2])

        def run(values: list[Any]) -> Any:
            return _do(slots["map"], place.fn(values)) if len(values) > least else nothing

        return run

    return meaning


def run_range(slots: Slots, second: bool) -> Callable[..., Any]:
    return lambda n: run_list(slots, second)(list(range(1, n + 1)))

"""The families of generated problems: what each asks for, in words and in meaning.

A family is a shape with slots; a task fills every slot with an operation. The two renderers
(`generate_ocaml`, `generate_python`) write programs for a task, `generate_cases` picks its tests.

English is vague: "the elements of xs plus 3 that are even" may test an element before or after the
addition, "x plus 3 times 2" may add or multiply first. Such wordings have two readings. The
problem sets keep to the first one, and their examples show it; the corpus holds programs of both,
as code of many authors does, each with examples that fit its program.
Two families, `flags` and `table`, are held out whole. No torch, no I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pawl.problems.generate_ops import (
    INT_MAPS,
    INT_PREDS,
    JOINS,
    REAL_MAPS,
    REVERSED,
    SORTED,
    TEXT_MAPS,
    TEXT_PREDS,
    TOTALS,
    Op,
    plural,
    singular,
)

Slots = dict[str, Op | None]


@dataclass(frozen=True, slots=True)
class Family:
    """A shape of problem. slots: allowed fillings by name (None leaves the operation out)."""

    name: str
    params: tuple[tuple[str, str], ...]
    result: str
    slots: dict[str, tuple[Op | None, ...]]
    words: Callable[[Slots, random.Random], str]
    meaning: Callable[[Slots, bool], Callable[..., Any]]
    vague: Callable[[Slots], bool] = lambda slots: False
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A family with its slots filled: one specification. second: in its second reading."""

    family: Family
    filling: tuple[Op | None, ...]
    second: bool = False

    @property
    def slots(self) -> Slots:
        """The filled slots by name."""
        return dict(zip(self.family.slots, self.filling, strict=True))

    @property
    def spec(self) -> str:
        """The operations and their arguments: the key that splits are made by."""
        return " | ".join([self.family.name, *(op.key if op else "-" for op in self.filling)])

    @property
    def operations(self) -> int:
        """How many operations the task combines; going over a list is one more."""
        loop = self.family.params[0][1].endswith("list")
        return loop + sum(op is not None and op not in LETTERS for op in self.filling)

    @property
    def difficulty(self) -> str:
        """easy: up to two operations; medium: three; hard: four or more."""
        return "easy" if self.operations < 3 else "medium" if self.operations == 3 else "hard"

    def run(self) -> Callable[..., Any]:
        """The reference meaning as a Python function of the task's parameters."""
        return self.family.meaning(self.slots, self.second)

    def rival(self) -> Callable[..., Any]:
        """The meaning in the other reading of a vague wording."""
        return self.family.meaning(self.slots, not self.second)

    @property
    def vague(self) -> bool:
        """True when the wording has two readings."""
        return self.family.vague(self.slots)

    def sibling(self, rng: random.Random) -> Task:
        """The same task with one slot filled differently (a near miss, for choosing tests)."""
        free = [i for i, o in enumerate(self.family.slots.values()) if len(o) > 1]
        place = rng.choice(free)
        filling = list(self.filling)
        filling[place] = rng.choice(list(self.family.slots.values())[place])
        return Task(self.family, tuple(filling))


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


def _both(one: str, two: str) -> Callable[[Slots], bool]:
    """Vague when both slots are filled."""
    return lambda slots: bool(slots[one] and slots[two])


def _chain_words(lead: str) -> Callable[[Slots, random.Random], str]:
    return lambda slots, rng: lead + "".join(_after(op, rng) for op in slots.values()) + "."


def _run_text(slots: Slots, second: bool) -> Callable[..., Any]:
    one, two = slots["one"], slots["two"]
    return lambda s: _do(one, _do(two, s)) if second else _do(two, _do(one, s))


def _vague_text(slots: Slots) -> bool:
    """`s in capitals with "a" in front`: is the "a" in capitals?"""
    return slots["one"] in TEXT_MAPS[:3] and slots["two"] in TEXT_MAPS[3:]


def _run_real(slots: Slots, second: bool) -> Callable[..., Any]:
    one, two = slots["one"], slots["two"]
    if second:
        return lambda x: x + _do(two, _do(one, 0))
    return lambda x: _do(two, _do(one, x))


def _vague_real(slots: Slots) -> bool:
    """`x plus 3 times 2`: which comes first?"""
    one, two = slots["one"], slots["two"]
    return bool(one and two and one.key[:4] in ("fadd", "fsub") and two.key[:4] in ("fmul", "fdiv"))


def _run_list(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(values: list[Any]) -> Any:
        if second:
            return _do(slots["end"], _keep(slots["keep"], [_do(slots["map"], v) for v in values]))
        return _do(slots["end"], [_do(slots["map"], v) for v in _keep(slots["keep"], values)])

    return run


def _list_words(noun: str) -> Callable[[Slots, random.Random], str]:
    def words(slots: Slots, rng: random.Random) -> str:
        end = slots["end"]
        what = f"{noun}{_after(slots['map'], rng)}{_that(slots, rng)}"
        if end in TOTALS and end:
            of = " the " if end.key == "largest" else " of the "
            return f"Return the {rng.choice(end.words)}{of}{what}."
        return f"Return the {what}{',' if end else ''}{_after(end, rng)}."

    return words


def _choose_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    lead = f"x{_after(slots['yes'], rng)} if it {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise x{_after(slots['no'], rng)}."


def _branch_words(slots: Slots, rng: random.Random) -> str:
    test, yes, no = slots["test"], slots["yes"], slots["no"]
    assert test and yes and no
    lead = f"{yes.words[0]} if x{_after(slots['map'], rng)} {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise {no.words[0]}."


def _run_choice(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(x: int) -> Any:
        test = slots["test"]
        assert test
        subject = _do(slots["yes"], x) if second else _do(slots.get("map"), x)
        return _do(slots["yes"] if test.fn(subject) else slots["no"], x)

    return run


def _test_words(lead: str) -> Callable[[Slots, random.Random], str]:
    def words(slots: Slots, rng: random.Random) -> str:
        test = slots["test"]
        assert test
        quantity = slots.get("some")
        subject = lead.format(some=rng.choice(quantity.words) if quantity else "")
        comma = "," if slots["map"] and quantity else ""
        middle = f"{comma}{_after(slots['map'], rng)}{comma}"
        return f"Tell whether {subject}{middle} {singular(test, rng.choice)}."

    return words


def _run_test(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(value: Any) -> bool:
        test, quantity = slots["test"], slots.get("some")
        assert test
        if quantity is None:
            return bool(test.fn(_do(slots["map"], value)))
        return bool(quantity.fn([bool(test.fn(_do(slots["map"], v))) for v in value]))

    return run


def _search_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    what = f"element of xs{_after(slots['map'], rng)}"
    return f"Return the first {what} that {singular(test, rng.choice)}, or None."


def _run_search(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(xs: list[int]) -> int | None:
        if second:
            return next(iter(_keep(slots["test"], [_do(slots["map"], x) for x in xs])), None)
        found: list[int] = _keep(slots["test"], xs)
        return _do(slots["map"], found[0]) if found else None

    return run


def _maybe_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    condition = f" if it {singular(test, rng.choice)}" if test else ""
    return f"Return the value in o{_after(slots['map'], rng)}{condition}, or None."


def _run_maybe(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(o: int | None) -> int | None:
        if o is None:
            return None
        subject, test = _do(slots["map"], o) if second else o, slots["test"]
        return _do(slots["map"], o) if test is None or test.fn(subject) else None

    return run


def _pair_words(slots: Slots, rng: random.Random) -> str:
    first, second = f"x{_after(slots['first'], rng)}", f"y{_after(slots['second'], rng)}"
    if slots["swap"]:
        first, second = second, first
    return f"Return a pair of {first} and {second}."


def _run_pair(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(x: int, y: int) -> tuple[int, int]:
        pair = (_do(slots["first"], x), _do(slots["second"], y))
        return (pair[1], pair[0]) if slots["swap"] and not second else pair

    return run


def _split_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    of = f"Split the elements of xs{_after(slots['map'], rng)}"
    return f"{of} into those that {plural(test, rng.choice)} and the others."


def _run_split(slots: Slots, second: bool) -> Callable[..., Any]:
    def run(xs: list[int]) -> tuple[list[int], list[int]]:
        test, op = slots["test"], slots["map"]
        assert test
        right = [bool(test.fn(x if second else _do(op, x))) for x in xs]
        parts = [[_do(op, x) for x, r in zip(xs, right, strict=True) if r == k] for k in (1, 0)]
        return parts[0], parts[1]

    return run


def _flags_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    element = f"element of xs{_after(slots['map'], rng)}"
    return f"Tell for each {element} if it {singular(test, rng.choice)}."


def _run_flags(slots: Slots, second: bool) -> Callable[..., Any]:
    test = slots["test"]
    assert test
    return lambda xs: [bool(test.fn(_do(slots["map"], x))) for x in xs]


def _table_words(slots: Slots, rng: random.Random) -> str:
    op = slots["map"]
    assert op
    return f"Pair each of the elements of xs{_that(slots, rng)} with itself {rng.choice(op.words)}."


def _run_table(slots: Slots, second: bool) -> Callable[..., Any]:
    return lambda xs: [(x, _do(slots["map"], x)) for x in _keep(slots["keep"], xs)]


def _run_range(slots: Slots, second: bool) -> Callable[..., Any]:
    return lambda n: _run_list(slots, second)(list(range(1, n + 1)))


def _letter(c: str) -> Op:
    return Op(f"'{c}'", (f"'{c}'",), f"'{c}'", f"'{c}'", lambda x: c)


QUANTITIES = (
    Op("some", ("some element of xs", "at least one element of xs"), "List.exists", "any", any,
       "false", "{v} || {acc}"),
    Op("all", ("each element of xs", "every element of xs"), "List.for_all", "all", all,
       "true", "{v} && {acc}"),
)  # fmt: skip
SWAP = Op("swap", (), "", "", lambda x: x)
ORDERS = (None, REVERSED, SORTED)
XS, WS = (("xs", "int list"),), (("ws", "string list"),)
NO_MAP = (None, *INT_MAPS)
NO_TEST = (None, *INT_PREDS)
LETTERS = tuple(_letter(c) for c in "apynbz")
SMALL_MAPS = tuple(op for op in INT_MAPS if op.key.split()[0] not in ("max", "min"))
PLAIN_MAPS = tuple(op for op in INT_MAPS if op.key in ("neg", "square", "abs"))
LISTED = _both("keep", "map")

FAMILIES = (
    Family("choose", (("x", "int"),), "int",
           {"test": INT_PREDS, "yes": INT_MAPS, "no": (None, *PLAIN_MAPS)},
           _choose_words, _run_choice, _both("test", "yes")),
    Family("fold", XS, "int", {"keep": NO_TEST, "map": NO_MAP, "end": TOTALS},
           _list_words("elements of xs"), _run_list, LISTED),
    Family("compare", (("x", "int"),), "bool", {"map": INT_MAPS, "test": INT_PREDS},
           _test_words("x"), _run_test),
    Family("quantify", XS, "bool", {"some": QUANTITIES, "map": NO_MAP, "test": INT_PREDS},
           _test_words("{some}"), _run_test),
    Family("select", XS, "int list", {"keep": NO_TEST, "map": NO_MAP, "end": ORDERS},
           _list_words("elements of xs"), _run_list, LISTED),
    Family("range", (("n", "int"),), "int list",
           {"keep": NO_TEST, "map": NO_MAP, "end": (None, REVERSED)},
           _list_words("numbers from 1 to n"), _run_range, LISTED),
    Family("text", (("s", "string"),), "string",
           {"one": TEXT_MAPS, "two": (None, *TEXT_MAPS)},
           _chain_words("Return s"), _run_text, _vague_text),
    Family("join", WS, "string",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": JOINS},
           _list_words("words of ws"), _run_list, LISTED),
    Family("words", WS, "string list",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": ORDERS},
           _list_words("words of ws"), _run_list, LISTED),
    Family("search", XS, "int option", {"test": INT_PREDS, "map": NO_MAP},
           _search_words, _run_search, _both("test", "map")),
    Family("maybe", (("o", "int option"),), "int option", {"test": NO_TEST, "map": INT_MAPS},
           _maybe_words, _run_maybe, _both("test", "map")),
    Family("pair", (("x", "int"), ("y", "int")), "int * int",
           {"first": SMALL_MAPS, "second": NO_MAP, "swap": (None, SWAP)},
           _pair_words, _run_pair, lambda slots: slots["swap"] is not None),
    Family("split", XS, "int list * int list", {"map": NO_MAP, "test": INT_PREDS},
           _split_words, _run_split, _both("map", "test")),
    Family("real", (("x", "float"),), "float", {"one": REAL_MAPS, "two": REAL_MAPS},
           _chain_words("Return x"), _run_real, _vague_real),
    Family("branch", (("x", "int"),), "char",
           {"map": NO_MAP, "test": INT_PREDS, "yes": LETTERS[:3], "no": LETTERS[3:]},
           _branch_words, _run_choice),
    Family("flags", XS, "bool list", {"map": NO_MAP, "test": INT_PREDS},
           _flags_words, _run_flags, held_out=True),
    Family("table", XS, "(int * int) list", {"keep": NO_TEST, "map": INT_MAPS},
           _table_words, _run_table, held_out=True),
)  # fmt: skip

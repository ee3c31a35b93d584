"""The families of generated problems: what each asks for, in words and in meaning.

A family is a shape with slots; a task fills every slot with an operation. The two renderers
(`generate_ocaml`, `generate_python`) write programs for a task, `generate_cases` picks its tests.
Two families, `flags` and `table`, are held out whole. No torch, no I/O.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
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
    meaning: Callable[[Slots], Callable[..., Any]]
    held_out: bool = False

    def fillings(self) -> Iterator[tuple[Op | None, ...]]:
        """Every way to fill the slots, in a fixed order."""
        return itertools.product(*self.slots.values())

    def size(self) -> int:
        """Number of fillings, behavioural twins included."""
        total = 1
        for options in self.slots.values():
            total *= len(options)
        return total


@dataclass(frozen=True, slots=True)
class Task:
    """A family with its slots filled: one specification."""

    family: Family
    filling: tuple[Op | None, ...]

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
        return self.family.meaning(self.slots)

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


def _each(slots: Slots, rng: random.Random) -> str:
    """`, each doubled`, or nothing."""
    op = slots["map"]
    return f", each {rng.choice(op.words)}" if op else ""


def _that(slots: Slots, rng: random.Random) -> str:
    """` that are even`, or nothing."""
    pred = slots["keep"]
    return f" that {plural(pred, rng.choice)}" if pred else ""


def _after(op: Op | None, rng: random.Random) -> str:
    """` plus 3`, or nothing."""
    return f" {rng.choice(op.words)}" if op else ""


def _chain(slots: Slots, rng: random.Random) -> str:
    return ", then ".join(rng.choice(op.words) for op in slots.values() if op)


def _run_chain(slots: Slots) -> Callable[..., Any]:
    def run(value: Any) -> Any:
        for op in slots.values():
            value = _do(op, value)
        return value

    return run


def _run_list(slots: Slots) -> Callable[..., Any]:
    def run(values: list[Any]) -> Any:
        return _do(slots["end"], [_do(slots["map"], v) for v in _keep(slots["keep"], values)])

    return run


def _list_words(noun: str) -> Callable[[Slots, random.Random], str]:
    def words(slots: Slots, rng: random.Random) -> str:
        end = slots["end"]
        if end in TOTALS and end:
            lead = rng.choice(end.words) + (" the " if end.key == "largest" else " of the ") + noun
            return f"Return the {lead}{_that(slots, rng)}{_each(slots, rng)}."
        tail = f", {rng.choice(end.words)}" if end else ""
        return f"Return the {noun}{_that(slots, rng)}{_each(slots, rng)}{tail}."

    return words


def _choose_words(slots: Slots, rng: random.Random) -> str:
    test, yes, no = slots["test"], slots["yes"], slots["no"]
    assert test and yes and no
    lead = f"x {rng.choice(yes.words)} if x {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise x {rng.choice(no.words)}."


def _branch_words(slots: Slots, rng: random.Random) -> str:
    test, yes, no = slots["test"], slots["yes"], slots["no"]
    assert test and yes and no
    lead = f"{yes.words[0]} if x{_after(slots['map'], rng)} {singular(test, rng.choice)}"
    return f"Return {lead}, otherwise {no.words[0]}."


def _run_choice(slots: Slots) -> Callable[..., Any]:
    def run(x: int) -> Any:
        test = slots["test"]
        assert test
        return _do(slots["yes"] if test.fn(_do(slots.get("map"), x)) else slots["no"], x)

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


def _run_test(slots: Slots) -> Callable[..., Any]:
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
    of = f"element of xs that {singular(test, rng.choice)}"
    comma = "," if slots["map"] else ""
    return f"Return the first {of}{comma}{_after(slots['map'], rng)}, or None."


def _run_search(slots: Slots) -> Callable[..., Any]:
    def run(xs: list[int]) -> int | None:
        found: list[int] = _keep(slots["test"], xs)
        return _do(slots["map"], found[0]) if found else None

    return run


def _maybe_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    condition = f" if it {singular(test, rng.choice)}" if test else ""
    return f"Return the value in o{_after(slots['map'], rng)}{condition}, or None."


def _run_maybe(slots: Slots) -> Callable[..., Any]:
    def run(o: int | None) -> int | None:
        kept = o is not None and (slots["test"] is None or slots["test"].fn(o))
        return _do(slots["map"], o) if kept else None

    return run


def _pair_words(slots: Slots, rng: random.Random) -> str:
    first, second = _after(slots["first"], rng), _after(slots["second"], rng)
    if slots["swap"]:
        return f"Return the pair of y{second} and x{first}."
    return f"Return the pair of x{first} and y{second}."


def _run_pair(slots: Slots) -> Callable[..., Any]:
    def run(x: int, y: int) -> tuple[int, int]:
        pair = (_do(slots["first"], x), _do(slots["second"], y))
        return (pair[1], pair[0]) if slots["swap"] else pair

    return run


def _split_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    of = f"Split the elements of xs{_each(slots, rng)}"
    return f"{of}, into those that {plural(test, rng.choice)} and the others."


def _run_split(slots: Slots) -> Callable[..., Any]:
    def run(xs: list[int]) -> tuple[list[int], list[int]]:
        test, values = slots["test"], [_do(slots["map"], x) for x in xs]
        assert test
        return [v for v in values if test.fn(v)], [v for v in values if not test.fn(v)]

    return run


def _flags_words(slots: Slots, rng: random.Random) -> str:
    test = slots["test"]
    assert test
    element = f"element of xs{_after(slots['map'], rng)}"
    return f"Tell for each {element} if it {singular(test, rng.choice)}."


def _run_flags(slots: Slots) -> Callable[..., Any]:
    test = slots["test"]
    assert test
    return lambda xs: [bool(test.fn(_do(slots["map"], x))) for x in xs]


def _table_words(slots: Slots, rng: random.Random) -> str:
    op = slots["map"]
    assert op
    return f"Pair each of the elements of xs{_that(slots, rng)} with itself {rng.choice(op.words)}."


def _run_table(slots: Slots) -> Callable[..., Any]:
    return lambda xs: [(x, _do(slots["map"], x)) for x in _keep(slots["keep"], xs)]


def _run_range(slots: Slots) -> Callable[..., Any]:
    return lambda n: _run_list(slots)(list(range(1, n + 1)))


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
LETTERS = tuple(_letter(c) for c in "abcnopxyz")
SMALL_MAPS = tuple(op for op in INT_MAPS if op.key.split()[0] not in ("max", "min"))

FAMILIES = (
    Family("choose", (("x", "int"),), "int",
           {"test": INT_PREDS, "yes": INT_MAPS, "no": INT_MAPS}, _choose_words, _run_choice),
    Family("fold", XS, "int", {"keep": NO_TEST, "map": NO_MAP, "end": TOTALS},
           _list_words("elements of xs"), _run_list),
    Family("compare", (("x", "int"),), "bool", {"map": INT_MAPS, "test": INT_PREDS},
           _test_words("x"), _run_test),
    Family("quantify", XS, "bool", {"some": QUANTITIES, "map": NO_MAP, "test": INT_PREDS},
           _test_words("{some}"), _run_test),
    Family("select", XS, "int list", {"keep": NO_TEST, "map": NO_MAP, "end": ORDERS},
           _list_words("elements of xs"), _run_list),
    Family("range", (("n", "int"),), "int list",
           {"keep": NO_TEST, "map": NO_MAP, "end": (None, REVERSED)},
           _list_words("numbers from 1 to n"), _run_range),
    Family("text", (("s", "string"),), "string",
           {"one": TEXT_MAPS, "two": (None, *TEXT_MAPS)},
           lambda slots, rng: f"Return s {_chain(slots, rng)}.", _run_chain),
    Family("join", WS, "string",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": JOINS},
           _list_words("words of ws"), _run_list),
    Family("words", WS, "string list",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": ORDERS},
           _list_words("words of ws"), _run_list),
    Family("search", XS, "int option", {"test": INT_PREDS, "map": NO_MAP},
           _search_words, _run_search),
    Family("maybe", (("o", "int option"),), "int option", {"test": NO_TEST, "map": INT_MAPS},
           _maybe_words, _run_maybe),
    Family("pair", (("x", "int"), ("y", "int")), "int * int",
           {"first": SMALL_MAPS, "second": NO_MAP, "swap": (None, SWAP)},
           _pair_words, _run_pair),
    Family("split", XS, "int list * int list", {"map": NO_MAP, "test": INT_PREDS},
           _split_words, _run_split),
    Family("real", (("x", "float"),), "float",
           {"one": REAL_MAPS, "two": REAL_MAPS, "three": (None, *REAL_MAPS)},
           lambda slots, rng: f"Return x {_chain(slots, rng)}.", _run_chain),
    Family("branch", (("x", "int"),), "char",
           {"map": NO_MAP, "test": INT_PREDS, "yes": LETTERS, "no": LETTERS},
           _branch_words, _run_choice),
    Family("flags", XS, "bool list", {"map": NO_MAP, "test": INT_PREDS},
           _flags_words, _run_flags, held_out=True),
    Family("table", XS, "(int * int) list", {"keep": NO_TEST, "map": INT_MAPS},
           _table_words, _run_table, held_out=True),
)  # fmt: skip

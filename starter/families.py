"""The families of generated problems: what each asks for, in words and in meaning.

A family is a shape with slots; a task fills every slot with an operation. The two renderers
(`ocaml`, `python`) write programs for a task, `cases` picks its tests.

English is vague: "the elements of xs plus 3 that are even" may test an element before or after the
addition, "elements of xs are even" may mean all or some, "x plus 3 times 2" may add or multiply
first, "the second element of xs" says nothing of short lists (in the first reading, what is missing
counts as 0 or as an empty word). Such wordings have two readings. The problem sets keep to the
first one, and their examples show it; the corpus holds programs of both, as code of many authors
does, each with ordinary examples that fit its program.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starter.ops import (
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
)
from starter.shapes import (
    Slots,
    both,
    branch_words,
    chain_words,
    choose_words,
    compare_words,
    flags_words,
    list_words,
    maybe_words,
    nth_words,
    pair_words,
    quantify_words,
    run_choice,
    run_compare,
    run_flags,
    run_list,
    run_maybe,
    run_nth,
    run_pair,
    run_quantify,
    run_range,
    run_real,
    run_search,
    run_split,
    run_table,
    run_text,
    search_words,
    split_words,
    table_words,
    vague_real,
    vague_text,
)


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


def _letter(c: str) -> Op:
    return Op(f"'{c}'", (f"'{c}'",), f"'{c}'", f"'{c}'", lambda x: c)


PLACES = tuple(
    Op(word, (word,), f"List.nth {{x}} {i}", f"{{x}}[{i}]", lambda values, i=i: values[i])
    for i, word in enumerate(("second", "third", "fourth", "fifth"), 1)
)
SWAP = Op("swap", (), "", "", lambda x: x)
ORDERS = (None, REVERSED, SORTED)
ADDED = ("fadd", "fsub")
XS, WS = (("xs", "int list"),), (("ws", "string list"),)
NO_MAP = (None, *INT_MAPS)
NO_TEST = (None, *INT_PREDS)
LETTERS = tuple(_letter(c) for c in "apynbz")
SMALL_MAPS = tuple(op for op in INT_MAPS if op.key.split()[0] not in ("max", "min"))
PLAIN_MAPS = tuple(op for op in INT_MAPS if op.key in ("neg", "square", "abs"))
SHORT_REALS = tuple(op for op in REAL_MAPS if op.key[-1] in "24ges" and op.key[:4] not in ADDED)
LISTED = both("keep", "map")

FAMILIES = (
    Family("choose", (("x", "int"),), "int",
           {"test": INT_PREDS, "yes": INT_MAPS, "no": (None, *PLAIN_MAPS)},
           choose_words, run_choice, both("test", "yes")),
    Family("fold", XS, "int", {"keep": NO_TEST, "map": NO_MAP, "end": TOTALS},
           list_words("elements of xs"), run_list, LISTED),
    Family("compare", (("x", "int"),), "bool", {"map": INT_MAPS, "test": INT_PREDS},
           compare_words, run_compare),
    Family("quantify", XS, "bool", {"map": NO_MAP, "test": INT_PREDS},
           quantify_words, run_quantify, lambda slots: True),
    Family("select", XS, "int list", {"keep": NO_TEST, "map": NO_MAP, "end": ORDERS},
           list_words("elements of xs"), run_list, LISTED),
    Family("range", (("n", "int"),), "int list",
           {"keep": NO_TEST, "map": NO_MAP, "end": (None, REVERSED)},
           list_words("numbers from 1 to n"), run_range, LISTED),
    Family("text", (("s", "string"),), "string",
           {"one": TEXT_MAPS, "two": (None, *TEXT_MAPS)},
           chain_words("Return s"), run_text, vague_text),
    Family("join", WS, "string",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": JOINS},
           list_words("words of ws"), run_list, LISTED),
    Family("words", WS, "string list",
           {"keep": (None, *TEXT_PREDS), "map": (None, *TEXT_MAPS), "end": ORDERS},
           list_words("words of ws"), run_list, LISTED),
    Family("search", XS, "int option", {"test": INT_PREDS, "map": NO_MAP},
           search_words, run_search, both("test", "map")),
    Family("maybe", (("o", "int option"),), "int option", {"test": NO_TEST, "map": INT_MAPS},
           maybe_words, run_maybe, both("test", "map")),
    Family("pair", (("x", "int"), ("y", "int")), "int * int",
           {"first": SMALL_MAPS, "second": (None, *PLAIN_MAPS), "swap": (None, SWAP)},
           pair_words, run_pair, lambda slots: slots["swap"] is not None),
    Family("split", XS, "int list * int list", {"map": NO_MAP, "test": INT_PREDS},
           split_words, run_split, both("map", "test")),
    Family("real", (("x", "float"),), "float", {"one": REAL_MAPS, "two": SHORT_REALS},
           chain_words("Return x"), run_real, vague_real),
    Family("branch", (("x", "int"),), "char",
           {"map": NO_MAP, "test": INT_PREDS, "yes": LETTERS[:3], "no": LETTERS[3:]},
           branch_words, run_choice),
    Family("word", WS, "string", {"place": PLACES, "map": TEXT_MAPS},
           nth_words("word of ws"), run_nth(""), lambda slots: True),
    Family("place", (("xs", "float list"),), "float", {"place": PLACES, "map": REAL_MAPS},
           nth_words("element of xs"), run_nth(0.0), lambda slots: True),
    Family("flags", XS, "bool list", {"map": NO_MAP, "test": INT_PREDS},
           flags_words, run_flags, held_out=True),
    Family("table", XS, "(int * int) list", {"keep": NO_TEST, "map": INT_MAPS},
           table_words, run_table, held_out=True),
)  # fmt: skip

"""Chooses the tests of a generated problem: shared inputs, behaviour keys, hard cases, examples.

The first 50 inputs of each parameter type tell problems apart (`behaviour`). Hidden tests are
picked from the same pool so that they catch near misses (the task with one operation changed) and
so that no constant answer passes many of them. No torch, no I/O.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from typing import Any

from starter.families import Task
from starter.shapes import RAISES

Args = tuple[Any, ...]
SHARED = 50
POOL = 110
HIDDEN = 8
WORDS = (
    "a",
    "bee",
    "Cat",
    "dog",
    "eel",
    "Fox",
    "red",
    "blue",
    "Odd",
    "tea",
    "robot",
    "ab",
    "zebra",
)
LIMIT = 2**60


def _value(kind: str, rng: random.Random, i: int) -> Any:
    if kind.endswith(" list"):
        size = 0 if i == 0 else 1 if i == 1 else rng.randint(0, 6)
        return [_value(kind.removesuffix(" list"), rng, i + 2) for _ in range(size)]
    if kind == "int option":
        return None if i % 9 == 0 else rng.randint(*rng.choice(((-9, 14), (-40, 40))))
    if kind == "string":
        return rng.choice(WORDS) + (rng.choice(WORDS) if rng.random() < 0.2 else "")
    if kind == "float":
        return rng.randint(-40, 40) / 2
    return rng.randint(-9, 14)


@functools.cache
def pool(kinds: tuple[str, ...], counting: bool) -> tuple[Args, ...]:
    """Distinct inputs for these parameter types; counting: one int that says how far to count."""
    if counting:
        return tuple((n,) for n in (0, 1, 2, 3, 5, 8, 4, 6, 7, 9, 10, 12, 11, 13, 14, 15, 16, 20))
    rng = random.Random(f"inputs/{kinds}")
    rows: list[Args] = [(v,) for v in range(-9, 15)] if kinds == ("int",) else []
    if kinds == ("string",):
        rows = [("",), ("a",), ("Ab",)]
    seen = {repr(r) for r in rows}
    for i in range(POOL * 20):
        row = tuple(_value(k, rng, i) for k in kinds)
        row = (rng.randint(-60, 60),) if kinds == ("int",) else row
        if repr(row) not in seen and len(rows) < POOL:
            seen.add(repr(row))
            rows.append(row)
    return tuple(rows)


def inputs(task: Task) -> tuple[Args, ...]:
    """The pool of a task."""
    return pool(tuple(k for _, k in task.family.params), task.family.name == "range")


def shared(task: Task) -> tuple[Args, ...]:
    """The 50 inputs that tell problems of this task's parameter types apart."""
    if task.family.name == "range":
        return tuple((n,) for n in range(SHARED))
    return inputs(task)[:SHARED]


def behaviour(task: Task) -> str:
    """Equal for two tasks exactly when they agree on the 50 shared inputs."""
    run = task.run()
    kinds = "/".join(k for _, k in task.family.params)
    return f"{kinds}>{task.family.result}:{[run(*a) for a in shared(task)]!r}"


def _too_large(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_too_large(v) for v in value)
    return isinstance(value, (int, float)) and abs(value) > LIMIT


def choose(task: Task, seed: str, near: int = 40) -> tuple[list[Args], list[Args]] | None:
    """Two shown inputs and eight hidden ones, or None for a task without good tests.

    Where a wording has two readings, half of the hidden tests tell them apart. Refused: results
    beyond 63 bits, fewer than two different results, a constant answer that passes more than half
    of the hidden tests.
    """
    rng, run = random.Random(f"cases/{seed}/{task.spec}"), task.run()
    rows = [(a, run(*a)) for a in inputs(task)]
    if any(_too_large(r) for _, r in rows):
        return None
    siblings = [task.sibling(rng).run() for _ in range(near)]
    misses = [{i for i, (a, r) in enumerate(rows) if other(*a) != r} for other in siblings]
    misses = [m for m in misses if m]
    rival = task.rival() if task.vague else run
    telling = {i for i, (a, r) in enumerate(rows) if rival(*a) != r}
    order = list(range(len(rows)))
    rng.shuffle(order)
    picked: list[int] = [0] if task.family.params[0][1].endswith(("list", "option")) else []
    while len(picked) < HIDDEN:
        counts = Counter(repr(rows[i][1]) for i in picked)
        left = [m for m in misses if not m & set(picked)]
        room = [i for i in order if i not in picked and counts[repr(rows[i][1])] < HIDDEN // 2]
        if not room:
            return None
        if len(telling & set(picked)) < HIDDEN // 2:
            room = [i for i in room if i in telling] or room
        picked.append(max(room, key=lambda i: sum(i in m for m in left) - counts[repr(rows[i][1])]))
    rng.shuffle(picked)
    shown = _examples(task, [rows[i] for i in order if i not in picked])
    return (shown, [rows[i][0] for i in picked]) if shown else None


def illustrate(task: Task, rng: random.Random) -> list[Args]:
    """Two ordinary inputs to show, for an example without hidden tests; [] where there are none."""
    run, every = task.run(), inputs(task)
    rival = task.rival() if task.vague else run
    some = [a for a in rng.sample(every, min(30, len(every))) if rival(*a) != RAISES]
    return _examples(task, [(a, run(*a)) for a in some])


def _examples(task: Task, rows: list[tuple[Args, Any]]) -> list[Args]:
    """Two short inputs with different results; the first tells two readings apart if it can."""
    other = task.rival() if task.vague else None
    rows = [row for row in rows if row[1] != RAISES and not _too_large(row[1])]
    rows = [row for row in rows if row[0] not in ((0,), ([],), (None,))]
    rows.sort(key=lambda row: (len(repr(row)) < 9, len(repr(row))))
    first = next((r for r in rows if other and other(*r[0]) != r[1]), rows[0] if rows else None)
    return next(([first[0], row[0]] for row in rows if first and row[1] != first[1]), [])

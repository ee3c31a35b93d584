"""Rows of named numbers as columns, and what is known of their source: what every reader fills.

A column keeps, for each of its values, the row that held it; a name that a row lacks costs nothing
there. Numbers in strings and "nan", "inf" are numbers; null, texts, booleans and lists are not.
Steps that go back (a log continued after a resume) are put in order, the later value wins. Left
out: what the names mean (`log`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Row = dict[str, object]
TOO_MANY = 2_000  # columns; a file with more is no training log
DEEPEST = 8  # mappings within mappings that are looked into
WAITING = 1 << 16  # values that wait to become columns


def number(value: object) -> float | None:
    """The number that a value is, or that a text holds; None for everything else, flags too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # an integer beyond any float
        return math.inf if int(value) > 0 else -math.inf


class Table:
    """Columns under construction. n: rows so far; dropped: columns beyond the limit, as they came.

    Rows are kept, sorted by the names that they have, until thousands of values have come together
    and are then turned into columns at once.
    """

    def __init__(self) -> None:
        self.n = self.dropped = 0
        self._columns: dict[str, tuple[array[int], array[float]]] = {}
        self._waiting: dict[tuple[str, ...], tuple[list[int], list[Any]]] = {}
        self._held = 0  # values that wait

    @property
    def columns(self) -> dict[str, tuple[array[int], array[float]]]:
        """By name (rows, values); rows of a column may be out of order."""
        self._settle()
        return self._columns

    def add(self, row: Mapping[str, object]) -> None:
        """Append a row; nested mappings become `outer/inner`."""
        keys = tuple(row)
        waiting = self._waiting.get(keys)
        if waiting is None:
            waiting = self._waiting[keys] = ([], [])
        waiting[0].append(self.n)
        waiting[1].extend(row.values())
        self.n += 1
        self._held += len(keys)
        if self._held >= WAITING:
            self._settle()

    def _settle(self) -> None:
        """Turn what waits into columns."""
        for keys, (rows, waiting) in self._waiting.items():
            places = array("q", rows)
            for j, key in enumerate(keys):
                self._take(str(key), places, waiting[j :: len(keys)])
        self._waiting, self._held = {}, 0

    def _take(self, name: str, rows: Sequence[int], values: list[Any], depth: int = 0) -> None:
        """Append the numbers among some values to the column of their name."""
        if not set(map(type, values)) <= {int, float}:
            self._look_into(name, rows, values, depth)
            known = [(row, x) for row, v in zip(rows, values, strict=True)
                     if (x := number(v)) is not None]  # fmt: skip
            rows, values = [row for row, _ in known], [x for _, x in known]
        if not values:
            return
        if name not in self._columns and len(self._columns) >= TOO_MANY:
            self.dropped += 1
            return
        column = self._columns.setdefault(name, (array("q"), array("d")))
        column[0].extend(rows)
        try:
            column[1].extend(array("d", values))
        except OverflowError:
            column[1].extend(number(value) or 0.0 for value in values)

    def _look_into(self, name: str, rows: Sequence[int], values: list[Any], depth: int) -> None:
        """Take the values of nested mappings under `outer/inner`."""
        inner: dict[str, tuple[list[int], list[Any]]] = {}
        for row, value in zip(rows, values, strict=True):
            for key, one in value.items() if isinstance(value, Mapping) else ():
                own = inner.setdefault(f"{name}/{key}", ([], []))
                own[0].append(row)
                own[1].append(one)
        if depth < DEEPEST:
            for key, own in inner.items():
                self._take(key, *own, depth + 1)

    def put(self, name: str, row_N: Places, value_N: Floats) -> None:
        """Add a whole column: values and the rows that hold them."""
        self._settle()
        self._columns[name] = array("q", row_N.tobytes()), array("d", value_N.tobytes())

    def column(self, name: str) -> tuple[Places, Floats]:
        """(rows, values) of a column in file order, not copied: no row may be added any more.

        Raises KeyError for an unknown name.
        """
        rows, values = self.columns[name]
        row_N, value_N = np.frombuffer(rows, np.int64), np.frombuffer(values, np.float64)
        if bool((row_N[1:] < row_N[:-1]).any()):
            order = np.argsort(row_N, kind="stable")
            self.put(name, row_N[order], value_N[order])  # the unsorted ones are freed at once
            return self.column(name)
        return row_N, value_N

    def full(self, name: str) -> Floats:
        """A column with a value in every row, nan where it has none."""
        row_N, value_N = self.column(name)
        full_N = np.full(self.n, np.nan)
        full_N[row_N] = value_N
        return full_N


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a step: resume, checkpoint, stage, command, error."""

    step: float
    kind: str
    text: str = ""


@dataclass(slots=True)
class Raw:
    """What a reader took in.

    format: what the file was taken for, in words; version: "" unknown; kind: policy, preference,
    reward-model, or "" when unknown; samples: the newest; first_samples: some of the first.
    names: the user's own column map, source name -> canonical name. defaults: options of the
    library that the file does not state. at_least, below: bounds on an unknown version, by what the
    source has. own_step: the column that the run declared as its step.
    """

    path: Path
    format: str
    library: str
    table: Table
    _: KW_ONLY
    version: str = ""
    kind: str = ""
    config: Row = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: tuple[Row, ...] = ()
    first_samples: tuple[Row, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Row = field(default_factory=dict)
    at_least: str = ""
    below: str = ""
    own_step: str = ""


def in_order(steps: Floats) -> tuple[Floats, Places, str]:
    """The distinct steps in order, each row's place among them, and what was odd ("" for nothing).

    A row without a step (nan) belongs to the row before it. Rows of one step share a place.
    """
    filled = steps.copy()
    for i in np.flatnonzero(~np.isfinite(filled)):
        filled[i] = filled[i - 1] if i else -math.inf
    distinct, place = np.unique(filled, return_inverse=True)
    back = int((filled[1:] < filled[:-1]).sum())
    odd = f"steps go back {back} times and were put in order" if back else ""
    return distinct, place.astype(np.int64), odd


def last_of_each(row_N: Places, value_N: Floats) -> tuple[Places, Floats]:
    """A column by its places in order; of several values of one place the last stays."""
    if len(row_N) < 2 or bool((np.diff(row_N) > 0).all()):
        return row_N, value_N
    order = np.argsort(row_N, kind="stable")
    row_N, value_N = row_N[order], value_N[order]
    keep = np.append(row_N[1:] != row_N[:-1], True)
    return row_N[keep], value_N[keep]

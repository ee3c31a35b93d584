"""Rows of named numbers as columns: what every importer fills, in the order of the file.

A column keeps, for each of its values, the row that held it; a name that a row lacks costs nothing
there. Numbers in strings and "nan", "inf" are numbers; null, texts, booleans and lists are not.
Steps that go back (a log continued after a resume) are put in order, the later value wins. Left
out: what the names mean (`log`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
TOO_MANY = 2_000  # columns; a file with more is no training log
DEEPEST = 8  # mappings within mappings that are looked into
SHORT = 4  # values of a column that are taken one by one
WAITING = 1 << 16  # values that wait to become columns


class Table:
    """Columns under construction. n: rows so far; texts, nulls: values that were no numbers.

    Rows are kept, sorted by the names that they have, until thousands of values have come together
    and are then turned into columns at once.
    """

    def __init__(self) -> None:
        self.n = self.texts = self.nulls = self.dropped = 0
        self._columns: dict[str, tuple[array[int], array[float]]] = {}
        self._waiting: dict[tuple[str, ...], tuple[list[int], list[object]]] = {}
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
            places = np.array(rows, np.int64).tobytes()
            for j, key in enumerate(keys):
                values = waiting[j :: len(keys)]
                if not self._take(key, places, values):
                    for row, value in zip(rows, values, strict=True):
                        self._put(str(key), row, value)
        self._waiting, self._held = {}, 0

    def _take(self, key: str, rows: bytes, values: list[object]) -> bool:
        """Append a whole column of numbers; False when it is short or holds anything else."""
        if len(values) < SHORT or not set(map(type, values)) <= {int, float}:
            return False
        try:
            numbers = np.array(values, np.float64)
        except OverflowError:
            return False
        pair = self._pair(key)
        if pair is not None:
            pair[0].frombytes(rows)
            pair[1].frombytes(numbers.tobytes())
        return True

    def _pair(self, name: str) -> tuple[array[int], array[float]] | None:
        """The column of a name, made when it is new; None when there are too many."""
        pair = self._columns.get(name)
        if pair is None:
            if len(self._columns) >= TOO_MANY:
                self.dropped += 1
                return None
            pair = self._columns[name] = (array("q"), array("d"))
        return pair

    def _put(self, name: str, row: int, value: object, depth: int = 0) -> None:
        """Append one value, or those of a nested mapping."""
        if isinstance(value, Mapping):
            if depth < DEEPEST:
                for key, inner in value.items():
                    self._put(f"{name}/{key}", row, inner, depth + 1)
            return
        number = self._number(value)
        if number is None:
            return
        pair = self._pair(name)
        if pair is not None:
            pair[0].append(row)
            pair[1].append(number)

    def _number(self, value: object) -> float | None:
        """A number that a text holds; None for everything else, counted."""
        if value is None:
            self.nulls += 1
            return None
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                self.texts += 1
                return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:  # an integer beyond any float
                return math.inf if value > 0 else -math.inf
        self.texts += 1
        return None

    def put(self, name: str, row_N: Places, value_N: Floats) -> None:
        """Add a whole column: values and the rows that hold them."""
        self._settle()
        self._columns[name] = (array("q", row_N.tolist()), array("d", value_N.tolist()))

    def column(self, name: str) -> tuple[Places, Floats]:
        """(rows, values) of a column in file order, not copied: no row may be added any more.

        Raises KeyError for an unknown name.
        """
        rows, values = self.columns[name]
        row_N, value_N = np.frombuffer(rows, np.int64), np.frombuffer(values, np.float64)
        if bool((row_N[1:] < row_N[:-1]).any()):
            order = np.argsort(row_N, kind="stable")
            pair = array("q", row_N[order].tobytes()), array("d", value_N[order].tobytes())
            self._columns[name] = pair  # the unsorted ones are freed before the next column
            row_N, value_N = np.frombuffer(pair[0], np.int64), np.frombuffer(pair[1], np.float64)
        return row_N, value_N


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

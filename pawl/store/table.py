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
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
TOO_MANY = 2_000  # columns; a file with more is no training log


@dataclass(slots=True)
class Table:
    """Columns under construction. n: rows so far; texts: how many values were no numbers."""

    columns: dict[str, tuple[array[int], array[float]]] = field(default_factory=dict)
    n: int = 0
    texts: int = 0
    nulls: int = 0
    dropped: int = 0

    def add(self, row: Mapping[str, object]) -> None:
        """Append a row; nested mappings become `outer/inner`."""
        self._put(row, "")
        self.n += 1

    def _put(self, row: Mapping[str, object], outer: str) -> None:
        columns = self.columns
        for key, value in row.items():
            name = f"{outer}{key}" if outer else key
            if type(value) is not float:
                if isinstance(value, Mapping):
                    self._put(value, f"{name}/")
                    continue
                number = self._number(value)
                if number is None:
                    continue
                value = number
            pair = columns.get(name)
            if pair is None:
                if len(columns) >= TOO_MANY:
                    self.dropped += 1
                    continue
                pair = columns[name] = (array("q"), array("d"))
            pair[0].append(self.n)
            pair[1].append(value)

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
        self.columns[name] = (array("q", row_N.tolist()), array("d", value_N.tolist()))

    def column(self, name: str) -> tuple[Places, Floats]:
        """(rows, values) of a column in file order; raises KeyError for an unknown name."""
        rows, values = self.columns[name]
        return np.array(rows, np.int64), np.array(values, np.float64)


def in_order(steps: Floats) -> tuple[Floats, Places, str]:
    """The distinct steps in order, each row's place among them, and what was odd ("" for nothing).

    A row without a step (nan) belongs to the row before it. Rows of one step share a place.
    """
    filled = steps.copy()
    for i in np.flatnonzero(~np.isfinite(filled)):
        filled[i] = filled[i - 1] if i else -math.inf
    distinct, place = np.unique(filled, return_inverse=True)
    back = int((np.diff(filled) < 0).sum())
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

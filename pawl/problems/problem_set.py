"""Opens problem sets: `open_problems(name) -> ProblemSet`, a lazy sequence read in place.

`join` makes one sequence of several sets, still read in place.

One pass at opening checks every row, so that a malformed line is reported before any work; only
offsets, splits and hashes of ids stay in memory. Rows that cannot become problems are listed in
`bad` and are no members. Left out: splitting and filtering (`load.py`), executed checks.
"""

from __future__ import annotations

import bisect
import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import overload

from pawl.errors import PawlError
from pawl.problems.cases import BadProblem
from pawl.problems.derive import FIELDS
from pawl.problems.formats import Row, Split, parse_row
from pawl.problems.sources import JsonLines, Source, open_source
from pawl.types import Problem

STARTERS = {"starter-ocaml": "ocaml", "starter-python": "python"}
_CODES: tuple[Split, ...] = ("", "train", "held_out", "held_out_family")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no problem: its id, its place (file:line) and the reason."""

    id: str
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """One opened source. lang: of rows that state none; prefix: put before every id."""

    name: str
    source: Source
    lang: str
    prefix: str = ""


class ProblemSet(Sequence[Problem]):
    """Problems of one source or of several, parsed when they are asked for.

    origins: what was opened. bad: rows left out. Slicing and `select` give views on the same
    sources; nothing is copied.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        index: array[int],
        splits: array[int],
        bad: tuple[BadRow, ...],
    ) -> None:
        self.origins, self.bad = tuple(origins), bad
        self._starts = [0, *accumulate(len(o.source) for o in origins[:-1])]
        self._index, self._splits = index, splits

    @property
    def name(self) -> str:
        """What it was opened by."""
        return " + ".join(o.name for o in self.origins)

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, i: int) -> Problem: ...
    @overload
    def __getitem__(self, i: slice) -> ProblemSet: ...
    def __getitem__(self, i: int | slice) -> Problem | ProblemSet:
        if isinstance(i, slice):
            return self.select(range(*i.indices(len(self))))
        return self.row(i).problem

    def __iter__(self) -> Iterator[Problem]:
        return (self.row(i).problem for i in range(len(self)))

    def row(self, i: int) -> Row:
        """Problem i with its notes and the split that it names."""
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        at = self.origin_of(i)
        origin = self.origins[at]
        row = _parse(origin.source, self._index[i] - self._starts[at], origin.lang)
        if not origin.prefix:
            return row
        return replace(row, problem=replace(row.problem, id=origin.prefix + row.problem.id))

    def origin_of(self, i: int) -> int:
        """Which of `origins` problem i comes from."""
        return bisect.bisect_right(self._starts, self._index[i]) - 1

    def split_of(self, i: int) -> Split:
        """The split that row i names, "" if none."""
        return _CODES[self._splits[i]]

    def select(self, positions: Sequence[int]) -> ProblemSet:
        """A view on some members, in the given order."""
        index = array("Q", (self._index[p] for p in positions))
        splits = array("B", (self._splits[p] for p in positions))
        return ProblemSet(self.origins, index, splits, ())


def _parse(source: Source, i: int, lang: str) -> Row:
    where = source.where(i)
    return parse_row(source.row(i), where, where.rpartition("/")[2].replace(" ", "-"), lang)


def open_problems(name: str, lang: str = "") -> ProblemSet:
    """Open a set by name: starter-ocaml, starter-python, a file or folder, or a hub data set.

    lang: language of rows that do not state it. Raises PawlError for a missing, empty or malformed
    set (with the line number), for a duplicate id, and when no row is a problem.
    """
    source = _source(name)
    lang = lang or STARTERS.get(name, "")
    if not len(source):
        raise PawlError("the problem set is empty", name)
    index, splits = array("Q"), array("B")
    bad: list[BadRow] = []
    seen: dict[bytes, int] = {}
    for i in range(len(source)):
        try:
            row = _parse(source, i, lang)
        except BadProblem as error:
            bad.append(BadRow(_id_of(source, i), source.where(i), str(error)))
            continue
        key = hashlib.blake2b(row.problem.id.encode(), digest_size=12).digest()
        if key in seen:
            raise PawlError(
                f"duplicate id {row.problem.id!r}, first at {source.where(seen[key])}",
                source.where(i),
                "ids name problems in scores and reports: make them unique",
            )
        seen[key] = i
        index.append(i)
        splits.append(_CODES.index(row.split))
    if not index:
        raise PawlError(f"no row is a problem; the first: {bad[0].reason}", bad[0].where)
    return ProblemSet([Origin(name, source, lang)], index, splits, tuple(bad))


def join(sets: Sequence[ProblemSet], prefixes: Sequence[str]) -> ProblemSet:
    """The problems of several sets in turn, `prefixes[k]` before every id of set k.

    An origin without a problem left stays, so that `origin_of` counts sets as they were given.
    """
    index, splits = array("Q"), array("B")
    origins: list[Origin] = []
    start = 0
    for problems, prefix in zip(sets, prefixes, strict=True):
        index.extend(start + i for i in problems._index)
        splits.extend(problems._splits)
        origins += [replace(o, prefix=prefix + o.prefix) for o in problems.origins]
        start += sum(len(o.source) for o in problems.origins)
    return ProblemSet(origins, index, splits, ())


def _id_of(source: Source, i: int) -> str:
    row = source.row(i)
    return str(next((row[k] for k in FIELDS["id"] if row.get(k)), f"row {i + 1}"))


def _source(name: str) -> Source:
    if name not in STARTERS:
        return open_source(name)
    path = Path(str(resources.files("pawl.problems") / "sets" / f"{STARTERS[name]}.jsonl"))
    if not path.is_file():
        raise PawlError(
            "the starter set is not installed", str(path), "install again: its files are gone"
        )
    return JsonLines(path)

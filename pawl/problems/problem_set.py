"""Opens problem sets: `open_problems(name) -> ProblemSet`, a sequence of parsed problems.

Every row is read and parsed once, at opening, and kept: a malformed line is reported before any
work, and whatever looks at a problem later looks at the same one. `join` makes one sequence of
several sets. Rows that cannot become problems, or none with tests where these are wanted, are
listed in `bad` and are no members. Left out: splitting and filtering (`load.py`), executed checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal, overload

from pawl.errors import PawlError
from pawl.problems.cases import BadProblem
from pawl.problems.columns import FIELDS
from pawl.problems.evalplus import Outputs
from pawl.problems.formats import Row, parse_row
from pawl.problems.sources import Placed, json_lines, open_source
from pawl.problems.wording import normalised
from pawl.types import Problem

STARTERS = {"starter-ocaml": "ocaml", "starter-python": "python"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark on one problem or row. where: file:line; check: its name ("duplicate", ...).

    bad: it is left out of a run; a note is for the reader.
    """

    id: str
    where: str
    check: str
    severity: Literal["bad", "note"]
    reason: str


class ProblemSet(Sequence[Problem]):
    """Problems of one source or of several.

    origins: the names of what was opened. bad: rows left out. Slicing and `select` give views:
    problems are never copied.
    """

    def __init__(
        self, origins: Sequence[str], members: Sequence[Row], bad: Sequence[Finding] = ()
    ) -> None:
        self.origins, self.members, self.bad = tuple(origins), tuple(members), tuple(bad)

    @property
    def name(self) -> str:
        """What it was opened by."""
        return " + ".join(self.origins)

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, i: int) -> Problem: ...
    @overload
    def __getitem__(self, i: slice) -> ProblemSet: ...
    def __getitem__(self, i: int | slice) -> Problem | ProblemSet:
        if isinstance(i, slice):
            return ProblemSet(self.origins, self.members[i])
        return self.members[i].problem

    def __iter__(self) -> Iterator[Problem]:
        return (m.problem for m in self.members)

    def origin_of(self, i: int) -> int:
        """Which of `origins` problem i comes from."""
        return self.members[i].origin

    def select(self, positions: Sequence[int]) -> ProblemSet:
        """A view on some members, in the given order."""
        return ProblemSet(self.origins, [self.members[i] for i in positions])

    def tested(self) -> ProblemSet:
        """The problems with tests; the others join `bad`.

        Raises PawlError when none has tests.
        """
        kept = [m for m in self.members if m.problem.code is not None]
        others = [m for m in self.members if m.problem.code is None]
        bad = [*self.bad]
        bad += [_bad(m.problem.id, m.problem.where, m.untested) for m in others]
        if not kept:
            what = f"no row is a problem with tests; the first: {bad[0].reason}"
            raise PawlError(what, bad[0].where, "without tests a reward of your own must judge")
        return ProblemSet(self.origins, kept, bad)


def open_problems(
    name: str,
    lang: str = "",
    tested: bool = True,
    fields: Mapping[str, str] | None = None,
) -> ProblemSet:
    """Open a set by name: starter-ocaml, starter-python, a file or folder, or a hub data set.

    lang: language of rows that do not state it. tested: leave out problems without tests. fields:
    names of the set's columns by meaning, which a starter set has no need of. Raises PawlError for
    a missing, empty or malformed set (with the line number), for a duplicate id, and when no row
    is a problem.
    """
    members: list[Row] = []
    bad: list[Finding] = []
    places: dict[str, str] = {}
    with ExitStack() as closing:
        outputs = Outputs(closing)
        mapped = None if name in STARTERS else fields
        for number, (where, raw) in enumerate(_rows(name), start=1):
            own = where.rpartition("/")[2].replace(" ", "-")
            try:
                row = parse_row(raw, where, own, lang or STARTERS.get(name, ""), mapped, outputs)
            except BadProblem as error:
                bad.append(_bad(_id_of(raw, number), where, str(error)))
                continue
            if tested and row.problem.code is None:
                bad.append(_bad(_id_of(raw, number), where, row.untested))
                continue
            first = places.setdefault(row.problem.id, where)
            if first != where:
                raise PawlError(
                    f"duplicate id {row.problem.id!r}, first at {first}",
                    where,
                    "ids name problems in scores and reports: make them unique",
                )
            members.append(row)
    if not members and not bad:
        raise PawlError("the problem set is empty", name)
    if not members:
        hint = "without tests, a reward of your own must judge" if tested else ""
        raise PawlError(f"no row is a problem; the first: {bad[0].reason}", bad[0].where, hint)
    return ProblemSet([name], members, bad)


def _bad(name: str, where: str, reason: str) -> Finding:
    """A row that is no problem, or none with tests where these are wanted."""
    return Finding(name, where, "reading", "bad", reason)


def join(sets: Sequence[ProblemSet], prefixes: Sequence[str]) -> ProblemSet:
    """The problems of several sets in turn, `prefixes[k]` before every id of set k.

    An origin without a problem left stays, so that `origin_of` counts sets as they were given.
    """
    origins: list[str] = []
    members: list[Row] = []
    for problems, prefix in zip(sets, prefixes, strict=True):
        members += [_moved(m, len(origins), prefix) for m in problems.members]
        origins += problems.origins
    return ProblemSet(origins, members)


def _moved(row: Row, by: int, prefix: str) -> Row:
    """The same row behind `by` more origins, its id prefixed."""
    if not by and not prefix:
        return row
    problem = replace(row.problem, id=prefix + row.problem.id) if prefix else row.problem
    return replace(row, problem=problem, origin=by + row.origin)


def wordings(problems: Sequence[Problem]) -> Iterator[str]:
    """The normalised prompt of each problem; those of a set are made once."""
    if isinstance(problems, ProblemSet):
        return (m.wording for m in problems.members)
    return map(normalised, problems)


def copies(
    problems: Sequence[Problem], others: Sequence[Problem]
) -> Iterator[tuple[Problem, str, str]]:
    """(problem, what it shares with another one, the other's id): a prompt's wording, or a spec."""
    prompts = {text: p.id for p, text in zip(others, wordings(others), strict=True)}
    specs = {p.spec: p.id for p in others if p.spec}
    for problem, text in zip(problems, wordings(problems), strict=True):
        if text in prompts:
            yield problem, "prompt", prompts[text]
        elif problem.spec in specs:
            yield problem, "specification", specs[problem.spec]


def _id_of(raw: Mapping[str, object], number: int) -> str:
    return str(next((raw[k] for k in FIELDS["id"] if raw.get(k)), f"row {number}"))


def _rows(name: str) -> Iterator[Placed]:
    if name not in STARTERS:
        return open_source(name)
    path = Path(str(resources.files("pawl.problems") / "sets" / f"{STARTERS[name]}.jsonl"))
    if not path.is_file():
        raise PawlError(
            "the starter set is not installed", str(path), "install again: its files are gone"
        )
    return json_lines(path)

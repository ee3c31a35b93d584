"""What a rule is: a coded function from signals to findings, documented by its own docstring.

The docstring holds the sections What, Why it matters, Evidence needed, Traps, Fix and Source, from
which `pawl explain CODE` and docs/rules.md are made. Left out: the rules (the other files here).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Literal

from pawl.checks import CAUSES
from pawl.rules.finding import Finding, Prescription, Severity, Supports
from pawl.rules.signals import Signals

SECTIONS = ("What", "Why it matters", "Evidence needed", "Traps", "Fix", "Source")
Proof = Literal["real", "unproven"]
Check = Callable[[Signals], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """needs: metrics without which it cannot be judged (`a|b`: one of them); kinds: of log it is
    about, empty for all; proof: seen in real runs, or in generated ones only ("unproven")."""

    code: str
    name: str
    needs: tuple[str, ...]
    check: Check
    kinds: tuple[str, ...] = ()
    proof: Proof = "unproven"

    def lacks(self, s: Signals) -> list[str]:
        """The needed metrics that the log does not have."""
        return [name for name in self.needs if not s.has(name)]

    def run(self, s: Signals) -> list[Finding]:
        """Its findings, under its code and name."""
        return [replace(found, code=self.code, name=self.name) for found in self.check(s)]

    def names(self) -> frozenset[str]:
        """The causes that it can name: ids of CAUSES among the constants of its function, and of
        what that function uses of its own module. "none" is what a direction can be, too."""
        assert isinstance(self.check, FunctionType), "a rule is a plain function"
        return (frozenset(_texts(self.check, set())) & frozenset(CAUSES)) - {"none"}

    def sections(self) -> dict[str, str]:
        """The sections of its docstring, by title; the first line stands under "Summary"."""
        text = inspect.cleandoc(self.check.__doc__ or "")
        pieces = re.split(rf"(?m)^({'|'.join(SECTIONS)}): ", text)
        rows = zip(pieces[1::2], pieces[2::2], strict=True)
        return {"Summary": pieces[0].strip(), **{k: " ".join(v.split()) for k, v in rows}}


def _texts(value: object, done: set[str]) -> Iterator[str]:
    """Every text among constants, those of inner functions and of used ones of the module too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts((*value.keys(), *value.values()), done)
    elif isinstance(value, tuple | list | frozenset):
        for part in value:
            yield from _texts(part, done)
    elif isinstance(value, CodeType):
        yield from _texts(value.co_consts, done)
    elif isinstance(value, FunctionType):
        yield from _texts(value.__code__, done)
        for name in {*_used(value.__code__)} - done:
            done.add(name)
            part = value.__globals__.get(name)
            own = not isinstance(part, FunctionType) or part.__module__ == value.__module__
            if own and part is not CAUSES:
                yield from _texts(part, done)


def _used(code: CodeType) -> Iterator[str]:
    """Names that a function and its inner functions use."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _used(part)


def rule(
    code: str, name: str, *needs: str, kinds: tuple[str, ...] = (), proof: Proof = "unproven"
) -> Callable[[Check], Rule]:
    """Make a rule of a function."""
    return lambda check: Rule(code, name, needs, check, kinds, proof)


def found(
    severity: Severity,
    supports: Supports,
    place: str,
    summary: str,
    *evidence: str,
    causes: tuple[tuple[str, float, str], ...] = (),
    fix: Prescription | None = None,
    series: tuple[str, ...] = (),
    early: bool = False,
) -> Finding:
    """A finding, which gets its rule's code and name when the rule has run."""
    return Finding("", "", severity, supports, place, summary, evidence, causes, fix, series, early)

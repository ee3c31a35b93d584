"""What a rule is: a coded function from signals to findings, documented by its own docstring.

The docstring holds the sections What, Why it matters, Evidence needed, Traps, Fix, Source and
Causes, from which `pawl explain CODE` and docs/rules.md are made. Left out: the rules (the other
files here).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from pawl.rules.finding import Finding, Prescription, Severity, Supports
from pawl.rules.signals import Signals

SECTIONS = ("What", "Why it matters", "Evidence needed", "Traps", "Fix", "Source", "Causes")
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
        hits = [replace(hit, code=self.code, name=self.name) for hit in self.check(s)]
        named = {cause for hit in hits for cause, _, _ in hit.causes}
        free = self.sections()["Causes"] == "any."
        assert free or named <= self.causes, f"{self.code} names {named} beside {self.causes}"
        return hits

    @property
    def causes(self) -> frozenset[str]:
        """Ids of CAUSES that its findings may name; none where its docstring says `any`."""
        listed = self.sections()["Causes"].rstrip(".")
        return frozenset() if listed in ("any", "none") else frozenset(listed.split(", "))

    def sections(self) -> Mapping[str, str]:
        """The sections of its docstring, by title; the first line stands under "Summary"."""
        return _sections(self.check)


@cache
def _sections(check: Check) -> Mapping[str, str]:
    text = inspect.cleandoc(check.__doc__ or "")
    pieces = re.split(rf"(?m)^({'|'.join(SECTIONS)}): ", text)
    rows = zip(pieces[1::2], pieces[2::2], strict=True)
    return {"Summary": pieces[0].strip(), **{k: " ".join(v.split()) for k, v in rows}}


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

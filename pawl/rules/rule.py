"""What a rule is: a coded function from signals to findings, documented by its own docstring.

The docstring holds the sections What, Why it matters, Evidence needed, Traps, Fix, Source and
Causes, from which `pawl explain CODE` and docs/rules.md are made, and the words of a finding's fix
and causes. Left out: the rules (the other files here).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

from pawl.rules.finding import Finding, Prescription, Severity, Supports
from pawl.rules.signals import Signals

SECTIONS = ("What", "Why it matters", "Evidence needed", "Traps", "Fix", "Source", "Causes")
Proof = Literal["real", "unproven"]
Findings = Iterator[Finding]
Check = Callable[[Signals], Findings]
Grade = Literal[
    "critical invalid",
    "critical fault",
    "warning fault",
    "warning converged",
    "warning unusual",
    "warning nothing",
    "info unusual",
    "info nothing",
]
"""Severity of a finding and the verdict that it speaks for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """needs: metrics without which it cannot be judged (`a|b`: one of them); points: that its first
    metric must have, or nothing is found; kinds: of log it is about, empty for all; proof: seen in
    real runs, or in generated ones only ("unproven")."""

    code: str
    name: str
    needs: tuple[str, ...]
    check: Check
    points: int = 0
    kinds: tuple[str, ...] = ()
    proof: Proof = "unproven"

    def lacks(self, s: Signals) -> list[str]:
        """The needed metrics that the log does not have."""
        return [name for name in self.needs if not s.has(name)]

    def run(self, s: Signals) -> list[Finding]:
        """Its findings, under its code and name and in its docstring's words."""
        if self.points and len(s.values(s.first(self.needs[0]))) < self.points:
            return []
        return [self._signed(hit, s) for hit in self.check(s)]

    def _signed(self, hit: Finding, s: Signals) -> Finding:
        series = hit.series or tuple(s.first(need) for need in self.needs)
        places = [name for name in series if name in ("samples", *s.log.series)] or series
        causes, fix = self.causes, hit.prescription
        named = {cause for cause, _, _ in hit.causes}
        free = self.sections()["Causes"] == "any."
        assert free or named <= set(causes), f"{self.code} names {named} beside {set(causes)}"
        if fix is not None and not fix.option:
            fix = replace(fix, why=self.sections()["Fix"].rstrip("."))
        return replace(
            hit,
            code=self.code,
            name=self.name,
            place=", ".join(filter(None, [*places, hit.place])),
            causes=tuple((cause, weight, causes.get(cause, "")) for cause, weight, _ in hit.causes),
            prescription=fix,
            series=tuple(name for name in series if name in s.log.series),
        )

    @property
    def causes(self) -> Mapping[str, str]:
        """Ids of CAUSES that its findings may name, with why; none where its docstring says `any`.

        Its docstring writes them `id (why), id (why).`, or without a why.
        """
        listed = re.findall(r"([a-z-]+)(?: \(([^)]*)\))?[,.]", self.sections()["Causes"])
        return {cause: why for cause, why in listed if cause not in ("any", "none")}

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
    code: str,
    name: str,
    *needs: str,
    points: int = 0,
    kinds: tuple[str, ...] = (),
    proof: Proof = "unproven",
) -> Callable[[Check], Rule]:
    """Make a rule of a function."""
    return lambda check: Rule(code, name, needs, check, points, kinds, proof)


def found(
    grade: Grade,
    summary: str,
    *evidence: str,
    causes: Mapping[str, float] | None = None,
    fix: Prescription | str | None = None,
    series: Iterable[str] = (),
    at: str = "",
    early: bool = False,
) -> Finding:
    """A finding, whose rule's docstring says why and what to do.

    causes: id of CAUSES -> weight; fix: a change of an option, or of advice what must be seen then;
    series: metrics to plot, the rule's needs by default; at: where in them; early: a fault that
    counts with fewer than 30 points too.
    """
    severity, supports = cast(tuple[Severity, Supports], grade.split())
    if isinstance(fix, str):
        fix = Prescription("", "", "", "", "", "", "none to the run", fix, "an hour of reading")
    weights = tuple((cause, weight, "") for cause, weight in (causes or {}).items())
    early = early or supports == "invalid"
    said = at, summary, evidence, weights, fix, tuple(series), early
    return Finding("", "", severity, supports, *said)

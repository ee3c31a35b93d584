"""What a rule of the doctor says of a log: a finding, and the change that it suggests.

Records without behaviour. Left out: the rules (`catalogue.py`), verdicts (`pawl.doctor`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning", "info"]
Supports = Literal["invalid", "fault", "converged", "unusual", "nothing"]


@dataclass(frozen=True, slots=True)
class Prescription:
    """One change that a finding suggests, never applied by the doctor itself.

    option: under Pawl's name, "" for advice that no option gives; name: what the run's own library
    calls it; before, after: its values ("" where unknown); expected: effect, size and horizon
    ("" for advice); cost: of trying it; verify: what must be seen; live: takes effect without a
    restart.
    """

    option: str
    name: str
    before: str
    after: str
    why: str
    expected: str
    risk: str
    verify: str
    cost: str = "a fork of 50 steps"
    live: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule saw. supports: the verdict that it speaks for.

    code, name: of the rule; place: metrics and steps; evidence: numbers with their uncertainty;
    causes: (id of CAUSES, weight in 0..1, why), likeliest first; series: metrics to plot; early:
    counts with fewer than 30 points too (broken invariant, not finite, destroyed).
    """

    code: str
    name: str
    severity: Severity
    supports: Supports
    place: str
    summary: str
    evidence: tuple[str, ...] = ()
    causes: tuple[tuple[str, float, str], ...] = ()
    prescription: Prescription | None = None
    series: tuple[str, ...] = ()
    early: bool = False

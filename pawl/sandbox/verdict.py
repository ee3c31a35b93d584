"""What one check of one candidate found, and the rules that turn raw endings into verdicts.

Both languages use the same rules, so that a timeout means the same everywhere. Left out: running
(`sandbox.py`), comparing values (`python.py`, `ocaml.py`), paying (`code.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pawl.sandbox.watch import Ended
from pawl.types import Tier, Verdict

MAX_SOURCE = 100_000  # bytes of a completion; longer is rejected before anything runs
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True, slots=True)
class Verification:
    """One candidate against all cases of a problem, independent of any reward weights.

    passed: one flag per case in the problem's order. values: what came back per case, as text
    ("" where nothing did). types: 0 .. 1, the type stage (OCaml: 1 / (1 + errors); Python: 0.5
    parses, 1 defines the entry point). type_errors: true type errors, None where not counted.
    message: first compiler message or exception, free of addresses.
    """

    verdict: Verdict
    passed: tuple[bool, ...] = ()
    values: tuple[str, ...] = ()
    types: float = 0.0
    compiled: bool = False
    syntax_error: bool = False
    type_errors: int | None = None
    message: str = ""
    tier: Tier = ""
    time_ms: float = 0.0
    retried: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One case as it came back: passed, or the verdict and message of its failure."""

    passed: bool
    verdict: Verdict = "wrong"
    message: str = ""
    value: str = ""


def unanswered(ended: Ended) -> tuple[Verdict, str]:
    """Why a case has no answer, from how the process ended."""
    if ended.stop == "cpu" or (
        ended.rc in (-9, -24, 137, 152) and not ended.stop and not ended.oom
    ):
        return "timeout", "CPU time limit"
    if ended.oom or ended.stop == "memory":
        return "memory", "memory limit"
    if ended.stop in ("output", "disk"):
        return "output", "output limit" if ended.stop == "output" else "file space limit"
    return "exception", f"the program ended (status {ended.rc}) before answering"


def overall(cases: list[Case]) -> tuple[Verdict, str]:
    """The verdict of the first case that failed, "pass" when none did."""
    for case in cases:
        if not case.passed:
            return case.verdict, clean(case.message)
    return "pass", ""


def clean(message: str) -> str:
    """One line of at most 300 characters without addresses, so that records repeat exactly."""
    return _ADDRESS.sub("0x..", " ".join(message.split()))[:300]


def rejected(text: str) -> str:
    """Why a completion is not run at all: only its size and NUL bytes, never what it says."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        return f"longer than {MAX_SOURCE} bytes"
    return "NUL byte" if "\x00" in text else ""

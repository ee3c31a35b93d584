"""One completion against all tests of a task, called or run as a script; what a constant passes.

Left out: how it is run and compared (`ocaml.py`, `python.py`, `stdin.py`), and what a verification
is worth (`pawl.rewards.pay`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from pawl.errors import PawlError
from pawl.sandbox.ocaml import constant_keys as ocaml_keys
from pawl.sandbox.ocaml import verify_ocaml
from pawl.sandbox.python import constant_passes, verify_python
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.stdin import constant_prints, verify_stdin
from pawl.sandbox.verdict import Verification, clean, rejected
from pawl.types import CodeTask, Measurement, missing


def verify(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str = "", place: str = "tests"
) -> Verification:
    """Check one completion against all cases; the verdict does not depend on the end marker.

    text: a body continuing `task.head`, a whole definition, or either in a fence; what follows
    end_marker is ignored. place: of the problem, for messages. Raises PawlError when the task
    itself cannot be judged.
    """
    if not task.cases:
        raise PawlError("the problem has no tests", place)
    reason = rejected(text)
    if reason:
        flags = (False,) * len(task.cases)
        return Verification("rejected", flags, message=reason, tier=sandbox.tier)
    run = verify_ocaml if task.lang == "ocaml" else verify_python
    run = run if task.entry_point else verify_stdin
    found, ended = run(sandbox, task, text, end_marker, place)
    return replace(
        found,
        message=clean(found.message),
        tier=sandbox.tier,
        time_ms=ended.wall * 1000,
        retried=ended.retried,
        warm=ended.warm,
    )


def measured(v: Verification, task: CodeTask, place: str = "tests") -> Measurement:
    """A verification as values from 0 to 1: types, compile, tests.

    tests: max(0, (ok - b) / (n - b)) over the n cases that the prompt does not show, b being what
    the best constant answer passes; 1 exactly for a pass.
    """
    if v.verdict == "infra_error":
        return missing(v.message, v.tier, v.time_ms)
    values = {
        "types": v.types,
        "compile": float(v.compiled),
        "tests": _tests_share(v, task, place),
    }
    return Measurement(
        "measured",
        values,
        v.verdict,
        _reason(v),
        passed_cases=sum(v.passed),
        n_cases=len(task.cases),
        tier=v.tier,
        time_ms=v.time_ms,
        warm=v.warm,
        reading=v.reading,
    )


def _tests_share(v: Verification, task: CodeTask, place: str) -> float:
    """Share of the tests' weight: 1 for a pass; shown cases count for the verdict only."""
    if v.verdict == "pass":
        return 1.0
    hidden = [ok for ok, case in zip(v.passed, task.cases, strict=False) if not case.shown]
    n, b = len(hidden), best_constant(task, place)
    ok = min(sum(hidden), n - 1)  # all hidden passed but a shown one failed: one short of full
    return max(0.0, (ok - b) / (n - b)) if n > b else 0.0


def _reason(v: Verification) -> str:
    """The message; a compiler's is preceded by its stage: `syntax:`, `type:` or `compile:`."""
    if v.verdict != "compile":
        return v.message
    kind = "syntax" if v.syntax_error else "type" if v.type_errors else "compile"
    return f"{kind}: {v.message}"


@lru_cache(maxsize=65536)
def best_constant(task: CodeTask, place: str = "tests") -> int:
    """How many cases that the prompt does not show the best constant answer passes."""
    if not task.entry_point:
        return constant_prints(task)
    if task.lang == "python":
        return constant_passes(task, place)
    keys = ocaml_keys(task)
    hidden = [key for key, case in zip(keys, task.cases, strict=True) if not case.shown]
    return max(Counter(hidden).values(), default=0)

"""A diagnosis for programs: one object of a versioned schema, strict JSON.

docs/doctor.md describes the schema. What is not finite is null: a number that is missing, never a
default. Left out: samples and series themselves (they stand in the log).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING

import numpy as np

from pawl.doctor.diagnose import Diagnosis
from pawl.logs.log import Log, Series
from pawl.rules.finding import Finding

if TYPE_CHECKING:
    from pawl.doctor.claims import Answer

SCHEMA = 1


def text(diagnoses: Sequence[Diagnosis], answers: Sequence[Answer] | None = None) -> str:
    """One report as an object; several as {"schema", "reports"}.

    answers: to an analysis's claims, None where none was given.
    """
    bodies = [report(d) for d in diagnoses]
    whole = bodies[0] if len(bodies) == 1 else {"schema": SCHEMA, "reports": bodies}
    if answers is not None:
        whole = {**whole, "claims": strict(list(answers))}
    return json.dumps(whole, indent=1, allow_nan=False)


def report(d: Diagnosis) -> dict[str, object]:
    """The report as plain values of JSON."""
    body = {
        "schema": SCHEMA,
        "verdict": d.verdict,
        "reason": d.reason,
        "findings": [_finding(f) for f in d.findings],
        "causes": d.causes,
        "experiment": d.experiment,
        "goal": d.goal,
        "trend": d.trend,
        "needed_points": d.needed,
        "forecast": d.forecast,
        "target": d.target,
        "criteria": d.criteria,
        "before": d.before,
        "not_checked": d.not_checked,
        "nothing_found": [rule.code for rule in d.quiet],
        "log": _log(d.log),
    }
    plain = strict(body)
    assert isinstance(plain, dict)
    return plain


def _finding(f: Finding) -> dict[str, object]:
    causes = [{"id": cause, "weight": weight, "why": why} for cause, weight, why in f.causes]
    return asdict(f) | {"causes": causes}


def _log(log: Log) -> dict[str, object]:
    return {
        **{name: getattr(log, name) for name in ("path", "format", "library", "version", "kind")},
        "rows": len(log.step_N),
        "first_step": log.step_N[0] if len(log.step_N) else None,
        "last_step": log.step_N[-1] if len(log.step_N) else None,
        "notes": log.notes,
        "metrics": [_metric(series) for series in log.series.values()],
        "unknown_columns": list(log.unknown),
        "config": log.config,
        "config_names": log.config_names,
    }


def _metric(series: Series) -> dict[str, object]:
    x_N = series.finite()
    facts = {name: getattr(series, name) for name in ("source", "unit", "aggregation", "note")}
    last = x_N[-1] if len(x_N) else None
    return {"canonical": series.name, **facts, "values": len(series.value_N), "last": last}


def strict(value: object) -> object:
    """The value in types that JSON has: what is not finite is null, unknown objects are text."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)

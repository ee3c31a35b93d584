"""A diagnosis for programs: one object of a versioned schema, strict JSON.

docs/doctor.md describes the schema. What is not finite is null: a number that is missing, never a
default. Left out: samples and series themselves (they stand in the log).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from pawl.doctor.criteria import as_json
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
        whole = {**whole, "claims": strict([asdict(answer) for answer in answers])}
    return json.dumps(whole, indent=1, allow_nan=False)


def report(d: Diagnosis) -> dict[str, object]:
    """The report as plain values of JSON."""
    body = {
        "schema": SCHEMA,
        "verdict": d.verdict,
        "reason": d.reason,
        "findings": [_finding(f) for f in d.findings],
        "causes": [asdict(cause) for cause in d.causes],
        "experiment": d.experiment,
        "goal": d.goal,
        "trend": asdict(d.trend) if d.trend is not None else None,
        "needed_points": d.needed,
        "forecast": asdict(d.forecast) if d.forecast is not None else None,
        "target": asdict(d.target) if d.target is not None else None,
        "criteria": [as_json(criterion) for criterion in d.criteria],
        "before": _before(d),
        "not_checked": [asdict(row) for row in d.not_checked],
        "nothing_found": [rule.code for rule in d.quiet],
        "log": _log(d.log),
    }
    plain = strict(body)
    assert isinstance(plain, dict)
    return plain


def _finding(f: Finding) -> dict[str, object]:
    return {
        "code": f.code,
        "name": f.name,
        "severity": f.severity,
        "supports": f.supports,
        "place": f.place,
        "summary": f.summary,
        "evidence": f.evidence,
        "causes": [{"id": cause, "weight": weight, "why": why} for cause, weight, why in f.causes],
        "prescription": asdict(f.prescription) if f.prescription is not None else None,
        "series": f.series,
        "early": f.early,
    }


def _before(d: Diagnosis) -> dict[str, object] | None:
    if d.before is None:
        return None
    answers = [
        {"criterion": as_json(a.criterion), "status": a.status, "value": a.value, "at": a.at}
        for a in d.before.answers
    ]
    return {
        "report": d.before.path,
        "verdict": d.before.verdict,
        "criteria": answers,
        "changed": d.before.changed,
    }


def _log(log: Log) -> dict[str, object]:
    return {
        "path": str(log.path),
        "format": log.format,
        "library": log.library,
        "version": log.version,
        "kind": log.kind,
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
    return {
        "canonical": series.name,
        "source": series.source,
        "unit": series.unit,
        "aggregation": series.aggregation,
        "note": series.note,
        "values": len(series.value_N),
        "last": float(x_N[-1]) if len(x_N) else None,
    }


def strict(value: object) -> object:
    """The value in types that JSON has: what is not finite is null, unknown objects are text."""
    if isinstance(value, np.generic):
        return strict(value.item())
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return str(value)

"""Logs made of arrays, for tests of the doctor: columns by canonical name, nothing else needed.

Left out: reading files (tests of the importers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pawl.logs.log import Event, Log, Series

Floats = NDArray[np.float64]


def log(
    columns: Mapping[str, ArrayLike],
    kind: str = "policy",
    library: str = "pawl",
    config: Mapping[str, object] | None = None,
    other_config: Mapping[str, object] | None = None,
    events: Sequence[Event] = (),
    checks: Sequence[Mapping[str, object]] = (),
    samples: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
) -> Log:
    """A log with one row for each place of the longest column; nan is a value that is not there."""
    values = {name: np.atleast_1d(np.asarray(x, np.float64)) for name, x in columns.items()}
    n = max((len(x) for x in values.values()), default=0)
    series = {
        name: Series(name, name, np.flatnonzero(~np.isnan(x)), x[~np.isnan(x)])
        for name, x in values.items()
    }
    options = dict(config or {})
    return Log(
        Path("made.jsonl"),
        "made for a test",
        library,
        "",
        kind,
        np.arange(1, n + 1, dtype=np.float64),
        series,
        {},
        options,
        {name: name for name in options},
        dict(other_config or {}),
        list(events),
        [dict(c) for c in checks],
        list(notes),
        tuple(dict(row) for row in samples),
    )


def noise(n: int = 100, level: float = 0.5, sd: float = 0.05, seed: int = 0) -> Floats:
    """White noise around a level."""
    return np.asarray(level + sd * np.random.default_rng(seed).standard_normal(n))


def line(
    n: int = 100, first: float = 0.3, last: float = 0.7, sd: float = 0.03, seed: int = 0
) -> Floats:
    """A straight course with white noise."""
    return np.asarray(np.linspace(first, last, n) + noise(n, 0.0, sd, seed))


def sample(
    total: float | None,
    branch: str = "tests",
    verdict: str = "wrong",
    passed: int = 0,
    **other: object,
) -> dict[str, object]:
    """One completion as Pawl keeps it."""
    status = "missing" if total is None else "scored"
    score = {
        "total": total,
        "branch": branch,
        "verdict": verdict,
        "status": status,
        "passed_cases": passed,
    }
    return {"step": 1, "problem_id": "p", "group": 0, "member": 0, "score": score, **other}

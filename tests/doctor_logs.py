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
    events: Sequence[Event | tuple[float, str]] = (),
    checks: Sequence[Mapping[str, object]] = (),
    samples: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
    every: Mapping[str, int] | None = None,
    keep_nan: bool = False,
) -> Log:
    """A log whose rows are numbered from 1, as many as the longest column needs.

    every: columns that stand in each n-th row only. nan is a value that is not there, unless kept.
    """
    series, n = {}, 0
    for name, x in columns.items():
        value_N = np.atleast_1d(np.asarray(x, np.float64))
        apart = (every or {}).get(name, 1)
        row_N = np.arange(1, len(value_N) + 1) * apart - 1
        n = max(n, len(value_N) * apart)
        there_N = np.full(len(value_N), True) if keep_nan else ~np.isnan(value_N)
        series[name] = Series(name, name, row_N[there_N], value_N[there_N])
    options = dict(config or {})
    return Log(
        Path("made.jsonl"),
        "made for a test",
        library,
        np.arange(1, n + 1, dtype=np.float64),
        series,
        config_names={name: name for name in options},
        other_config=dict(other_config or {}),
        kind=kind,
        config=options,
        events=[event if isinstance(event, Event) else Event(*event) for event in events],
        checks=[dict(c) for c in checks],
        notes=list(notes),
        samples=tuple(dict(row) for row in samples),
    )


def noise(n: int = 100, level: float = 0.5, sd: float = 0.05, seed: int = 0) -> Floats:
    """White noise around a level."""
    return np.asarray(level + sd * np.random.default_rng(seed).standard_normal(n))


def line(
    n: int = 100, first: float = 0.3, last: float = 0.7, sd: float = 0.03, seed: int = 0
) -> Floats:
    """A straight course with white noise."""
    return np.asarray(np.linspace(first, last, n) + noise(n, 0.0, sd, seed))


def drift(seed: int, n: int = 200, level: float = 0.0, sd: float = 1.0, r: float = 0.0) -> Floats:
    """AR(1) noise around a level, of standard deviation sd and autocorrelation r."""
    rng = np.random.default_rng(seed)
    e_N = rng.normal(size=n)
    x_N = np.empty(n)
    x_N[0] = e_N[0]
    for i in range(1, n):
        x_N[i] = r * x_N[i - 1] + np.sqrt(1 - r * r) * e_N[i]
    return level + sd * x_N


def ramp(a: float, b: float, n: int = 200, sd: float = 0.0, seed: int = 0) -> Floats:
    """A straight line from a to b with noise."""
    return np.linspace(a, b, n) + drift(seed, n, 0.0, sd) if sd else np.linspace(a, b, n)


def flat(seed: int = 0, n: int = 200) -> Floats:
    """A reward that goes nowhere."""
    return drift(seed, n, 0.4, 0.05)


def rising(seed: int = 0, n: int = 200) -> Floats:
    """A reward that rises beyond doubt."""
    return ramp(0.2, 0.7, n, 0.05, seed)


def falling(seed: int = 0, n: int = 200) -> Floats:
    """A reward that falls beyond doubt."""
    return ramp(0.7, 0.2, n, 0.05, seed)


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

"""Small generated logs for the doctor's rules: columns by canonical name, in, a `Log` out.

Left out: reading files (the importers' tests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pawl.logs.log import Event, Log, Series

Columns = Mapping[str, Sequence[float] | np.ndarray]


def log(
    columns: Columns,
    kind: str = "policy",
    every: Mapping[str, int] | None = None,
    config: Mapping[str, object] | None = None,
    events: Sequence[tuple[float, str]] = (),
    samples: Sequence[Mapping[str, object]] = (),
    library: str = "pawl",
) -> Log:
    """A log whose rows are numbered from 1; every: columns that stand in each n-th row only."""
    every = every or {}
    rows = {name: every.get(name, 1) for name in columns}
    n = max(len(values) * rows[name] for name, values in columns.items())
    series = {}
    for name, values in columns.items():
        value_N = np.asarray(values, np.float64)
        row_N = np.arange(len(value_N), dtype=np.int64) * rows[name] + rows[name] - 1
        series[name] = Series(name, name, row_N, value_N)
    names = {option: option for option in config or {}}
    return Log(
        Path("generated"),
        "generated",
        library,
        "",
        kind,
        np.arange(1, n + 1, dtype=np.float64),
        series,
        {},
        dict(config or {}),
        names,
        {},
        [Event(step, word) for step, word in events],
        [],
        [],
        tuple(dict(row) for row in samples),
    )


def noise(
    seed: int, n: int = 200, level: float = 0.0, sd: float = 1.0, r: float = 0.0
) -> np.ndarray:
    """AR(1) noise around a level, of standard deviation sd and autocorrelation r."""
    rng = np.random.default_rng(seed)
    e_N = rng.normal(size=n)
    x_N = np.empty(n)
    x_N[0] = e_N[0]
    for i in range(1, n):
        x_N[i] = r * x_N[i - 1] + np.sqrt(1 - r * r) * e_N[i]
    return level + sd * x_N


def line(a: float, b: float, n: int = 200, sd: float = 0.0, seed: int = 0) -> np.ndarray:
    """A straight line from a to b with noise."""
    return np.linspace(a, b, n) + noise(seed, n, 0.0, sd) if sd else np.linspace(a, b, n)


def flat(seed: int = 0, n: int = 200) -> np.ndarray:
    """A reward that goes nowhere."""
    return noise(seed, n, 0.4, 0.05)


def rising(seed: int = 0, n: int = 200) -> np.ndarray:
    """A reward that rises beyond doubt."""
    return line(0.2, 0.7, n, 0.05, seed)


def falling(seed: int = 0, n: int = 200) -> np.ndarray:
    """A reward that falls beyond doubt."""
    return line(0.7, 0.2, n, 0.05, seed)

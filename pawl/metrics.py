"""The catalogue of metrics: every name that a run records, defined once, in `metrics.toml`.

A canonical name is `group/name`. Readers (reports, plots, docs) take unit, meaning and direction
from here; the code that computes a metric carries the same name, and a test holds that every name
in a step record is catalogued. Names under `host` depend on machine and clock and never take part
in a comparison of two runs. Values of healthy runs, written by `bench/healthy.py`, stand in
`healthy.toml`. Left out: the definitions themselves, which are data. No torch, no numpy.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Direction = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. direction: which way is better; host: depends on machine or clock; tells: what
    it tells; trap: the mistake that it invites."""

    name: str
    formula: str
    unit: str = "1"
    direction: Direction = "none"
    low: float | None = 0.0
    high: float | None = None
    host: bool = False
    tells: str = ""
    trap: str = ""


@dataclass(frozen=True, slots=True)
class HealthyRun:
    """Values in one healthy run: medians of its first and last (at most ten), and the extremes."""

    source: str
    first: float
    last: float
    low: float
    high: float


def _table(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _metric(name: str, row: dict[str, Any]) -> Metric:
    """A table of metrics.toml as a record; TOML has no null, so no lower end is -inf there."""
    open_below = row.get("low") == -math.inf
    return Metric(name, **row | ({"low": None} if open_below else {}))


CATALOGUE = {name: _metric(name, row) for name, row in _table("metrics.toml").items()}
"""Canonical name -> definition."""


def catalogued(name: str) -> Metric | None:
    """The metric of a name, or of its family: `component/*` for `component/tests`."""
    return CATALOGUE.get(name) or CATALOGUE.get(f"{name.split('/')[0]}/*" if "/" in name else "")


@cache
def healthy_runs() -> dict[str, tuple[HealthyRun, ...]]:
    """Canonical name -> values of healthy runs; names that none of them recorded are left out."""
    found: dict[str, tuple[HealthyRun, ...]] = {}
    for source, rows in _table("healthy.toml").items():
        for name, values in rows.items():
            found[name] = (*found.get(name, ()), HealthyRun(source, *values))
    return found

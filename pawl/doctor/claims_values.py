"""Whether figures of an analysis are those of the log: values, changes, ranges.

A figure agrees when the log's value rounds to it at the precision it was written with; percentages
agree with shares. Left out: what a figure means (`claims_trend`, `claims_known`).
"""

from __future__ import annotations

import math
import re
from typing import Literal

import numpy as np

from pawl.doctor.claims_figures import Figure, place
from pawl.doctor.claims_terms import Term
from pawl.logs.log import Log, Series
from pawl.logs.table import Floats

Verdict = Literal["supported", "unsupported", "wrong"]
WHOLE_PERCENT = -0.302  # digits of ends in whole percent, where people cut as well as round
ROUGH = 0.1  # how far "about" reaches, of the figure
Judged = tuple[Verdict, str]


def agrees(value: float, quoted: float, digits: float, percent: bool = False) -> bool:
    """Whether a logged value rounds to the quoted one (half a unit of its last digit)."""
    half = 0.5 * 10.0**-digits * 1.001 + 1e-12
    return abs(value - quoted) <= half or (percent and abs(100.0 * value - quoted) <= half)


def at_place(text: str, series: Series, log: Log) -> tuple[Floats, str] | None:
    """The series' values at the epoch or step that a text names; None when it names none."""
    where = place(text)
    if where is None or where[2] is not None:
        return None
    kind, at, _ = where
    rows = rows_at(log, kind, at)
    if rows is None:
        return None
    fine = np.isin(series.row_N, rows) & np.isfinite(series.value_N)
    return series.value_N[fine], f"{kind} {at:g}"


def rows_at(log: Log, kind: str, at: float) -> Floats | None:
    """The log's rows of an epoch or a step; None when it does not count in them."""
    if kind == "epoch":
        epochs = log.series.get("epoch") or log.unknown.get("epoch")
        if epochs is not None:
            found = epochs.row_N[np.isclose(epochs.value_N, at)]
            return np.asarray(found) if len(found) else None
        return None
    found = np.flatnonzero(np.isclose(log.step_N, at))
    return np.asarray(found) if len(found) else None


def value(
    f: Figure, term: Term, where: str, log: Log, strong: bool, rough: bool = False
) -> Judged | None:
    """A single value against the log; strong: it is stated as measured, so absence is an error;
    rough: it is said to be about right."""
    for one in term.series:
        placed = at_place(where, one, log)
        x_N = placed[0] if placed else one.finite()
        spot = placed[1] if placed else ""
        hits = [v for v in x_N if agrees(v, f.a, f.digits, f.percent)]
        if hits:
            return (
                "supported",
                f"logged as {one.source}{f' at {spot}' if spot else _when(one, hits[0], log)}",
            )
        if len(x_N) > 1 and agrees(float(x_N.mean()), f.a, f.digits, f.percent):
            return "supported", f"the mean of {one.source} over {len(x_N)} points"
        if rough and not placed and len(x_N) > 1:
            for part, name in ((x_N, "all"), (x_N[-max(1, len(x_N) // 4) :], "the last")):
                mean = float(part.mean()) * (100.0 if f.percent and abs(f.a) > 1.0 else 1.0)
                if abs(mean - f.a) <= ROUGH * abs(f.a):
                    return "supported", f"{name} points of {one.source} have the mean {mean:.4g}"
    option = _option(f, term, log)
    if option:
        return "supported", option
    if not strong:
        return None
    if not term.series:
        return "unsupported", f"the log does not hold {term.name}"
    one = term.series[0]
    placed = at_place(where, one, log)
    x_N = placed[0] if placed and len(placed[0]) else one.finite()
    if not len(x_N):
        return "unsupported", f"{one.source} holds no numbers"
    if placed and len(placed[0]):
        logged = ", ".join(f"{v:.4g}" for v in x_N[:4])
        return "wrong", f"the log has {one.source} {logged} at {placed[1]}, not {f.a:g}"
    low, high = float(x_N.min()), float(x_N.max())
    return "wrong", f"no value of {one.source} is {f.a:g}: it lies between {low:.4g} and {high:.4g}"


def _when(series: Series, hit: float, log: Log) -> str:
    at = int(series.row_N[int(np.flatnonzero(series.value_N == hit)[0])])
    return f" at step {log.step_N[at]:g}" if len(series.row_N) > 1 else ""


def _option(f: Figure, term: Term, log: Log) -> str:
    """The option of the metric's name (learning rate) when it has the value."""
    if term.name != "optim/lr":
        return ""
    for name, given in {**log.config, **log.other_config}.items():
        if isinstance(given, int | float) and ("learning_rate" in name or name.endswith("lr")):
            if math.isclose(float(given), f.a, rel_tol=1e-9):
                return f"the option {name}"
    return ""


def change(f: Figure, term: Term, log: Log) -> Judged | None:
    """A change from one value to another: both logged, in this order."""
    for one in term.series:
        x_N = one.finite()
        first = [i for i, v in enumerate(x_N) if agrees(v, f.a, f.digits, f.percent)]
        then = [i for i, v in enumerate(x_N) if agrees(v, f.b, f.digits, f.percent)]
        if first and then and first[0] < then[-1]:
            return "supported", f"both values of {one.source} are logged, in this order"
        if first and then:
            return "wrong", f"{one.source} has both values, but not in this order"
    return None


def spread(f: Figure, term: Term) -> Judged | None:
    """A range: supported when it is that of the log, unsupported when it goes beyond."""
    low, high = min(f.a, f.b), max(f.a, f.b)
    if not term.series:
        return None
    said = list[str]()
    inside = True
    digits = WHOLE_PERCENT if f.percent and f.digits == 0 else f.digits
    for one in term.series:
        x_N = one.finite()
        if not len(x_N):
            continue
        ends = float(x_N.min()), float(x_N.max())
        if all(agrees(v, q, digits, f.percent) for v, q in zip(ends, (low, high), strict=True)):
            return "supported", f"the least and the greatest value of {one.source}"
        if all(any(agrees(v, q, f.digits, f.percent) for v in x_N) for q in (low, high)):
            return (
                "supported",
                f"both are values of {one.source}, which goes {ends[0]:.4g} to {ends[1]:.4g}",
            )
        said.append(f"{one.source} lies between {ends[0]:.4g} and {ends[1]:.4g}")
        scale = 100.0 if f.percent and ends[1] <= 1.0 else 1.0
        inside &= low <= scale * ends[0] and scale * ends[1] <= high
    if not said:
        return None
    return ("unsupported" if inside else "wrong"), f"in this log {said[0]}"


def held(f: Figure, term: Term, before: str) -> Judged | None:
    """A limit stated as a fact ("stays below 0.3"): by how many of the values it holds.

    before: the words before it; "never exceeds" turns it round.
    """
    turned = bool(re.search(r"\b(?:never|not|does not|did not)\s+\w*\s*$", before, re.I))
    for one in term.series:
        x_N = one.finite() * (100.0 if f.percent else 1.0)
        if not len(x_N):
            continue
        met = int((x_N < f.a).sum() if f.op.startswith("<") else (x_N > f.a).sum())
        met = len(x_N) - met if turned else met
        sign = f"{'not ' if turned else ''}{f.op}"
        text = f"{met} of {len(x_N)} values of {one.source} are {sign} {f.a:g}"
        return ("supported" if met == len(x_N) else "unsupported" if met else "wrong"), text
    return None if term.series else ("unsupported", f"the log does not hold {term.name}")


def relative(f: Figure, term: Term, where: str, log: Log) -> tuple[Judged, tuple[int, int]] | None:
    """A change in percent: between the places named, or any two neighbours, ends or extremes.

    Also gives the two points (places in the finite values) that it was found between.
    """
    spot = place(where)
    for one in term.series:
        x_N = one.finite()
        n = len(x_N)
        pairs = _pairs(one, spot, log) or [
            *((i, i + 1) for i in range(n - 1)),
            *([(0, n - 1), (int(x_N.argmax()), n - 1), (int(x_N.argmin()), n - 1)] if n else []),
        ]
        for i, j in pairs:
            if i != j and x_N[i] != 0.0:
                percent = 100.0 * (x_N[j] - x_N[i]) / abs(x_N[i])
                if agrees(percent, f.a, f.digits):
                    text = f"{one.source} goes from {x_N[i]:.4g} to {x_N[j]:.4g}"
                    return ("supported", text), (i, j)
    return None


def _pairs(
    series: Series, spot: tuple[str, float, float | None] | None, log: Log
) -> list[tuple[int, int]]:
    """The two points that a text names ("epoch 3 to 4"; "epoch 4" means from the one before)."""
    if spot is None:
        return []
    kind, at, then = spot
    rows = series.row_N[np.isfinite(series.value_N)]
    ends = [rows_at(log, kind, v) for v in (at, then) if v is not None]
    places = [np.flatnonzero(np.isin(rows, r)) if r is not None else np.zeros(0) for r in ends]
    if not all(len(p) for p in places):
        return []
    first, last = int(places[0][0]), int(places[-1][-1])
    return [(first, last)] if then is not None else [(first - 1, first)] if first else []

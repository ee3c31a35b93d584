"""What a page shows of a diagnosis, as plain values for JSON: the report's and the live page's.

Numbers are strict JSON (nan and inf are null). Texts are passed as they are: the page shows them as
text and never as markup. Left out: files and markup (`export`), words of the verdict (`doctor`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pawl.dash.sampling import extremes
from pawl.doctor.diagnose import Diagnosis
from pawl.doctor.report_text import ahead
from pawl.logs.log import Log, Series
from pawl.metrics import CATALOGUE, catalogued
from pawl.rules.signals import Signals

VERSION = 1
CHARTS = 80  # of one run; the rest stand in the table alone
SAMPLES = 12
LONGEST = 6_000  # characters of a prompt or a completion
TEST_FROM = 8  # points from which on a chart shows the means of its quarters
TEXTS = ("prompt", "completion")


@np.errstate(over="ignore", invalid="ignore")  # numbers too large for a mean are shown as they are
def run_data(d: Diagnosis) -> dict[str, Any]:
    """One run: verdict, findings, causes, charts, metrics, samples, and where they came from."""
    s = Signals(d.log)
    log = d.log
    order = list(_order(d))
    charts = [_chart(s, log, one) for one in order if len(one.finite()) > 1]
    return {
        "path": str(log.path),
        "format": log.format,
        "library": " ".join(x for x in (log.library, log.version) if x and x != "any"),
        "steps": {"n": len(log.step_N), "first": _x(*log.step_N[:1]), "last": _x(*log.step_N[-1:])},
        "verdict": d.verdict,
        "reason": d.reason,
        "goal": d.goal,
        "needed": d.needed,
        "findings": [asdict(f) for f in d.findings],
        "causes": [asdict(c) for c in d.causes],
        "experiment": d.experiment,
        "forecast": ahead(d),
        "not_checked": _unchecked(d),
        "charts": charts[:CHARTS],
        "left_out": max(0, len(charts) - CHARTS),
        "metrics": [_row(s, one) for one in order],
        "events": [[_x(e.step), e.kind, e.text] for e in log.events[:200]],
        "samples": _samples(log.samples),
        "n_samples": len(log.samples),
        "notes": list(log.notes),
        "config": {str(k): str(v) for k, v in {**log.other_config, **log.config}.items()},
    }


def _order(d: Diagnosis) -> Iterator[Series]:
    """All series: the goal, then those that findings speak of, then the catalogue's order."""
    known = d.log.series
    first = [d.goal, *(name for f in d.findings for name in f.series)]
    catalogue = {name: i for i, name in enumerate(CATALOGUE)}
    rest = sorted(known, key=lambda name: catalogue.get(name, len(catalogue)))
    for name in dict.fromkeys((*first, *rest)):
        if name in known:
            yield known[name]
    yield from d.log.unknown.values()


def _chart(s: Signals, log: Log, one: Series) -> dict[str, Any]:
    """A curve with at most 2,000 points, the places that are no numbers, and its two quarters."""
    fine = np.isfinite(one.value_N)
    steps_N = log.step_N[one.row_N]
    x_N, y_N = extremes(steps_N[fine], one.value_N[fine])
    known = catalogued(one.name)
    means = None
    if fine.sum() >= TEST_FROM and one.name in log.series:
        trend, k = s.trend(one.name), int(fine.sum()) // 4
        at_N = steps_N[fine]
        means = [[_x(at_N[0]), _x(at_N[k - 1]), _y(trend.first)],
                 [_x(at_N[-k]), _x(at_N[-1]), _y(trend.last)]]  # fmt: skip
    return {
        "name": one.name,
        "source": one.source,
        "unit": one.unit,
        "tells": known.formula if known else "a column without a known meaning",
        "x": [_x(v) for v in x_N],
        "y": [_y(v) for v in y_N],
        "of": int(fine.sum()),
        "bad": [_x(v) for v in steps_N[~fine][:200]],
        "means": means,
    }


def _row(s: Signals, one: Series) -> dict[str, Any]:
    """A line of the table of metrics."""
    x_N = one.finite()
    n, known = len(x_N), one.name in s.log.series
    facts = {k: getattr(one, k) for k in ("name", "source", "unit", "aggregation", "note")}
    row: dict[str, Any] = facts | {"known": known, "n": n, "bad": len(one.value_N) - n}
    values = (x_N.min(), x_N.max(), x_N[0], x_N[-1]) if n else (None,) * 4
    row |= dict(zip(("low", "high", "first", "last"), map(_y, values), strict=True))
    row |= {"change": None, "direction": ""}
    if known and n >= TEST_FROM:
        t = s.trend(one.name)
        row |= {"first": _y(t.first), "last": _y(t.last), "direction": t.direction,
                "change": [_y(t.difference), _y(t.low), _y(t.high)]}  # fmt: skip
    return row


def _unchecked(d: Diagnosis) -> list[dict[str, Any]]:
    """Rules that could not be judged, by what they lack."""
    groups: dict[str, list[str]] = {}
    for one in d.not_checked:
        groups.setdefault(one.because, []).append(f"{one.code} {one.name}")
    return [{"because": because, "rules": rules} for because, rules in groups.items()]


def _samples(rows: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """Samples evenly over their rewards, the least and the greatest among them."""
    ranked = sorted(rows, key=lambda row: (_reward(row) is None, _reward(row) or 0.0))
    if len(ranked) > SAMPLES:
        at = np.linspace(0, len(ranked) - 1, SAMPLES).round().astype(int)
        ranked = [ranked[i] for i in at]
    return [
        {
            "prompt": _text(row.get("prompt")),
            "completion": _text(row.get("completion", row.get("text"))),
            "reward": _y(_reward(row)),
            "facts": [[k, _short(v)] for k, v in row.items() if k not in (*TEXTS, "text", "reward")
                      and isinstance(v, str | int | float)][:12],
        }
        for row in ranked
    ]  # fmt: skip


def _reward(row: Mapping[str, object]) -> float | None:
    """A sample's reward: of that name, or the first number whose name speaks of one."""
    names = [n for n in ("reward", "total", "score") if n in row]
    names += [n for n in row if "reward" in str(n) and n not in names]
    for name in names:
        value = row[name]
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None


def _text(value: object) -> str:
    """A prompt or completion as text; chat turns one below the other."""
    if isinstance(value, list | tuple):
        turns = [v for v in value if isinstance(v, Mapping)]
        text = "\n\n".join(f"[{t.get('role', '?')}] {t.get('content', '')}" for t in turns)
    else:
        text = "" if value is None else str(value)
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]}\n... {left} more characters"


def _short(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _x(step: float = math.nan) -> float | None:
    """A step: whole where it is whole; null where there is none."""
    value = float(step)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def _y(value: float | None) -> float | None:
    """A value with six digits: more is not seen, and the file stays small."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.6g}")

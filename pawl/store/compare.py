"""Two runs side by side: options, data and reward versions, metrics, and where they part.

A metric is compared by its mean over the last quarter of the steps that both runs have. Steps of
one run follow each other, so the interval of the difference uses an effective number of steps:
n (1 - r) / (1 + r), r the lag-1 autocorrelation (at least 0), and Student's t. Held-out pass@1 is
compared problem by problem on each run's newest evaluation. Left out: saying which run is better;
one seed each cannot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from pawl.metrics import CATALOGUE
from pawl.store.files import flat
from pawl.store.manifest import parent_of
from pawl.store.read import Row, count, number, read_run, read_samples, read_steps, series
from pawl.store.samples import score_of

VERSIONS = ("data", "reward", "sandbox", "git", "packages", "hardware")
COUNTERS = ("step", "epoch", "samples", "prompts_seen", "tokens", "optim/steps")
TAIL = 0.25  # share of the common steps that figures are taken from


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not the same in both runs; None where a run does not have it."""

    path: str
    a: object
    b: object


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """b - a with its 95% interval (None when n, of steps or problems, is below three)."""

    name: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first step whose records differ (host facts aside), in which names, from which sample."""

    step: int
    names: list[str]
    sample: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that `pawl diff` shows. lineage: how one comes from the other, "" if not so;
    shared_until: the last step of the history that they share, which says nothing about them."""

    a: str
    b: str
    config: list[Difference]
    versions: list[Difference]
    held_out: MetricDifference | None
    metrics: list[MetricDifference]
    common_steps: int
    divergence: Divergence | None
    lineage: str
    shared_until: int | None


def compare(a: Path, b: Path) -> Comparison:
    """Compare two run folders; raises PawlError when one of them is none."""
    body_a, body_b = read_run(a), read_run(b)
    steps_a, steps_b = read_steps(a), read_steps(b)
    lineage, shared = _lineage(a, b, body_a, body_b)
    common = sorted({_step(r) for r in steps_a} & {_step(r) for r in steps_b})
    common = [step for step in common if shared is None or step > shared]
    return Comparison(
        a=str(a),
        b=str(b),
        config=_differences(body_a.get("config"), body_b.get("config"), ("name", "runs_dir")),
        versions=[
            difference
            for key in VERSIONS
            for difference in _differences({key: body_a.get(key)}, {key: body_b.get(key)})
        ],
        held_out=_held_out(a, b, steps_a, steps_b),
        metrics=_metrics(steps_a, steps_b, common),
        common_steps=len(common),
        divergence=_divergence(a, b, steps_a, steps_b),
        lineage=lineage,
        shared_until=shared,
    )


def _lineage(a: Path, b: Path, body_a: Row, body_b: Row) -> tuple[str, int | None]:
    """How the runs are related in words, and the last step that both have from the same run."""
    up = {"A": parent_of(body_a), "B": parent_of(body_b)}
    for name, other, body, folder in (("B", "A", body_a, a), ("A", "B", body_b, b)):
        parent, this = up[name], (folder.name, body.get("config_hash"))
        if parent is not None and (Path(parent.run).name, parent.config_hash) == this:
            return f"{name} is a fork of {other} at step {parent.step}", parent.step
    one, two = up["A"], up["B"]
    if one and two and (one.run, one.config_hash) == (two.run, two.config_hash):
        steps = f"steps {one.step} and {two.step}"
        return f"A and B are forks of {Path(one.run).name} at {steps}", min(one.step, two.step)
    return "", None


def _step(record: Row) -> int:
    return count(record, "step")


def _differences(a: object, b: object, skip: Sequence[str] = ()) -> list[Difference]:
    left, right = flat(a), flat(b)
    return [
        Difference(path, left.get(path), right.get(path))
        for path in {**left, **right}
        if path not in skip and left.get(path) != right.get(path)
    ]


def _held_out(a: Path, b: Path, steps_a: list[Row], steps_b: list[Row]) -> MetricDifference | None:
    """Sampled pass@1 of the newest evaluations, paired over the problems that both scored.

    Where neither run was tested: the mean reward.
    """
    (rates_a, tested_a), (rates_b, tested_b) = _rates(a, steps_a), _rates(b, steps_b)
    shared = [problem for problem in rates_a if problem in rates_b]
    if not shared or tested_a != tested_b:
        return None
    name = "held-out pass@1" if tested_a else "held-out reward"
    a_P, b_P = (np.array([rates[p] for p in shared]) for rates in (rates_a, rates_b))
    n, error = len(shared), None
    if n >= 3:
        error = float(np.std(b_P - a_P, ddof=1)) / math.sqrt(n)
    return _with_interval(name, float(np.mean(a_P)), float(np.mean(b_P)), n, error, n - 1)


def _with_interval(
    name: str, a: float, b: float, n: int, error: float | None, df: float
) -> MetricDifference:
    """A difference with its interval by Student's t, from its standard error (None for none)."""
    half = None if error is None else float(stats.t.ppf(0.975, df)) * error
    low, high = (None, None) if half is None else (b - a - half, b - a + half)
    return MetricDifference(name, a, b, b - a, low, high, n)


def _rates(run: Path, steps: list[Row]) -> tuple[dict[str, float], bool]:
    """Share of passes by problem in the newest evaluation, or the mean total where no test was run;
    and whether tests were. Missing scores count nowhere.
    """
    evaluated = [_step(r) for r in steps if any(name.startswith("eval/") for name in r)]
    found: dict[str, list[float]] = {}
    tested = False
    for row in read_samples(run, evaluated[-1], "eval") if evaluated else ():
        score = score_of(row)
        verdict = score.get("verdict")
        if row.get("set", "held_out") == "held_out" and score.get("status") == "scored":
            tested = tested or verdict is not None
            value = number(score, "total") if verdict is None else float(verdict == "pass")
            found.setdefault(str(row["problem_id"]), []).append(value or 0.0)
    return {problem: sum(p) / len(p) for problem, p in found.items()}, tested


def _metrics(
    steps_a: list[Row], steps_b: list[Row], common: Sequence[int]
) -> list[MetricDifference]:
    late = set(common[math.floor(len(common) * (1 - TAIL)) :])
    skip = [n for n in CATALOGUE if n in COUNTERS or n.endswith("_se") or CATALOGUE[n].host]
    names = [n for n in CATALOGUE if n not in skip]
    names += sorted({k for r in steps_a for k in r if "/" in k and k not in CATALOGUE})
    rows = []
    for name in names:
        both = (series(steps, name) for steps in (steps_a, steps_b))
        tails = [[value for step, value in found if step in late] for found in both]
        if all(tails):
            rows.append(_metric(name, *tails))
    return rows


def _metric(name: str, a: list[float], b: list[float]) -> MetricDifference:
    n, error, df = min(len(a), len(b)), None, 1.0
    if n >= 3 and all(math.isfinite(x) for x in (*a, *b)):
        counts = [_effective(x) for x in (a, b)]
        errors = [float(np.var(x, ddof=1)) / n for x, n in zip((a, b), counts, strict=True)]
        error, df = math.sqrt(sum(errors)), max(1.0, sum(counts) - 2)
    return _with_interval(name, float(np.mean(a)), float(np.mean(b)), n, error, df)


def _effective(values: list[float]) -> float:
    """Number of independent values that say as much as these, at least 2."""
    x = np.asarray(values) - np.mean(values)
    spread = float(x @ x)
    r = max(0.0, float(x[1:] @ x[:-1]) / spread) if spread > 0 else 0.0
    return max(2.0, len(values) * (1 - r) / (1 + r))


def _divergence(a: Path, b: Path, steps_a: list[Row], steps_b: list[Row]) -> Divergence | None:
    """None when every common step is equal, host facts aside."""
    by_step = {_step(r): r for r in steps_b}
    for record in steps_a:
        other = by_step.get(_step(record), record)
        if names := _unequal(record, other):
            return Divergence(_step(record), names, _first_sample(a, b, _step(record)))
    return None


def _unequal(a: Row, b: Row) -> list[str]:
    keys = [k for k in {**a, **b} if k != "host"]
    return [k for k in keys if repr(a.get(k)) != repr(b.get(k))]  # repr: nan equals nan


def _first_sample(a: Path, b: Path, step: int) -> str:
    """Which completion of a step differs first, and in what; "" when none does."""
    nothing: Row = {}
    pairs = itertools.zip_longest(read_samples(a, step), read_samples(b, step), fillvalue=nothing)
    for row_a, row_b in pairs:
        if names := _unequal(row_a, row_b):
            row = row_a or row_b
            where = f"problem {row.get('problem_id')}, group {row.get('group')}"
            return f"{where}, member {row.get('member')}: {', '.join(names)}"
    return ""

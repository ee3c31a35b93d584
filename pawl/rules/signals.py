"""What rules ask of a log: series by canonical name, levels, trends, and figures derived from them.

Everything is computed once and remembered. Places are rows of the log in step order, never step
numbers, so that a log counted in tens says the same. Left out: judging (the other files here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pawl.logs.log import Log, Series
from pawl.logs.table import Places
from pawl.rules import statistics
from pawl.rules.statistics import Floats, Mean, Trend

GOALS = ("reward/mean", "preference/accuracy", "eval/pass_at_1", "preference/margin", "loss/total")
TO_REFERENCE = "policy/kl_ref|policy/kl_ref_sequence"  # nat a token, nat a completion
RECENT = 20  # points that "now" means
CAP_SHARE = 0.8  # of the rows reach the same longest length: a cap
BEYOND = 1e100  # what is larger counts as infinite: its square and sum would overflow
P = ParamSpec("P")
T = TypeVar("T")


def numbers(x_N: Floats) -> NDArray[np.bool_]:
    """Which values can be calculated with: not nan, and below 1e100 in size."""
    return np.asarray(np.abs(x_N) < BEYOND)


def once(method: Callable[Concatenate[Signals, P], T]) -> Callable[Concatenate[Signals, P], T]:
    """A method that is asked once for the same."""

    @wraps(method)
    def kept(s: Signals, /, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (method.__name__, *args, *kwargs.items())
        if key not in s.kept:
            s.kept[key] = method(s, *args, **kwargs)
        return cast(T, s.kept[key])

    return kept


class Signals:
    """A log, asked the questions of the rules."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.kept: dict[tuple[object, ...], object] = {}

    def has(self, name: str) -> bool:
        """Whether a metric has at least one number; `a|b` and `a/*` ask for any of several.

        `samples` and `system` ask for completions and for events of the run.
        """
        return any(self._has(one) for one in name.split("|"))

    def _has(self, name: str) -> bool:
        if name in ("samples", "events"):
            return bool(self.log.samples if name == "samples" else self.log.events)
        if name.endswith("*"):
            return bool(self.family(name[:-1]))
        return len(self.values(name)) > 0

    def first(self, *names: str) -> str:
        """The first of several metrics that was logged, `a|b` being two; "" when none was."""
        return next((one for name in names for one in name.split("|") if self.has(one)), "")

    def series(self, name: str) -> Series:
        """The metric's series; raises KeyError when it was not logged."""
        return self.log.series[name]

    @once
    def _finite(self, name: str) -> tuple[Floats, Places]:
        found = self.log.series.get(name)
        if found is None:
            return np.zeros(0), np.zeros(0, np.int64)
        known = numbers(found.value_N)
        return found.value_N[known], found.row_N[known]

    def values(self, name: str) -> Floats:
        """The metric's finite values in step order, empty when it was not logged."""
        return self._finite(name)[0]

    def rows(self, name: str) -> Places:
        """The rows of the log of `values(name)`."""
        return self._finite(name)[1]

    def steps(self, name: str) -> Floats:
        """The steps of `values(name)`, as the file numbers them."""
        return self.log.step_N[self.rows(name)]

    @once
    def trend(self, name: str) -> Trend:
        """First against last quarter of a metric."""
        return statistics.trend(self.values(name))

    @once
    def late(self, name: str, n: int = RECENT) -> Mean:
        """Mean of a metric's last points: n of them, or the last quarter of a shorter log."""
        return statistics.mean_of(self.values(name)[-self._few(name, n) :])

    @once
    def early(self, name: str, n: int = 10) -> Mean:
        """Mean of a metric's first points: n of them, or the first quarter of a shorter log."""
        return statistics.mean_of(self.values(name)[: self._few(name, n)])

    def _few(self, name: str, n: int) -> int:
        return max(1, min(n, max(3, len(self.values(name)) // 4)))

    def level(self, name: str, n: int = RECENT) -> float:
        """Median of a metric's last n points; nan when it was not logged."""
        x_N = self.values(name)[-n:]
        return float(np.median(x_N)) if len(x_N) else math.nan

    def family(self, prefix: str) -> list[str]:
        """Names of a family that were logged: `component/` gives every reward component."""
        return [name for name in self.log.series if name.startswith(prefix) and self.has(name)]

    def option(self, name: str) -> float | None:
        """A config option as a finite number, None when unknown."""
        value = self.log.config.get(name)
        try:
            number = float(str(value))
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    @property
    def updates(self) -> float:
        """Optimiser steps on one batch, 1 where nothing is known."""
        return (self.option("algo.epochs") or 1.0) * (self.option("algo.minibatches") or 1.0)

    @property
    def goal(self) -> str:
        """The metric that says whether the run gets anywhere; "" when there is none."""
        return self.first(*GOALS)

    @property
    def n(self) -> int:
        """Points of the goal metric."""
        return len(self.values(self.goal)) if self.goal else 0

    @property
    def better(self) -> bool:
        """Whether the goal metric moves the way it should, beyond noise."""
        way = "down" if self.goal == "loss/total" else "up"
        return bool(self.goal) and self.trend(self.goal).direction == way

    @property
    def worse(self) -> bool:
        """Whether the goal metric moves the wrong way, beyond noise and on the same problems."""
        moves = bool(self.goal) and self.trend(self.goal).significant
        return moves and not self.better and not self.staged

    @property
    def staged(self) -> bool:
        """Whether the problems changed on the way: levels before and after do not compare."""
        stage = self.values("curriculum/stage")
        told = any("curriculum" in event.kind or "stage" in event.kind for event in self.log.events)
        return told or (len(stage) > 0 and float(np.ptp(stage)) > 0.0)

    @property
    def held_out(self) -> str:
        """The metric measured on data that is not trained on; "" when there is none."""
        return self.first("eval/pass_at_1", "eval/reward_mean", "eval/preference_accuracy")

    @property
    def spread(self) -> str:
        """The metric that tells how rewards differ within groups, or may; "" when there is none."""
        return self.first("reward/within_std", "reward/spread")

    @once
    def change_points(self, name: str) -> list[int]:
        """Rows of the log at which the mean of a metric jumps."""
        return [int(self.rows(name)[i]) for i in statistics.change_points(self.values(name))]

    def around(self, name: str, row: int, n: int = RECENT) -> tuple[Mean, Mean] | None:
        """Means of a metric's n points before a row and from it on; None with under 5 of either."""
        x_N = self.values(name)
        at = int(np.searchsorted(self.rows(name), row))
        if at < 5 or len(x_N) - at < 5:
            return None
        return statistics.mean_of(x_N[max(0, at - n) : at]), statistics.mean_of(x_N[at : at + n])

    def paired(self, a: str, b: str) -> tuple[Floats, Floats]:
        """The values of two metrics in the rows that have both."""
        x, y, rows = self.values(a), self.values(b), (self.rows(a), self.rows(b))
        if np.array_equal(*rows):
            return x, y
        _, i, j = np.intersect1d(*rows, assume_unique=True, return_indices=True)
        return x[i], y[j]

    @once
    def cap(self) -> float | None:
        """The completion limit in tokens: the option, or the longest length that keeps recurring.

        None when neither is known.
        """

        given, x_N = self.option("rollout.max_tokens"), self.values("length/max")
        if given:
            return given
        if len(x_N) >= 5 and np.mean(x_N >= x_N.max() - 0.5) > CAP_SHARE:
            return float(x_N.max())
        return _recurring(self.values("length/mean"))

    @once
    def truncated(self) -> tuple[Floats, str]:
        """Share of completions cut at the limit, point by point, and how it is known ("" if not).

        Without a column of its own it is read off the mean length where that lies within 15% of a
        limit that never is exceeded: 1 for such a point, else 0.
        """

        x_N, lengths = self.values("length/truncated_frac"), self.values("length/mean")
        cap = self.cap()
        if len(x_N):
            return x_N, "measured"
        if cap is None and len(lengths) >= 20:
            cap = _wall(lengths)
        if cap is None or not len(lengths):
            return np.zeros(0), ""
        return (lengths > 0.85 * cap).astype(float), f"mean length against a limit of {cap:g}"


def _recurring(lengths: Floats) -> float | None:
    """The greatest mean length where it is whole and recurs: every completion ended at a limit."""
    if len(lengths) < 20:
        return None
    top = float(lengths.max())
    hits = int((lengths == top).sum())
    return top if top > 8 and top == round(top) and hits >= max(3, 0.02 * len(lengths)) else None


def _wall(lengths: Floats) -> float | None:
    """The limit that mean lengths pile up at, None without one.

    A tenth of them lie at their very maximum and half within a tenth below it: lengths that only
    vary little scatter to both sides of their median and touch the maximum once.
    """
    top = float(lengths.max())
    piled = float(np.mean(lengths >= top - 0.5)) >= 0.1 and float(np.ptp(lengths)) > 0.5
    return top if piled and float(np.median(lengths)) > 0.9 * top and top > 20 else None

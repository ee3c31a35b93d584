"""Where a run is heading: as it stands, within a band, unless it moves for certain.

Without a significant trend the forecast is persistence: a mean with a band from the noise and its
autocorrelation. With one it is the average of a damped trend and an exponential saturation, fitted
to block means, with a residual bootstrap of fixed seed; the interval holds the draws of both, so
that their disagreement widens it. Left out: laws of scale, and any look at other runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from pawl.metrics import CATALOGUE
from pawl.rules.signals import RECENT, Signals
from pawl.rules.statistics import LEVEL, Floats, effective_n, lag1, t_quantile

BLOCKS = 40  # means that curves are fitted to
DRAWS = 400
TAUS = 12  # time constants tried for the saturation
FEWEST = 20  # points below which nothing is extrapolated
SEED = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A level to reach. step: by when, in the log's own numbers; None for the horizon."""

    metric: str
    value: float
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """An expected mean with its 95% interval, and what is needed for chances: se and df of an
    analytic band, or draws."""

    value: float
    low: float
    high: float
    se: float = 0.0
    df: float = 1.0
    draws: tuple[Floats, ...] = ()

    def above(self, level: float) -> float:
        """Probability that the mean comes out at or above a level."""
        if self.draws:
            return float(np.mean(np.concatenate(self.draws) >= level))
        if self.se == 0.0:
            return float(self.value >= level)
        return float(special.stdtr(max(self.df, 1.0), (self.value - level) / self.se))

    def beyond(self, level: float, up: bool) -> bool:
        """Whether every member alone leaves a level outside its 95% interval, on the far side."""
        if not self.draws:
            return level > self.high if up else level < self.low
        tail = 1.0 - LEVEL / 2.0 if up else LEVEL / 2.0
        ends = [float(np.quantile(draws, tail)) for draws in self.draws]
        return all(level > end if up else level < end for end in ends)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The mean of `points` points up to step `step`.

    method: persistence or extrapolation; moves: whether a trend is established; chance: of being
    at the target or past it then, None without a target; text: all of it in a sentence.
    """

    metric: str
    method: str
    step: float
    points: int
    value: float
    low: float
    high: float
    moves: bool
    text: str
    target: float | None = None
    chance: float | None = None


def window_of(n: int) -> int:
    """Points that a level is a mean of: the last 20, or the last quarter of a shorter log."""
    return max(1, min(RECENT, max(3, n // 4), n))


def inflated(r: float) -> float:
    """How much autocorrelation r widens the variance of a mean."""
    return (1.0 + r) / (1.0 - r)


def persistence(x_N: Floats, window: int) -> Band:
    """The level stays: the mean of the last quarter, its error and that of the window to come.

    Needs two points. The autocorrelation is taken around the mean, since there is no trend, and
    raised by what its estimate lacks in short series (Kendall 1954): (1 + 3 r) / n.
    """
    n = len(x_N)
    recent = x_N[-max(window, min((n + 1) // 2, 10), n // 4) :]
    spread = x_N[-max(len(recent), min(n, 20), n // 2) :]
    rest = spread - spread.mean()
    total = float(rest @ rest)
    r = float(rest[1:] @ rest[:-1]) / total if total > 0.0 else 0.0
    r = min(max(r + (1.0 + 3.0 * r) / len(spread), 0.0), 0.95)
    sd = float(np.std(spread, ddof=1))
    parts = [min(inflated(r) / k, 1.0) for k in (len(recent), window)]
    se = sd * math.sqrt(sum(parts))
    df = max(effective_n(len(spread), r) - 1.0, 2.0)
    value, half = float(np.mean(recent)), t_quantile(df) * se
    return Band(value, value - half, value + half, se, df)


def extrapolation(x_N: Floats, ahead: int, window: int) -> Band:
    """Average of a damped trend and an exponential saturation, `ahead` points after the last."""
    n = len(x_N)
    parts = np.array_split(x_N, min(BLOCKS, n // 2))
    y_K = np.array([part.mean() for part in parts])
    t_K = np.cumsum([len(part) for part in parts]) - np.array([len(p) for p in parts]) / 2.0
    at = n + ahead - window / 2.0
    rng = np.random.default_rng(SEED)
    fitted_K = _saturation(t_K, y_K[None, :], n, at)[1][0]
    rest_K = (y_K - fitted_K) * math.sqrt(len(y_K) / (len(y_K) - 3))
    # Residuals of neighbours are drawn in pairs: what autocorrelation the blocks left stays.
    first = rng.integers(0, len(y_K), (DRAWS, (len(y_K) + 1) // 2))
    places = np.stack([first, first + 1], axis=2).reshape(DRAWS, -1)[:, : len(y_K)] % len(y_K)
    y_DK = fitted_K + rest_K[places]
    noise = float(np.std(np.concatenate([p - p.mean() for p in parts]))) ** 2
    future = math.sqrt(noise * inflated(lag1(x_N)) / window)
    members = [
        draws + rng.normal(0.0, future, DRAWS)
        for draws in (_damped(t_K, y_DK, n, at), _saturation(t_K, y_DK, n, at)[0])
    ]
    one = y_K[None, :]
    value = float(_damped(t_K, one, n, at)[0] + _saturation(t_K, one, n, at)[0][0]) / 2.0
    low, high = np.quantile(np.concatenate(members), [LEVEL / 2.0, 1.0 - LEVEL / 2.0])
    return Band(value, min(float(low), value), max(float(high), value), draws=tuple(members))


def _damped(t_K: Floats, y_DK: Floats, n: int, at: float) -> Floats:
    """The line through the last half, its slope dying out with a time constant of n / 4."""
    half = len(t_K) // 2
    t, y = t_K[half:], y_DK[:, half:]
    centred = t - t.mean()
    slope = y @ centred / float(centred @ centred)
    tau = n / 4.0
    gone = tau * (1.0 - math.exp(-(at - n) / tau)) if at > n else at - n
    return np.asarray(y.mean(axis=1) + slope * (n - t.mean() + gone))


def _saturation(t_K: Floats, y_DK: Floats, n: int, at: float) -> tuple[Floats, Floats]:
    """c - a exp(-t / tau) by least squares, tau from a grid: (value at `at`, fitted), by row."""
    best = np.full(len(y_DK), np.inf)
    value, fitted = np.zeros(len(y_DK)), np.zeros_like(y_DK)
    for tau in np.geomspace(n / 10.0, 2.0 * n, TAUS):
        x_K2 = np.stack([np.ones_like(t_K), np.exp(-t_K / tau)], axis=1)
        weights_D2 = y_DK @ np.linalg.pinv(x_K2).T
        guess = weights_D2 @ x_K2.T
        error = ((y_DK - guess) ** 2).sum(axis=1)
        better = error < best
        best[better] = error[better]
        fitted[better] = guess[better]
        value[better] = (weights_D2 @ np.array([1.0, math.exp(-at / tau)]))[better]
    return value, fitted


def horizon(s: Signals, metric: str, total: float | None = None) -> tuple[float, int]:
    """The step that is looked ahead to, and how many points that is.

    The end of the run where it is known, else half as far again; never farther than the log is
    long.
    """
    step_N = s.steps(metric)
    n = len(step_N)
    gap = float(np.median(np.diff(step_N))) if n > 1 else 1.0
    last = float(step_N[-1])
    total = s.option("train.steps") if total is None else total
    ahead = max(n // 2, 1)
    if total is not None and total > last:
        ahead = min(max(round((total - last) / gap), 1), n)
    return last + ahead * gap, ahead


def own_target(s: Signals) -> Target | None:
    """The target that a run of Pawl was given; None for other logs."""
    name, value = s.log.config.get("target.metric"), s.option("target.value")
    if s.log.library != "pawl" or not isinstance(name, str) or value is None:
        return None
    return Target(name, value)


def forecast(s: Signals, target: Target | None = None) -> Forecast | None:
    """The forecast of the goal, or of the target's metric.

    None under four points, and where numbers are too large to reckon with.
    """
    metric = target.metric if target else s.goal
    if not metric or len(s.values(metric)) < 4:
        return None
    x_N, trend = s.values(metric), s.trend(metric)
    step, ahead = horizon(s, metric, target.step if target else None)
    window = min(window_of(len(x_N)), ahead)
    grows = trend.significant and len(x_N) >= FEWEST
    band = extrapolation(x_N, ahead, window) if grows else persistence(x_N, window)
    if not np.isfinite([band.value, band.low, band.high]).all():
        return None
    value, low, high = (_bounded(metric, v) for v in (band.value, band.low, band.high))
    where = f"{value:.3g} (95% interval {low:.3g} to {high:.3g}) by step {step:.10g}"
    if grows:
        text = f"{metric} is on its way {trend.direction}: {where}"
    elif trend.significant:
        text = f"{metric} went {trend.direction}; too few points to extrapolate: {where}"
    else:
        text = f"no evidence that {metric} will move: {where}"
    level = chance = None
    if target is not None:
        level, up = target.value, _upward(target, x_N)
        chance = band.above(level) if up else 1.0 - band.above(level)
        side = "at least" if up else "at most"
        odds = f"{min(max(chance, 0.01), 0.99):.0%}"
        odds = "below 2.5%, out of reach" if band.beyond(level, up) else odds
        text += f"; chance of {side} {level:g} then: {odds}"
    method = "extrapolation" if grows else "persistence"
    moves = trend.significant
    return Forecast(metric, method, step, window, value, low, high, moves, text, level, chance)


def _upward(target: Target, x_N: Floats) -> bool:
    """Whether the target is reached from below."""
    known = CATALOGUE.get(target.metric)
    if known is not None and known.direction != "none":
        return known.direction == "up"
    return target.value >= float(np.mean(x_N[-window_of(len(x_N)) :]))


def _bounded(metric: str, value: float) -> float:
    """A share stays in its range; other metrics have no bound that every log keeps."""
    known = CATALOGUE.get(metric)
    if known is None or known.unit != "share":
        return value
    return float(np.clip(value, known.low, known.high))

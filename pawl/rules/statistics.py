"""Statistics of short, noisy, autocorrelated series: what can be seen in them, and what cannot.

Pure functions on float64 arrays without nan. Nothing here is ever applied to a smoothed curve: on
an EMA of white noise trend tests report a trend in 42 to 70% of cases. Left out: what a series
means (`signals`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
LEVEL = 0.05  # significance of every test
SEEN = 12.2  # a steady change of 12.2 sd / sqrt(n) is called a trend in 80% of cases (measured)
BLOCKS = 10
ROUNDING = 1e-12  # of a series' largest value: what float64 leaves of nothing
MOST_POINTS = 1e9  # beyond which nobody waits
LONG = 5_000  # points of a series whose rolling medians are thinned


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95% interval by the effective number of points."""

    value: float
    low: float
    high: float
    se: float
    n: int
    n_eff: float

    @property
    def words(self) -> str:
        """The value and its interval."""
        return f"{self.value:.3g} (95% interval {self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, slots=True)
class Trend:
    """First against last quarter of a series, and whether the difference is more than noise.

    direction: up, down, or none when not significant; low, high: 95% interval of difference;
    confirm_p: of the slope over block means; detectable: the smallest total change that would have
    been seen with 80% power; noise: standard deviation of one point around the local mean.
    """

    direction: str
    first: float
    last: float
    difference: float
    low: float
    high: float
    p: float
    confirm_p: float
    detectable: float
    noise: float
    n: int

    @property
    def significant(self) -> bool:
        """Whether there is a direction."""
        return self.direction != "none"

    @property
    def sure(self) -> bool:
        """Whether both tests reject at 1%: what a critical finding by one trend alone asks for."""
        return self.significant and max(self.p, self.confirm_p) < 0.01

    @property
    def words(self) -> str:
        """First and last level, the change and its interval."""
        return (
            f"{self.first:.3g} to {self.last:.3g} (change {self.difference:+.3g}, 95% interval "
            f"{self.low:+.3g} to {self.high:+.3g})"
        )


def noise_of(x_N: Floats) -> float:
    """Standard deviation of one point around its neighbours: of differences, over sqrt(2).

    A trend or a few steps barely touch it; autocorrelation r shrinks it by sqrt(1 - r).
    """
    return float(np.std(np.diff(x_N), ddof=1)) / math.sqrt(2.0) if len(x_N) > 2 else math.nan


def lag1(x_N: Floats) -> float:
    """Autocorrelation of the residuals of the four quarters' own lines, between 0 and 0.95."""
    if len(x_N) < 8:
        return 0.0
    parts = [part - _line(part) for part in np.array_split(x_N, 4 if len(x_N) >= 80 else 1)]
    rest = np.concatenate(parts)
    total = _dot(rest, rest)
    tiny = len(x_N) * (ROUNDING * float(np.abs(x_N).max())) ** 2
    if not tiny < total < math.inf:
        return 0.0
    return min(max(_dot(rest[1:], rest[:-1]) / total, 0.0), 0.95)


def _line(x_N: Floats) -> Floats:
    """The least-squares line through a piece."""
    n = len(x_N)
    if n < 3:
        return np.full(n, float(np.mean(x_N)))
    t_N = np.arange(n, dtype=np.float64) - (n - 1) / 2.0
    return np.asarray(np.mean(x_N) + t_N * (_dot(t_N, x_N) / _dot(t_N, t_N)))


def _dot(a_N: Floats, b_N: Floats) -> float:
    """Their inner product, never by threads: those cost more than they give, and sum otherwise."""
    return float(np.einsum("i,i", a_N, b_N))


def effective_n(n: int, r: float) -> float:
    """Points that n points of autocorrelation r are worth: n (1 - r) / (1 + r), at least 2."""
    return max(2.0, n * (1.0 - r) / (1.0 + r))


def mean_of(x_N: Floats) -> Mean:
    """Mean and interval; of a single point the interval is infinite."""
    n = len(x_N)
    value = float(np.mean(x_N))
    if n < 2:
        return Mean(value, -math.inf, math.inf, math.inf, n, 1.0)
    n_eff = effective_n(n, lag1(x_N))
    se = float(np.std(x_N, ddof=1)) / math.sqrt(n_eff)
    half = t_quantile(n_eff - 1.0) * se
    return Mean(value, value - half, value + half, se, n, n_eff)


@lru_cache(maxsize=4096)
def t_quantile(df: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t."""
    return float(special.stdtrit(max(df, 1.0), 1.0 - level / 2.0))


def t_p(t: float, df: float) -> float:
    """Two-sided p-value of Student's t."""
    return float(2.0 * special.stdtr(max(df, 1.0), -abs(t)))


def trend(x_N: Floats) -> Trend:
    """First against last quarter (Welch's t, effective sample size), confirmed over block means.

    Both tests have to reject at 5%. On noise that happens in under 5% of cases at autocorrelations
    up to 0.3, in under 8% at 0.6 (tests/test_doctor_statistics.py).
    """
    n = len(x_N)
    if n < 4:
        value = float(np.mean(x_N)) if n else math.nan
        unknown = -math.inf, math.inf, 1.0, 1.0, math.inf, math.nan, n
        return Trend("none", value, value, 0.0, *unknown)
    quarter = max(2, n // 4)
    a_N, b_N, r = x_N[:quarter], x_N[-quarter:], lag1(x_N)
    difference = float(np.mean(b_N) - np.mean(a_N))
    n_eff = effective_n(quarter, r)
    parts = [float(np.var(part, ddof=1)) / n_eff for part in (a_N, b_N)]
    se = math.sqrt(sum(parts))
    sd = math.sqrt((float(np.var(a_N, ddof=1)) + float(np.var(b_N, ddof=1))) / 2.0)
    if se <= ROUNDING * float(np.abs(x_N).max()):  # two constants
        df, p = 2.0, 1.0 if abs(difference) <= ROUNDING * float(np.abs(x_N).max()) else 0.0
    elif not math.isfinite(se):
        df, p = 2.0, 1.0
    else:
        shares = [v / sum(parts) for v in parts]  # of any size of the numbers
        df = max(n_eff - 1.0, 1.0) / sum(share**2 for share in shares)
        p = t_p(difference / se, df)
    half = t_quantile(df) * se
    confirm = slope_p(x_N)
    noise = sd if math.isfinite(sd) else noise_of(x_N)
    seen = detectable(noise, n, r)
    real = p < LEVEL and confirm < LEVEL
    direction = "none" if not real else "up" if difference > 0 else "down"
    means = float(np.mean(a_N)), float(np.mean(b_N))
    low, high = difference - half, difference + half
    return Trend(direction, *means, difference, low, high, p, confirm, seen, noise, n)


def slope_p(x_N: Floats, blocks: int = BLOCKS) -> float:
    """P-value of the slope over the means of equal blocks, which absorb autocorrelation."""
    k = min(blocks, len(x_N) // 2)
    if k < 3:
        return 1.0
    y_K = np.array([part.mean() for part in np.array_split(x_N, k)])
    t_K = np.arange(k) - (k - 1) / 2.0
    slope = float(t_K @ y_K) / float(t_K @ t_K)
    rest = y_K - y_K.mean() - slope * t_K
    spread = float(rest @ rest) / (k - 2)
    if spread <= (ROUNDING * float(np.abs(x_N).max())) ** 2:
        return 1.0 if abs(slope) <= ROUNDING * float(np.abs(x_N).max()) else 0.0
    return t_p(slope / math.sqrt(spread / float(t_K @ t_K)), k - 2)


def detectable(noise: float, n: int, r: float = 0.0) -> float:
    """Smallest steady change over n points that `trend` sees with 80% power."""
    if n < 4 or not math.isfinite(noise):
        return math.inf
    return SEEN * noise / math.sqrt(n) * math.sqrt((1.0 + r) / (1.0 - r))


def points_needed(effect: float, noise: float, r: float = 0.0) -> int:
    """Points from which on `detectable` is at most `effect`; 0 where no number of them is."""
    if effect <= 0.0 or not math.isfinite(noise):
        return 0
    ratio = SEEN * noise / effect
    points = ratio * ratio * (1.0 + r) / (1.0 - r)
    return max(4, math.ceil(points)) if points < MOST_POINTS else 0


def wilson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a share of k in n (Wilson 1927); (0, 1) without data."""
    if n <= 0:
        return 0.0, 1.0
    z = float(special.ndtri(1.0 - level / 2.0))
    p, zz = k / n, z * z / n
    centre = (p + zz / 2.0) / (1.0 + zz)
    half = z * math.sqrt(p * (1.0 - p) / n + zz / (4.0 * n)) / (1.0 + zz)
    return max(0.0, centre - half), min(1.0, centre + half)


def robust_z(x_N: Floats, window: int = 50, skip: int = 3) -> Floats:
    """How far each point lies from the median of the `window` points before the last `skip`.

    In units of 1.4826 median absolute deviations; 0 where fewer than ten points came before. In a
    series of more than 5,000 points the medians are taken anew at every tenth point alone (those of
    100,000 windows take a second); each point is still judged on its own.
    """
    z_N, full = np.zeros(len(x_N)), skip + window
    for i in range(skip + 10, min(len(x_N), full)):
        middle, spread = _level(x_N[: i - skip])
        z_N[i] = (x_N[i] - middle) / spread
    if len(x_N) > full:
        n, pace = len(x_N) - full, 1 if len(x_N) <= LONG else 10
        views = np.lib.stride_tricks.sliding_window_view(x_N, window)[:n:pace]
        middle, spread = (np.repeat(y, pace)[:n] for y in _level(views))
        z_N[full:] = (x_N[full:] - middle) / spread
    return z_N


def _level(x_N: Floats) -> tuple[Floats, Floats]:
    """Median and 1.4826 median absolute deviations of the last axis, never quite 0."""
    middle = np.asarray(np.median(x_N, axis=-1))
    spread = 1.4826 * np.median(np.abs(x_N - middle[..., None]), axis=-1)
    return middle, np.maximum(spread, np.maximum(1e-12, 1e-6 * np.abs(middle)))


def change_points(x_N: Floats, most: int = 5, cells: int = 600) -> list[int]:
    """Where the mean of a series jumps: binary segmentation on block means, l2 cost.

    A split is kept when it lowers the squared error by 3 var log(n) or more, var the noise around
    neighbours raised for autocorrelation (an exact search over 100,000 points takes minutes and
    finds the same jumps). Gives places in x_N, in order.
    """
    n = len(x_N)
    if n < 12:
        return []
    size = max(1, n // cells)
    k = n // size
    y_K = x_N[: k * size].reshape(k, size).mean(axis=1)
    r = lag1(y_K)
    var = float(np.var(np.diff(y_K), ddof=1)) / 2.0 * (1.0 + r) / (1.0 - r)
    penalty = 3.0 * max(var, 1e-24) * math.log(k) * 2.0
    found, todo = list[int](), [(0, k)]
    while todo and len(found) < most:
        gains = [(*_best_split(y_K[a:b]), a, b) for a, b in todo]
        gain, at, a, b = max(gains)
        if gain < penalty or at == 0:
            break
        found.append(a + at)
        todo.remove((a, b))
        todo += [(a, a + at), (a + at, b)]
    return sorted(i * size for i in found)


def _best_split(y_K: Floats, shortest: int = 3) -> tuple[float, int]:
    """The split of a piece that lowers its squared error most: (by how much, where)."""
    n = len(y_K)
    if n < 2 * shortest:
        return 0.0, 0
    left = np.cumsum(y_K)[shortest - 1 : n - shortest]
    size = np.arange(shortest, n - shortest + 1)
    total = float(y_K.sum())
    if not math.isfinite(total * total):
        return 0.0, 0
    gain = left**2 / size + (total - left) ** 2 / (n - size) - total * total / n
    best = int(np.argmax(gain))
    return float(gain[best]), best + shortest


def fell(before: Mean, after: Mean, errors: float = 3.0) -> bool:
    """Whether one mean lies below another by more than that many standard errors."""
    return before.value - after.value > errors * math.hypot(before.se, after.se)


def rank_correlation(a_N: Floats, b_N: Floats) -> float:
    """Spearman's correlation; 0 when one of them is constant or there are fewer than five."""
    if len(a_N) < 5:
        return 0.0
    a, b = _ranks(a_N), _ranks(b_N)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(_dot(a, a) * _dot(b, b))
    return _dot(a, b) / size if size else 0.0


def _ranks(x_N: Floats) -> Floats:
    """Ranks, those of equal values averaged."""
    _, place, count = np.unique(x_N, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2.0)[place])

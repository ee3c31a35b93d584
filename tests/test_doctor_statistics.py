"""The statistics of the doctor: rates of false alarms and of detection, against known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pawl.rules import statistics as s

FINITE = arrays(
    np.float64,
    st.integers(0, 80),
    elements=st.floats(-1e6, 1e6, allow_nan=False, width=32),
)


def noise(seed: int, n: int, r: float = 0.0) -> np.ndarray:
    """Noise of autocorrelation r and deviation 1."""
    rng = np.random.default_rng(seed)
    out = np.empty(n)
    last = rng.normal()
    for i in range(n):
        last = r * last + math.sqrt(1 - r * r) * rng.normal()
        out[i] = last
    return out


@pytest.mark.parametrize("n", [30, 50, 200])
@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
def test_noise_is_seldom_called_a_trend(n, r):
    hits = sum(s.trend(noise(seed, n, r)).significant for seed in range(400))
    assert hits <= (0.05 if r < 0.5 else 0.08) * 400, hits


@pytest.mark.parametrize("n", [40, 200])
def test_a_change_of_the_detectable_size_is_seen(n):
    hits = 0
    for seed in range(200):
        x = noise(seed, n)
        hits += s.trend(x + np.linspace(0, s.detectable(1.0, n), n)).direction == "up"
    assert 0.7 * 200 <= hits <= 0.9 * 200, hits


def test_a_smoothed_curve_would_fool_it_and_raw_noise_does_not():
    fooled = 0
    for seed in range(100):
        x = noise(seed, 200)
        smooth = np.copy(x)
        for i in range(1, 200):
            smooth[i] = 0.9 * smooth[i - 1] + 0.1 * x[i]
        fooled += s.trend(smooth).p < 0.05 and not s.trend(x).significant
    assert fooled > 10, "if this stops holding, the warning in the docs is out of date"


def test_steps_and_lines_have_their_direction():
    x = noise(1, 60)
    assert s.trend(np.where(np.arange(60) < 20, x + 5, x)).direction == "down"
    assert s.trend(x + np.arange(60) * 0.1).direction == "up"
    assert s.trend(x).direction == "none"


def test_welch_and_quantiles_are_those_of_scipy():
    assert s.t_quantile(7.0) == pytest.approx(stats.t.ppf(0.975, 7))
    assert s.t_p(2.1, 11.0) == pytest.approx(2 * stats.t.sf(2.1, 11))
    low, high = s.wilson(6, 20)
    known = stats.binomtest(6, 20).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high))


@given(FINITE, FINITE)
def test_rank_correlation_is_spearmans(a, b):
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    if n < 5 or np.ptp(a) == 0 or np.ptp(b) == 0:
        assert s.rank_correlation(a, b) == 0.0
    else:
        assert s.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-9)


@given(FINITE)
def test_nothing_raises_and_nothing_is_nan_where_it_counts(x):
    t = s.trend(x)
    assert t.direction in ("up", "down", "none")
    assert 0.0 <= t.p <= 1.0 and 0.0 <= t.confirm_p <= 1.0
    assert 0.0 <= s.lag1(x) <= 0.95
    assert len(s.robust_z(x)) == len(x)
    assert all(0 < i < len(x) for i in s.change_points(x))
    if len(x):
        m = s.mean_of(x)
        assert m.low <= m.value <= m.high


@given(FINITE.filter(lambda x: len(x) >= 4), st.floats(0.5, 100), st.floats(-50, 50))
def test_a_trend_does_not_depend_on_scale_and_origin(x, scale, shift):
    x = np.round(x, 3)  # far from where float64 ends
    a, b = s.trend(x), s.trend(x * scale + shift)
    if min(abs(a.p - 0.05), abs(a.confirm_p - 0.05)) > 1e-3 and np.ptp(x) > 1e-2:
        assert a.direction == b.direction


def test_jumps_are_found_where_they_are():
    x = noise(3, 300) * 0.5
    x[120:] += 3.0
    x[220:] -= 2.0
    found = s.change_points(x)
    assert len(found) == 2
    assert abs(found[0] - 120) <= 2 and abs(found[1] - 220) <= 2
    assert sum(bool(s.change_points(noise(seed, 200))) for seed in range(100)) <= 5


def test_jumps_in_a_long_series_are_found_in_blocks():
    x = noise(4, 20_000)
    x[7_000:] += 1.0
    found = s.change_points(x)
    assert len(found) == 1 and abs(found[0] - 7_000) <= 100


def test_a_spike_stands_out_by_its_robust_z_and_does_not_hide_the_next():
    x = np.abs(noise(5, 400)) + 1
    x[100] = x[102] = 60.0
    z = s.robust_z(x)
    assert z[100] > 20 and z[102] > 20
    assert (z[130:] < 12).all()


def test_points_needed_and_detectable_are_each_others_inverse():
    n = s.points_needed(0.5, 1.0, 0.2)
    assert s.detectable(1.0, n, 0.2) <= 0.5 < s.detectable(1.0, n - 2, 0.2)

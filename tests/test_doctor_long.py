"""Long logs: thinning changes no judgement, and a spike of one step is never lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pawl.logs.recognise import read_logs
from pawl.rules.signals import Signals
from pawl.rules.statistics import LONG, lag1, rank_correlation, robust_z, trend

N = 12_000


def noise(n: int = N, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("at", [1, 5, 53, 5_001, 7_777, N - 1])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_spike_of_one_step_is_read_and_seen(at: int, indent: int | None, tmp_path: Path) -> None:
    x_N = noise().round(4)
    x_N[at] = 1e4
    rows = [{"step": i, "grad_norm": v, "reward": 0.5} for i, v in enumerate(x_N)]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": rows}, indent=indent))
    (log,) = read_logs(path)
    np.testing.assert_array_equal(log.series["optim/grad_norm"].value_N, x_N)
    seen = robust_z(log.series["optim/grad_norm"].value_N)
    assert at < 53 or (int(np.argmax(seen)), seen[at] > 1_000) == (at, True)


@pytest.mark.parametrize("n", [100, LONG, LONG + 1, LONG + 9, N])
def test_deviations_are_those_of_a_plain_reckoning(n: int) -> None:
    x_N, window, skip = noise(n), 50, 3
    z_N = robust_z(x_N, window, skip)
    assert z_N.shape == x_N.shape
    for i in (60, n - n // 4, n - 1):
        late = 0 if n <= LONG else (i - window - skip) % 10
        before = x_N[i - skip - window - late : i - skip - late]
        middle = np.median(before)
        spread = 1.4826 * np.median(np.abs(before - middle))
        assert z_N[i] == pytest.approx((x_N[i] - middle) / spread)


def test_inner_products_agree_with_numpy() -> None:
    x_N, y_N = noise(), noise(seed=1)
    y_N += 0.5 * x_N
    ranks = [np.argsort(np.argsort(v)) for v in (x_N, y_N)]
    assert rank_correlation(x_N, y_N) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    walk = np.convolve(noise(), [1.0, 0.5])[:N]
    assert lag1(walk) == pytest.approx(0.4, abs=0.03)
    assert trend(walk + np.linspace(0, 1, N)).direction == "up"


def test_metrics_of_the_same_rows_are_paired_as_those_of_others(tmp_path: Path) -> None:
    rows = [{"reward": i, "kl": -i} for i in range(9)]
    rows[3] = {"reward": 3.0}
    for name, body in (("a", rows), ("b", [r for r in rows if "kl" in r])):
        (tmp_path / name).write_text("\n".join(map(json.dumps, body)))
        s = Signals(read_logs(tmp_path / name)[0])
        x, y = s.paired("reward/mean", "policy/kl_ref")
        assert list(x) == list(-y) == [0, 1, 2, 4, 5, 6, 7, 8]

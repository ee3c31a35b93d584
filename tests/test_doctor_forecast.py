"""Forecast and criteria: bands that hold, trends that are followed, nothing claimed from noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.doctor import report_json
from pawl.doctor.criteria import Criterion, before, judged, kept, stated
from pawl.doctor.diagnose import diagnose
from pawl.doctor.forecast import (
    FEWEST,
    Target,
    extrapolation,
    forecast,
    horizon,
    persistence,
    window_of,
)
from pawl.errors import PawlError
from pawl.logs.log import Log, Raw, canonical
from pawl.logs.table import Table
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats

NAMES = {
    "reward": "reward/mean",
    "kl": "policy/kl_ref",
    "loss": "loss/total",
    "accuracy": "preference/accuracy",
}


def log(steps: Floats | None = None, **columns: Floats) -> Log:
    """A log with the given columns."""
    table = Table()
    n = max(len(column) for column in columns.values())
    numbers = np.arange(1, n + 1) if steps is None else steps
    for i in range(n):
        row = {name: float(x[i]) for name, x in columns.items() if i < len(x)}
        table.add({"step": float(numbers[i]), **row})
    return canonical(Raw(Path("log"), "made here", "any", table, names=NAMES))


def noise(rng: np.random.Generator, n: int, r: float) -> Floats:
    """Autocorrelated noise of variance 1, already settled."""
    x_N = rng.normal(size=n + 50)
    for i in range(1, len(x_N)):
        x_N[i] = r * x_N[i - 1] + x_N[i] * np.sqrt(1.0 - r * r)
    return x_N[50:]


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("n", [20, 40, 100, 200])
def test_band_of_persistence_holds_what_comes(n: int, r: float) -> None:
    rng = np.random.default_rng(n)
    window, ahead, inside = window_of(n), n // 2, 0
    for _ in range(300):
        x_N = noise(rng, n + ahead, r)
        band = persistence(x_N[:n], window)
        inside += band.low <= x_N[n + ahead - window :].mean() <= band.high
    assert 0.90 <= inside / 300 <= 0.99


@pytest.mark.parametrize("tau", [0.3, 1.0, 3.0])
def test_extrapolation_follows_what_saturates(tau: float) -> None:
    rng = np.random.default_rng(5)
    n, ahead, inside = 100, 50, 0
    for _ in range(100):
        t_N = np.arange(n + ahead)
        x_N = noise(rng, n + ahead, 0.3) + 6.0 * (1.0 - np.exp(-t_N / (tau * n)))
        band = extrapolation(x_N[:n], ahead, 20)
        inside += band.low <= x_N[-20:].mean() <= band.high
    assert inside >= 85


def test_forecast_is_the_same_each_time() -> None:
    x_N = np.linspace(0.0, 1.0, 60) + noise(np.random.default_rng(1), 60, 0.0) * 0.05
    a, b = (forecast(Signals(log(reward=x_N))) for _ in range(2))
    assert a == b


def test_noise_is_not_extrapolated() -> None:
    made = forecast(Signals(log(reward=noise(np.random.default_rng(2), 100, 0.0))))
    assert made is not None
    assert (made.method, made.moves, made.chance) == ("persistence", False, None)
    assert "no evidence that reward/mean will move" in made.text
    assert made.low < made.value < made.high


def test_trend_is_extrapolated_and_damped() -> None:
    x_N = np.linspace(0.0, 1.0, 100) + 0.05 * noise(np.random.default_rng(3), 100, 0.0)
    made = forecast(Signals(log(reward=x_N)))
    assert made is not None
    assert (made.method, made.moves, made.step) == ("extrapolation", True, 150)
    assert 1.0 < made.value < 1.5, "beyond the last level, below the straight line"


def test_few_points_are_not_extrapolated() -> None:
    made = forecast(Signals(log(reward=np.linspace(0.0, 1.0, FEWEST - 5))))
    assert made is not None
    assert made.method == "persistence"
    assert "too few points to extrapolate" in made.text
    assert forecast(Signals(log(reward=np.ones(3)))) is None


def test_chance_of_a_target() -> None:
    s = Signals(log(reward=0.5 + 0.1 * noise(np.random.default_rng(4), 100, 0.0)))
    chances = []
    for value in (0.0, 0.5, 1.0):
        made = forecast(s, Target("reward/mean", value, 120))
        assert made is not None and made.chance is not None
        assert made.target == value and made.step == 120
        chances.append(made.chance)
    assert chances[0] > 0.99 > 0.9 > chances[1] > 0.1 > 0.01 > chances[2]
    out = forecast(s, Target("reward/mean", 1.0))
    assert out is not None and "out of reach" in out.text


def test_target_below_counts_downward() -> None:
    s = Signals(log(reward=np.ones(50), kl=0.1 + 0.01 * noise(np.random.default_rng(6), 50, 0.0)))
    made = forecast(s, Target("policy/kl_ref", 0.2))
    assert made is not None and made.chance is not None and made.chance > 0.99
    assert "at most 0.2" in made.text


def test_shares_stay_shares() -> None:
    x_N = np.minimum(1.0, np.linspace(0.0, 1.1, 80))
    made = forecast(Signals(log(accuracy=x_N)))
    assert made is not None and made.metric == "preference/accuracy"
    assert 0.0 <= made.low <= made.value <= made.high <= 1.0


def test_horizon_ends_with_the_run_and_never_far_beyond_the_log() -> None:
    made = log(reward=np.zeros(40))
    assert horizon(Signals(made), "reward/mean") == (60, 20)
    made.config["train.steps"] = 50
    assert horizon(Signals(made), "reward/mean") == (50, 10)
    made.config["train.steps"] = 1000
    assert horizon(Signals(made), "reward/mean") == (80, 40)
    tens = log(np.arange(10.0, 401.0, 10.0), reward=np.zeros(40))
    assert horizon(Signals(tens), "reward/mean") == (600, 20)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60), st.integers(1, 60))
def test_any_series_gets_ordered_numbers(values: list[float], ahead: int) -> None:
    x_N = np.array(values)
    window = min(window_of(len(x_N)), ahead)
    bands = [persistence(x_N, window)]
    bands += [extrapolation(x_N, ahead, window)] if len(x_N) >= FEWEST else []
    for band in bands:
        assert np.isfinite([band.low, band.value, band.high]).all()
        assert band.low <= band.value <= band.high
        assert 0.0 <= band.above(0.0) <= 1.0


GO = Criterion("continue", "reward/mean", ">=", 0.5, 60.0, 5, 40.0, "a test")
STOP = replace(GO, kind="stop", op="<=", value=0.1)


def test_criteria_are_judged_by_what_came_after() -> None:
    early = log(reward=np.ones(40))
    later = log(reward=np.append(np.ones(40), np.zeros(10)))
    done = log(reward=np.append(np.ones(40), np.zeros(30)))
    good = log(reward=np.append(np.zeros(40), np.ones(30)))
    assert judged(GO, early).status == "open"
    assert judged(GO, early).value is None, "values before the criterion do not count"
    assert judged(GO, later).status == "open", "a continue is judged at its step"
    assert judged(GO, done).status == "missed"
    assert judged(GO, good).status == "met"
    assert judged(STOP, later).status == "met", "a stop counts at once"
    assert judged(STOP, good).status == "missed"
    assert judged(replace(GO, metric="policy/kl_ref"), good).status == "open"
    assert "go on" in judged(GO, good).text()
    assert judged(STOP, later).text().startswith("met: stop: stop if reward/mean <= 0.1")


def test_a_stop_needs_its_whole_window() -> None:
    made = log(reward=np.append(np.ones(40), np.zeros(3)))
    assert judged(STOP, made).status == "open"


def test_criteria_state_numbers_on_both_sides() -> None:
    x_N = 0.5 + 0.1 * noise(np.random.default_rng(7), 60, 0.0)
    s = Signals(log(reward=x_N, kl=np.full(60, 0.01)))
    made = {(c.kind, c.metric): c for c in stated(s, forecast(s))}
    go, stop = made["continue", "reward/mean"], made["stop", "reward/mean"]
    assert go.op == ">=" and stop.op == "<="
    assert stop.value < float(x_N.mean()) < go.value
    assert go.since == 60 and go.step == 90
    assert made["stop", "policy/kl_ref"].value == 10.0
    assert list(stated(s, None)) == []


def test_a_falling_loss_is_better() -> None:
    s = Signals(log(loss=2.0 + 0.1 * noise(np.random.default_rng(8), 60, 0.0)))
    made = {c.kind: c for c in stated(s, forecast(s))}
    assert (made["continue"].op, made["stop"].op) == ("<=", ">=")
    assert made["continue"].value < 2.0 < made["stop"].value


def test_report_is_read_back_and_open_criteria_stay(tmp_path: Path) -> None:
    x_N = 0.5 + 0.1 * noise(np.random.default_rng(9), 80, 0.0)
    first = diagnose(log(reward=x_N[:60]))
    path = tmp_path / "report.json"
    path.write_text(report_json.text([first]))
    again = log(reward=x_N)
    again.config["optim.lr"] = 1e-5
    past = before(path, again)
    assert past.verdict == first.verdict
    assert [a.criterion for a in past.criteria] == list(first.criteria)
    assert {a.status for a in past.criteria} == {"open"}
    assert past.changed == ("optim.lr: unset -> 1e-05",)
    assert kept(diagnose(again).criteria, past.criteria) == first.criteria, "nobody moves the goal"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"schema": 2, "criteria": []}',
        '{"schema": 1, "criteria": [{}], "log": {"config": {}}, "verdict": "FAULT"}',
        '{"schema": 1, "criteria": 3, "log": {"config": {}}, "verdict": "FAULT"}',
        '{"schema": 1, "criteria": [], "log": 3, "verdict": "FAULT"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(PawlError, match="not a report"):
        before(path, log(reward=np.ones(5)))


def test_a_broken_criterion_is_refused(tmp_path: Path) -> None:
    body = json.loads(report_json.text([diagnose(log(reward=np.ones(40)))]))
    for name, value in (("value", None), ("kind", "go"), ("op", ">"), ("step", "nan")):
        row = {"kind": "stop", "metric": "m", "op": ">=", "value": 1, "step": 2, "points": 3}
        row |= {"since": 1, "why": "", name: value}
        path = tmp_path / "report.json"
        path.write_text(json.dumps(body | {"criteria": [row]}))
        with pytest.raises(PawlError, match="not a report"):
            before(path, log(reward=np.ones(5)))


def test_a_target_beside_the_goal_leaves_the_goals_criteria() -> None:
    x_N = 0.5 + 0.1 * noise(np.random.default_rng(10), 60, 0.0)
    d = diagnose(log(reward=x_N, kl=np.full(60, 0.01)), Target("policy/kl_ref", 0.05))
    assert d.forecast is not None and d.forecast.metric == "reward/mean"
    assert d.target is not None and d.target.metric == "policy/kl_ref"
    assert ("continue", "reward/mean") in {(c.kind, c.metric) for c in d.criteria}


def test_a_target_of_the_run_that_was_never_measured_leaves_the_goals_forecast() -> None:
    made = log(reward=np.ones(40))
    made.library = "pawl"
    made.config |= {"target.metric": "eval/pass_at_1", "target.value": 0.9}
    d = diagnose(made)
    assert d.forecast is not None and d.forecast.metric == "reward/mean"
    assert d.target is None
    made.config["target.metric"] = "reward/mean"
    d = diagnose(made)
    assert d.forecast is not None and d.forecast.target == 0.9

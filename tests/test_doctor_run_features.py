"""Facts that several rules share: stages, rewards, expected zero-variance groups, the best window.

Left out: the rules that use them (test_doctor_rules.py).
"""

from __future__ import annotations

import numpy as np
import pytest
from doctor_logs import line, log, noise, sample
from hypothesis import given
from hypothesis import strategies as st

from pawl.logs.log import Event
from pawl.rules import run_features
from pawl.rules.signals import Signals


def test_stages_begin_after_their_event_and_where_the_column_changes() -> None:
    by_event = Signals(log({"reward/mean": noise(50)}, events=[Event(20.0, "curriculum")]))
    column = np.repeat([0.0, 1.0], [20, 30])
    by_column = Signals(log({"reward/mean": noise(50), "curriculum/stage": column}))
    assert run_features.boundaries(by_event) == run_features.boundaries(by_column) == [20]
    assert [len(part) for part in run_features.pieces(by_event, "reward/mean")] == [20, 30]
    assert (
        run_features.boundaries(Signals(log({"reward/mean": noise(50)}, events=[Event(0, "fork")])))
        == []
    )


def test_a_trend_is_taken_within_the_longest_stage() -> None:
    x_N = np.concatenate([line(40, 0.5, 0.9), line(60, 0.2, 0.5)])
    s = Signals(log({"reward/mean": x_N}, events=[Event(40.0, "stage")]))
    assert s.trend("reward/mean").direction != "up"
    assert run_features.within_stages(s, "reward/mean").direction == "up"


def test_rewards_of_any_library() -> None:
    rows = [sample(0.5, "tests", "wrong", 2), {"reward": 0.25, "completion": "x"}, {"text": "?"}]
    found = run_features.row_rewards(rows)
    assert [p.total for p in found] == [0.5, 0.25, None]
    assert (found[0].branch, found[0].verdict, found[0].passed) == ("tests", "wrong", 2)


def test_shares_of_totals() -> None:
    assert run_features.shares([0.2] * 3 + [1.0]) == [(0.2, 0.75), (1.0, 0.25)]


@pytest.mark.parametrize(
    ("p", "size", "share"), [(0.02, 4, 0.92), (0.1, 6, 0.531), (0.1, 8, 0.430), (0.5, 4, 0.125)]
)
def test_expected_zero_variance_groups_are_binomial(p: float, size: int, share: float) -> None:
    assert run_features.zero_variance_share(p, size) == pytest.approx(share, abs=0.005)


@given(st.floats(0, 1), st.integers(2, 64))
def test_zero_variance_becomes_rarer_in_larger_groups(p: float, size: int) -> None:
    assert (
        0.0
        <= run_features.zero_variance_share(p, size + 1)
        <= run_features.zero_variance_share(p, size)
        <= 1.0
    )


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=200))
def test_the_spread_of_passes_and_failures(rewards: list[float]) -> None:
    assert run_features.all_or_nothing(float(np.mean(rewards))) == pytest.approx(
        np.std(rewards), abs=1e-9
    )


def test_the_best_window() -> None:
    best, place = run_features.best_window(
        np.concatenate([np.zeros(30), np.ones(10), np.zeros(30)])
    )
    assert best.value == 1.0
    assert place == 35


@pytest.mark.parametrize(
    ("first", "gap", "start"), [(1, 1, True), (10, 10, True), (50, 10, True), (10, 1, False)]
)
def test_a_log_that_begins_at_a_resume_is_not_from_the_start(
    first: int, gap: int, start: bool
) -> None:
    made = log({"policy/kl_ref": noise(20)})
    made.step_N = first + gap * np.arange(20.0)
    assert run_features.from_the_start(Signals(made), "policy/kl_ref") is start

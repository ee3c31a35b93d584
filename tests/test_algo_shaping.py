"""What stands between scores and advantages: bounds, exact values, missing scores."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pawl.algo.shaping import overlong


@given(st.integers(1, 5000), st.floats(0, 10), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_overlong_costs_nothing_below_four_fifths_and_all_at_the_limit(longest, penalty, shares):
    lengths = [int(s * longest) for s in shares] + [longest * 4 // 5, longest]
    cost_PG = overlong(torch.tensor([lengths]), longest, penalty)
    for length, cost in zip(lengths, cost_PG[0].tolist(), strict=True):
        assert 0 <= cost <= penalty
        if 5 * length <= 4 * longest:
            assert cost == 0
    assert cost_PG[0, -1] == penalty


def test_overlong_rises_linearly():
    cost_PG = overlong(torch.tensor([[16384, 18432, 19456, 20480]]), 20480, 0.5)
    assert cost_PG.tolist() == [[0.0, 0.25, pytest.approx(0.375), 0.5]]

"""Estimators reach pi_ref * exp(r / beta) on an enumerable world; ten seeds: bench/optimum.py."""

import pytest

from bench import optimum

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("reinforce_pp", "dr_grpo")]


@pytest.mark.parametrize("name", ["rloo", *SLOW])
def test_the_closed_form_optimum_is_reached(name):
    share, _ = optimum.run(optimum.UNBIASED[name], seed=0)
    assert share >= 0.9


@pytest.mark.slow
def test_published_grpo_optimises_something_else():
    share, _ = optimum.run(optimum.PUBLISHED["grpo"], seed=0)
    assert share < 0.9

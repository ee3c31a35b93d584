"""Estimators reach pi_ref * exp(r / beta) on an enumerable world; ten seeds: bench/optimum.py."""

import pytest

from bench import optimum
from pawl.config.options import OptimConfig


def test_the_closed_form_optimum_is_reached_with_few_samples(monkeypatch):
    """The world of the slow tests, a fifth of their samples and larger steps."""
    for name, value in {"GROUPS": 16, "MEMBERS": 32, "ITERATIONS": 30}.items():
        monkeypatch.setattr(optimum, name, value)
    monkeypatch.setattr(optimum, "OPTIM", OptimConfig(lr=5e-3, schedule="linear"))
    share, _ = optimum.run(optimum.UNBIASED["rloo"], seed=0)
    assert share >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", optimum.UNBIASED)
def test_the_closed_form_optimum_is_reached(name):
    share, _ = optimum.run(optimum.UNBIASED[name], seed=0)
    assert share >= 0.9


@pytest.mark.slow
def test_published_grpo_optimises_something_else():
    share, _ = optimum.run(optimum.PUBLISHED["grpo"], seed=0)
    assert share < 0.9

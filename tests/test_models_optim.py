"""Schedules in optimiser steps, parameter groups, clipping."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pawl.config.options import OptimConfig
from pawl.models.optim import (
    clip_grad_norm,
    lr_at,
    make_optimizer,
    warmup_steps,
)
from pawl.train.data import temperature_at


def test_warmup_counts_steps_or_a_share():
    assert warmup_steps(200, OptimConfig(warmup=0.1)) == 20
    assert warmup_steps(200, OptimConfig(warmup=10)) == 10
    rates = [lr_at(i, 100, OptimConfig(lr=1.0, warmup=4)) for i in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decay_starts_at_the_peak_and_ends_at_the_floor(schedule):
    cfg = OptimConfig(lr=0.5, warmup=10, schedule=schedule, min_lr_ratio=0.1)
    rates = [lr_at(i, 50, cfg) for i in range(50)]
    assert max(rates) == rates[9] == 0.5
    assert rates[-1] == pytest.approx(0.05)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_restarts_reach_the_floor_and_the_peak_in_every_cycle():
    cfg = OptimConfig(lr=1.0, warmup=4, schedule="restarts", cycles=3, min_lr_ratio=0.1)
    rates = [lr_at(i, 34, cfg) for i in range(34)]
    assert [i for i, r in enumerate(rates) if r == pytest.approx(0.1)] == [13, 23, 33]
    assert rates[4:14] == pytest.approx(rates[14:24])
    assert rates[4:14] == pytest.approx(rates[24:34])
    assert rates[3] == 1.0 and all(r > 0.9 for r in (rates[4], rates[14], rates[24]))


@given(st.integers(2, 500), st.floats(0.1, 5), st.floats(0.1, 5))
def test_the_temperature_goes_from_one_end_to_the_other_in_equal_steps(total, start, end):
    values = [temperature_at(step, total, start, end) for step in range(1, total + 1)]
    assert (values[0], values[-1]) == (start, end)
    moves = [b - a for a, b in zip(values, values[1:], strict=False)]
    assert moves == pytest.approx([(end - start) / (total - 1)] * (total - 1), abs=1e-12)
    assert min(start, end) - 1e-12 <= min(values) <= max(values) <= max(start, end) + 1e-12


def test_the_temperature_stays_without_an_end():
    assert {temperature_at(step, 9, 0.9, 0.0) for step in range(1, 10)} == {0.9}
    assert temperature_at(1, 1, 0.9, 0.5) == 0.9


def test_weight_decay_spares_norms_and_biases():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimizer = make_optimizer(model.named_parameters(), OptimConfig(weight_decay=0.5))
    decays = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {2: 0.5, 1: 0.0}


def test_one_update_is_adamw_by_hand():
    w = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    cfg = OptimConfig(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.2)
    optimizer = make_optimizer([("w", w)], cfg)
    w.grad = torch.tensor([[0.3, -0.4]])
    optimizer.step()
    # After one step both bias-corrected moments are the gradient and its square.
    expected = torch.tensor([[1.0, -2.0]]) * (1 - 0.1 * 0.2) - 0.1 * torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(w.data, expected, atol=1e-6, rtol=0)
    assert optimizer.state[w]["exp_avg"].dtype == torch.float32


def test_half_precision_weights_are_refused():
    with pytest.raises(AssertionError, match="fp32"):
        make_optimizer([("w", nn.Parameter(torch.ones(2, 2).bfloat16()))], OptimConfig())


def test_clipping_returns_the_norm_before_and_zero_is_off():
    w = nn.Parameter(torch.zeros(2))
    w.grad = torch.tensor([3.0, 4.0])
    assert clip_grad_norm([w], 0.0) == 5.0
    assert w.grad.norm() == 5.0
    assert clip_grad_norm([w], 1.0) == 5.0
    assert math.isclose(float(w.grad.norm()), 1.0, rel_tol=1e-5)

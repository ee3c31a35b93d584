"""Advantages: closed forms, missing scores, invariances."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pawl.algo.advantages import (
    best_of_n,
    dr_grpo,
    estimate,
    group_mean,
    group_std,
    grpo,
    pass_at_k,
    reliability,
    returns,
    rloo,
    shrunk_std,
    whiten,
)
from pawl.config.options import AlgoConfig

REWARDS = st.lists(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=5
)
KNOWN = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=5, max_size=5)


def tensors(rows, known):
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    return reward_PG, torch.tensor(known[: len(rows)])


def test_grpo_is_the_standard_score_of_a_group():
    reward_PG = torch.tensor([[0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    known_PG = torch.ones(1, 4, dtype=torch.bool)
    expected = (reward_PG - 0.5) / (reward_PG.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(grpo(reward_PG, known_PG, 1e-4), expected)
    torch.testing.assert_close(dr_grpo(reward_PG, known_PG), reward_PG - 0.5)


@given(REWARDS, KNOWN)
def test_known_advantages_sum_to_zero_and_missing_ones_are_zero(rows, known):
    reward_PG, known_PG = tensors(rows, known)
    for advantage_PG in (grpo(reward_PG, known_PG, 1e-4), dr_grpo(reward_PG, known_PG)):
        assert advantage_PG[~known_PG].abs().sum() == 0
        assert advantage_PG.sum(1).abs().max() < 1e-9
        assert torch.isfinite(advantage_PG).all()


@given(REWARDS, KNOWN, st.floats(-5, 5))
def test_the_value_of_a_missing_score_changes_nothing(rows, known, other):
    reward_PG, known_PG = tensors(rows, known)
    changed_PG = torch.where(known_PG, reward_PG, other)
    assert torch.equal(grpo(reward_PG, known_PG, 1e-4), grpo(changed_PG, known_PG, 1e-4))


@given(REWARDS, KNOWN)
def test_a_group_with_missing_members_equals_the_smaller_group(rows, known):
    reward_PG, known_PG = tensors(rows, known)
    for row, mask in zip(reward_PG, known_PG, strict=True):
        if mask.sum() < 2:
            continue
        alone = row[mask][None]
        everyone = torch.ones_like(alone, dtype=torch.bool)
        whole = grpo(row[None], mask[None], 1e-4)[0][mask]
        torch.testing.assert_close(whole, grpo(alone, everyone, 1e-4)[0])
        torch.testing.assert_close(group_mean(row[None], mask[None]), alone.mean(1, keepdim=True))
        torch.testing.assert_close(group_std(row[None], mask[None]), alone.std(1, keepdim=True))


@given(REWARDS, st.floats(-1, 1))
def test_equal_rewards_give_no_signal_and_a_shift_changes_nothing(rows, shift):
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    known_PG = torch.ones_like(reward_PG, dtype=torch.bool)
    assert grpo(torch.full_like(reward_PG, 0.3), known_PG, 1e-4).abs().max() < 1e-9
    moved = dr_grpo(reward_PG + shift, known_PG)
    torch.testing.assert_close(moved, dr_grpo(reward_PG, known_PG), atol=1e-12, rtol=0)


ALL = {
    "grpo": lambda r, k: grpo(r, k, 1e-4),
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "raft": best_of_n,
    "pass_at_2": lambda r, k: pass_at_k(r, k, 2),
}


@pytest.mark.parametrize("name", ALL)
@given(rows=REWARDS, known=KNOWN, other=st.floats(-5, 5))
def test_every_estimator_treats_a_missing_score_as_an_absent_member(name, rows, known, other):
    reward_PG, known_PG = tensors(rows, known)
    advantage_PG = ALL[name](torch.where(known_PG, reward_PG, other), known_PG)
    assert advantage_PG[~known_PG].abs().sum() == 0
    for row, mask, found in zip(reward_PG, known_PG, advantage_PG, strict=True):
        if mask.any():
            alone = row[mask][None]
            expected = ALL[name](alone, torch.ones_like(alone, dtype=torch.bool))[0]
            torch.testing.assert_close(found[mask], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ALL)
@given(rows=REWARDS, seed=st.integers(0, 99))
def test_the_order_of_members_does_not_matter(name, rows, seed):
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    known_PG = torch.ones_like(reward_PG, dtype=torch.bool)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved = ALL[name](reward_PG[:, order], known_PG)
    torch.testing.assert_close(moved, ALL[name](reward_PG, known_PG)[:, order], atol=1e-9, rtol=0)


def test_rloo_compares_with_the_others():
    reward_PG = torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64)
    known_PG = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(
        rloo(reward_PG, known_PG)[0], torch.tensor([0.75, -0.75, 0.0], dtype=torch.float64)
    )


def test_raft_shares_the_credit_of_equal_best_ones():
    reward_PG = torch.tensor([[1.0, 1.0, 0.2], [0.4, 0.4, 0.4]])
    known_PG = torch.ones(2, 3, dtype=torch.bool)
    assert best_of_n(reward_PG, known_PG).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


@given(REWARDS, st.integers(2, 4))
def test_pass_at_k_is_the_mean_gain_over_all_subsets(rows, k):
    reward_PG = torch.tensor(rows, dtype=torch.float64)
    found = pass_at_k(reward_PG, torch.ones_like(reward_PG, dtype=torch.bool), k)
    subsets = list(itertools.combinations(range(4), k))
    for row, got in zip(rows, found.tolist(), strict=True):
        for i in range(4):
            gains = [
                max(row[j] for j in s) - max(row[j] for j in s if j != i) for s in subsets if i in s
            ]
            assert got[i] == pytest.approx(4 * sum(gains) / len(subsets), abs=1e-9)


def test_shrinkage_moves_every_std_towards_the_batch():
    reward_PG = torch.tensor([[0.0, 1.0], [0.4, 0.5], [0.3, 0.3]], dtype=torch.float64)
    known_PG = torch.ones(3, 2, dtype=torch.bool)
    plain_P, much_P = (shrunk_std(reward_PG, known_PG, m)[:, 0] for m in (0.0, 1e9))
    torch.testing.assert_close(plain_P, group_std(reward_PG, known_PG)[:, 0])
    torch.testing.assert_close(much_P, plain_P.square().mean().sqrt().expand(3))
    some_P = shrunk_std(reward_PG, known_PG, 2.0)[:, 0]
    assert plain_P[1] < some_P[1] < some_P[0] < plain_P[0]
    assert grpo(reward_PG, known_PG, 1e-4, 2.0)[2].abs().max() == 0


def test_returns_and_whitening_by_hand():
    reward_ST = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 0.0]])
    mask_ST = torch.tensor([[True, True, True], [True, False, False]])
    assert returns(reward_ST, mask_ST).tolist() == [[6.0, 5.0, 3.0], [5.0, 0.0, 0.0]]
    white_ST = whiten(returns(reward_ST, mask_ST), mask_ST)
    value_N = white_ST[mask_ST]
    assert float(value_N.mean()) == pytest.approx(0, abs=1e-6)
    assert float(value_N.std()) == pytest.approx(1, abs=1e-6)
    assert white_ST[~mask_ST].abs().sum() == 0
    assert whiten(reward_ST, torch.zeros_like(mask_ST)).abs().sum() == 0


@given(REWARDS, KNOWN, st.just(0.0) | st.floats(0.01, 2))
def test_noise_only_ever_weakens_an_advantage(rows, known, noise):
    reward_PG, known_PG = tensors(rows, known)
    plain_PG = grpo(reward_PG, known_PG, 1e-4)
    floored_PG = grpo(reward_PG, known_PG, 1e-4, least=noise)
    assert (floored_PG.abs() <= plain_PG.abs()).all() and (floored_PG * plain_PG >= 0).all()
    weight_P1 = reliability(reward_PG, known_PG, noise)
    assert ((weight_P1 >= 0) & (weight_P1 <= 1)).all()
    std_P1 = group_std(reward_PG, known_PG)
    loud_P1 = std_P1 > noise
    assert torch.equal(floored_PG[loud_P1[:, 0]], plain_PG[loud_P1[:, 0]])
    assert (weight_P1[std_P1 < 0.999 * noise] == 0).all()


def test_noise_weighs_a_group_by_what_is_no_noise():
    reward_PG = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.5, 0.52, 0.5, 0.52]], dtype=torch.float64)
    known_PG = torch.ones(2, 4, dtype=torch.bool)
    assert torch.equal(reliability(reward_PG, known_PG, 0.0), torch.ones(2, 1, dtype=torch.float64))
    weight_P1 = reliability(reward_PG, known_PG, 0.2)
    assert weight_P1[0].item() == pytest.approx(1 - 0.04 * 3) and weight_P1[1] == 0  # std^2 is 1/3
    floored_PG = grpo(reward_PG, known_PG, 1e-4, least=0.2)
    assert floored_PG[1].abs().max().item() == pytest.approx(0.01 / 0.2001)  # not 0.87
    for advantage, noise, expected in (
        ("grpo", "floor", floored_PG),
        ("rloo", "shrink", rloo(reward_PG, known_PG) * weight_P1),
        ("rloo", "none", rloo(reward_PG, known_PG)),
    ):
        cfg = AlgoConfig(advantage=advantage, noise=noise)
        mask_ST = torch.ones(8, 3, dtype=torch.bool)
        found_ST = estimate(cfg, reward_PG, known_PG, torch.zeros(8, 3), mask_ST, 0.2)
        torch.testing.assert_close(found_ST[:, 0].view(2, 4).double(), expected)

"""Advantages: closed forms, missing scores, invariances."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pawl.algo.advantages import group_mean, group_std, grpo, grpo_no_std

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
    torch.testing.assert_close(grpo_no_std(reward_PG, known_PG), reward_PG - 0.5)


@given(REWARDS, KNOWN)
def test_known_advantages_sum_to_zero_and_missing_ones_are_zero(rows, known):
    reward_PG, known_PG = tensors(rows, known)
    for advantage_PG in (grpo(reward_PG, known_PG, 1e-4), grpo_no_std(reward_PG, known_PG)):
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
    moved = grpo_no_std(reward_PG + shift, known_PG)
    torch.testing.assert_close(moved, grpo_no_std(reward_PG, known_PG), atol=1e-12, rtol=0)

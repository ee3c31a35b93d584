"""What stands between scores and advantages: bounds, exact values, missing scores, order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.algo.advantages import grpo
from pawl.algo.shaping import (
    BEYOND,
    PRIOR,
    Spread,
    kept,
    level_of,
    merged,
    overlong,
    shaped,
    standardised,
)
from pawl.config.options import RewardConfig

LONGEST, NOTHING = 20, Spread()
SCORES = st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4)
BATCH = st.lists(
    st.tuples(
        SCORES,
        st.lists(st.booleans(), min_size=4, max_size=4),
        st.lists(st.integers(1, LONGEST), min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=5,
)
WAYS = {
    "overlong": RewardConfig(overlong_penalty=0.5),
    "clip": RewardConfig(clip=(-0.5, 0.7)),
    "normalise": RewardConfig(normalise="running"),
    "all": RewardConfig(overlong_penalty=0.5, clip=(-0.5, 0.7), normalise="running"),
}
RULES = st.one_of(
    st.floats(-2, 2).map(lambda x: f"value {x:.6f}"),
    st.floats(0, 0.999).map(lambda x: f"share {x:.6f}"),
)


def tensors(batch):
    scores, known, lengths = zip(*batch, strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(known), torch.tensor(lengths)


def trained_on(cfg, batch, spread=NOTHING):
    return shaped(cfg, *tensors(batch), LONGEST, spread)


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


@given(BATCH)
def test_the_defaults_change_nothing(batch):
    score_PG, known_PG, _ = tensors(batch)
    reward_PG, spread = trained_on(RewardConfig(), batch)
    assert torch.equal(reward_PG, torch.where(known_PG, score_PG, 0.0))
    assert spread == Spread()


@pytest.mark.parametrize("way", WAYS)
@given(batch=BATCH, other=st.floats(-9, 9))
def test_a_missing_score_changes_nothing_for_others_and_stays_zero(way, batch, other):
    score_PG, known_PG, length_PG = tensors(batch)
    found_PG, spread = shaped(WAYS[way], score_PG, known_PG, length_PG, LONGEST, Spread())
    changed_PG = torch.where(known_PG, score_PG, other)
    again_PG, same = shaped(WAYS[way], changed_PG, known_PG, length_PG, LONGEST, Spread())
    assert torch.equal(found_PG, again_PG)
    assert spread == same
    assert found_PG[~known_PG].abs().sum() == 0
    if known_PG.all():
        return
    first_PG, _ = shaped(
        WAYS[way],
        score_PG[known_PG][None],
        known_PG[known_PG][None],
        length_PG[known_PG][None],
        LONGEST,
        Spread(),
    )
    assert torch.equal(first_PG[0], found_PG[known_PG])  # as if it had never been sampled


@pytest.mark.parametrize("way", WAYS)
@given(batch=BATCH, seed=st.integers(0, 99))
def test_the_order_of_members_does_not_matter(way, batch, seed):
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved = [t[:, order] for t in tensors(batch)]
    found_PG, spread = shaped(WAYS[way], *moved, LONGEST, Spread())
    expected_PG, same = trained_on(WAYS[way], batch)
    assert torch.equal(found_PG, expected_PG[:, order])
    assert spread == same


@given(BATCH)
def test_clipping_twice_is_clipping_once_and_bounds_hold(batch):
    once_PG, _ = trained_on(WAYS["clip"], batch)
    _, known_PG, length_PG = tensors(batch)
    twice_PG, _ = shaped(WAYS["clip"], once_PG, known_PG, length_PG, LONGEST, Spread())
    assert torch.equal(once_PG, twice_PG)
    assert once_PG.min() >= -0.5
    assert once_PG.max() <= 0.7


@given(st.lists(BATCH, min_size=1, max_size=4))
def test_the_running_standard_deviation_is_that_of_everything_so_far(batches):
    spread, seen = Spread(), []
    for batch in batches:
        score_PG, known_PG, _ = tensors(batch)
        reward_PG, spread = trained_on(WAYS["normalise"], batch, spread)
        seen += score_PG[known_PG].tolist()
        assert spread.n == len(seen)
        if len(seen) < 2:
            continue
        std = float(np.std(seen, ddof=1))
        assert spread.std == pytest.approx(std, rel=1e-9, abs=1e-12)
        assert spread.mean == pytest.approx(np.mean(seen), abs=1e-12)
        expected_PG = score_PG / std if std > 1e-8 else score_PG
        torch.testing.assert_close(reward_PG[known_PG], expected_PG[known_PG])


@given(st.floats(-2, 2), st.integers(1, 40), st.integers(0, 40))
def test_equal_rewards_have_no_spread_to_divide_by(value, first, second):
    spread = merged(merged(Spread(), [value] * first), [value] * second)
    reward_PG, _ = trained_on(WAYS["normalise"], [([value] * 4, [True] * 4, [1] * 4)], spread)
    assert reward_PG.tolist() == [[value] * 4]  # rounding is not divided by


@given(BATCH)
def test_a_std_normalised_advantage_does_not_see_normalising(batch):
    score_PG, known_PG, _ = tensors(batch)
    score_PG = score_PG.round(decimals=2)  # so that no spread is as small as the floor
    lengths_PG = torch.ones_like(known_PG, dtype=torch.long)
    reward_PG, _ = shaped(WAYS["normalise"], score_PG, known_PG, lengths_PG, LONGEST, NOTHING)
    plain_PG, same_PG = (grpo(r, known_PG, 1e-12) for r in (score_PG, reward_PG))
    torch.testing.assert_close(plain_PG, same_PG, atol=1e-6, rtol=1e-6)


def test_penalty_clip_and_normalising_follow_each_other():
    batch = [([1.0, 1.0, 0.2, 0.0], [True, True, True, False], [20, 16, 20, 20])]
    penalised = [0.5, 1.0, -0.3]
    clipped = np.clip(penalised, -0.5, 0.7)
    expected = [*(clipped / np.std(clipped, ddof=1)), 0.0]
    assert trained_on(WAYS["all"], batch)[0].tolist() == [pytest.approx(expected)]


@given(BATCH, RULES, st.floats(-9, 9), st.integers(0, 99))
def test_a_filter_keeps_known_samples_whatever_their_order(batch, rule, other, seed):
    score_PG, known_PG, _ = tensors(batch)
    kept_PG = kept(rule, score_PG, known_PG)
    assert not (kept_PG & ~known_PG).any()
    changed_PG = torch.where(known_PG, score_PG, other)
    assert torch.equal(kept(rule, changed_PG, known_PG), kept_PG)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(kept(rule, score_PG[:, order], known_PG[:, order]), kept_PG[:, order])
    worst = score_PG[kept_PG].min() if kept_PG.any() else torch.inf
    assert not (known_PG & ~kept_PG & (score_PG >= worst)).any()


@given(BATCH, st.integers(0, 99))
def test_a_share_leaves_out_at_most_that_share_and_equals_stay(batch, percent):
    score_PG, known_PG, _ = tensors(batch)
    kept_PG = kept(f"share {percent / 100}", score_PG, known_PG)
    known = int(known_PG.sum())
    out = known - int(kept_PG.sum())
    assert out <= known * percent // 100
    if len(set(score_PG[known_PG].tolist())) == known:  # no equals: exactly that many
        assert out == known * percent // 100
    assert torch.equal(kept("share 0", score_PG, known_PG), known_PG)
    assert torch.equal(kept("", score_PG, known_PG), known_PG)
    if known:
        assert kept_PG.any()


@given(BATCH, st.floats(-2, 2))
def test_a_value_is_a_threshold(batch, least):
    score_PG, known_PG, _ = tensors(batch)
    expected_PG = known_PG & (score_PG >= float(f"{least:.6f}"))
    assert torch.equal(kept(f"value {least:.6f}", score_PG, known_PG), expected_PG)


# ---- strata --------------------------------------------------------------------------------------

STEPS = st.lists(BATCH, min_size=1, max_size=4)
WORDS = ("a", "b")


def over(steps, path_of=lambda p: (WORDS[p % 2],), change=lambda x_PG: x_PG, strata=None):
    """The last step's distances and the strata after all steps; groups in turn to each word."""
    far_PG, seen = None, dict(strata or {})
    for batch in steps:
        score_PG, known_PG, _ = tensors(batch)
        paths = [path_of(p) for p in range(len(batch))]
        far_PG, seen = standardised(change(score_PG), known_PG, paths, seen)
    return far_PG, seen


@settings(deadline=None)
@given(STEPS, st.randoms())
def test_strata_know_no_order_within_a_step(steps, rnd):
    far_PG, strata = over(steps)
    order = list(range(len(steps[-1])))
    rnd.shuffle(order)
    turned = [steps[-1][i] for i in order]
    _, before = over(steps[:-1])
    score_PG, known_PG, _ = tensors(turned)
    members = [2, 0, 3, 1]
    paths = [(WORDS[i % 2],) for i in order]
    found = standardised(score_PG[:, members], known_PG[:, members], paths, before)
    assert torch.equal(found[0], far_PG[order][:, members])
    assert found[1] == strata


@settings(deadline=None)
@given(STEPS, st.floats(0.5, 4), st.floats(-3, 3))
def test_standardised_rewards_see_neither_scale_nor_shift(steps, scale, shift):
    far_PG, strata = over(steps)
    moved_PG, _ = over(steps, change=lambda x_PG: scale * x_PG + shift)
    if all(level_of(strata, (w,))[1] > 1e-3 for w in WORDS):
        assert torch.allclose(far_PG, moved_PG, atol=1e-5)
    assert far_PG.abs().max() <= BEYOND


@settings(deadline=None)
@given(STEPS)
def test_one_stratum_is_the_whole_set(steps):
    _, strata = over(steps, path_of=lambda p: ("one",))
    whole = strata[""]
    assert strata["one"] == whole
    assert level_of(strata, ("one",)) == (pytest.approx(whole.mean), pytest.approx(whole.std))


@settings(deadline=None)
@given(BATCH)
def test_equal_rewards_are_no_distance_and_a_new_stratum_is_the_whole(batch):
    same = [([0.7] * 4, known, lengths) for _, known, lengths in batch]
    far_PG, _ = over([same])
    assert not far_PG.any()
    _, strata = over([batch])
    whole = (strata[""].mean, strata[""].std)
    assert level_of(strata, ("never",)) == pytest.approx(whole)
    once = {**strata, "once": Spread(1, whole[0] + 2.1)}
    assert level_of(once, ("once",)) == pytest.approx((whole[0] + 2.1 / (PRIOR + 1), whole[1]))


def test_a_stratum_seen_often_is_itself_and_problems_are_drawn_to_it():
    rng = np.random.default_rng(0)
    strata = {}
    for _ in range(300):
        score_PG = torch.tensor(np.stack([rng.normal(0, 1, 8), rng.normal(5, 0.1, 8)]))
        paths = [("easy", "problem 1"), ("hard", "problem 2")]
        far_PG, strata = standardised(score_PG, torch.ones(2, 8, dtype=bool), paths, strata)
    mean, std = level_of(strata, ("hard",))
    assert mean == pytest.approx(5, abs=0.05) and 0.1 < std < 0.3 < strata[""].std / 5
    assert abs(far_PG.mean()) < 1 < far_PG.std() + 0.5  # both on one scale, though 5 apart
    assert level_of(strata, ("hard", "new")) == pytest.approx(level_of(strata, ("hard",)))


@settings(deadline=None)
@given(st.floats(10, 1e9))
def test_an_outlier_moves_the_estimates_by_a_bounded_amount(size):
    usual = [([0.0, 1.0, 0.0, 1.0], [True] * 4, [1] * 4)] * 10
    _, before = over([usual], path_of=lambda p: ("one",))
    wild = [([size, 0.0, 1.0, 1.0], [True] * 4, [1] * 4)]
    far_PG, after = over([wild], path_of=lambda p: ("one",), strata=before)
    assert far_PG[0, 0] == BEYOND or far_PG[0, 0] == pytest.approx(BEYOND, abs=1)
    (mean, std), (was, spread) = level_of(after, ("one",)), level_of(before, ("one",))
    assert abs(mean - was) < BEYOND * spread / 40 + 0.02 and std < 1.3 * spread

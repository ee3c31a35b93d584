"""Data order: whole epochs, no cursor, streams for repeats."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pawl.config.options import RunConfig
from pawl.train.data import draw, epoch_ends, total_steps


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3))
def test_every_epoch_draws_every_problem_once(n, prompts, seed):
    steps = -(-3 * n // prompts)
    drawn = [
        i for step in range(1, steps + 1) for i, _ in draw((step - 1) * prompts, prompts, n, seed)
    ]
    for epoch in range(len(drawn) // n):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(st.integers(1, 6), st.integers(1, 20))
def test_repeats_within_a_batch_have_their_own_streams(n, prompts):
    batch = draw(0, prompts, n, 0)
    assert len(set(batch)) == len(batch)
    for index, count in Counter(i for i, _ in batch).items():
        assert sorted(s for i, s in batch if i == index) == list(range(count))


def test_seeds_give_different_orders():
    assert draw(0, 8, 100, 0) != draw(0, 8, 100, 1)


def test_length_in_steps_samples_or_epochs():
    def steps(**train):
        cfg = RunConfig.model_validate(
            {"rollout": {"prompts": 10, "group_size": 4}, "train": train}
        )
        return total_steps(cfg, 95)

    assert steps(steps=7) == 7
    assert steps(samples=401) == 11
    assert steps(epochs=1.5) == 15
    assert steps() == 10


def test_epochs_end_once_each():
    ends = [s for s in range(1, 26) if epoch_ends(10 * (s - 1), 10 * s, 95)]
    assert ends == [10, 19]

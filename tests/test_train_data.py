"""Data order: whole epochs, no cursor, streams for repeats, turns of a mix in exact proportion."""

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import RunConfig
from pawl.train.data import Turns, draw, epoch_ends, pool_of, total_steps

WEIGHTS = st.lists(
    st.one_of(st.integers(1, 9).map(float), st.floats(1e-3, 10.0)), min_size=2, max_size=6
)


def whole(n):
    return pool_of([range(n)], [1.0])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3))
def test_every_epoch_draws_every_problem_once(n, prompts, seed):
    steps = -(-3 * n // prompts)
    source = whole(n)
    drawn = [
        i
        for step in range(1, steps + 1)
        for i, _ in draw((step - 1) * prompts, prompts, source, seed)
    ]
    for epoch in range(len(drawn) // n):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 20))
def test_repeats_within_a_batch_have_their_own_streams(n, prompts):
    batch = draw(0, prompts, whole(n), 0)
    assert len(set(batch)) == len(batch)
    for index, count in Counter(i for i, _ in batch).items():
        assert sorted(s for i, s in batch if i == index) == list(range(count))


def test_seeds_give_different_orders():
    assert draw(0, 8, whole(100), 0) != draw(0, 8, whole(100), 1)


def test_the_order_of_one_set_stays_what_it_was():
    """Drawn by the first version, which knew no mixes: runs of then must still resume."""
    assert draw(0, 12, whole(10), 0) == [
        *[(0, 0), (7, 0), (8, 0), (6, 0), (9, 0), (5, 0), (1, 0), (3, 0), (2, 0), (4, 0)],
        *[(6, 1), (0, 1)],
    ]
    assert [i for i, _ in draw(5, 8, whole(100), 3)] == [65, 37, 43, 71, 18, 36, 95, 20]


# ---- mixes ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(WEIGHTS, st.integers(1, 300))
def test_shares_of_a_mix_are_exact_within_one_prompt(weights, slots):
    turns, given_to = Turns(weights), [0] * len(weights)
    total = sum(Fraction(repr(w)) for w in weights)
    bound = 1 - Fraction(1, 2 * len(weights) - 2)
    before = [given_to[:]]
    for slot in range(slots):
        part, place = turns[slot]
        assert place == given_to[part]
        given_to[part] += 1
        before.append(given_to[:])
        for w, n in zip(weights, given_to, strict=True):
            assert abs(Fraction(repr(w)) / total * (slot + 1) - n) <= bound
    if len(weights) == 2:  # then any window is within one prompt too, not only those from the start
        share = Fraction(repr(weights[0])) / total
        for start in range(0, slots, 7):
            count = before[-1][0] - before[start][0]
            assert abs(share * (slots - start) - count) <= 1


@settings(deadline=None)
@given(WEIGHTS, st.integers(1, 80), st.integers(0, 200))
def test_turns_do_not_depend_on_what_was_asked_before(weights, count, first):
    at_once, later = Turns(weights), Turns(weights)
    whole_run = [at_once[i] for i in range(first + count)]
    assert [later[i] for i in range(first, first + count)] == whole_run[first:]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    st.integers(0, 3),
    st.integers(0, 90),
    st.integers(1, 40),
)
def test_each_set_walks_its_own_epochs(sizes, seed, first, count):
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    members = [range(end - n, end) for n, end in zip(sizes, ends, strict=True)]
    source = pool_of(members, [1.0 + k for k in range(len(sizes))])
    drawn = [i for i, _ in draw(0, first + count, source, seed)]
    for places in members:
        own = [i for i in drawn if i in places]
        for epoch in range(len(own) // len(places) if places else 0):
            assert sorted(own[epoch * len(places) :][: len(places)]) == list(places)
    assert [i for i, _ in draw(first, count, source, seed)] == drawn[first:]


def test_sets_and_stages_have_orders_of_their_own():
    two = pool_of([range(50), range(50, 100)], [1.0, 1.0])
    drawn = [i for i, _ in draw(0, 100, two, 0)]
    assert [i - 50 for i in drawn if i >= 50] != [i for i in drawn if i < 50]
    later = pool_of([range(100)], [1.0], stage=1)
    assert draw(0, 100, later, 0) != draw(0, 100, whole(100), 0)


# ---- length --------------------------------------------------------------------------------------


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


def test_weights_count_as_they_were_written():
    """0.1 and 0.2 as binary fractions would drift apart from 1 : 2 after many prompts."""
    turns = Turns([0.1, 0.2])
    given_to = Counter(turns[i][0] for i in range(3000))
    assert given_to == {0: 1000, 1: 2000}

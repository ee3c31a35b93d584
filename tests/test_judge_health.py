"""Figures of a judge from planted scores: noise, reliability, order, padding, drift, entropy."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_setup import judge_config

from pawl.config.load import load_run
from pawl.judge.fake_judge import Character
from pawl.judge.fake_server import FakeTeacher, Options
from pawl.judge.health import (
    BAD,
    PADDED,
    REFERENCE,
    Repeats,
    anchors,
    canary_figures,
    drift_figures,
    entropy_figures,
    padding_figures,
)
from pawl.judge.scorer import JudgeScorer
from pawl.train.judge_health import JudgeHealth
from pawl.types import Completion, Problem

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6)


def graded_twice(groups: int, n: int, spread: float, noise: float, slope: float) -> Repeats:
    """Groups of n graded in an order and in its reverse, from a judge of these properties."""
    rng, repeats = random.Random(0), Repeats()
    for _ in range(groups):
        worth = [rng.gauss(0.5, spread) for _ in range(n)]
        order = [1 - k / (n - 1) for k in rng.sample(range(n), n)]
        both = [
            [w + slope * e + rng.gauss(0, noise) + shift for w, e in zip(worth, early, strict=True)]
            for early, shift in ((order, 0.0), ([1 - e for e in order], rng.gauss(0, 1)))
        ]
        repeats = repeats.with_scores(*both).with_rewards(*([2 * x for x in own] for own in both))
        repeats = repeats.with_places([2 * e - 1 for e in order], *both)
    return repeats


def test_planted_noise_reliability_and_order_are_found() -> None:
    f = graded_twice(400, 6, spread=0.2, noise=0.1, slope=0.0).figures()
    assert f["judge/repeat_pairs"] == 2400
    assert f["judge/repeat_sd"] == pytest.approx(0.1, rel=0.05)
    assert f["judge/reward_noise_sd"] == pytest.approx(0.2, rel=0.05)  # twice the score
    assert f["judge/reliability"] == pytest.approx(0.8, abs=0.03)  # 0.04 / (0.04 + 0.01)
    slope, error = f["judge/position_slope"], f["judge/position_slope_se"]
    assert slope is not None and error is not None and abs(slope) < 4 * error < 0.04
    biased = graded_twice(40, 6, spread=0.2, noise=0.1, slope=0.3).figures()
    slope, error = biased["judge/position_slope"], biased["judge/position_slope_se"]
    assert slope is not None and error is not None
    assert abs(slope - 0.3) < 4 * error < 0.2


def test_standard_errors_are_those_of_repeated_experiments() -> None:
    """The slope's error against its spread over 200 experiments of the size of a start."""
    slopes, errors, rng = [], [], random.Random(1)
    for _ in range(200):
        repeats = Repeats()
        for _ in range(6):
            early = [1 - k / 5 for k in rng.sample(range(6), 6)]
            both = [[rng.gauss(0, 0.1) for _ in range(6)] for _ in range(2)]
            repeats = repeats.with_places([2 * e - 1 for e in early], *both)
        slope, error = repeats.slope()
        assert slope is not None and error is not None
        slopes.append(slope)
        errors.append(error)
    spread = math.sqrt(sum(x * x for x in slopes) / len(slopes))
    assert spread == pytest.approx(sum(errors) / len(errors), rel=0.15)
    assert sum(abs(s) > 4 * e for s, e in zip(slopes, errors, strict=True)) == 0


@given(SCORES, st.floats(-3, 3))
def test_what_moves_a_whole_group_is_no_noise(pairs: list[tuple[float, float]], by: float) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    plain = Repeats().with_scores(first, second)
    moved = Repeats().with_scores(first, [b + by for b in second])
    assert moved.noise == pytest.approx(plain.noise, abs=1e-9)
    assert moved.spread == pytest.approx(plain.spread, abs=1e-9)
    assert Repeats().with_scores(second, first).noise == pytest.approx(plain.noise, abs=1e-9)
    assert Repeats().with_scores(first, first).noise == 0


def test_little_says_nothing() -> None:
    assert Repeats().with_scores([1.0], [0.0]) == Repeats()
    few = Repeats().with_scores([0.0, 1.0], [1.0, 0.0]).with_rewards([0.0, 1.0], [1.0, 0.0])
    assert few.reward_sd == 0 and few.figures()["judge/repeat_sd"] is None
    assert Repeats().slope() == (None, None)
    alike = Repeats().with_scores([0.5] * 12, [0.5] * 12).figures()
    assert alike["judge/repeat_sd"] == 0 and alike["judge/reliability"] is None


def test_anchors_pay_who_they_say() -> None:
    fair = {REFERENCE: 0.9, BAD: 0.2, PADDED: 0.2, "canary, a": 0.0, "canary, b": 0.3}
    found, worst = canary_figures([fair, {**fair, "canary, a": None}])
    assert found == {"judge/canary": 0.3, "judge/canary_margin": pytest.approx(0.6)}
    assert worst == "canary, b"
    paid = {**fair, "canary, a": 1.0}
    assert canary_figures([paid])[0]["judge/canary_margin"] == pytest.approx(-0.1)
    assert canary_figures([{REFERENCE: None, "canary, a": 1.0}])[0]["judge/canary_margin"] is None
    padded = padding_figures([{**fair, PADDED: 0.3}, {**fair, PADDED: 0.5}])
    assert padded["judge/padding_gain"] == pytest.approx(0.2)
    assert padded["judge/padding_gain_se"] == pytest.approx(0.1)
    assert padding_figures([{BAD: 0.1, PADDED: None}])["judge/padding_gain"] is None
    harsher = {n: v - 0.1 for n, v in fair.items()}
    moved = drift_figures([fair, fair], [harsher, {**harsher, BAD: None}])
    assert moved["judge/anchor_shift"] == pytest.approx(-0.1)
    assert moved["judge/anchor_shift_se"] == pytest.approx(0.0, abs=1e-9)


def test_entropy_tells_an_unsure_judge_from_one_that_tells_apart() -> None:
    sure = [{"a": (1.0, 0.0)}, {"a": (0.0, 1.0)}]
    unsure = [{"a": (0.5, 0.5)}, {"a": (0.5, 0.5)}]
    assert entropy_figures(sure) == {"judge/level_entropy": 1, "judge/answer_entropy": 0}
    assert entropy_figures(unsure) == {"judge/level_entropy": 1, "judge/answer_entropy": 1}
    assert entropy_figures([{"a": (1.0, 0.0)}] * 3)["judge/level_entropy"] == 0
    assert entropy_figures([])["judge/level_entropy"] is None


def words(i: int = 0) -> Problem:
    return Problem(f"w{i}", f"Say {i}.", reference=f"The number is {i}.")


def test_anchors_of_a_problem_without_tests_have_no_code() -> None:
    texts = anchors(words(), "")
    assert texts[REFERENCE] == "The number is 0."
    assert texts["canary, empty"] == "" and texts[PADDED].startswith(texts[BAD])
    assert "canary, off the task" not in texts


def by_number(task: str, candidates: Sequence[str]) -> list[float]:
    """Full marks for an answer that names a number."""
    return [0.9 if "number is" in c else 0.2 for c in candidates]


@pytest.mark.parametrize("mode", ["listwise", "pairwise"])
def test_a_place_that_pays_fails_a_check_before_training(mode: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("reward: {use: judge}\nalgo: {advantage: dr_grpo}\n")
    for slope, passed in ((0.0, True), (0.3, False)):
        character = Character(sampling=0.02, position=slope)
        with FakeTeacher(by_number, Options(character=character)) as teacher:
            judge = judge_config(teacher, mode=mode, passes=2 if mode == "pairwise" else 1)
            cfg = load_run(config, [], {})[0].model_copy(update={"judge": judge})
            with JudgeScorer(judge, tmp_path / f"{slope}.db") as scorer:
                health = JudgeHealth(scorer, cfg, [words(i) for i in range(12)])
                rows = {check.name: check for check in health.checks({})}
        assert rows["judge-canaries"].passed and rows["judge-canaries"].refuses
        assert rows["judge-padding"].passed
        order = rows["judge-order"].passed
        assert order is (passed if mode == "listwise" else None)  # too few groups of pairs


def test_what_is_asked_again_is_another_question_and_kept(tmp_path: Path) -> None:
    answers = [Completion("w0", f"The number is {i}.") for i in range(4)]
    with FakeTeacher(by_number, Options(character=Character(sampling=0.2))) as teacher:
        with JudgeScorer(judge_config(teacher), tmp_path / "l.db") as scorer:
            found = []
            for again in (False, True, True):
                scorer.submit_check("g", words(), answers, again=again)
                found += scorer.poll_checks(30.0)
            asked = len(teacher.bills)
            scorer.submit_check("g", words(), answers, fresh=True, again=True)
            found += scorer.poll_checks(30.0)
            assert len(teacher.bills) == asked + 1
            assert not scorer.poll()  # nothing of it is for whoever pays
    totals = [[m.values["total"] for m in row] for _, row in found]
    places = [[m.place for m in row] for _, row in found]
    assert totals[0] != totals[1] == totals[2] == totals[3]
    assert [a + b for a, b in zip(*places[:2], strict=True)] == pytest.approx([1.0] * 4)
    assert [m.cached for m in found[2][1]] == [True] * 4

"""Mixes, gates, caps and users' own rewards; a broken grader stops the run with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pawl.config.options import ComponentConfig, RewardConfig
from pawl.errors import Exit, PawlError, PawlErrors
from pawl.rewards.compose import Mix, bad_cap, build_reward, check_mix, full_marks
from pawl.rewards.user import broken_grader, load_user_reward
from pawl.types import Case, Completion, Problem, Score, missing

PROBLEM = Problem(
    "p", "python", "Add.", "f", tuple(Case(f"[{i}]", str(i)) for i in range(5)), where="a:1"
)
ONE = [Completion("p", "text")]


class Fixed:
    """A reward that gives one score to everything."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]:
        return [self._score for _ in completions]


PASS = Score("scored", 1.0, "pass", "pass", {"tests": 1.0}, passed_cases=5, n_cases=5)
WRONG = Score("scored", 0.3, "wrong", "tests", {"tests": 0.2}, passed_cases=2, n_cases=5)
HALF = Score("scored", 0.5, "wrong", "user")


def part(name: str, use: str, **fields: object) -> ComponentConfig:
    return ComponentConfig.model_validate({"name": name, "use": use, **fields})


def mixed(parts: list[ComponentConfig], scores: list[Score]) -> Score:
    cfg = RewardConfig(components=tuple(parts))
    pairs = [(c, Fixed(s)) for c, s in zip(parts, scores, strict=True)]
    return Mix(cfg, pairs).score(PROBLEM, ONE)[0]


def test_a_mix_is_the_weighted_sum() -> None:
    parts = [part("code", "code", weight=0.5), part("style", "a.py:f", weight=0.4)]
    score = mixed(parts, [WRONG, HALF])
    assert score.total == pytest.approx(0.5 * 0.3 + 0.4 * 0.5)
    assert (score.verdict, score.passed_cases, score.n_cases) == ("wrong", 2, 5)
    assert score.components == {"tests": 0.2, "code": 0.3, "style": 0.5}
    assert score.branch == "tests+style"


def test_a_cap_holds() -> None:
    parts = [part("code", "code"), part("style", "a.py:f", weight=2, cap=0.25)]
    assert mixed(parts, [WRONG, HALF]).total == pytest.approx(0.3 + 0.25)


def test_a_gated_bonus_pays_only_a_pass_and_less_than_one_test() -> None:
    parts = [part("code", "code"), part("style", "a.py:f", weight=1, gate="pass")]
    assert mixed(parts, [WRONG, HALF]).total == pytest.approx(0.3)
    total = mixed(parts, [PASS, HALF]).total
    one_test = 0.65 / (5 - 1)
    assert total is not None and 1.0 < total < 1.0 + one_test


def test_missing_in_one_component_is_missing_in_the_total() -> None:
    parts = [part("code", "code"), part("style", "a.py:f")]
    score = mixed(parts, [PASS, missing("judge is away")])
    assert (score.status, score.total, score.reason) == ("missing", None, "judge is away")


def test_bad_mixes_are_errors_all_at_once() -> None:
    cfg = RewardConfig(
        components=(
            part("a", "a.py:f", gate="pass", weight=0),
            part("a", "b.py:f", weight=0),
        )
    )
    with pytest.raises(PawlErrors) as caught:
        check_mix(cfg)
    told = caught.value.block()
    assert "two components are called 'a'" in told
    assert "no component runs the tests" in told
    assert "can pay anything" in told


def test_full_marks_and_the_cap_follow_the_code_share() -> None:
    cfg = RewardConfig(components=(part("code", "code", weight=0.8), part("s", "a.py:f")))
    assert full_marks(cfg) == pytest.approx(0.8)
    assert 0 < bad_cap(cfg, PROBLEM) < 0.8 * 0.65 / (5 - 1)
    assert full_marks(RewardConfig()) == 1.0


# ---- a user's own --------------------------------------------------------------------------------


def reward_file(tmp_path: Path, body: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(f"def grade(problem, completions):\n{body}\n", encoding="utf-8")
    return f"{path}:grade"


def test_a_users_function_is_a_reward(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [len(c.text) / 10 for c in completions]")
    reward, _ = build_reward(RewardConfig(use=use), None)
    both = reward.score(PROBLEM, [Completion("p", "12345"), Completion("p", "1234567890")])
    assert [s.total for s in both] == [0.5, 1.0]
    assert [s.verdict for s in both] == ["wrong", "pass"]
    assert both[0].components == {"grade": 0.5}


def test_none_is_missing_and_a_score_passes_through(tmp_path: Path) -> None:
    use = reward_file(
        tmp_path,
        "    from pawl.types import Score\n"
        "    return [None, Score('scored', 0.5, 'compile', 'mine', reason='r')]",
    )
    first, second = load_user_reward(use).score(PROBLEM, ONE * 2)
    assert first.status == "missing" and first.total is None
    assert (second.total, second.verdict, second.branch) == (0.5, "compile", "mine")


def test_an_object_with_a_score_method_serves(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "class Grader:\n    def score(self, problem, completions):\n        return [0.25]\n"
    )
    assert load_user_reward(f"{path}:Grader").score(PROBLEM, ONE)[0].total == 0.25


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("    return 1.0", "returned float, expected a list"),
        ("    return []", "0 values for 1 completions"),
        ("    return [2.5]", "expected 0 to 1"),
        ("    return [float('nan')]", "expected 0 to 1"),
        ("    return ['good']", "expected a number"),
        (
            "    from pawl.types import Score\n    return [Score('scored', None, 'wrong', '')]",
            "total",
        ),
    ],
)
def test_a_broken_contract_names_file_and_line(body: str, what: str, tmp_path: Path) -> None:
    use = reward_file(tmp_path, body)
    with pytest.raises(PawlError, match=what) as caught:
        load_user_reward(use).score(PROBLEM, ONE)
    assert caught.value.where == f"{tmp_path / 'mine.py'}:1"
    assert caught.value.code == Exit.STOPPED


def test_an_exception_is_told_with_the_line_that_raised(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    x = 0\n    return [1 / x]")
    try:
        load_user_reward(use).score(PROBLEM, ONE)
        raise AssertionError("it must raise")
    except ZeroDivisionError as error:
        told = broken_grader(error, error.__traceback__, [use])
    assert told is not None
    assert told.where == f"{tmp_path / 'mine.py'}:3"
    assert "ZeroDivisionError: division by zero" in told.what


def test_what_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="no such file"):
        load_user_reward(f"{tmp_path}/none.py:f")
    with pytest.raises(PawlError, match="has no grad") as caught:
        load_user_reward(reward_file(tmp_path, "    return [0]").replace(":grade", ":grad"))
    assert "grade" in caught.value.hint
    with pytest.raises(PawlError, match="no reward is called 'cod'"):
        load_user_reward("cod")


def test_the_fingerprint_follows_the_file_and_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("K = 1\n")
    use = reward_file(tmp_path, "    from neighbour import K\n    return [K]")
    reward = load_user_reward(use)
    first = reward.fingerprint()
    assert load_user_reward(use).fingerprint() == first
    reward_file(tmp_path, "    from neighbour import K\n    return [K / 2]")
    assert load_user_reward(use).fingerprint() != first

"""Pawl from Python: docs/python.md runs as it stands, and a mistake is one error.

Left out: what the functions compute (their own tests).
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import pawl
from pawl import api
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError, PawlErrors

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    for block in re.findall(r"(?s)```python\n(.*?)```", PAGE):
        exec(compile(block, "docs/python.md", "exec"), space)
    out = capsys.readouterr().out
    assert "held-out reward: " in out and "Interval(value=" in out
    result = space["result"]
    assert result.exit_code == Exit.OK and result.path == Path("runs/adding")
    assert [r["step"] for r in result.records] == [0, 1, 2]
    assert set(result.checkpoints) == {0, 2} or set(result.checkpoints) == {2}
    with pytest.raises(PawlError, match="is a Python callable") as refused:
        pawl.train(resume=result.path)
    assert "reward=" in refused.value.hint
    again = pawl.train(resume=result.path, reward=space["brief"])
    assert again.exit_code == Exit.OK and again.summary == result.summary


def test_every_function_of_the_page_is_there_and_documented() -> None:
    named = set(re.findall(r"`pawl\.(\w+)\(", PAGE))
    assert named == set(pawl.__all__)
    for name in pawl.__all__:
        function = getattr(api, name)
        assert inspect.getdoc(function)
        hints = inspect.signature(function)
        assert hints.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in hints.parameters.values())
    assert callable(pawl.train) and pawl.train.__name__ == "pawl.train"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        pawl.trian  # type: ignore[attr-defined]  # noqa: B018 - asking is what fails


def test_a_config_may_be_a_mapping_a_file_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("rollout: {prompts: 4}\n\noptim: {lr: 1e-5}\nalgo: {preset: dapo}\n")
    nested = {"rollout": {"prompts": 4}, "optim.lr": 1e-5, "algo": {"preset": "dapo"}}
    ways = ["seed=3", "name=x"]
    a, places = api.resolved(file, ways)
    b, _ = api.resolved(nested, ways)
    c, _ = api.resolved(a, ways)
    assert a == b == c and a.algo.zero_variance_groups == "resample"
    assert places["optim.lr"].endswith("mine.yaml:3")
    with pytest.raises(PawlErrors) as errors:
        api.resolved({"optim": {"lrr": 1}, "rollout.prompts": 0})
    assert "lr" in errors.value.block() and "prompts" in errors.value.block()


def test_a_run_gets_the_first_free_name(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert api.resolved({"runs_dir": str(tmp_path)})[0].name == "run-3"


def test_a_callable_is_the_whole_reward() -> None:
    def Best_One(problem: object, completions: object) -> object:
        return completions

    assert api.with_callable(RunConfig(), Best_One).reward.use == "callable:best_one"
    part = {"name": "a", "use": "code"}
    mixed = RunConfig.model_validate({"reward": {"components": [part]}})
    with pytest.raises(PawlError, match="reward.components"):
        api.with_callable(mixed, Best_One)


def test_one_of_config_fork_and_resume() -> None:
    with pytest.raises(PawlError, match="no config given"):
        pawl.train()
    with pytest.raises(PawlError, match="give one of them"):
        pawl.train("a.yaml", fork="runs/a")
    with pytest.raises(PawlError, match="no such config file"):
        pawl.train("nowhere.yaml")


def test_scores_of_completions_in_memory() -> None:
    problem = "starter-python"
    from pawl.problems.load import open_problems

    first = open_problems(problem)[0]
    rows = [{"problem_id": first.id, "completion": t} for t in (first.reference, "no program")]
    right, wrong = pawl.score(problem, rows, overrides=["reward.end_marker=", "sandbox.workers=1"])
    assert (right.total, right.verdict) == (1.0, "pass")
    assert wrong.total == 0.0 and wrong.verdict != "pass"

"""The calibration refuses rewards with known faults, each for its reason, and passes sound ones."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pawl.checks import Check
from pawl.config.options import (
    ProblemsConfig,
    PromptConfig,
    RewardConfig,
    RunConfig,
    SandboxConfig,
)
from pawl.errors import Exit, PawlError
from pawl.problems.load import ProblemSet, open_problems, prepare
from pawl.rewards.calibrate import calibrate, require, summary, table
from pawl.rewards.pool import ScorerPool
from pawl.rewards.probes import examples_in, reference_body, reference_shapes
from pawl.types import Completion, Problem, Score

FAULTY = Path(__file__).parent / "faulty_rewards"
TEMPLATES = Path(__file__).resolve().parents[1] / "pawl" / "models" / "prompts"
BAD = {
    "stub",
    "stub, whole definition",
    "constant",
    "exit 0",
    "exit 0, then dead lines",
    "exit 0 at the top",
    "empty",
    "blank lines",
    "prose",
    "syntax garbage",
}
needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="needs ocamlc")


def run_config(lang: str = "ocaml", **fields: object) -> RunConfig:
    base = {"problems": {"train": f"starter-{lang}"}, "prompt": {"template": f"few-shot-{lang}"}}
    return RunConfig.model_validate({**base, **fields})


def checks_of(cfg: RunConfig, problems: ProblemSet, sample: int = 2) -> list[Check]:
    with ScorerPool(cfg.reward, SandboxConfig(), None, 2) as pool:
        return calibrate(pool, problems, cfg, sample)


def failed(checks: list[Check]) -> set[str]:
    return {c.name for c in checks if c.passed is False}


@pytest.mark.parametrize(
    ("lang", "marker"), [("ocaml", "(* END *)"), ("python", "# END"), ("python", "")]
)
def test_the_code_reward_passes(lang: str, marker: str) -> None:
    cfg = run_config(lang, reward={"end_marker": marker})
    checks = checks_of(cfg, prepare(cfg.problems, 0).train)
    require(checks)
    names = {c.name for c in checks}
    assert names >= BAD and "prompt's own example" in names
    shapes = {"whole definition", "whole, fenced", "body", "body, fenced"}
    assert {n.removeprefix("reference, ") for n in names} >= shapes
    assert ("reference, no end marker" in names) == bool(marker)
    rows = [asdict(c) for c in checks]
    keys = {"name", "problem", "expected", "observed", "tolerance", "passed", "meaning"}
    assert all(set(r) >= keys for r in rows)


@needs_ocaml
def test_syntax_errors_paid_as_type_errors_are_refused() -> None:
    cfg = run_config(reward=f"{FAULTY / 'syntax_as_types.py'}:grade")
    checks = checks_of(cfg, prepare(cfg.problems, 0).train)
    assert {"syntax garbage", "prose"} <= failed(checks)
    assert not failed(checks) & {"stub", "constant", "exit 0", "prompt's own example"}
    assert not any(n.startswith("reference") for n in failed(checks))
    with pytest.raises(PawlError, match="syntax garbage") as caught:
        require(checks)
    assert caught.value.code == Exit.USER and "FAILED" in caught.value.what


@needs_ocaml
def test_paid_exit_0_is_refused() -> None:
    cfg = run_config(reward=f"{FAULTY / 'exit_code.py'}:grade")
    checks = checks_of(cfg, prepare(cfg.problems, 0).train)
    assert {"exit 0", "exit 0, then dead lines"} <= failed(checks)
    assert all(n.startswith("exit 0") for n in failed(checks))
    with pytest.raises(PawlError, match="exit 0"):
        require(checks)


@needs_ocaml
def test_a_reward_that_scores_the_prompts_own_examples_0_is_refused() -> None:
    cfg = run_config(reward=f"{FAULTY / 'long_answers_only.py'}:grade")
    checks = checks_of(cfg, prepare(cfg.problems, 0).train)
    own = [c for c in checks if c.name == "prompt's own example"]
    assert own and not any(c.passed for c in own if "total 0 " in c.observed)
    assert "prompt's own example" in failed(checks)
    assert not failed(checks) & BAD
    with pytest.raises(PawlError, match="prompt's own example"):
        require(checks)


def test_a_length_limit_above_the_shortest_reference_is_refused() -> None:
    cfg = run_config(reward={"min_lines": 8})
    checks = checks_of(cfg, prepare(cfg.problems, 0).train, sample=1)
    assert "min_lines" in failed(checks) and "prompt's own example" in failed(checks)


def test_an_ungated_component_that_pays_stubs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style.py").write_text("def grade(problem, cs):\n    return [1.0 for c in cs]\n")
    use = f"{tmp_path / 'style.py'}:grade"
    code = {"name": "code", "use": "code"}
    for gate, refused in (("none", True), ("pass", False)):
        style = {"name": "style", "use": use, "weight": 0.5, "gate": gate}
        cfg = run_config(reward={"components": [code, style]})
        checks = checks_of(cfg, prepare(cfg.problems, 0).train, sample=1)
        assert ("stub" in failed(checks)) == refused
        assert not any(n.startswith("reference") for n in failed(checks))


def test_a_missing_score_fails_the_calibration(tmp_path: Path) -> None:
    (tmp_path / "away.py").write_text("def grade(problem, cs):\n    return [None for c in cs]\n")
    cfg = run_config(reward=f"{tmp_path / 'away.py'}:grade")
    checks = checks_of(cfg, prepare(cfg.problems, 0).train, sample=1)
    assert all(c.observed.startswith("missing: ") for c in checks if c.passed is False)
    with pytest.raises(PawlError):
        require(checks)


def test_what_could_not_be_checked_is_said(tmp_path: Path) -> None:
    row = '{"prompt": "def f(x):\\n", "tests": "assert f(1) == 2\\nassert f(2) == 3"}'
    path = tmp_path / "set.jsonl"
    path.write_text(row + "\n")
    cfg = RunConfig(
        problems=ProblemsConfig(train=str(path)), prompt=PromptConfig(template="guidance-python")
    )
    checks = checks_of(cfg, open_problems(str(path)))
    unknown = {c.name for c in checks if c.passed is None}
    assert unknown == {"reference", "prompt's own example"}
    require(checks)
    assert "not checked" in table(summary(checks))


def test_the_sample_is_drawn_by_seed() -> None:
    cfg = run_config(reward=RewardConfig())
    problems = prepare(cfg.problems, 0).train

    class Nothing:
        def score_all(self, jobs: list[tuple[Problem, Completion]]) -> list[Score]:
            self.asked = [p.id for p, _ in jobs]
            raise PawlError("enough")

    def asked(seed: int) -> list[str]:
        scorer = Nothing()
        with pytest.raises(PawlError):
            calibrate(scorer, problems, cfg.model_copy(update={"seed": seed}))
        return scorer.asked

    assert asked(1) == asked(1) != asked(2)


@pytest.mark.parametrize("name", ["starter-ocaml", "starter-python"])
def test_starter_references_have_all_four_shapes(name: str) -> None:
    for problem in open_problems(name)[::40]:
        assert len(reference_shapes(problem)) == 4
        assert f"{problem.head}\n{reference_body(problem)}".rstrip() == problem.solution.rstrip()


@pytest.mark.parametrize("lang", ["ocaml", "python"])
def test_solved_examples_are_read_from_the_templates(lang: str) -> None:
    text = (TEMPLATES / f"few-shot-{lang}.txt").read_text()
    found = examples_in(text, "ocaml" if lang == "ocaml" else "python", "(* END *)")
    assert [p.entry_point for p, _ in found] == ["sum_even_squares", "longest_run"]
    assert all(p.cases for p, _ in found)


def test_the_worked_example_of_the_documentation(tmp_path: Path) -> None:
    text = (TEMPLATES.parents[2] / "docs" / "rewards.md").read_text()
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "brevity.py").write_text(blocks["python"])
    yaml = blocks["yaml"].replace("rewards/brevity.py", f"{tmp_path}/rewards/brevity.py")
    cfg = run_config(**YAML(typ="safe").load(yaml))
    problems = prepare(cfg.problems, 0).train
    require(checks_of(cfg, problems, sample=1))
    problem = problems[0]
    long = problem.solution + "(* padding *)\n" * 60
    texts = [problem.solution, long, '  failwith "no"']
    with ScorerPool(cfg.reward, SandboxConfig(), None, 2) as pool:
        short, padded, stub = pool.score_all([(problem, Completion(problem.id, t)) for t in texts])
    assert short.total is not None and padded.total is not None and stub.total is not None
    assert short.total == pytest.approx(0.95 + 0.05 * short.components["brevity"])
    assert short.branch == "pass+brevity"
    assert padded.total == pytest.approx(0.95) and stub.total < 0.1

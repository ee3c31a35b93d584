"""The calibration refuses rewards with known faults, each for its reason, and passes sound ones."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_sets import problems_of, small

from pawl.checks import Check
from pawl.cli.main import main
from pawl.config.options import RewardConfig, RunConfig, SandboxConfig
from pawl.config.sources import ProblemsConfig, PromptConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import ProblemSet, open_problems, prepare
from pawl.rewards.calibrate import calibrate, require, summary, table
from pawl.rewards.grader import Grader
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
ONE = SandboxConfig(workers=1)
needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="needs ocamlc")


def run_config(lang: str = "ocaml", **fields: object) -> RunConfig:
    base = {"problems": {"train": small(lang)}, "prompt": {"template": f"few-shot-{lang}"}}
    return RunConfig.model_validate({**base, **fields})


def checks_of(cfg: RunConfig, problems: ProblemSet, sample: int = 2) -> list[Check]:
    with Grader(cfg.reward, ONE) as grader:
        return calibrate(grader, problems, cfg, sample).checks


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


def test_what_is_right_for_another_problem_is_paid_and_not_judged() -> None:
    cfg = run_config("python")
    problems = prepare(cfg.problems, 0).train
    with Grader(cfg.reward, ONE) as grader:
        found = calibrate(grader, problems, cfg, 2)
    assert found.swapped and found.right and found.wrong
    assert max(s.total or 0.0 for s in found.swapped) < min(s.total or 0.0 for s in found.right)
    assert "another problem's reference" not in {c.name for c in found.checks}


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
    cfg = run_config("python", reward={"min_lines": 8})
    checks = checks_of(cfg, prepare(cfg.problems, 0).train, sample=1)
    assert "min_lines" in failed(checks) and "prompt's own example" in failed(checks)


def test_an_ungated_component_that_pays_stubs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style.py").write_text("def grade(problem, cs):\n    return [1.0 for c in cs]\n")
    use = f"{tmp_path / 'style.py'}:grade"
    code = {"name": "code", "use": "code"}
    for gate, refused in (("none", True), ("pass", False)):
        style = {"name": "style", "use": use, "weight": 0.5, "gate": gate}
        cfg = run_config("python", reward={"components": [code, style]})
        checks = checks_of(cfg, prepare(cfg.problems, 0).train, sample=1)
        assert ("stub" in failed(checks)) == refused
        assert not any(n.startswith("reference") for n in failed(checks))


def test_a_missing_score_fails_the_calibration(tmp_path: Path) -> None:
    (tmp_path / "away.py").write_text("def grade(problem, cs):\n    return [None for c in cs]\n")
    cfg = run_config("python", reward=f"{tmp_path / 'away.py'}:grade")
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
        whole_group = False

        def measure(self, groups: Sequence[tuple[Problem, Sequence[Completion]]]) -> None:
            self.asked = [p.id for p, _ in groups]
            raise PawlError("enough")

    def asked(seed: int) -> list[str]:
        grader = Nothing()
        with pytest.raises(PawlError):
            calibrate(grader, problems, cfg.model_copy(update={"seed": seed}))
        return grader.asked

    assert asked(1) == asked(1) != asked(2)


@pytest.mark.parametrize("name", ["starter-ocaml", "starter-python"])
def test_starter_references_have_all_four_shapes(name: str) -> None:
    for problem in open_problems(name)[::40]:
        assert len(reference_shapes(problem)) == 4
        whole = f"{problem.task.head}\n{reference_body(problem)}"
        assert whole.rstrip() == problem.reference.rstrip()


@pytest.mark.parametrize("lang", ["ocaml", "python"])
def test_solved_examples_are_read_from_the_templates(lang: str) -> None:
    text = (TEMPLATES / f"few-shot-{lang}.txt").read_text()
    found = examples_in(text, "ocaml" if lang == "ocaml" else "python", "(* END *)")
    assert [p.task.entry_point for p, _ in found] == ["sum_even_squares", "longest_run"]
    assert all(p.task.cases for p, _ in found)


# ---- rewards that are the user's alone -----------------------------------------------------------


def own_reward(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return f"{path}:grade"


def asked_set(tmp_path: Path) -> ProblemSet:
    """Problems without tests, with references and a column of their own."""
    rows = [
        {
            "id": f"q{i}",
            "prompt": f"What is {i} + {i}?",
            "solution": f"It is {2 * i}.",
            "sum": 2 * i,
        }
        for i in range(10, 16)
    ]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_problems(str(path), tested=False)


SIGNS = """
def grade(problem, completions):
    return [SIGN * (1 if str(problem.metadata["sum"]) in c.text else -2) for c in completions]
grade.scale = (-3, 3)
"""


@pytest.mark.parametrize(("sign", "holds"), [("1", True), ("-1", False)])
def test_without_tests_right_answers_must_earn_more_than_wrong_ones(
    sign: str, holds: bool, tmp_path: Path
) -> None:
    problems = asked_set(tmp_path)
    cfg = RunConfig.model_validate({"reward": own_reward(tmp_path, SIGNS.replace("SIGN", sign))})
    checks = checks_of(cfg, problems)
    assert {c.name for c in checks if c.problem} == {
        "reference, reference", "empty", "blank lines", "prose", "syntax garbage"
    }  # fmt: skip
    assert bool(failed(checks)) != holds
    expected = {c.expected for c in checks if c.name.startswith("reference")}
    assert expected == {"above -2" if holds else "above 2"}
    if holds:
        require(checks)
    else:
        with pytest.raises(PawlError, match="a right answer must earn more"):
            require(checks)


def test_a_reward_that_compares_is_calibrated_by_whole_groups(tmp_path: Path) -> None:
    """It sees the probes of a problem together, and the best of them must be the right ones.

    What is right for another problem is no rival of theirs: it is held against the right answer.
    """
    text = """
import pathlib
def grade(problem, completions):
    with open(pathlib.Path(__file__).parent / "calls", "a") as f:
        f.write(f"{problem.id} {len(completions)}\\n")
    right = [str(problem.metadata["sum"]) in c.text for c in completions]
    return [sum(r > other for other in right) / len(right) for r in right]
grade.group = True
"""
    cfg = RunConfig.model_validate({"reward": own_reward(tmp_path, text)})
    with Grader(cfg.reward, ONE) as grader:
        found = calibrate(grader, asked_set(tmp_path), cfg, 2)
    require(found.checks)
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    names = {c.problem for c in found.checks} - {""}
    assert calls == sorted(f"{name} {n}" for name in names for n in (5, 2))
    assert [s.total for s in found.right] == [0.8] * len(names)
    assert [s.total for s in found.swapped] == [0.0] * len(names)


def test_a_curriculum_is_calibrated_by_each_stage_from_one_measurement() -> None:
    easy = {"name": "form", "end_marker": 0.4, "types": 0.3, "compile": 0.1, "tests": 0.2}
    cfg = run_config("python", curriculum=[{**easy, "advance_at": 0.5}, {"name": "all"}])
    problems = prepare(cfg.problems, 0).train
    asked: list[int] = []
    with Grader(cfg.reward, ONE) as grader:
        measure = grader.measure

        def counted(groups: Sequence[tuple[Problem, Sequence[Completion]]]) -> object:
            asked.append(len(groups))
            return measure(groups)

        grader.measure = counted
        checks = calibrate(grader, problems, cfg, 1).checks
    require(checks)
    assert len(asked) == 1
    own = {c.name for c in checks if c.problem and "(stage" not in c.name}
    staged = {c.name for c in checks if "(stage" in c.name}
    assert staged == {f"{name} (stage form)" for name in own}  # `all` pays by reward.stages
    total = {c.name: c.observed for c in checks}
    name = "reference, no end marker"
    assert "total 0.95" in total[name] and "total 0.6" in total[f"{name} (stage form)"]


# ---- the page that tells how to write one --------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "rewards.md").read_text()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, which is where commands run."""
    blocks = re.findall(r"```python\n# (rewards/\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```python"), "each block names its file"
    assert [name for name, _ in blocks] == [f"rewards/{n}.py" for n in EXAMPLES]
    (tmp_path / "rewards").mkdir()
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXAMPLES = ["brevity", "answer", "judge", "tournament"]


def by(name: str, problem: Problem, *texts: str) -> list[Score]:
    """Scores of a group by an example of the page."""
    with Grader(RewardConfig(use=f"rewards/{name}.py:score"), ONE) as grader:
        return grader.score([(problem, [Completion(problem.id, t) for t in texts])])[0]


def test_the_mix_of_the_page(page: Path) -> None:
    (yaml,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    cfg = run_config(**YAML(typ="safe").load(yaml))
    problems = prepare(cfg.problems, 0).train
    require(checks_of(cfg, problems, sample=1))
    problem = problems[0]
    long = problem.reference + "(* padding *)\n" * 60
    texts = [problem.reference, long, '  failwith "no"']
    with Grader(cfg.reward, ONE) as grader:
        scores = grader.score([(problem, [Completion(problem.id, t) for t in texts])])[0]
    short, padded, stub = scores
    assert short.total is not None and padded.total is not None and stub.total is not None
    assert short.total == pytest.approx(0.95 + 0.05 * short.components["brevity"])
    assert short.branch == "pass+brevity"
    assert padded.total == pytest.approx(0.95) and stub.total < 0.1


def test_the_command_of_the_page(page: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"^    pawl (score .*)$", PAGE, re.MULTILINE)
    p = problems_of("python")[0]
    line = {"problem_id": p.id, "completion": p.reference}
    (page / "answers.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert not caught.value.code
    assert json.loads(capfd.readouterr().out)["components"] == {"score": 1.0}


def test_the_answer_of_the_page(page: Path) -> None:
    problem = Problem("q", "What is 6 * 7?", reference="42")
    right, wrong, none = by("answer", problem, "6 * 7 = 42", "42, or 41", "nobody knows")
    assert [s.total for s in (right, wrong, none)] == [1.0, 0.0, 0.0]
    assert [s.components["words"] for s in (right, wrong, none)] == [5, 3, 2]


class Grades(BaseHTTPRequestHandler):
    """The judge of the page: half of the letters, or an error."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503 if asked["answer"] == "away" else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"grade": len(asked["answer"]) / 2}).encode())

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_the_judge_of_the_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Grades) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("JUDGE_URL", f"http://127.0.0.1:{server.server_port}/grade")
        try:
            scores = by("judge", Problem("q", "Be brief."), "four", "away", "x" * 20)
        finally:
            server.shutdown()
    assert [s.total for s in scores] == [2.0, None, 10.0]


def test_the_tournament_of_the_page(page: Path) -> None:
    scores = by("tournament", Problem("q", "Be brief."), "ccc", "a", "bb")
    assert [s.total for s in scores] == [0.0, 1.0, 0.5]
    assert [s.components for s in scores] == [{"wins": 0}, {"wins": 2}, {"wins": 1}]
    assert scores[1].reason == "beats 2 of 2"
    assert by("tournament", Problem("q", "Be brief."), "alone")[0].status == "missing"

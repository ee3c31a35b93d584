"""The command line as a user meets it: exit codes, one block for an error, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.cli.main import main
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.store.run import RunFolder


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as caught:
        main(args)
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err


def sample(step: int, problem: str, total: float | None, **score: object) -> dict[str, object]:
    """A sample row with the given score."""
    status = "missing" if total is None else "scored"
    body = {"total": total, "status": status, "verdict": "compile", "branch": "staged"}
    body |= {"components": {"tests": 0.0}, "reason": "", "passed_cases": 0, "n_cases": 3}
    return {
        "step": step,
        "problem_id": problem,
        "group": 0,
        "member": 0,
        "prompt": "Add.",
        "text": f"{problem} \x1b[2J",
        "n_tokens": 3,
        "finish": "stop",
        "advantage": None,
        "difficulty": "easy",
        "score": body | score,
    }


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs that part at step 2."""
    for name, seed in (("a", 0), ("b", 1)):
        cfg = RunConfig.model_validate({"name": name, "runs_dir": str(tmp_path), "seed": seed})
        with RunFolder.create(cfg) as folder:
            for step in range(6):
                text = f"p{step}" if step < 2 or name == "a" else f"q{step}"
                rows = [
                    sample(step, text, 0.2, reason=f"type: This has type int, line {step}"),
                    sample(step, "good", 1.0, verdict="pass", branch="pass"),
                    sample(step, "lost", None, verdict="infra_error", branch="missing"),
                ]
                folder.append_samples(step, rows)
                value = 0.1 * step + (0.05 if name == "b" and step >= 2 else 0.0)
                folder.append_step({"step": step, "reward/mean": value, "host": {"x": name}})
            folder.event("end", step=5, exit_code=0, text="")
    return tmp_path


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["samples", "--help"]])
def test_help_is_light(root: Path, args: list[str]) -> None:
    code = (
        "import sys\nfrom pawl.cli.main import main\n"
        f"try: main({args!r})\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'transformers', 'rich', 'ruamel'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)


def test_module_runs_and_suggests(root: Path, tmp_path: Path) -> None:
    def pawl(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pawl", *args]
        env = os.environ | {"PYTHONPATH": str(root)}
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    assert pawl("--version").stdout.startswith("pawl, version ")
    wrong = pawl("trian")
    assert wrong.returncode == Exit.USER
    assert "Did you mean 'train'?" in wrong.stderr
    wrong = pawl("train", "--resum", "x")
    assert wrong.returncode == Exit.USER
    assert "'--resume'" in wrong.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train"], "no config given"),
        (["train", "nope.yaml"], "no such config file"),
        (["train", "bad.yaml"], "did you mean `optim.lr`?"),
        (["train", "bad.yaml"], "bad.yaml:3: `rollout.group_size` = 0"),
        (["train", "good.yaml", "optim.lr=fast"], "command line: `optim.lr` wants a number"),
        (["train", "--resume", "nope"], "not a run folder"),
        (["train", "--resume", "nope", "x.yaml"], "not a run folder"),
        (["sft", "good.yaml"], "`data` is required"),
        (["samples", "nope"], "not a run folder"),
        (["runs", "nope"], "no such folder"),
        (["diff", "nope", "nope"], "not a run folder"),
        (["samples"], "Missing argument"),
    ],
)
def test_users_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text("seed: 1\n")
    (tmp_path / "bad.yaml").write_text("optim: {lrr: 1}\nrollout:\n  group_size: 0\n")
    code, out, err = run(capsys, *args)
    assert code == Exit.USER
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_exists(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"name: a\nruns_dir: {runs}\n")
    code, _, err = run(capsys, "train", str(file))
    assert code == Exit.USER
    assert "exists already" in err
    code, _, err = run(capsys, "train", "--resume", str(runs / "a"), "seed=2")
    assert code == Exit.USER
    assert "pawl train --from" in err
    code, _, err = run(capsys, "train", "--resume", str(runs / "a"), str(file), "seed=2")
    assert code == Exit.USER
    assert "`seed` is 0 in the run and 2 here" in err


def test_a_missing_extra_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pawl.cli.state.find_spec", lambda name: None)
    file = tmp_path / "a.yaml"
    file.write_text(f"runs_dir: {tmp_path / 'runs'}\n")
    for args in (["train", str(file)], ["check", str(file)], ["eval", "bundled"]):
        code, _, err = run(capsys, *args)
        assert code == Exit.USER
        assert "[train]" in err
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "samples", "nope", "--debug")
    assert code == Exit.USER
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PawlError("the disk is full", code=Exit.STOPPED), Exit.STOPPED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (RuntimeError("a bug"), Exit.CRASH),
    ],
)
def test_endings_of_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: Exit,
) -> None:
    """The run ends inside its folder: the exit code, how to resume, the traceback kept."""
    file = tmp_path / "a.yaml"
    file.write_text(f"runs_dir: {tmp_path / 'runs'}\n")

    def fail(run: RunFolder) -> RunConfig:
        run.append_step({"step": 0})
        raise error

    monkeypatch.setattr(RunFolder, "config", fail)
    found, _, err = run(capsys, "train", str(file))
    assert found == code
    folder = tmp_path / "runs" / "a"
    assert f"pawl train --resume {folder}" in err
    assert "Traceback" not in err
    crashes = list(folder.glob("crash-*.txt"))
    assert len(crashes) == (code == Exit.CRASH)
    if crashes:
        assert str(crashes[0]) in err
        assert "a bug" in crashes[0].read_text()


def test_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "runs", str(runs))
    assert code == 0
    assert "finished" in out
    code, out, _ = run(capsys, "runs", str(runs), "--json")
    assert {r["name"]: r["state"] for r in json.loads(out)} == {"a": "finished", "b": "finished"}


def test_samples_filters(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ids(*args: str) -> list[str]:
        code, out, _ = run(capsys, "samples", str(runs / "a"), "--json", *args)
        assert code == 0
        return [json.loads(line)["problem_id"] for line in out.splitlines()]

    assert len(ids()) == 18
    assert ids("--step", "2") == ["p2", "good", "lost"]
    assert ids("--problem", "p3") == ["p3"]
    assert ids("--stage", "types") == [f"p{i}" for i in range(6)]
    assert set(ids("--stage", "pass")) == {"good"}
    assert ids("--stage", "missing", "--step", "0") == ["lost"]
    assert set(ids("--best", "2")) == {"good"}
    assert ids("--worst", "1") == ["p0"]
    assert ids("--eval") == []
    code, out, _ = run(capsys, "samples", str(runs / "a"), "--limit", "1")
    assert code == 0
    assert "\x1b" not in out
    assert "p0 \\x1b[2J" in out
    assert "1 of 18 samples" in out


def test_samples_failures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "samples", str(runs / "a"), "--failures", "--json")
    assert code == 0
    groups = json.loads(out)
    assert [(g["stage"], g["count"]) for g in groups] == [("missing", 6), ("types", 6)]
    assert groups[1]["message"] == "type: This has type int"
    assert groups[1]["difficulty"] == "easy"
    assert groups[1]["share"] == 0.5
    code, out, _ = run(capsys, "samples", str(runs / "a"), "--failures")
    assert "12 of 18 completions failed, in 2 groups" in out


def test_diff(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", str(runs / "a"), str(runs / "b"), "--json")
    assert code == 0
    result = json.loads(out)
    assert result["config"] == [{"path": "seed", "a": 0, "b": 1}]
    assert result["divergence"]["step"] == 2
    assert result["divergence"]["names"] == ["reward/mean"]
    assert "problem p2" in result["divergence"]["sample"]
    assert [m["name"] for m in result["metrics"]] == ["reward/mean"]
    code, out, _ = run(capsys, "diff", str(runs / "a"), str(runs / "a"))
    assert "options: the same" in out
    assert "every common step is equal" in out


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "schema")
    assert code == 0
    assert json.loads(out)["properties"]["seed"]["minimum"] == 0
    _, out, _ = run(capsys, "schema", "--sft")
    assert "batch_tokens" in json.loads(out)["properties"]


def test_a_reader_that_goes_away_is_no_error(runs: Path, root: Path) -> None:
    command = f"{sys.executable} -m pawl samples {runs / 'a'} --limit 0 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=root, capture_output=True, check=False
    )
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # 141: ended by SIGPIPE, as any Unix tool


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_that_the_terminal_cannot_show(runs: Path, root: Path, encoding: str) -> None:
    with RunFolder.open(runs / "a") as folder:
        folder.append_samples(9, [sample(9, "\u4f60", 0.0)])
    command = [sys.executable, "-m", "pawl", "samples", str(runs / "a"), "--step", "9"]
    env = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, check=True)
    assert b"step 9" in done.stdout

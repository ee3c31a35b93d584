"""Pawl's own run folders: config, steps, events, checks, samples, and runs still being written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pawl.config.options import RunConfig
from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.read_pawl import MOST, read_folder
from pawl.logs.recognise import read_logs, search
from pawl.store.run import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of six steps with two events, a check, and samples."""
    options = {"name": "a", "runs_dir": str(tmp_path), "optim": {"lr": 1e-5}}
    with RunFolder.create(RunConfig.model_validate(options)) as folder:
        folder.append_step({"step": 0, "eval/pass_at_1": 0.25, "host": {"time/eval_s": 3.0}})
        for step in range(1, 7):
            record = {"step": step, "epoch": step / 2, "reward/mean": step / 10, "loss/total": None}
            host = {"time/step_s": 1.5, "memory/slope_mb": None if step < 3 else 0.1}
            folder.append_step({**record, "policy/kl_ref": float("nan"), "host": host})
            rows = [{"step": step, "text": f"t{i}", "tokens": [1, 2]} for i in range(70)]
            folder.append_samples(step, rows)
        folder.preflight([{"name": "no-leak", "passed": True}, {"name": "ties", "passed": False}])
        folder.event("checkpoint", step=4, host={"time_s": 1.0})
        folder.event("warning", source="torch", text="slow", count=2)
        folder.event(
            "command", line=1, command="patch", set={"optim.lr": 1e-6}, step=5, outcome="done"
        )
        folder.event("resume", step=4, checkpoint="step-000004")
    return folder.path


def only(path: Path) -> Log:
    (found,) = read_logs(path)
    return found


def test_a_run_is_read_whole(run: Path) -> None:
    found = only(run)
    assert (found.format, found.library, found.notes) == ("run folder of Pawl", "pawl", [])
    assert list(found.step_N) == list(range(7))
    assert set(found.series) == {
        "epoch",
        "reward/mean",
        "policy/kl_ref",
        "eval/pass_at_1",
        "time/eval_s",
        "time/step_s",
        "memory/slope_mb",
    }
    assert not found.unknown
    assert list(found.series["reward/mean"].row_N) == [1, 2, 3, 4, 5, 6]
    assert found.series["time/step_s"].unit == "s"
    assert list(found.series["memory/slope_mb"].row_N) == [3, 4, 5, 6]
    assert found.config["optim.lr"] == 1e-5
    assert found.config["rollout.group_size"] == RunConfig().rollout.group_size
    assert [check["name"] for check in found.checks] == ["no-leak", "ties"]


def test_events_stand_at_their_steps(run: Path) -> None:
    said = [(event.step, event.kind, event.text) for event in only(run).events]
    assert said == [
        (0.0, "start", ""),
        (4.0, "checkpoint", ""),
        (4.0, "warning", "slow"),
        (5.0, "command", 'patch {"optim.lr": 1e-06}: done'),
        (4.0, "resume", "step-000004"),
    ]


def test_the_newest_samples_are_kept_in_order(run: Path) -> None:
    rows = only(run).samples
    assert len(rows) == 210
    assert [(row["step"], row["text"]) for row in (rows[0], rows[-1])] == [(4, "t0"), (6, "t69")]
    assert all("tokens" not in row for row in rows)
    with (run / "samples" / "step-000007.jsonl").open("w") as file:
        file.writelines(json.dumps({"step": 7, "text": f"u{i}"}) + "\n" for i in range(MOST + 5))
    rows = only(run).samples
    assert [len(rows), rows[0]["text"], rows[-1]["text"]] == [MOST, "u5", f"u{MOST + 4}"]


@pytest.mark.parametrize("name", ["run.json", "steps.jsonl", "events.jsonl"])
def test_a_file_of_the_run_stands_for_it(name: str, run: Path) -> None:
    assert only(run / name).format == "run folder of Pawl"


def test_the_steps_alone_are_still_understood(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "001.json"
    copy.write_bytes((run / "steps.jsonl").read_bytes())
    assert set(only(copy).series) == set(only(run).series)


def test_a_live_run_with_torn_lines(run: Path) -> None:
    for name in ("steps.jsonl", "events.jsonl", "samples/step-000006.jsonl"):
        with (run / name).open("ab") as file:
            file.write(b'{"step": 7, "rew')
    found = only(run)
    assert (len(found.step_N), found.notes) == (7, [])


def test_a_line_that_is_no_record_is_noted(run: Path) -> None:
    for name in ("steps.jsonl", "events.jsonl"):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join([*lines[:4], "garbage\n", *lines[4:]]))
    found = only(run)
    assert len(found.step_N) == 7
    assert len(found.events) == 4
    assert found.notes[0] == "1 line is no JSON object and was left out"
    assert "events.jsonl cannot be read to its end" in found.notes[1]


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    cfg = RunConfig.model_validate({"name": "new", "runs_dir": str(tmp_path)})
    with RunFolder.create(cfg) as folder:
        found = only(folder.path)
    assert found.notes == ["no step is recorded yet"]
    assert diagnose(found).verdict == "CANNOT TELL"


def test_other_folders_are_no_runs(tmp_path: Path) -> None:
    for body in ("{}", "[]", "x", '{"format": 1}', '{"config": {}, "format": 1}', "[" * 99_999):
        (tmp_path / "run.json").write_text(body)
        assert read_folder(tmp_path) is None
    (tmp_path / "steps.jsonl").write_text('{"step": 1, "reward": 0.5}\n' * 2)
    assert [log.format for log in read_logs(tmp_path)] == ["JSON lines"]


def test_a_folder_of_runs_gives_each(run: Path, tmp_path: Path) -> None:
    cfg = RunConfig.model_validate({"name": "b", "runs_dir": str(tmp_path)})
    with RunFolder.create(cfg):
        pass
    (tmp_path / "notes.txt").write_text("x")
    found = search(tmp_path)
    assert [log.path.name for log in found.logs] == ["a", "b"]
    assert [path.name for path, _ in found.skipped] == ["notes.txt"]


def test_a_fork_says_so(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["parent"] = {"run": "runs/z", "step": 3}
    (run / "run.json").write_text(json.dumps(facts))
    assert [(e.step, e.text) for e in only(run).events if e.kind == "fork"] == [(3.0, "runs/z")]


def test_a_broken_run_json_is_said(run: Path) -> None:
    (run / "run.json").write_text("{")
    (run / "steps.jsonl").write_text("")
    with pytest.raises(PawlError, match="no training log in this folder"):
        read_logs(run)

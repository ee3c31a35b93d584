"""The run folder: creation, locks, repair, cutting back, commands, how a run ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pawl.config.load import load_run
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError, PawlErrors
from pawl.store.digests import Records
from pawl.store.lock import holder
from pawl.store.manifest import config_hash, differences, require_same
from pawl.store.read import (
    find_run,
    list_runs,
    places_of,
    read_events,
    read_run,
    read_samples,
    read_steps,
    series,
)
from pawl.store.run import RunFolder


def config(tmp_path: Path, **options: object) -> RunConfig:
    """A config whose run stands below tmp_path."""
    return RunConfig.model_validate({"name": "a", "runs_dir": str(tmp_path / "runs"), **options})


def row(problem: str) -> dict[str, object]:
    """The least that a sample row holds here."""
    return {"problem_id": problem, "text": "x"}


def kinds(run: Path) -> list[object]:
    return [event["kind"] for event in read_events(run)]


def test_create_writes_what_the_run_is(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"runs_dir: {tmp_path / 'runs'}\noptim:\n  lr: 1e-5\nseed: 7\n")
    cfg, places = load_run(file, [], {})
    with RunFolder.create(cfg, places) as run:
        assert run.config() == cfg
    body = read_run(run.path)
    assert (body["seed"], body["parent"], body["config_hash"]) == (7, None, config_hash(cfg))
    changed = {d["path"]: d for d in body["differs_from_defaults"]}  # type: ignore[attr-defined]
    assert set(changed) == {"name", "runs_dir", "optim.lr", "seed"}
    assert changed["optim.lr"] == {
        "path": "optim.lr",
        "default": 5e-6,
        "value": 1e-5,
        "from": f"{file}:3",
    }
    assert {"git", "packages", "hardware", "created"} <= set(body)
    assert places_of(run.path)["optim.lr"] == f"{file}:3"


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    with RunFolder.create(cfg) as run:
        run.append_step({"step": 0})
    with pytest.raises(PawlError, match="exists already") as caught:
        RunFolder.create(cfg)
    assert caught.value.code == Exit.USER
    assert "--resume" in caught.value.hint
    (tmp_path / "runs" / "b").mkdir()
    with pytest.raises(PawlError, match="exists already"):
        RunFolder.create(config(tmp_path, name="b"))


def test_a_run_refused_before_its_first_record_does_not_block_its_name(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    with pytest.raises(PawlError), RunFolder.create(cfg):
        raise PawlError("no OCaml")
    with RunFolder.create(cfg) as run:
        run.append_step({"step": 0})
    with pytest.raises(PawlError), RunFolder.open(run.path):
        raise PawlError("disk full", code=Exit.STOPPED)
    with pytest.raises(PawlError, match="exists already"):
        RunFolder.create(cfg)


def test_a_runs_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(PawlError, match="cannot write") as caught:
        RunFolder.create(config(tmp_path))
    assert caught.value.code == Exit.USER


HOLD = (
    "import sys, time\n"
    "from pawl.store.run import RunFolder\n"
    "from pawl.errors import PawlError\n"
    "try: RunFolder.open(sys.argv[1])\n"
    "except PawlError as e: print(e.block()); raise SystemExit(int(e.code))\n"
    "print('open', flush=True)\n"
    "time.sleep(float(sys.argv[2]))\n"
)


def hold(run: Path, sleep: float) -> subprocess.Popen[str]:
    """Another trainer that opens the folder."""
    command = [sys.executable, "-c", HOLD, str(run), str(sleep)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_second_trainer_is_refused(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        other = hold(run.path, 0)
        out, _ = other.communicate(timeout=60)
        assert other.returncode == Exit.USER
        assert "in use by process" in out
        with pytest.raises(PawlError, match="in use"):
            RunFolder.open(run.path)
        assert hold(run.path, 0).wait(60) == Exit.USER  # the refused open kept our lock
    assert hold(run.path, 0).wait(60) == Exit.OK


def test_kill_9_frees_the_folder_at_once(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        pass
    other = hold(run.path, 600)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    assert holder(run.path) == other.pid
    other.kill()
    other.wait(60)
    other.stdout.close()
    assert holder(run.path) is None
    RunFolder.open(run.path).close()


def test_open_cuts_torn_lines_off(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        run.append_step({"step": 0})
        run.append_samples(0, [row("p")])
        stated = Records(run.path).compare(run.records())[0]
    for name in ("steps.jsonl", "samples/step-000000.jsonl"):
        with (run.path / name).open("a") as f:
            f.write('{"step": 1, "rew')
    assert len(read_steps(run.path)) == 1
    assert len(list(read_samples(run.path))) == 1
    with RunFolder.open(run.path) as again:
        assert read_events(run.path)[-1]["files"] == ["steps.jsonl"]
        again.append_step({"step": 1})
        assert [r["step"] for r in read_steps(run.path)] == [0, 1]
        again.cut_after(0, stated)
        again.append_step({"step": 1})
    assert (run.path / "samples" / "step-000000.jsonl").read_bytes().endswith(b"}\n")
    assert [r["step"] for r in read_steps(run.path)] == [0, 1]


def test_cut_after_drops_later_records_and_no_event(tmp_path: Path) -> None:
    stated: dict[str, str] = {}
    with RunFolder.create(config(tmp_path)) as run:
        for step in range(5):
            run.append_samples(step, [row(f"p{step}")])
            run.append_step({"step": step, "reward/mean": float("nan") if step == 1 else 0.1})
            stated = run.records() if step == 2 else stated
        run.append_samples(4, [row("q")], kind="eval")
        before = (run.path / "steps.jsonl").read_bytes().splitlines(keepends=True)
        n_events = len(read_events(run.path))
        found, wrong = Records(run.path).compare(stated)
        assert not wrong and "3 lines" in stated["steps.jsonl"]
        assert run.cut_after(2, found) == 2
        assert (run.path / "steps.jsonl").read_bytes() == b"".join(before[:3])
        names = sorted(p.name for p in (run.path / "samples").iterdir())
        assert names == [f"step-{i:06d}.jsonl" for i in range(3)]
        assert len(read_events(run.path)) == n_events + 1
        assert read_events(run.path)[-1]["records"] == 2
        assert [s for s, v in series(read_steps(run.path), "reward/mean") if v != v] == [1]
        assert {n: t for n, t in run.records().items() if n in stated and n[0] == "s"} == {
            n: t for n, t in stated.items() if n[0] == "s"
        }
        run.cut_after(-1, {})
        assert read_steps(run.path) == []


def test_commands_are_handed_out_once_and_survive_a_restart(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        control = run.path / "control.jsonl"
        patch = {"command": "patch", "set": {"optim.lr": 1e-6}}
        lines = [{"command": "stop"}, {"command": "dance"}, {"command": "patch"}, patch]
        control.write_text("\n".join(json.dumps(line) for line in lines) + '\nnot json\n{"comm')
        found = run.commands()
        assert [(c["command"], c["line"]) for c in found] == [("stop", 1), ("patch", 4)]
        assert run.commands() == []
        refused = [e["line"] for e in read_events(run.path) if e.get("outcome") == "refused"]
        assert refused == [2, 3, 5]
        run.acknowledge(found[0], step=3)
    with RunFolder.open(run.path) as again:  # the patch was never carried out
        assert [c["line"] for c in again.commands()] == [4]
        with control.open("a") as f:
            f.write('and": "checkpoint"}\n')
        assert [c["command"] for c in again.commands()] == ["checkpoint"]


def test_how_a_run_ended_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    endings = {
        "bug": ZeroDivisionError("x"),
        "user": PawlError("no OCaml"),
        "full": PawlError("disk full", code=Exit.STOPPED),
        "ctrl-c": KeyboardInterrupt(),
    }
    for name, error in endings.items():
        with pytest.raises(type(error)), RunFolder.create(config(tmp_path, name=name)) as run:
            run.append_step({"step": 0, "reward/mean": 0.5, "eval/pass_at_1": 0.1})
            raise error
    with RunFolder.create(config(tmp_path, name="done")) as run:
        run.event("end", step=1, exit_code=1, text="")
    live = RunFolder.create(config(tmp_path, name="live"))
    states = {info.name: info.state for info in list_runs(folder)}
    live.close()
    assert states == {
        "bug": "crashed",
        "user": "refused",
        "full": "stopped",
        "ctrl-c": "interrupted",
        "done": "target missed",
        "live": "running",
    }
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("garbage")  # hides none of the others
    states = {i.name: i.state for i in list_runs(folder)}
    assert (states["live"], states["broken"]) == ("killed", "damaged")


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(PawlError, match="format"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(PawlError, match="unreadable"):
        RunFolder.open(tmp_path)
    assert holder(tmp_path) is None
    with RunFolder.create(config(tmp_path, name="quickstart")):
        pass
    with pytest.raises(PawlError, match="did you mean `quickstart`"):
        find_run("quikstart", tmp_path / "runs")


def test_a_config_of_another_version_is_a_users_error(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        body = run.facts()
        body["config"]["optim"]["gone"] = 1  # type: ignore[index]
        run.update(config=body["config"], sandbox={"tier": "landlock"})
        assert run.facts()["sandbox"] == {"tier": "landlock"}
        with pytest.raises(PawlError, match="does not know"):
            run.config()


def test_resume_keeps_the_config(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        require_same(run.path, run.config(), config(tmp_path, name="b", runs_dir="elsewhere"))
        with pytest.raises(PawlErrors, match=r"`seed` is 0 in the run and 1 here"):
            require_same(run.path, run.config(), config(tmp_path, seed=1))


def test_hash_ignores_name_and_place_only(tmp_path: Path) -> None:
    base = config_hash(config(tmp_path))
    assert base == config_hash(config(tmp_path, name="b", runs_dir="x"))
    assert base != config_hash(config(tmp_path, seed=1))
    assert differences(RunConfig(), {}) == []


def test_checkpoints_are_listed_when_visible(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        for name in ("step-000020", "step-000003", "step-000040.tmp"):
            (run.checkpoints_dir / name).mkdir()
        assert [step for step, _ in run.checkpoints()] == [3, 20]


def test_a_reader_beside_a_writer_sees_whole_records_only(tmp_path: Path) -> None:
    """A reader polls while another process appends long lines."""
    with RunFolder.create(config(tmp_path)) as run:
        pass
    code = (
        "import sys\n"
        "from pawl.store.run import RunFolder\n"
        "with RunFolder.open(sys.argv[1]) as run:\n"
        "    for i in range(300): run.append_step({'step': i, 'pad': 'x' * 20000})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(run.path)])
    seen = 0
    deadline = time.monotonic() + 60
    while seen < 300 and time.monotonic() < deadline:
        steps = [r["step"] for r in read_steps(run.path)]
        assert steps == list(range(len(steps)))
        assert len(steps) >= seen
        seen = len(steps)
    assert writer.wait(60) == 0
    assert seen == 300


NO_NAMES = ("../x", "a/b", "/x", ".", "..", "", "a\0b", "a\nb", "a\x1bb", "a\ud800", "x" * 201)


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_run_stands_in_its_runs_dir_or_nowhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(PawlError, match="run's name") as caught:
        RunFolder.create(RunConfig().model_copy(update={"name": name, "runs_dir": str(tmp_path)}))
    assert caught.value.code == Exit.USER and "\0" not in caught.value.block()
    assert not list(tmp_path.iterdir())
    if name:
        with pytest.raises(ValueError, match="run's name"):
            config(tmp_path, name=name)
    if name.strip("."):
        with pytest.raises(PawlError, match="not a run folder"):
            find_run(name, tmp_path / "runs")


def test_a_name_may_be_any_other(tmp_path: Path) -> None:
    for name in ("a b", "\u00e9\u4f60", "...", "a@3", "-x", "x" * 200):
        with RunFolder.create(config(tmp_path, name=name)) as run:
            assert run.path.parent == tmp_path / "runs"


def test_no_name_leads_out_of_runs_dir_on_resume(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)):
        pass
    (tmp_path / "other").mkdir()
    with pytest.raises(PawlError, match="not a run folder"):
        find_run("../runs/a", tmp_path / "other")
    assert find_run(str(tmp_path / "other" / ".." / "runs" / "a")).name == "a"  # a path is one
    with pytest.raises(PawlError, match="not a run folder"):
        find_run("x" * 5000)


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        run.append_step({"step": 0})
        moved = run.path.rename(tmp_path / "elsewhere")
        before = sorted(moved.rglob("*"))
        writes: list[Callable[[], object]] = [
            lambda: run.append_step({"step": 1}),
            lambda: run.append_samples(1, [row("p")]),
            lambda: run.event("x"),
            lambda: run.update(device="cpu"),
            run.records,
        ]
        for write in writes:
            with pytest.raises(PawlError, match="moved or removed") as caught:
                write()
            assert caught.value.code == Exit.STOPPED
        assert not run.path.exists()
        shutil.copytree(moved, run.path)  # another run in its place
        for write in writes:
            with pytest.raises(PawlError, match="moved or removed"):
                write()
        assert kinds(run.path) == ["start"] and not list((run.path / "samples").iterdir())
    assert sorted(moved.rglob("*")) == before


def test_a_file_that_somebody_else_changed_stops_the_run(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        run.append_step({"step": 0})
        with (run.path / "steps.jsonl").open("a") as f:
            f.write("{}\n")
        with pytest.raises(PawlError, match="was changed") as caught:
            run.append_step({"step": 1})
        assert caught.value.code == Exit.STOPPED
        (run.path / "steps.jsonl").unlink()
        with pytest.raises(PawlError):
            run.append_step({"step": 1})
        assert not (run.path / "steps.jsonl").exists()


def test_a_changed_run_json_is_not_resumed(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        run.update(sandbox={"tier": "landlock", "x": float("nan")})
    RunFolder.open(run.path).close()
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(PawlError, match="changed since it was written"):
        RunFolder.open(run.path)
    (run.path / "run.json").write_text(text.replace("\n", " "))  # the same values
    RunFolder.open(run.path).close()


def test_commands_that_were_carried_out_must_stand_where_they_did(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as run:
        control = run.path / "control.jsonl"
        lines = ['{"command": "checkpoint"}\n', "no\n", '{"command": "pause"}\n']
        control.write_text("".join(lines))
        for command in run.commands():
            run.acknowledge(command, 1)
    for text in ("", lines[0], "".join(lines[1:]), "".join([lines[2], *lines[1:]])):
        control.write_text(text)
        with RunFolder.open(run.path) as again, pytest.raises(PawlError, match="carried out"):
            again.commands()
    control.write_text("".join([*lines, '{"command": "stop"}\n']))
    with RunFolder.open(run.path) as again:
        assert [c["command"] for c in again.commands()] == ["stop"]

"""Forks: the parent's history and nothing else, the same bytes without a change, honest pairs.

Tiny random models and a user's reward, as in test_train_loop.py.
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import date

import pytest
import tiny_runs
from test_train_loop import kinds
from test_train_resume import assert_same, without_host
from tiny_runs import ROOT, fork, resume

from pawl.cli.main import main
from pawl.errors import Exit, PawlError
from pawl.models import checkpoint
from pawl.store.compare import compare
from pawl.store.manifest import parent_of
from pawl.store.read import read_events, read_run, read_samples, read_steps, run_info
from pawl.store.run import RunFolder
from pawl.train.fork import open_fork

KEEP = ["checkpoint.every=1", "checkpoint.keep_last=0"]
WAYS = {
    "full": [
        *["optim.schedule=linear", "algo.kl=k1", "algo.kl_coef=0.1", "algo.kl_target=0.2"],
        "algo.epochs=2",
    ],
    "lora": ["model.lora.r=4", "algo.kl_coef=0.1", "algo.kl=k2"],
    "plain": [],
}


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """finished(way) -> path of a run of 4 steps with all checkpoints, made once."""
    made = {}

    def go(way):
        if way not in made:
            folder = tmp_path_factory.mktemp(way)
            text = tiny_runs.config(model)
            made[way], _ = tiny_runs.begin(folder, "whole", text, [*KEEP, *WAYS[way]])
        return made[way]

    return go


@pytest.fixture
def parent(finished, tmp_path):
    """parent(way) -> path of a copy of a finished run, in a folder of runs of its own."""
    return lambda way="plain": shutil.copytree(finished(way), tmp_path / "runs" / "whole")


@pytest.fixture
def parent_of_forks(model, tmp_path):
    """parent_of_forks(overrides, control) -> path of a new run of 4 steps, all checkpoints."""

    def go(overrides=(), control=()):
        (tmp_path / "runs").mkdir()
        ways = [*KEEP, *overrides]
        text = tiny_runs.config(model)
        return tiny_runs.begin(tmp_path / "runs", "whole", text, ways, control)[0]

    return go


@pytest.mark.parametrize("way", ["full", "lora"])
def test_a_fork_without_a_change_goes_on_to_the_same_bytes(parent, way):
    whole = parent(way)
    path, result = fork(f"{whole}@2", proved=True)
    assert result.exit_code == Exit.OK
    assert path.name == "whole-fork"
    assert_same(whole, path, steps=4)
    facts = read_run(path)
    best = checkpoint.state_of(path / "checkpoints" / "step-000002")["best_step"]
    assert (path / "checkpoints" / f"step-{best:06d}").is_dir()  # what `pawl export` would take
    parent = parent_of(facts)
    assert (parent.run, parent.step, parent.changed) == (str(whole), 2, {})
    assert parent.config_hash == facts["config_hash"] == read_run(whole)["config_hash"]
    assert kinds(path)[:1] == ["start"]
    assert "fork" in kinds(path) and "resume" not in kinds(path)
    again, _ = open_fork(f"{whole}@2", ())
    with again:
        assert again.path.name == "whole-fork-2"


def test_the_newest_valid_checkpoint_is_the_default(parent):
    whole = parent()
    (whole / "checkpoints" / "step-000004" / "policy" / "model.safetensors").write_bytes(b"torn")
    (whole / "checkpoints" / "step-000009.tmp").mkdir()
    path, _ = fork(str(whole), "name=mine")
    assert (path.name, read_run(path)["parent"]["step"]) == ("mine", 3)
    assert (whole / "checkpoints" / "step-000009.tmp").exists()  # a live trainer may be writing it


def test_a_fork_stands_alone_and_can_be_resumed_and_forked(parent, tmp_path):
    whole = parent()
    changed = ["optim.lr=5e-4", "train.steps=6", "eval.every=3"]
    straight, _ = fork(f"{whole}@2", *changed, "name=straight")
    stopped, result = fork(f"{whole}@2", *changed, "name=cut", control=[{"command": "stop"}])
    assert result.exit_code == Exit.STOPPED
    gone = tmp_path / "gone"
    whole.rename(gone)
    assert resume(stopped).exit_code == Exit.OK
    assert_same(straight, stopped, steps=6)
    assert [r["optim/lr"] for r in read_steps(stopped) if r["step"]] == [1e-3] * 2 + [5e-4] * 4
    assert read_run(stopped)["parent"]["changed"]["optim.lr"] == {"from": 1e-3, "to": 5e-4}
    again, _ = fork(f"{stopped}@4", "name=again")
    assert_same(straight, again, steps=6)
    assert read_run(again)["parent"]["start_step"] == 0


def test_the_day_that_a_template_prints_is_that_of_the_first_run(model, tmp_path):
    dated = shutil.copytree(model, tmp_path / "dated")
    template = "{{ strftime_now('%d.%m.%Y') }} {{ messages[0].content }}"
    (dated / "chat_template.jinja").write_text(template)
    ways = ["train.steps=2", "eval.every=0", "checkpoint.every=1"]
    path, _ = tiny_runs.begin(tmp_path, "first", tiny_runs.config(dated), ways)
    assert read_run(path)["date"] == date.today().isoformat()
    with RunFolder.open(path) as began:
        began.update(date="2024-02-29")  # long ago
    shutil.rmtree(path / "checkpoints" / "step-000002")
    resume(path)
    forked, _ = fork(f"{path}@1", "name=forked", "optim.lr=5e-4")
    dayless, _ = fork(f"{path}@1", "name=dayless", "prompt.date=2020-01-01")
    for run, day in [(path, "29.02.2024"), (forked, "29.02.2024"), (dayless, "01.01.2020")]:
        assert {row["prompt"].split()[0] for row in read_samples(run, 2)} == {day}
    assert read_run(forked)["date"] == "2024-02-29"


def test_a_changed_evaluation_counts_from_the_fork(parent):
    whole = parent()
    ways = ["eval.samples=3", "optim.lr=0", "eval.every=1", "train.steps=5"]
    path, _ = fork(f"{whole}@2", *ways, "name=straight")
    records = list(read_steps(path))
    assert without_host(path / "steps.jsonl")[:2] == without_host(whole / "steps.jsonl")[:2]
    assert records[2]["eval/gain"] == records[3]["eval/gain"] == records[5]["eval/gain"] == 0
    assert (records[2]["eval/problems"], records[3]["eval/problems"]) == (4, 2)
    assert len([r for r in read_samples(path, 2, "eval") if r["set"] == "held_out"]) == 4 * 3
    event = next(e for e in read_events(path) if e["kind"] == "fork")
    assert (event["step"], event["start_step"]) == (2, 2)
    assert "gains count from step 2" in event["text"] and "eval.samples" in event["text"]
    stopped, _ = fork(f"{whole}@2", *ways, "name=cut", control=[{"command": "stop"}])
    resume(stopped)
    assert_same(path, stopped, steps=5)
    again, _ = fork(f"{path}@3", "name=again")  # a fork of a fork keeps the pair
    assert read_run(again)["parent"]["start_step"] == 2
    assert_same(path, again, steps=5)
    assert run_info(path).success_first == records[2]["eval/success"]


def test_killed_while_it_evaluates_anew(parent, tmp_path):
    whole = parent()
    ways = ["eval.samples=3", "train.steps=3"]
    straight, _ = fork(f"{whole}@2", *ways, "name=straight")
    for number, place in enumerate(
        (
            "pawl.train.fork:copy_records",
            "pawl.models.checkpoint:adopt",
            "pawl.train.heldout:from_rows",
            "pawl.store.run:RunFolder.replace_last_step",
            "pawl.train.loop:train_step",
        )
    ):
        name = f"killed-{number}"
        args = ["train", "--from", f"{whole}@2", *ways, f"name={name}", "--quiet"]
        driver = [sys.executable, str(ROOT / "kill_driver.py"), place, "1"]
        done = subprocess.run(
            [*driver, *args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == -9, (place, done.stderr)
        assert resume(whole.parent / name).exit_code == Exit.OK
        assert_same(straight, whole.parent / name, steps=3)


test_killed_while_it_evaluates_anew = pytest.mark.slow(test_killed_while_it_evaluates_anew)


def test_what_was_patched_goes_along(parent_of_forks):
    patch = {"command": "patch", "set": {"optim.lr": 2e-3}}
    whole = parent_of_forks(["train.steps=3"], control=[patch])  # carried out after step 1
    path, _ = fork(f"{whole}@2")
    assert_same(whole, path, steps=3)
    assert read_run(path)["config"]["optim"]["lr"] == 2e-3
    before, _ = fork(f"{whole}@0", "name=before")
    assert [r["optim/lr"] for r in read_steps(before) if r["step"]] == [1e-3] * 3


def test_length_and_schedule_are_counted_on_in_steps_of_the_new_size(parent_of_forks):
    whole = parent_of_forks(["train.steps=0", "train.samples=48", "optim.schedule=linear"])
    path, _ = fork(f"{whole}@2", "rollout.prompts=2", "algo.minibatches=2", "name=small")
    records = list(read_steps(path))
    assert [r["samples"] for r in records] == [0, 12, 24, 32, 40, 48]
    assert [r["optim/steps"] for r in records if r["step"]] == [1, 2, 4, 6, 8]
    assert records[-1]["optim/lr"] == 0.0
    rates = [r["optim/lr"] for r in records[1:]]
    assert rates == sorted(rates, reverse=True) and rates[-2] > 0


def test_what_a_checkpoint_cannot_follow_is_refused(parent):
    whole = parent("lora")
    before = sorted(p.name for p in whole.parent.iterdir())
    for override in ("model.lora.r=8", "model.lora.alpha=8", "model.path=bundled"):
        with pytest.raises(PawlError, match="weights belong") as e:
            fork(f"{whole}@2", override)
        assert e.value.where == "command line"
    with pytest.raises(PawlError, match="no checkpoint of step 7") as e:
        fork(f"{whole}@7")
    assert e.value.hint == "steps with a checkpoint: 0, 1, 2, 3, 4"
    with pytest.raises(PawlError, match="nothing is left to train"):
        fork(str(whole))
    with pytest.raises(PawlError, match="unknown option"):
        fork(f"{whole}@2", "optim.lrr=1")
    assert sorted(p.name for p in whole.parent.iterdir()) == [*before, "whole-fork"]
    assert fork(f"{whole}@2")[0].name == "whole-fork"  # the refused one blocks no name


def test_problems_that_were_trained_on_cannot_be_held_out(parent_of_forks, tmp_path):
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"(* Adds {i}. *)\nlet f (x : int) : int =",
            "lang": "ocaml",
            "entry_point": "f",
            "solution": f"let f (x : int) : int =\n  x + {i}",
            "tests": f"let () = assert (f 1 = {1 + i})",
        }
        for i in range(12)
    ]
    sets = {"a": rows[:9], "b": rows[9:], "c": rows[6:]}
    for name, part in sets.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    files = {name: tmp_path / f"{name}.jsonl" for name in sets}
    ways = [f"problems.train={files['a']}", f"problems.held_out={files['b']}", "problems.limit=0"]
    whole = parent_of_forks([*ways, "problems.audit=false", "train.steps=3"])
    with pytest.raises(PawlError, match="trained on 3 of the held-out problems, such as p6"):
        fork(str(whole), f"problems.held_out={files['c']}", "train.steps=4")
    path, _ = fork(str(whole), "problems.limit=4", "train.steps=4")
    assert read_run(path)["parent"]["start_step"] == 3


def test_an_edited_reward_file_is_noticed(parent, tmp_path):
    whole = parent()
    with RunFolder.open(whole) as run:
        run.update(reward=run.facts()["reward"] | {"hash": "of another day"})
    path, _ = fork(f"{whole}@2")
    assert "the reward's file changed" in next(
        e["text"] for e in read_events(path) if e["kind"] == "fork"
    )


def test_a_preset_of_the_fork_sets_what_is_left_open(parent_of_forks):
    ways = ["algo.clip_high=0.3", "algo.normaliser=sequence", "train.steps=1"]
    path, _ = fork(f"{parent_of_forks(ways)}@0", "algo.preset=dr_grpo", "algo.clip_high=0.25")
    algo = read_run(path)["config"]["algo"]
    assert (algo["advantage"], algo["normaliser"], algo["clip_high"]) == (
        "dr_grpo",
        "constant",
        0.25,
    )


def test_readers_show_the_parent(parent, capsys):
    whole = parent()
    path, _ = fork(f"{whole}@2", "optim.lr=1e-2")
    assert run_info(path).parent == "whole@2"
    result = compare(whole, path)
    assert (result.lineage, result.shared_until) == ("B is a fork of A at step 2", 2)
    assert (result.common_steps, result.divergence.step) == (2, 3)
    other, _ = fork(f"{whole}@3", "name=other")
    assert compare(path, other).shared_until == 2
    with pytest.raises(SystemExit):
        main(["runs", str(whole.parent)])
    assert "whole-fork (from whole@2)" in capsys.readouterr().out


def test_the_command_line(parent, capsys, monkeypatch, tmp_path):
    whole = parent()
    monkeypatch.chdir(tmp_path)

    def pawl(*args):
        with pytest.raises(SystemExit) as e:
            main(["train", *args])
        return e.value.code, capsys.readouterr().err

    code, err = pawl("--from", str(whole), "--resume", str(whole))
    assert code == 2 and "exclude each other" in err
    code, err = pawl("--from", str(whole), "whole.yaml")
    assert code == 2 and "takes no config" in err
    code, err = pawl("--from", "whole@3", "optim.lr=1e-4", "name=cli", "--quiet")
    assert code == 0, err
    assert read_run(tmp_path / "runs" / "cli")["parent"]["run"] == "runs/whole"
    shutil.rmtree(whole)
    code, err = pawl("--from", "cli@3", "name=cli2", "--quiet")
    assert code == 0, err

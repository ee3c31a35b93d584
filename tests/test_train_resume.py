"""kill -9 and resume: the same weights, records and samples as a run that was never killed.

Real runs of the bundled model with the compiler, scorer processes and cache; what is killed is a
process of its own. The quick test kills once; the slow ones kill inside checkpoint writing, scoring
and the optimiser step, and at seven random moments.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

import pawl
from pawl.algo.shaping import Spread
from pawl.config.options import RunConfig
from pawl.errors import Exit
from pawl.store.read import read_events
from pawl.train.progress import Progress, TrainState

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
seed: 3
problems: {train: starter-ocaml, limit: 4, audit: false}
rollout: {prompts: 2, group_size: 4, max_tokens: 40}
optim: {lr: 2e-4, warmup: 2}
train: {steps: 4, threads: 1}
eval: {every: 3, problems: 3, probe: 2, samples: 2}
checkpoint: {every: 2, keep_last: 3}
sandbox: {workers: 2}
"""
needs_ocaml = pytest.mark.skipif(
    shutil.which("ocamlc") is None, reason="no OCaml compiler: install ocaml-nox"
)


def start(folder, name, driver=()):
    """A run in a process of its own; driver: where and when it kills itself."""
    return launched(folder, "train", *asked(folder, name), driver=driver)


def asked(folder, name):
    config = folder / "tiny.yaml"
    config.write_text(CONFIG)
    return str(config), f"name={name}", f"runs_dir={folder}"


def launched(folder, *args, driver=()):
    program = [str(ROOT / "tests" / "kill_driver.py"), *driver] if driver else ["-m", "pawl"]
    return subprocess.Popen(
        [sys.executable, *program, *args, "--quiet"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("a"),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def wait(process, folder, timeout=240):
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hung: {(folder / 'stderr.txt').read_text()[-2000:]}")


def finish(run):
    """Resume until the run is complete."""
    assert pawl.train(resume=run).exit_code in (Exit.OK, Exit.FINDINGS)


def without_host(path):
    lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return [{k: v for k, v in row.items() if k != "host"} for row in lines]


def assert_same(whole, other, steps=4):
    assert without_host(whole / "steps.jsonl") == without_host(other / "steps.jsonl")
    names = sorted(p.name for p in (whole / "samples").iterdir())
    assert names == sorted(p.name for p in (other / "samples").iterdir())
    for name in names:
        assert without_host(whole / "samples" / name) == without_host(other / "samples" / name)
    last = f"checkpoints/step-{steps:06d}"
    files = sorted(str(p.relative_to(whole / last)) for p in (whole / last).rglob("*.safetensors"))
    assert len(files) == 2, files
    for file in files:
        assert (whole / last / file).read_bytes() == (other / last / file).read_bytes(), file


def assert_no_step_repeated(run):
    """Between two resumes no step at or before the restored checkpoint is trained again."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().split("\n")[:-1]]
    restored = [e["step"] for e in events if e["kind"] == "resume"]
    assert restored, "the run was never resumed"
    saved, after = set(), None
    for event in events:
        if event["kind"] == "resume":
            after = event["step"]
            saved = {s for s in saved if s <= after}
        if event["kind"] == "checkpoint":
            assert event["step"] not in saved
            assert after is None or event["step"] > after or event["step"] == 0
            saved.add(event["step"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    config, *ways = asked(folder, "whole")
    return pawl.train(config, overrides=ways).path


def killed_at(folder, place, count):
    code = wait(start(folder, "hit", driver=(place, str(count))), folder)
    assert code == -signal.SIGKILL, (folder / "stderr.txt").read_text()[-2000:]
    return folder / "hit"


@needs_ocaml
def test_killed_inside_a_step_and_resumed(whole, tmp_path):
    run = killed_at(tmp_path, "pawl.models.learner:clip_grad_norm", 5)  # two are the preflight's
    finish(run)
    assert_same(whole, run)
    assert_no_step_repeated(run)


@needs_ocaml
@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("pawl.models.checkpoint:save_file", 1),  # the checkpoint at the very start
        ("pawl.models.checkpoint:save_file", 3),
        ("pawl.models.checkpoint:_sync_dir", 2),  # visible, but its event is not written
        ("pawl.rewards.grader:Grader.poll", 60),
        ("torch.optim:AdamW.step", 3),
        ("pawl.store.run:append_lines", 9),
    ],
)
def test_killed_at_a_chosen_place(whole, tmp_path, place, count):
    run = killed_at(tmp_path, place, count)
    finish(run)
    assert_same(whole, run)
    assert_no_step_repeated(run)


def written(run):
    """Bytes of the events so far."""
    path = run / "events.jsonl"
    return path.stat().st_size if path.exists() else 0


def lasted(run):
    """Seconds from the start of a run to its end."""
    at = [
        datetime.fromisoformat(e["at"]) for e in read_events(run) if e["kind"] in ("start", "end")
    ]
    return (at[1] - at[0]).total_seconds()


@needs_ocaml
@pytest.mark.slow
def test_killed_at_random_moments(whole, tmp_path):
    rng, run, kills = random.Random(0), tmp_path / "random", 0
    process = start(tmp_path, "random")
    while kills < 7:
        seen = written(run)
        moment = None  # counted from the first event of this process
        while process.poll() is None and (moment is None or time.monotonic() < moment):
            if moment is None and written(run) != seen:
                moment = time.monotonic() + rng.uniform(0.0, 0.5) * lasted(whole)
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        process = launched(tmp_path, "train", "--resume", str(run))
    code = wait(process, tmp_path)
    assert code in (0, 1), (tmp_path / "stderr.txt").read_text()[-2000:]
    assert kills >= 3
    assert_same(whole, run)
    assert_no_step_repeated(run)


@needs_ocaml
@pytest.mark.slow  # the tiny model's: test_train_loop.py
def test_resuming_a_finished_run_changes_nothing(whole):
    before = (whole / "steps.jsonl").read_bytes()
    finish(whole)
    assert (whole / "steps.jsonl").read_bytes() == before


def test_a_checkpoint_from_before_strata_loads():
    state = Progress.of(RunConfig()).state
    state.strata = {"": Spread(3, 0.1, 0.2), "level ocaml easy": Spread(2, 1 / 3, 0.7)}
    written = json.loads(json.dumps(state.as_dict()))
    assert TrainState.read(written, "here") == state
    del written["strata"], written["spread"]
    older = TrainState.read(written, "here")
    assert (older.strata, older.spread) == ({}, Spread())

"""kill -9 and resume: the same weights, records and samples as a run that was never killed.

Real runs of the bundled model with the compiler, scorer processes and cache. The quick test kills
once; the slow ones kill inside checkpoint writing, scoring and the optimiser step, and at seven
random moments.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
seed: 3
problems: {train: starter-ocaml, limit: 10, audit: false}
rollout: {prompts: 4, group_size: 4, max_tokens: 64}
optim: {lr: 2e-4, warmup: 2}
train: {steps: 6, threads: 1}
eval: {every: 3, problems: 6, probe: 4, samples: 2}
checkpoint: {every: 2, keep_last: 3}
"""
needs_ocaml = pytest.mark.skipif(
    shutil.which("ocamlc") is None, reason="no OCaml compiler: install ocaml-nox"
)


def pawl(folder, *args, driver=()):
    command = [sys.executable, "-m", "pawl", *args]
    if driver:
        command = [sys.executable, str(ROOT / "tests" / "kill_driver.py"), *driver, *args]
    return subprocess.Popen(
        [*command, "--quiet"],
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


def start(folder, name, driver=()):
    config = folder / "tiny.yaml"
    config.write_text(CONFIG)
    return pawl(folder, "train", str(config), f"name={name}", f"runs_dir={folder}", driver=driver)


def finish(folder, name):
    """Resume until the run is complete; returns how often it took."""
    for attempt in range(1, 4):
        code = wait(pawl(folder, "train", "--resume", str(folder / name)), folder)
        if code in (0, 1):
            return attempt
    pytest.fail((folder / "stderr.txt").read_text()[-2000:])


def without_host(path):
    lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return [{k: v for k, v in row.items() if k != "host"} for row in lines]


def assert_same(whole, other, steps=6):
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
    code = wait(start(folder, "whole"), folder)
    assert code in (0, 1), (folder / "stderr.txt").read_text()[-2000:]
    return folder / "whole"


def killed_at(folder, name, place, count):
    code = wait(start(folder, name, driver=(place, str(count))), folder)
    assert code == -signal.SIGKILL, (folder / "stderr.txt").read_text()[-2000:]


@needs_ocaml
def test_killed_inside_a_step_and_resumed(whole, tmp_path):
    killed_at(tmp_path, "hit", "pawl.models.learner:clip_grad_norm", 4)
    finish(tmp_path, "hit")
    assert_same(whole, tmp_path / "hit")
    assert_no_step_repeated(tmp_path / "hit")


@needs_ocaml
@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("pawl.models.checkpoint:save_file", 1),  # the checkpoint at the very start
        ("pawl.models.checkpoint:save_file", 3),
        ("pawl.models.checkpoint:_sync_dir", 2),  # visible, but its event is not written
        ("pawl.rewards.grader:Grader.poll", 150),
        ("torch.optim:AdamW.step", 3),
        ("pawl.store.run:append_lines", 9),
    ],
)
def test_killed_at_a_chosen_place(whole, tmp_path, place, count):
    killed_at(tmp_path, "hit", place, count)
    finish(tmp_path, "hit")
    assert_same(whole, tmp_path / "hit")
    assert_no_step_repeated(tmp_path / "hit")


@needs_ocaml
@pytest.mark.slow
def test_killed_at_random_moments(whole, tmp_path):
    rng = random.Random(0)
    name, process, kills = "random", start(tmp_path, "random"), 0
    run = tmp_path / name
    while kills < 7:
        deadline = time.monotonic() + rng.uniform(1.0, 9.0)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        if not (run / "run.json").exists():
            process = start(tmp_path, name)
        else:
            process = pawl(tmp_path, "train", "--resume", str(run))
    code = wait(process, tmp_path)
    assert code in (0, 1), (tmp_path / "stderr.txt").read_text()[-2000:]
    assert kills >= 3
    assert_same(whole, run)
    assert_no_step_repeated(run)


@needs_ocaml
def test_resuming_a_finished_run_changes_nothing(whole):
    before = (whole / "steps.jsonl").read_bytes()
    finish(whole.parent, "whole")
    assert (whole / "steps.jsonl").read_bytes() == before

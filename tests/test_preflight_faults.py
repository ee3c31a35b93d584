"""bubblewrap disappears in the middle of a run: no number, a clear stop, and a resume.

A real run of the bundled model; bwrap is a link in a folder of the test's own, removed when the
second step begins. A missing compiler, a full disk and killed workers: test_rewards_*.py.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
problems: {train: starter-ocaml, limit: 6, audit: false}
rollout: {prompts: 3, group_size: 2, max_tokens: 64}
reward: {cache: false}
optim: {lr: 1e-4}
train: {steps: 3, threads: 1}
eval: {every: 0, problems: 2}
"""


def pawl(folder, args, path, remove=None):
    command = [sys.executable, "-m", "pawl", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    if remove:
        driver = str(ROOT / "tests" / "kill_driver.py")
        command = [sys.executable, driver, "pawl.train.loop:train_step", "2", *args]
        env["REMOVE"] = str(remove)
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def open_folder():
    """A folder that the candidates' own user may enter; pytest's are private."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.slow
def test_without_bubblewrap_the_run_stops_and_resume_goes_on(tmp_path, open_folder):
    real = shutil.which("bwrap")
    if real is None or shutil.which("ocamlc") is None:
        pytest.skip("install bubblewrap and ocaml-nox")
    own = open_folder
    (own / "bwrap").symlink_to(real)
    path = f"{own}:{os.environ['PATH']}"
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    args = ["train", str(config), f"runs_dir={tmp_path}", "sandbox.tier=bubblewrap"]
    code, text = pawl(tmp_path, args, path, remove=own / "bwrap")
    assert code == 4, text
    run = tmp_path / "run"
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().split("\n")[:-1]]
    assert "missing" in text
    assert "--resume" in text
    assert [r["step"] for r in steps] == [0, 1]
    (own / "bwrap").symlink_to(real)
    code, text = pawl(tmp_path, ["train", "--resume", str(run)], path)
    assert code in (0, 1), text
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().split("\n")[:-1]]
    assert [r["step"] for r in steps] == [0, 1, 2, 3]
    assert all(r.get("verifier/missing_frac", 0) == 0 for r in steps)

"""`pawl check`, `train` and what reads a run, from a tiny random model to the last line (slow)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

CONFIG = """
name: tiny
model: {path: MODEL}
prompt: {max_tokens: 3000}
problems: {train: starter-ocaml, limit: 8, audit: false}
rollout: {prompts: 4, group_size: 4, max_tokens: 128}
optim: {lr: 1e-4}
train: {steps: 2, threads: 1}
eval: {every: 1, problems: 4, probe: 2, samples: 1}
"""
needs_ocaml = pytest.mark.skipif(
    shutil.which("ocamlc") is None, reason="no OCaml compiler: install ocaml-nox"
)


@pytest.mark.slow
@needs_ocaml
def test_a_user_from_check_to_diff(tmp_path: Path, root: Path) -> None:
    tiny_models.model("qwen2").save_pretrained(tmp_path / "model")
    tiny_models.tokenizer().save_pretrained(tmp_path / "model")
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.replace("MODEL", str(tmp_path / "model")))
    env = os.environ | {"PYTHONPATH": str(root)}

    def pawl(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pawl", *args]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900, check=False
        )

    checked = pawl("check", str(config), "--json")
    assert checked.returncode == 0, checked.stderr
    rows = json.loads(checked.stdout)["checks"]
    assert {"first-pass-ratio", "sampler-logprobs"} <= {r["name"] for r in rows}
    assert not (tmp_path / "runs").exists()

    trained = pawl("train", str(config), "--json")
    assert trained.returncode == 0, trained.stderr
    assert [json.loads(line)["step"] for line in trained.stdout.splitlines()] == [1, 2]
    again = pawl("train", str(config))
    assert again.returncode == 2
    assert "exists already" in again.stderr

    shown = pawl("train", str(config), "name=two", "seed=1")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("held-out pass@1: ")
    assert shown.stdout.count("\n") == 1
    assert "step 2/2" in shown.stderr
    assert "seed: 0 -> 1  (command line)" in shown.stderr
    for noise in ("Warning", "it/s", "Traceback"):
        assert noise not in shown.stderr, shown.stderr

    body = json.loads((tmp_path / "runs" / "two" / "run.json").read_text())
    assert body["sandbox"]["tier"] in ("bubblewrap", "landlock")
    assert body["data"]["train"]["problems"] == 8
    assert len(pawl("samples", "two", "--json").stdout.splitlines()) == 2 * 16
    assert "config" in json.loads(pawl("diff", "tiny", "two", "--json").stdout)
    assert {r["name"] for r in json.loads(pawl("runs", "--json").stdout)} == {"tiny", "two"}

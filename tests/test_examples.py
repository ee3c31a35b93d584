"""The presets, rehearsed by `pawl check` with the embedded model; the one-file example, run.

The data set of the OCaml preset lives on a hub, so the shipped problems stand in for it here; every
other choice of the preset is checked as it stands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = {
    "ocaml-grpo.yaml": ["model.path=bundled", "problems.train=starter-ocaml", "problems.limit=60"]
    + ["train.override=[reward-varies]"],  # in this prompt the small model defines nothing
    "quickstart.yaml": ["problems.limit=60"],
    "qlora-7b-coder.yaml": ["model.path=bundled", "problems.limit=60", "rollout.max_tokens=96"],
    "qlora-llama.yaml": ["model.path=bundled", "problems.limit=60", "rollout.max_tokens=96"],
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", STAND_INS)
def test_check_passes(preset: str, tmp_path: Path) -> None:
    if preset.startswith("qlora") and find_spec("bitsandbytes") is None:
        pytest.skip("no bitsandbytes: install the extra 4bit")
    result = subprocess.run(
        [sys.executable, "-m", "pawl", "check", f"examples/{preset}", *STAND_INS[preset]]
        + [f"runs_dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_one_file_runs_and_reports(tmp_path: Path) -> None:
    """A few real steps with the compiler: a line for each, then before and after."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "grpo_in_one_file.py"), "--steps", "2"]
        + ["--held-out", "4"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    share = r"[01]\.[0-9]{2}"
    assert re.fullmatch(rf"held-out pass@1 before: {share} \(4 problems, .*\)", lines[0])
    assert [line.split()[:2] for line in lines[1:3]] == [["step", "1/2"], ["step", "2/2"]]
    assert re.fullmatch(rf"held-out pass@1: {share} -> {share} \([+-]{share}\)", lines[3])
    assert not list(tmp_path.iterdir())


def test_one_file_fits_a_few_screens() -> None:
    text = (ROOT / "examples" / "grpo_in_one_file.py").read_text("utf-8")
    assert len(text.splitlines()) <= 200
    assert text.isascii()

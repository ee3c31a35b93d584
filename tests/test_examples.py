"""The presets, rehearsed by `pawl check` with the embedded model: exit code 0.

The data set of the OCaml preset lives on a hub, so the shipped problems stand in for it here; every
other choice of the preset is checked as it stands.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = {
    "ocaml-grpo.yaml": ["model.path=bundled", "problems.train=starter-ocaml", "problems.limit=60"],
    "quickstart.yaml": ["problems.limit=60"],
    "qlora-7b-coder.yaml": ["model.path=bundled", "problems.limit=60", "rollout.max_tokens=96"],
    "qlora-llama.yaml": ["model.path=bundled", "problems.limit=60", "rollout.max_tokens=96"],
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", STAND_INS)
def test_check_passes(preset: str, tmp_path: Path) -> None:
    if preset.startswith("qlora") and find_spec("bitsandbytes") is None:
        pytest.skip('no bitsandbytes: pip install "pawl[4bit]"')
    result = subprocess.run(
        [sys.executable, "-m", "pawl", "check", f"examples/{preset}", *STAND_INS[preset]]
        + [f"runs_dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr

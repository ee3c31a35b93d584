"""One released run doctor over logs, in its own environment: what it alarms on.

    PEER_ENV/bin/python bench/doctor_peers.py rldoctor|rlprobe|rlwatch FILE ...

Files are JSON lines of TRL-named metrics (bench/doctor.py writes them). Prints one JSON object:
file -> alarms (warnings and worse). Each tool gets the log by the way that its own documents give
for a finished run or for TRL's metric names. Left out: judging the alarms (bench/doctor.py).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RLWATCH = {
    "entropy": "entropy",
    "kl": "kl_divergence",
    "reward": "reward_mean",
    "reward_std": "reward_std",
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "clip_ratio/region_mean": "clip_fraction",
}
RLPROBE = {
    "reward": "reward_mean",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_variance_group_frac",
    "kl": "kl_mean",
    "entropy": "entropy_mean",
    "clip_ratio": "clip_fraction",
    "clip_ratio/region_mean": "clip_fraction",
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_len_mean",
    "completions/max_length": "completion_len_max",
    "completions/clipped_ratio": "truncation_rate",
}


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows of a file, finite numbers only, as the tools' own TRL adapters pass them on."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    keep = [{k: v for k, v in r.items() if isinstance(v, int | float)} for r in rows]
    return [{k: v for k, v in r.items() if math.isfinite(v)} for r in keep]


def named(row: dict[str, float], names: dict[str, str]) -> dict[str, float]:
    """A row under the tool's names."""
    return {own: row[k] for k, own in names.items() if k in row}


def rldoctor(path: Path) -> list[str]:
    """`rl-doctor diagnose FILE --format json`."""
    command = [str(Path(sys.executable).with_name("rl-doctor")), "diagnose", str(path)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    if done.returncode:
        return [f"failed: {done.stderr.strip()[-200:]}"]
    found = json.loads(done.stdout)["findings"]
    return [f["detector"] for f in found if f["severity"] in ("WARNING", "CRITICAL")]


def rlprobe(path: Path) -> list[str]:
    """Its recorder by hand, with the names that its TRL adapter uses, then its doctor."""
    from rlprobe.doctor.engine import diagnose
    from rlprobe.recorder import Recorder

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with Recorder(out, algorithm="grpo", capture_env=False, install_handlers=False) as r:
            for i, row in enumerate(rows_of(path), 1):
                parts = {
                    k[8:].removesuffix("/mean"): v
                    for k, v in row.items()
                    if k.startswith("rewards/") and k.endswith("/mean")
                }
                more: dict[str, Any] = {"reward_components": parts} if parts else {}
                r.log_step(int(row.get("step", i)), **named(row, RLPROBE), **more)
        found = diagnose(out)
    return [
        f"{f.signature_id}".lower()
        for f in found
        if str(getattr(f.severity, "value", f.severity)) != "info"
    ]


def rlwatch(path: Path) -> list[str]:
    """Its monitor by hand with the metrics of its TRL callback; alerts as it stores them."""
    import sqlite3

    import rlwatch as tool

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        monitor = tool.core.RLWatch(_rlwatch_config(folder))
        monitor.start()
        for i, row in enumerate(rows_of(path), 1):
            monitor.log_step(int(row.get("step", i)), **named(row, RLWATCH))
        with sqlite3.connect(Path(folder) / "metrics.db") as base:
            return [name for (name,) in base.execute("SELECT detector FROM alerts")]


def _rlwatch_config(folder: str) -> Any:
    from rlwatch.config import RLWatchConfig

    config = RLWatchConfig()
    config.framework = "manual"
    config.storage.log_dir = folder
    return config


TOOLS = {"rldoctor": rldoctor, "rlprobe": rlprobe, "rlwatch": rlwatch}


def main() -> int:
    """Print file -> alarms."""
    tool = TOOLS[sys.argv[1]]
    found = {}
    for name in sys.argv[2:]:
        with contextlib.redirect_stdout(io.StringIO()):
            found[name] = tool(Path(name))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

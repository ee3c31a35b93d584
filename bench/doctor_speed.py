"""How long a log of 100,000 steps takes to read and to diagnose, and how much memory.

    python bench/doctor_speed.py [--steps 100000] [--metrics 60] [--kept FOLDER]

The same generated run (a reward that rises, noise around it, groups, lengths, KL, an evaluation now
and then, components) as JSON lines and as a pretty-printed trainer_state.json, each read in a
process of its own. Printed: bytes, CPU seconds of start (imports), import and diagnosis, wall
seconds, and the peak of resident memory. The limits are 5 s and 500 MB. `--kept` keeps the files,
and `--profile` shows where the time of the diagnosis goes. Left out: reports.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMED = {  # name in the file -> (start, end, noise) over the run
    "reward": (0.2, 0.6, 0.1),
    "reward_std": (0.3, 0.2, 0.05),
    "loss": (0.0, 0.0, 0.1),
    "grad_norm": (1.0, 0.5, 0.2),
    "learning_rate": (1e-5, 0.0, 0.0),
    "kl": (0.0, 0.2, 0.02),
    "entropy": (0.8, 0.4, 0.05),
    "frac_reward_zero_std": (0.2, 0.4, 0.1),
    "completions/mean_length": (300.0, 350.0, 30.0),
    "completions/max_length": (900.0, 950.0, 30.0),
    "completions/clipped_ratio": (0.05, 0.05, 0.02),
    "clip_ratio/region_mean": (0.01, 0.02, 0.005),
    "step_time": (5.0, 5.0, 0.5),
}
FORMATS = ("log.jsonl", "trainer_state.json")


def write(folder: Path, steps: int, metrics: int) -> None:
    """Both files of the same run."""
    import numpy as np

    rng = np.random.default_rng(0)
    rest = [f"rewards/part_{i}/mean" for i in range(8)] + [f"extra/{i}" for i in range(metrics)]
    names = [*NAMED, *rest][:metrics]
    with (folder / FORMATS[0]).open("w") as lines, (folder / FORMATS[1]).open("w") as state:
        state.write('{\n  "best_metric": null,\n  "log_history": [')
        for i in range(steps):
            noise = rng.standard_normal(len(names))
            row: dict[str, float] = {}
            for name, z in zip(names, noise, strict=True):
                a, b, sd = NAMED.get(name, (0.5, 0.7, 0.1))
                row[name] = a + (b - a) * i / steps + sd * float(z)
            row["step"] = i + 1
            if i % 500 == 499:
                row["eval_reward"] = row["reward"]
            lines.write(json.dumps(row) + "\n")
            text = json.dumps(row, indent=2).replace("\n", "\n    ")
            state.write(("," if i else "") + "\n    " + text)
        state.write('\n  ],\n  "max_steps": 1,\n  "stateful_callbacks": {\n    "a": {}\n  }\n}\n')


def measure(path: Path, profile: bool) -> dict[str, object]:
    """Seconds and memory of this process, which has done nothing else."""
    wall, began = time.perf_counter(), time.process_time()
    from pawl.doctor.diagnose import diagnose
    from pawl.logs.recognise import read_logs

    ready = time.process_time()
    (log,) = read_logs(path)
    read = time.process_time()
    watch = cProfile.Profile()
    if profile:
        result = watch.runcall(diagnose, log)
        pstats.Stats(watch, stream=sys.stderr).sort_stats("cumulative").print_stats(25)
    else:
        result = diagnose(log)
    done = time.process_time()
    return {
        "start_s": ready - began,
        "import_s": read - ready,
        "diagnose_s": done - read,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": len(log.step_N),
        "series": len(log.series) + len(log.unknown),
        "verdict": result.verdict,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--metrics", type=int, default=60)
    parser.add_argument("--kept", type=Path, help="a folder for the files, used again when there")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.profile)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as made:
        folder = given.kept or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if not all((folder / name).exists() for name in FORMATS):
            write(folder, given.steps, given.metrics)
        for name in FORMATS:
            command = [sys.executable, __file__, "--one", str(folder / name)]
            command += ["--profile"] * given.profile
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            row = json.loads(done.stdout)
            size = (folder / name).stat().st_size / 1e6
            print(
                f"{name}: {size:.0f} MB, {row['steps']} steps, {row['series']} series: CPU start "
                f"{row['start_s']:.2f} s, import {row['import_s']:.2f} s, diagnosis "
                f"{row['diagnose_s']:.2f} s; wall {row['wall_s']:.2f} s; peak "
                f"{row['peak_mb']:.0f} MB; {row['verdict']}"
            )


if __name__ == "__main__":
    main()

"""Every preset on the quickstart's problems: the gain in held-out pass@1, over three seeds.

    python bench/presets.py [--presets grpo rloo ...] [--seeds 0 1 2] [key=value ...]

Each run is examples/quickstart.yaml with `algo.preset` set, STEPS long, evaluated in full before
and after. Runs that the result file already holds (under the same settings) are not repeated, so
an interrupted measurement goes on where it stopped. Prints a table and the machine; exits 1 when
a preset's paired 95% interval does not lie above zero in every seed. About two minutes a run on
two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pawl.config.presets import PRESETS
from pawl.store.read import read_steps

ROOT = Path(__file__).resolve().parent.parent
STEPS = 30
SETTINGS = [f"train.steps={STEPS}", "optim.warmup=10"]
SETTINGS += ["eval.every=0", "eval.samples=2", "checkpoint.every=0"]
COLUMNS = ("gain", "gain_low", "gain_high", "greedy_gain", "seconds", "train_s", "tokens")


def measure(preset: str, seed: int, overrides: Sequence[str]) -> dict[str, object]:
    """One run and its figures; train_s is the sum of the steps alone."""
    with tempfile.TemporaryDirectory() as runs:
        args = [f"algo.preset={preset}", f"seed={seed}", f"eval.seed={seed}", *SETTINGS, *overrides]
        args += [f"runs_dir={runs}", "name=run", "--quiet"]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pawl", "train", "examples/quickstart.yaml", *args],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode not in (0, 1):
            raise SystemExit(f"{preset}, seed {seed}: exit {done.returncode}\n{done.stderr}")
        records = list(read_steps(Path(runs) / "run"))
    first, last = records[0], records[-1]
    steps_s = [float(r["host"]["time/step_s"]) for r in records[1:]]
    greedy = [float(str(r["eval/greedy_pass_at_1"])) for r in (first, last)]
    figures = {n: last[f"eval/{n}"] for n in ("gain", "gain_low", "gain_high")}
    return figures | {
        "preset": preset,
        "seed": seed,
        "before": first["eval/pass_at_1"],
        "after": last["eval/pass_at_1"],
        "greedy_gain": greedy[1] - greedy[0],
        "seconds": seconds,
        "train_s": sum(steps_s),
        "tokens": last["tokens"],
        "samples": last["samples"],
    }


def show(rows: Sequence[dict[str, object]], presets: Sequence[str]) -> bool:
    """Print the table; True when every run's interval lies above zero."""
    print("preset        gain by seed [95%]" + " " * 56 + "mean   greedy  tokens  s in steps")
    well = True
    for preset in presets:
        own = [r for r in rows if r["preset"] == preset]
        if not own:
            continue
        mean = {c: float(np.mean([float(str(r[c])) for r in own])) for c in COLUMNS}
        cells = "  ".join(
            f"{r['gain']:+.3f} [{r['gain_low']:+.3f}, {r['gain_high']:+.3f}]" for r in own
        )
        well = well and all(float(str(r["gain_low"])) > 0 for r in own)
        print(
            f"{preset:12}  {cells}  {mean['gain']:+.3f} {mean['greedy_gain']:+.3f} "
            f"{mean['tokens']:8.0f} {mean['train_s']:6.0f}"
        )
    return well


def main() -> int:
    """Measure what is missing, keep it, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/presets.json")
    parser.add_argument("overrides", nargs="*", help="section.option=value for every run")
    args = parser.parse_args()
    settings = [*SETTINGS, *args.overrides]
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    rows = kept["runs"] if kept.get("settings") == settings else []
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"
    for seed in args.seeds:
        for preset in args.presets:
            if not any(r["preset"] == preset and r["seed"] == seed for r in rows):
                rows.append(measure(preset, seed, args.overrides))
                body = {"machine": machine, "settings": settings, "runs": rows}
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(body, indent=1) + "\n")
                print(f"{preset}, seed {seed}: {rows[-1]['gain']:+.3f}", file=sys.stderr)
    well = show(rows, args.presets)
    print(machine)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

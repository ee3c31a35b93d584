"""The quickstart, measured: gain over seeds, where it comes from, what temperature alone would do.

    python bench/quickstart.py [--seeds 0 1 2] [--out bench/results/quickstart.json]

Trains examples/quickstart.yaml once for each seed, then samples the untrained base at lower
temperatures on the same held-out problems. A gain is split by what each paired completion (same
problem, same member) was before: compiled but wrong, or not compiled. Prints a table and the
machine; writes the figures as JSON. Takes about seven minutes a seed on two cores.
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

from pawl.store.read import read_samples, read_steps
from pawl.train.evaluate import mean_interval

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "quickstart.yaml"
COOLER = (0.3, 0.5, 0.7)


def pawl(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this interpreter's environment."""
    return subprocess.run(
        [sys.executable, "-m", "pawl", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )


def train(seed: int, runs: Path, overrides: Sequence[str]) -> dict[str, object]:
    """One training run and what its folder says."""
    name = f"seed-{seed}"
    began = time.perf_counter()
    args = [f"name={name}", f"runs_dir={runs}", f"seed={seed}", f"eval.seed={seed}", *overrides]
    done = pawl("train", str(CONFIG), *args, "--quiet")
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 1):
        raise SystemExit(f"seed {seed} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    records = list(read_steps(runs / name))
    end = records[-1]
    before = rates(runs / name, 0)
    gained = origins(runs / name, int(str(end["step"])))
    return {
        "seed": seed,
        "exit_code": done.returncode,
        "seconds": seconds,
        "before": records[0]["eval/pass_at_1"],
        "after": end["eval/pass_at_1"],
        "gain": end["eval/gain"],
        "gain_low": end["eval/gain_low"],
        "gain_high": end["eval/gain_high"],
        "greedy_before": records[0]["eval/greedy_pass_at_1"],
        "greedy_after": end["eval/greedy_pass_at_1"],
        "families_before": records[0]["eval/families_pass_at_1"],
        "families_after": end["eval/families_pass_at_1"],
        "mixed_first_10": mean([r["group/mixed_frac"] for r in records[1:11]]),
        "mixed_last_10": mean([r["group/mixed_frac"] for r in records[-10:]]),
        "samples": end["samples"],
        "steps": end["step"],
        "problems": len(before),
        **gained,
    }


def held_out(run: Path, step: int) -> dict[tuple[str, int], dict[str, object]]:
    """Sampled held-out completions of one evaluation by (problem, member)."""
    rows = [r for r in read_samples(run, step, "eval") if r["set"] == "held_out"]
    return {(str(r["problem_id"]), int(str(r["member"]))): r for r in rows}


def rates(run: Path, step: int) -> dict[str, list[bool]]:
    """Passes of each problem."""
    passes: dict[str, list[bool]] = {}
    for (problem, _), row in held_out(run, step).items():
        passes.setdefault(problem, []).append(verdict(row) == "pass")
    return passes


def verdict(row: dict[str, object]) -> str:
    """The verdict of a sample row."""
    score = row["score"]
    assert isinstance(score, dict)
    return str(score["verdict"])


def origins(run: Path, last: int) -> dict[str, float]:
    """Net share of paired completions that turned right, by what they were before."""
    before, after = held_out(run, 0), held_out(run, last)
    net = {"wrong": 0, "not_compiled": 0}
    for key, old in before.items():
        was, now = verdict(old), verdict(after[key])
        if was != "pass" and now == "pass":
            net["not_compiled" if was == "compile" else "wrong"] += 1
        elif was == "pass" and now != "pass":
            net["not_compiled" if now == "compile" else "wrong"] -= 1
    return {f"gain_from_{k}": v / len(before) for k, v in net.items()}


def cooler_base(seed: int, n: int) -> dict[str, float]:
    """pass@1 of the untrained base at lower temperatures, same problems and seeds."""
    found = {}
    for temperature in COOLER:
        done = pawl(
            "eval",
            "bundled",
            "--config",
            str(CONFIG),
            f"eval.seed={seed}",
            f"eval.problems={n}",
            f"eval.sampling.temperature={temperature}",
            "--json",
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        found[f"{temperature:g}"] = json.loads(done.stdout)["pass_at"]["1"]["value"]
    return found


def mean(values: Sequence[object]) -> float:
    """Mean of recorded numbers."""
    return float(np.mean([float(str(v)) for v in values]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/quickstart.json")
    parser.add_argument("overrides", nargs="*", help="section.option=value for every run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [train(seed, Path(folder), args.overrides) for seed in args.seeds]
    cool = {
        s: cooler_base(s, int(str(r["problems"]))) for s, r in zip(args.seeds, rows, strict=True)
    }
    print("seed  pass@1 before -> after   gain [95%]             greedy         wrong->right  s")
    for r in rows:
        share = float(str(r["gain_from_wrong"])) / float(str(r["gain"]))
        print(
            f"{r['seed']:>4}  {r['before']:.3f} -> {r['after']:.3f}          "
            f"{r['gain']:+.3f} [{r['gain_low']:+.3f}, {r['gain_high']:+.3f}]  "
            f"{r['greedy_before']:.3f} -> {r['greedy_after']:.3f}  {share:>8.0%}  "
            f"{r['seconds']:>8.0f}"
        )
    gains = [float(str(r["gain"])) for r in rows]
    spread = mean_interval(gains, -1.0, 1.0)
    print(f"mean gain {spread.value:+.3f} over {len(gains)} seeds")
    for seed, values in cool.items():
        r = next(r for r in rows if r["seed"] == seed)
        best = max(values.values()) - float(str(r["before"]))
        share = best / float(str(r["gain"]))
        print(f"seed {seed}: cooler base {values}; the best explains {share:.0%} of the gain")
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"
    print(machine)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    body = {"machine": machine, "runs": rows, "cooler_base": cool}
    args.out.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The offline example, measured: what a simulated teacher's scores teach, by held-out tests.

    python bench/rlaif.py [--seeds 0 1 2] [--out bench/results/rlaif.json]

Trains examples/rlaif-offline.yaml once for each seed, each time with a fake teacher and a ledger of
its own, started as the example says. The gain is in held-out problems whose tests pass, which the
teacher never sees. Prints a table and the machine; about seven minutes a seed on two cores.
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

from pawl.store.read import read_steps

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "rlaif-offline.yaml"
PAWL = [sys.executable, "-m", "pawl"]
TEACHER = [*PAWL, "fake-teacher", "--port", "0", "--systematic", "0.1", "--sampling", "0.1"]
KEPT = ("eval/pass_at_1", "eval/gain", "eval/gain_low", "eval/gain_high", "eval/greedy_pass_at_1")


def train(seed: int, folder: Path, overrides: Sequence[str]) -> dict[str, object]:
    """One run beside its own teacher, and what its folder says."""
    environ = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache-{seed}")}
    with subprocess.Popen([*TEACHER, "--seed", str(seed)], stdout=subprocess.PIPE) as teacher:
        try:
            assert teacher.stdout is not None
            url = json.loads(teacher.stdout.readline())["base_url"]
            args = [f"name=seed-{seed}", f"runs_dir={folder}", f"seed={seed}", f"eval.seed={seed}"]
            args += [f"judge.base_url={url}", *overrides, "--quiet"]
            began = time.perf_counter()
            command = [*PAWL, "train", str(CONFIG), *args]
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
        finally:
            teacher.terminate()
    if done.returncode not in (0, 1):
        raise SystemExit(f"seed {seed} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    records = list(read_steps(folder / f"seed-{seed}"))
    hosts = [host for r in records if isinstance(host := r["host"], dict)]
    row: dict[str, object] = {"seed": seed, "exit_code": done.returncode, "seconds": seconds}
    row |= {f"before {k}": records[0].get(k) for k in ("eval/pass_at_1", "eval/greedy_pass_at_1")}
    row |= {k: records[-1].get(k) for k in KEPT} | {"steps": records[-1]["step"]}
    for name in ("judge/requests", "judge/input_tokens", "judge/output_tokens"):
        row[name] = sum(float(h.get(name) or 0.0) for h in hosts)
    row["simulated"] = "simulated teacher" in done.stdout + done.stderr
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/rlaif.json")
    parser.add_argument("overrides", nargs="*", help="section.option=value for every run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [train(seed, Path(folder), args.overrides) for seed in args.seeds]
    print(
        "seed  pass@1 before, after  gain [95%]                requests  tokens in      out     s"
    )
    for r in rows:
        print(
            "{seed:>4}  {before eval/pass_at_1:>13.3f}  {eval/pass_at_1:.3f}  {eval/gain:+.3f} "
            "[{eval/gain_low:+.3f}, {eval/gain_high:+.3f}]  {judge/requests:>9.0f}  "
            "{judge/input_tokens:>9.0f}  {judge/output_tokens:>7.0f}  {seconds:>4.0f}".format(**r)
        )
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.machine()}, {cores} cores, Python {platform.python_version()}"
    print(machine)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": machine, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

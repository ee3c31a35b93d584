"""Start-up against another build: imports, problems, start to first step, a step; interleaved.

    python bench/startup.py --base FOLDER [--rounds 5] [--n 20000] [--only import problems step]

FOLDER is a checkout of the build to compare with (`git worktree add FOLDER COMMIT`); both run in
this environment, one after the other, in turns. Prints a table of medians of wall and CPU
seconds, children included, and the machine. Left out: what the seconds are spent on (a profiler).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = "examples/quickstart.yaml"
STEP_CPU: dict[Path, float] = {}  # of a tree, once "step" was measured
IMPORT = "import pawl.train.loop"
AUDIT = """
import sys
from pawl.config.options import ProblemsConfig
from pawl.problems.load import prepare
from pawl.problems.check import check_leakage, check_static, rows_of
found = prepare(ProblemsConfig(train=sys.argv[1], audit=False), 0)
rows = [*check_leakage(found.train, found.held_out)]
for part in (found.train, found.held_out):
    rows += check_static(rows_of(part))
print(len(found.train), len(found.held_out), len(rows))
"""


def timed(tree: Path, args: Sequence[str], cache: Path) -> tuple[float, float, str]:
    """(wall, CPU seconds of the process and its children, standard output) of one command."""
    env = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *args], cwd=tree, env=env, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{args}: {done.returncode}\n{done.stdout}{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def problems_file(folder: Path, n: int) -> Path:
    """n problems in the starter sets' layout, made distinct by a number in prompt, id and spec."""
    rows = []
    for name in ("ocaml", "python"):
        path = ROOT / "pawl" / "problems" / "sets" / f"{name}.jsonl"
        rows += [json.loads(line) | {"lang": name} for line in path.read_text().splitlines()]
    out = folder / "problems.jsonl"
    with out.open("w") as f:
        for i in range(n):
            row = dict(rows[i % len(rows)])
            row["id"] = f"{row['id']}-{i}"
            row["prompt"] = f"Task number {i} of this set. {row['prompt']}"
            row["spec"] = f"{row.get('spec', '')} {i}"
            row.pop("split", None)
            f.write(json.dumps(row) + "\n")
    return out


def run_of(tree: Path, folder: Path, steps: int, evals: int) -> list[str]:
    """Arguments of a short quickstart."""
    name = f"{tree.name}-{time.time_ns()}"
    ways = [f"train.steps={steps}", f"eval.problems={evals}", f"name={name}", f"runs_dir={folder}"]
    config = ["-m", "pawl", "train", str(tree / QUICKSTART), "--quiet", *ways]
    return [*config, "eval.every=0", "checkpoint.every=0"]


def start_of(tree: Path, folder: Path, cache: Path, evals: int) -> tuple[float, float]:
    """Seconds from the command to the first step: a run of one step, less that step's."""
    args = run_of(tree, folder, 1, evals)
    wall, cpu, _ = timed(tree, args, cache)
    name = next(a for a in args if a.startswith("name=")).removeprefix("name=")
    records = (folder / name / "steps.jsonl").read_text().splitlines()
    host = json.loads(records[1])["host"]
    return wall - host["time/step_s"] - host.get("time/eval_s", 0.0), cpu - STEP_CPU.get(tree, 0.0)


def step_of(tree: Path, folder: Path, cache: Path) -> tuple[float, float]:
    """Median seconds of a step by the run's own clock; CPU seconds of five further ones, each."""
    args = run_of(tree, folder, 6, 1)
    _, cpu, _ = timed(tree, args, cache)
    name = next(a for a in args if a.startswith("name=")).removeprefix("name=")
    records = [json.loads(x) for x in (folder / name / "steps.jsonl").read_text().splitlines()]
    one = timed(tree, run_of(tree, folder, 1, 1), cache)[1]
    STEP_CPU[tree] = (cpu - one) / 5
    return statistics.median(r["host"]["time/step_s"] for r in records[2:]), STEP_CPU[tree]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, default=20_000, help="problems of the file")
    names = ("import", "problems", "step", "start", "start and evaluation")
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    args = parser.parse_args()
    trees = {"base": args.base.resolve(), "now": ROOT}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = str(problems_file(folder, args.n))
        print(f"{platform.machine()}, {os.cpu_count()} cores, {args.rounds} rounds in turns")
        print(f"{'':24}{'wall s':>22}{'':10}{'CPU s':>22}")
        print(f"{'':24}{'base':>11}{'now':>11}{'ratio':>10}{'base':>11}{'now':>11}{'ratio':>10}")
        for what in args.only:
            seen: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
            for i in range(args.rounds):
                order = list(trees.items()) if i % 2 == 0 else list(trees.items())[::-1]
                for name, tree in order:
                    cache = folder / f"cache-{name}"
                    if what == "import":
                        found = timed(tree, ["-c", IMPORT], cache)[:2]
                    elif what == "problems":
                        found = timed(tree, ["-c", AUDIT, file], cache)[:2]
                    elif what == "step":
                        found = step_of(tree, folder, cache)
                    else:
                        found = start_of(tree, folder, cache, 1 if what == "start" else 200)
                    seen[name].append(found)
            cells = ""
            for k in (0, 1):
                base, now = (statistics.median(x[k] for x in seen[name]) for name in trees)
                cells += f"{base:11.2f}{now:11.2f}{now / base:10.2f}"
            print(f"{what:24}{cells}", flush=True)


if __name__ == "__main__":
    main()

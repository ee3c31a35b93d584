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
IMPORT = "import pawl.train.loop"
AUDIT = """
import sys
from pawl.config.sources import ProblemsConfig
from pawl.problems.load import prepare
from pawl.problems.check import check_leakage, check_static
found = prepare(ProblemsConfig(train=sys.argv[1], audit=False), 0)
rows = [*check_leakage(found.train, found.held_out)]
for part in (found.train, found.held_out):
    rows += check_static(part.members)
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


def run_of(tree: Path, folder: Path, steps: int, evals: int) -> tuple[list[str], Path]:
    """Arguments of a short quickstart, and the file of its step records."""
    name = f"{tree.name}-{time.time_ns()}"
    ways = [f"train.steps={steps}", f"eval.problems={evals}", f"name={name}", f"runs_dir={folder}"]
    config = ["-m", "pawl", "train", str(tree / QUICKSTART), "--quiet", *ways]
    args = [*config, "eval.every=0", "checkpoint.every=0"]
    return args, folder / name / "steps.jsonl"


def cpu_of(root: int) -> float:
    """CPU seconds so far of a live process and its descendants, the reaped ones included."""
    stats: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile: its parent counts it
    tree, seconds = [root], 0.0
    while tree:
        pid = tree.pop()
        seconds += sum(map(int, stats[pid][11:15])) / os.sysconf("SC_CLK_TCK")
        tree += [child for child, fields in stats.items() if int(fields[1]) == pid]
    return seconds


def marks_of(
    tree: Path, args: Sequence[str], cache: Path, records: Path, marks: Sequence[int]
) -> list[tuple[float, float]]:
    """(wall, CPU) seconds from the command to each of these numbers of step records."""
    env = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    began, quiet, found = time.perf_counter(), subprocess.DEVNULL, list[tuple[float, float]]()
    with subprocess.Popen([sys.executable, *args], cwd=tree, env=env, stdout=quiet) as run:
        for n in marks:
            while not (records.exists() and records.read_text().count("\n") >= n):
                if run.poll() is not None:
                    raise SystemExit(f"{args}: {run.returncode} before record {n}")
                time.sleep(0.02)
            found.append((time.perf_counter() - began, cpu_of(run.pid)))
        run.wait()
    return found


def start_of(tree: Path, folder: Path, cache: Path, evals: int) -> tuple[float, float]:
    """(wall, CPU) seconds from the command to the record of the untrained model."""
    args, records = run_of(tree, folder, 1, evals)
    return marks_of(tree, args, cache, records, (1,))[0]


def step_of(tree: Path, folder: Path, cache: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of a step: the mean of seven after the first."""
    args, records = run_of(tree, folder, 9, 1)
    first, last = marks_of(tree, args, cache, records, (2, 9))
    return (last[0] - first[0]) / 7, (last[1] - first[1]) / 7


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

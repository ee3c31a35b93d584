"""What a judge adds to a training step: a teacher of 200 ms latency against a trivial function.

    python bench/judge_step.py [--rounds 3] [--steps 6]

Trains the embedded model on the offline example's problems with a learning rate of 0, so that all
runs write the same completions: 64 groups of 8 in a step, by turns with a fake teacher in a process
of its own and with a function of the length alone. Prints medians over all steps but the first
of each run, their ratio, and the machine. Left out: what a judge costs in CPU (`judge.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pawl.store.read import read_steps

ROOT = Path(__file__).resolve().parent.parent
PAWL = [sys.executable, "-m", "pawl"]
TEACHER = [*PAWL, "fake-teacher", "--port", "0", "--quality", "length", "--latency", "0.2"]
SIZE = ["rollout.prompts=64", "rollout.group_size=8", "rollout.batch=128", "optim.lr=0"]
SIZE += [
    "eval.problems=2",
    "eval.samples=1",
    "eval.every=0",
    "eval.judge=true",
    "eval.success=reward",
]
SIZE += ["target=null", "train.override=[calibration,judge-canaries]", "problems.audit=false"]
JUDGED = 'reward.components=[{"name": "teacher", "use": "judge"}]'
FREE = "def length(prompts, completions, **_):\n"
FREE += "    return [len(c.text) % 97 / 97 for c in completions]\n"
TIMES = ("time/step_s", "time/generate_s", "time/score_wait_s")


def times(folder: Path, name: str, overrides: list[str], steps: int) -> list[dict[str, float]]:
    """Seconds of each step of one run but the first."""
    command = [*PAWL, "train", str(ROOT / "examples" / "rlaif-offline.yaml"), *SIZE, *overrides]
    command += [f"name={name}", f"runs_dir={folder}", f"train.steps={steps}", "--quiet"]
    environ = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache-{name}")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    hosts = [r["host"] for r in read_steps(folder / name) if r["step"]]
    return [{t: float(h[t]) for t in TIMES} for h in hosts[1:] if isinstance(h, dict)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"function": [], "judge": []}
    with (
        tempfile.TemporaryDirectory() as text,
        subprocess.Popen(TEACHER, stdout=subprocess.PIPE) as teacher,
    ):
        try:
            assert teacher.stdout is not None
            url = json.loads(teacher.stdout.readline())["base_url"]
            folder = Path(text)
            (folder / "free.py").write_text(FREE, "utf-8")
            free = ["reward.components=[]", f"reward.use={folder / 'free.py'}:length"]
            for i in range(given.rounds):
                found["function"] += times(folder, f"function-{i}", free, given.steps)
                judged = [JUDGED, f"judge.base_url={url}"]
                found["judge"] += times(folder, f"judge-{i}", judged, given.steps)
        finally:
            teacher.terminate()
    print("          step     generation   waiting for scores   (medians, s)")
    medians = {
        n: [statistics.median(r[t] for r in rows) for t in TIMES] for n, rows in found.items()
    }
    for name, (step, generate, wait) in medians.items():
        print(f"{name:8}  {step:6.2f}  {generate:10.2f}  {wait:18.2f}")
    print(f"ratio     {medians['judge'][0] / medians['function'][0]:6.3f}")
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()

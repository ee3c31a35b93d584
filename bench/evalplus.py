"""References of HumanEval+ and MBPP+ (or of any problem set): how many are read, and how many pass.

    python bench/evalplus.py HumanEvalPlus.jsonl MbppPlus.jsonl [cpu_s=30 output_kb=65536]

Prints a table and every reference that does not pass. The files are those of the sets' releases or
rows of the hub; they are not shipped. Left out: what models score (`pawl eval`).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pawl.config.options import SandboxConfig
from pawl.problems.problem_set import open_problems
from pawl.rewards.kept_runs import run_all
from pawl.sandbox.verdict import Verification


def main(words: list[str]) -> None:
    """One row for each file, under limits of the sandbox that are given as NAME=VALUE."""
    paths = [word for word in words if "=" not in word]
    sandbox = SandboxConfig.model_validate(dict(w.split("=", 1) for w in words if "=" in w))
    print(f"{'file':34} {'rows':>5} {'read':>5} {'tests':>7} {'pass':>5} {'share':>7} {'s':>6}")
    lost = []
    for path in paths:
        began = time.monotonic()
        opened = open_problems(path, "python")
        solved = [p for p in opened if p.reference]
        runs = run_all([(p, "reference", p.reference) for p in solved], sandbox, print)
        found = {p.id: runs[p.id, "reference"] for p in solved}
        passed = [p.id for p, run in zip(solved, found.values(), strict=True) if _passes(run)]
        rows, tests = len(opened) + len(opened.bad), sum(len(p.task.cases) for p in opened)
        took = time.monotonic() - began
        print(
            f"{Path(path).name:34} {rows:5} {len(opened):5} {tests:7} {len(passed):5}"
            f" {len(passed) / rows:7.2%} {took:6.0f}",
            flush=True,
        )
        lost += [f"{b.id}: not read: {b.reason}" for b in opened.bad]
        lost += [f"{name}: {_why(run)}" for name, run in found.items() if not _passes(run)]
        lost += [f"{m.problem.id}: {note}" for m in opened.members for note in m.notes]
    print("\n".join(lost))


def _passes(run: object) -> bool:
    return isinstance(run, Verification) and run.verdict == "pass"


def _why(run: object) -> str:
    return f"{run.verdict}: {run.message}" if isinstance(run, Verification) else str(run)


if __name__ == "__main__":
    main(sys.argv[1:])

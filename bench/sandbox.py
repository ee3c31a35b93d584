"""How many checks a minute the sandbox does, cold and warm, and how the attack corpus fares.

Public references (../shared/problems), all of them, each made unique by a comment, all tests, no
cache, one sandbox in each of N processes. Left out: generation beside it. Run on an idle machine:
python bench/sandbox.py [--workers 2] [--checks 3390] [--busy 8] [--attacks]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pawl.problems.load import open_problems  # noqa: E402 - the path above comes first
from pawl.sandbox.tiers import open_sandbox, unavailable  # noqa: E402
from pawl.sandbox.verify import verify  # noqa: E402
from pawl.types import Problem  # noqa: E402

SETS = ROOT.parent / "shared" / "problems"
CHECKS = 3390  # three times all 1,130 Python references
LIMITS = {
    **{"allow_unsafe": False, "cpu_s": 4.0, "wall_s": 10.0, "memory_mb": 1024, "output_kb": 1024},
    "packages": (),
}


RIGHT = ("py-several-fences-first-counts",)  # its last block is a right answer, and that counts


@dataclass(frozen=True)
class Way:
    """One row of the table."""

    name: str
    files: tuple[str, ...]
    tier: str
    warm: bool
    comment: str


WAYS = [
    Way("Python cold, bubblewrap", ("humaneval_python", "mbpp_python"), "bubblewrap", False, "#"),
    Way("Python warm, bubblewrap", ("humaneval_python", "mbpp_python"), "bubblewrap", True, "#"),
    Way("Python cold, landlock", ("humaneval_python", "mbpp_python"), "landlock", False, "#"),
    Way("OCaml cold, bubblewrap", ("humaneval_ocaml",), "bubblewrap", False, "(* {} *)"),
    Way("OCaml cold, landlock", ("humaneval_ocaml",), "landlock", False, "(* {} *)"),
]


def work(way: Way, checks: int, taken: Any, start: Any, results: Any) -> None:
    """One worker: takes the next reference until `checks` are taken; warms up before."""
    problems: list[Problem] = []
    for name in way.files:
        found = open_problems(str(SETS / f"{name}.jsonl"), "")
        problems += [p for p in found if p.reference]
    with open_sandbox(SimpleNamespace(tier=way.tier, **LIMITS), warm=way.warm) as sandbox:
        for problem in problems[:60]:
            verify(sandbox, problem.task, problem.reference)
        start.wait()
        began, verdicts, times = time.monotonic(), Counter[str](), []
        while True:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= checks:
                break
            problem = problems[number % len(problems)]
            note = way.comment.format(number) if "{}" in way.comment else f"{way.comment} {number}"
            found = verify(sandbox, problem.task, f"{problem.reference}\n{note}\n")
            verdicts[found.verdict] += 1
            if found.verdict != "pass":
                print(f"  {problem.id}: {found.verdict}: {found.message}", flush=True)
            times.append(found.time_ms)
        ended = time.monotonic()
    results.put((began, ended, times, verdicts))


def measure(way: Way, workers: int, checks: int) -> str:
    """One line of the table: the wall clock runs from the first start to the last end."""
    context = multiprocessing.get_context("spawn")
    barrier, results, taken = context.Barrier(workers), context.Queue(), context.Value("i", 0)
    given = (way, checks, taken, barrier, results)
    processes = [context.Process(target=work, args=given) for _ in range(workers)]
    for process in processes:
        process.start()
    rows = [results.get() for _ in processes]
    for process in processes:
        process.join()
    wall = max(row[1] for row in rows) - min(row[0] for row in rows)
    verdicts = sum((row[3] for row in rows), Counter[str]())
    times = np.array([t for row in rows for t in row[2]])
    passed = 100 * verdicts["pass"] / max(1, verdicts.total())
    return (
        f"{way.name:26} {verdicts.total() / wall * 60:8.0f} /min of {verdicts.total():5d} "
        f"{passed:6.1f}% pass, {verdicts['infra_error']} missing, median {np.median(times):5.1f} "
        f"ms, longest {times.max():6.0f} ms"
    )


def attacks() -> None:
    """The corpus in each tier: which attacks earn on tests, most in all, who is late or missing."""
    import attack_runner

    for tier, warm in (("bubblewrap", False), ("bubblewrap", True), ("landlock", False)):
        if unavailable(tier):
            continue
        limits = attack_runner.limits(tier)
        with open_sandbox(limits, warm=warm) as sandbox:
            asked = [*attack_runner.corpus(), *attack_runner.round_two()]
            found = {n: attack_runner.score(sandbox, p, text) for n, p, text in asked}
        control = {n: s for n, s in found.items() if n.startswith("controls") or n in RIGHT}
        attack = {n: s for n, s in found.items() if n not in control}
        scored = [n for n, s in attack.items() if s.components.get("tests")]
        lost = [n for n, s in attack.items() if s.status == "missing"]
        late = max((s.time_ms, n) for n, s in attack.items())
        passed = sum(s.total == 1.0 for s in control.values())
        print(
            f"{tier} {'warm' if warm else 'cold'}: {len(attack)} attacks, {len(scored)} earn on "
            f"tests {scored}, {len(lost)} missing {lost}, most in all "
            f"{max(s.total or 0.0 for s in attack.values()):.3f}; {passed} of {len(control)} "
            f"controls passed; longest case {late[0]:.0f} ms ({late[1]}; limits "
            f"{limits.cpu_s:g} s CPU, {limits.wall_s:g} s wall)",
            flush=True,
        )


def busy(processes: int) -> list[multiprocessing.Process]:
    """Processes that compute without end."""
    made = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in made:
        process.start()
    return made


def _spin() -> None:
    while True:
        pass


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--checks", type=int, default=CHECKS)
    parser.add_argument("--attacks", action="store_true")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    beside = busy(args.busy)
    print(
        f"{args.workers} workers on {os.cpu_count()} cores ({platform.machine()}, Linux "
        f"{platform.release()}), {args.busy} busy processes beside, load before: {load:.1f}",
        flush=True,
    )
    for way in WAYS:
        if not unavailable(way.tier) and all((SETS / f"{f}.jsonl").exists() for f in way.files):
            print(measure(way, args.workers, args.checks), flush=True)
    for process in beside:
        process.kill()
    if args.attacks:
        attacks()


if __name__ == "__main__":
    main()

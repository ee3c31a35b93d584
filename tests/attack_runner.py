"""Run attacks and controls in one tier and print one JSON line for each.

A program of its own, with the standard library alone, so that the tests can run it as an ordinary
user with the system's Python: python attack_runner.py TIER warm|cold [FILE_SUBSTRING ...].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

ATTACKS = Path(__file__).resolve().parent / "attacks"
sys.path.insert(0, str(ATTACKS.parent.parent))

from pawl.rewards.pay import TOTAL, pay  # noqa: E402 - the path above comes first
from pawl.sandbox.tiers import Sandbox, open_sandbox  # noqa: E402
from pawl.sandbox.verify import measured, verify  # noqa: E402
from pawl.types import Case, CodeTask, Completion, Problem, Score  # noqa: E402

CASES = [
    ([1, 2, 3, 4], 20), ([3, 5], 0), ([2, 2], 8), ([-2, 5], 4),
    ([10, 11, 12], 244), ([7, 8], 64), ([2] * 5, 20), (list(range(20)), 1140),
]  # fmt: skip
PYTHON_TASK = CodeTask(
    "python",
    "solve",
    tuple(Case(repr([xs]), str(want)) for xs, want in CASES),
    head="def solve(xs):",
)
OCAML_TASK = CodeTask(
    "ocaml",
    "solve",
    tuple(Case("solve [" + "; ".join(f"({x})" for x in xs) + "]", str(want)) for xs, want in CASES),
    signature="val solve : int list -> int",
    head="let solve (xs : int list) : int =",
)
PYTHON = Problem("squares-python", "", PYTHON_TASK)
OCAML = Problem("squares-ocaml", "", OCAML_TASK)


def limits(tier: str = "auto", **changes: object) -> SimpleNamespace:
    """What `SandboxConfig` would hold, with limits small enough for tests."""
    given = {
        "tier": tier, "allow_unsafe": False, "cpu_s": 1.0, "wall_s": 3.0,
        "memory_mb": 512, "output_kb": 256, "packages": (),
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changes})


def weights(**changes: object) -> SimpleNamespace:
    """What `RewardConfig` would hold."""
    stages = SimpleNamespace(end_marker=0.05, types=0.2, compile=0.1, tests=0.65)
    given = {
        "use": "code", "components": (), "missing": "sample",
        "stages": stages, "end_marker": "", "runaway_multiplier": 0.3,
        "min_lines": 0, "short_multiplier": 0.3,
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changes})


def score(sandbox: Sandbox, problem: Problem, text: str) -> Score:
    """What a completion earns: verified, measured, paid."""
    found = measured(verify(sandbox, problem.task, text), problem.task)
    return pay(problem, [Completion(problem.id, text)], [{TOTAL: found}], weights())[0]


def corpus(only: Sequence[str] = ()) -> Iterator[tuple[str, Problem, str]]:
    """(folder/file, problem, text) of each attack and control; only: parts of the names."""
    for language, problem in (("python", PYTHON), ("ocaml", OCAML)):
        for folder in (language, f"controls_{language}"):
            for file in sorted((ATTACKS / folder).iterdir()):
                name = f"{folder}/{file.name}"
                if not only or any(part in name for part in only):
                    yield name, problem, file.read_text("utf-8", errors="surrogateescape")


def round_two() -> Iterator[tuple[str, Problem, str]]:
    """(id, problem, text) of the second round, whose attacks have problems of their own."""
    from pawl.problems.load import open_problems

    folder = ATTACKS / "round2"
    problems = {p.id: p for p in open_problems(str(folder / "problems.jsonl"))}
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield row["id"], problems[row["problem"]], (folder / row["file"]).read_text("utf-8")


def run(tier: str, warm: bool, only: Sequence[str] = ()) -> Iterator[dict[str, object]]:
    """One record per program: what it earned and what it left behind."""
    with open_sandbox(limits(tier), warm=warm) as sandbox:
        for name, problem, text in corpus(only):
            found = score(sandbox, problem, text)
            yield {
                "name": name,
                "tier": found.tier,
                "warm": sandbox.warm,
                "verdict": found.verdict,
                "tests": found.components.get("tests", 0.0),
                "total": found.total,
                "reason": found.reason,
                "left": sandbox.left_over(),
                "time_ms": round(found.time_ms),
            }


if __name__ == "__main__":
    for record in run(sys.argv[1], sys.argv[2] == "warm", sys.argv[3:]):
        print(json.dumps(record), flush=True)

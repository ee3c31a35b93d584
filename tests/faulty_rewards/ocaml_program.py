"""What the three faulty rewards share: one program of candidate and tests, compiled and run.

This is how the rewards that they rebuild judged: by the compiler's words and the exit code, in the
same process as the candidate. Pawl's own reward does neither.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pawl.types import Problem

MARKER = "(* END *)"


@dataclass(frozen=True)
class Outcome:
    """compiled, the compiler's messages, and the program's exit code (None: it did not run)."""

    compiled: bool
    messages: str
    code: int | None


def code_of(text: str, problem: Problem) -> str:
    """Unfenced, under the problem's head unless it defines the function itself."""
    fenced = re.search(r"```\w*\n(.*?)```", text, re.DOTALL)
    code = (fenced.group(1) if fenced else text).replace(MARKER, "")
    defines = re.search(rf"let\s+(rec\s+)?{problem.task.entry_point}\b", code)
    return code if defines else f"{problem.task.head}\n{code}"


def run(text: str, problem: Problem) -> Outcome:
    """Compile the code with its tests as assertions, and run it."""
    tests = "\n".join(f"let () = assert (({c.input}) = ({c.expected}))" for c in problem.task.cases)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.ml").write_text(f"{code_of(text, problem)}\n{tests}\n")
        built = subprocess.run(
            ["ocamlc", "-w", "-a", "-o", "a", "a.ml"], cwd=folder, capture_output=True, text=True
        )
        if built.returncode:
            return Outcome(False, built.stderr, None)
        done = subprocess.run([f"{folder}/a"], capture_output=True, timeout=10)
        return Outcome(True, "", done.returncode)

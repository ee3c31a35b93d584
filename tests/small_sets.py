"""The first problems of each starter set in a file of their own, which opens much faster.

For tests that need problems as they are shipped, not all of them. Left out: the sets for training
runs, which have held-out problems too (tiny_runs.py).
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from pawl.problems.load import ProblemSet, open_problems

SETS = Path(__file__).resolve().parent.parent / "pawl" / "problems" / "sets"
ROWS = 12  # all for training


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pawl-tests-")


@functools.cache
def small(lang: str) -> str:
    """Path of the small set of "ocaml" or "python"."""
    path = Path(_folder().name, f"{lang}.jsonl")
    with (SETS / f"{lang}.jsonl").open(encoding="utf-8") as rows:
        path.write_text("".join(next(rows) for _ in range(ROWS)), "utf-8")
    return str(path)


def problems_of(lang: str) -> ProblemSet:
    """Its problems."""
    return open_problems(small(lang))

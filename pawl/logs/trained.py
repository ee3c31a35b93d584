"""Whether a run of Pawl was evaluated on problems that it trains on, as its samples show it.

Left out: near duplicates, and problems that were drawn without leaving a sample (preflight looks
at the sets themselves).
"""

from __future__ import annotations

from array import array
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs.table import Table
from pawl.store.files import read_lines

NAME = "eval/trained_frac"
FILES = 20  # newest steps whose problems are compared


def trained_frac(run: Path) -> float | None:
    """Share of the newest evaluation's problems that recent training samples stand for.

    None without an evaluation or without training samples.
    """
    folder = run / "samples"
    evaluated = _problems(sorted(folder.glob("eval-*.jsonl"))[-1:])
    trained = _problems(sorted(folder.glob("step-*.jsonl"))[-FILES:])
    if not evaluated or not trained:
        return None
    return len(evaluated & trained) / len(evaluated)


def add(table: Table, run: Path) -> None:
    """Set it as a column of the table's last row."""
    share = trained_frac(run) if table.n else None
    if share is not None:
        table.columns[NAME] = array("q", [table.n - 1]), array("d", [share])


def _problems(files: list[Path]) -> set[str]:
    """Problem ids in sample files; a file that cannot be read to its end gives what came before."""
    found: set[str] = set()
    for file in files:
        try:
            found.update(str(row["problem_id"]) for row in read_lines(file) if "problem_id" in row)
        except (PawlError, OSError, RecursionError):
            continue
    return found

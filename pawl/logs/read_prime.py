"""prime-rl: metrics.jsonl, and the console lines of its trainer and its orchestrator.

Trainer and orchestrator write several records for a step; they share its place. prime-rl drops
values that are not finite, so a value that is missing in one step may have been NaN. Left out:
traces.jsonl of the rollouts, JSON logging of the console, lines of single environments.
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.logs.console import (
    NUMBER,
    Printed,
    first_records,
    is_json,
    lines,
    opening,
    opens_as_json,
    records,
)
from pawl.logs.libraries import library_of
from pawl.logs.log import Raw
from pawl.logs.table import Table

FILE = "metrics.jsonl of prime-rl"
CONSOLE = "console log of prime-rl"
STEP = re.compile(r"\bStep (\d+) \|\s+([\d.]+)s \| (?=[A-Z])")
CELL = re.compile(rf"([A-Z][A-Za-z. -]*?)\s+({NUMBER})(%?)(?:\s|$)")
OUT_OF = re.compile(r"([A-Z][A-Za-z. -]*?)\s+\d+/\d+ \(([\d.]+)%\)")
DROPPED = "prime-rl drops values that are not finite: a gap may have been NaN or infinite"


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds such lines or records."""
    if is_json(head):
        return library_of({key for row in first_records(head)[:200] for key in row}) == "prime"
    found = STEP.search(text := opening(path, head))
    return found is not None and bool(CELL.match(text, found.end()))


def read(path: Path) -> Raw:
    """The steps of the file."""
    table, notes = Table(), list[str]()
    if opens_as_json(path):
        for row in records(path, notes):
            if "step" in row:
                table.add(row)
        _note_gaps(table, notes)
        return Raw(path, FILE, "prime", table, notes=notes)
    printed = Printed()
    for line, ended in lines(path):
        found = STEP.search(line)
        if found is None:
            continue
        cells = line[found.end() :].split(" | ")
        if not ended:
            notes.append("the file breaks off in its last line; its last value was left out")
            cells = cells[:-1]
        row = _cells(cells, printed)
        if row:
            who = "trainer" if "Loss" in row else "orchestrator"
            table.add({"step": int(found[1]), f"{who} s": float(found[2]), **row})
    printed.leave_out(table, notes)
    return Raw(path, CONSOLE, "prime", table, notes=notes)


def _cells(cells: list[str], printed: Printed) -> dict[str, object]:
    """`Name 0.5`, `Name 3.1%` (kept in percent) and `Name 96/128 (75.0%)` as numbers."""
    row: dict[str, object] = {}
    for cell in cells:
        plain = " ".join(cell.split())
        found = OUT_OF.match(plain) or CELL.match(plain)
        if found is not None:
            row[found[1]] = printed.number(found[1], found[2])
    return row


def _note_gaps(table: Table, notes: list[str]) -> None:
    """Say so when a metric that is written at every step lacks some."""
    steps = table.columns.get("step")
    if steps is None:
        return
    for name in ("optim/grad_norm",):
        own = table.columns.get(name)
        if own is not None and len(own[0]) < len(set(steps[1])):
            notes.append(
                f"{name} is missing in {len(set(steps[1])) - len(own[0])} steps; {DROPPED}"
            )

"""OpenRLHF and Molt: the console lines `Global step N: {...}` and their evaluations.

Left out: TensorBoard and W&B files of the same runs, which carry these keys behind `train/`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.logs.console import Printed, entries, is_json, lines, opening, worker
from pawl.logs.log import Event, Raw
from pawl.logs.table import Table

STEP = re.compile(r"(\u2728\s*)?Global step (\d+): (?=\{)")
EVAL = re.compile(r"global_step (\d+), eval_metrics: (?=\{)")
FILTERED = re.compile(r"zero policy gradient this step", re.IGNORECASE)


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds such a line."""
    if is_json(head):
        return False
    text = opening(path, head)
    return any(
        hit and "'" in text[hit.end() : hit.end() + 3]
        for hit in (STEP.search(text), EVAL.search(text))
    )


def read(path: Path) -> Raw:
    """The steps and evaluations of the log."""
    table, notes, events = Table(), list[str](), list[Event]()
    step, sparkled, printed = 0, False, Printed()
    for line, ended in lines(path):
        _, words = worker(line)
        trained, tested = STEP.search(words), EVAL.search(words)
        hit = trained or tested
        if hit is None:
            if FILTERED.search(words):
                events.append(Event(step, "error", words.strip()[:200]))
            continue
        row = entries(words[hit.end() :], printed, ended)
        if trained:
            step, sparkled = int(trained[2]), sparkled or bool(trained[1])
        elif tested:
            row = {key if key.startswith("eval_") else f"eval_{key}": v for key, v in row.items()}
        table.add({**row, "step": float(hit[2] if trained else hit[1])})
        if not ended and not words.rstrip().endswith("}"):
            notes.append("the file breaks off in its last record; its last value was left out")
    name = "OpenRLHF" if sparkled else "OpenRLHF or Molt"
    return Raw(path, f"console log of {name}", "openrlhf", table, events=events, notes=notes)

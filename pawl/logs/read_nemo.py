"""NeMo-RL: the blocks of its console log ("Training Results:", "Validation Results:", "Timing:").

A block belongs to the step whose heading came last; without headings blocks are counted. Left out:
train_data_step*.jsonl (texts and rewards of single samples), TensorBoard and W&B files of the same
runs, which carry more and other keys.
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.logs.console import NUMBER, Printed, is_json, lines, opening, worker
from pawl.logs.log import Raw
from pawl.logs.table import Table

HEADING = re.compile(r"^\W*(Training Results|Validation Results|Timing|Validation Timing):\s*$")
STEP = re.compile(r"^\s*={3,}[^=]{0,80}\bStep (\d+)(?:/\d+)?[^=]{0,80}={3,}")
ITEM = re.compile(
    rf"^\s*[\u2022*-]\s+([A-Za-z][^:\n]{{0,80}}):\s+({NUMBER})\s?(s|%)?(?:\s|$)", re.I
)
PLACE = {"Training Results": "", "Validation Results": "validation/"}


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds a block of results with its items."""
    if is_json(head):
        return False
    inside = False
    for line in opening(path, head).splitlines():
        _, words = worker(line)
        if heading := HEADING.match(words):
            inside = heading[1] in PLACE
        elif inside and words.strip():
            if ITEM.match(words) and "\u2022" in words:
                return True
            inside = False
    return False


def read(path: Path) -> Raw:
    """One row for the blocks of a step."""
    table, notes, printed = Table(), list[str](), Printed()
    step, named, place = 0, False, None
    row: dict[str, object] = {}
    for line, ended in lines(path):
        _, words = worker(line)
        heading, start = HEADING.match(words), STEP.match(words)
        opens = heading is not None and heading[1] == "Training Results"
        if start is not None or (opens and not named and "Loss" in row):
            if row:
                table.add({**row, "step": step})
            row, place = {}, None
            step, named = (int(start[1]), True) if start is not None else (step, named)
        if opens and not named:
            step += 1
        if heading is not None:
            place = PLACE.get(heading[1], "timing/")
        elif place is not None and (item := ITEM.match(words)):
            if ended:
                name = f"{place}{item[1].strip()}"
                row[name] = printed.number(name, item[2])
            else:
                notes.append("the file breaks off in its last line, which was left out")
        elif words.strip():
            place = None
    if row:
        table.add({**row, "step": step})
    printed.leave_out(table, notes)
    if not named and table.n:
        notes.append("no headings of steps: blocks of results were counted")
    return Raw(path, "console log of NeMo-RL", "nemo", table, notes=notes)

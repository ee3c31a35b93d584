"""TRL and the Hugging Face Trainer: trainer_state.json, or its `log_history` alone.

The list is read object by object, so a file of any length needs no more memory than its numbers.
Left out: TensorBoard events and W&B files of the same runs (importers of their own).
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.store.json_stream import objects
from pawl.store.log import Raw
from pawl.store.table import Table

FORMAT = "trainer_state.json of TRL or the Hugging Face Trainer"
HISTORY = re.compile(r'"log_history"\s*:\s*\[')


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds a log history."""
    return head.lstrip()[:1] == "{" and bool(HISTORY.search(head))


def read(path: Path) -> Raw:
    """The history as a table; a file that breaks off gives what came before, with a note."""
    table, notes = Table(), list[str]()
    for row in objects(path, HISTORY, notes):
        table.add(row)
    return Raw(path, FORMAT, "trl", table, notes=notes)

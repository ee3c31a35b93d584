"""A Jupyter notebook with its outputs: what the Trainer printed, or the table that it showed.

In a notebook the Trainer shows an HTML table that grows by a row at each log: Step, Training Loss,
and with Unsloth every column of TRL ("rewards / NAME"). Printed dictionaries are read as those of a
console. Source: transformers 5.23 utils/notebook.py; published notebooks of unslothai/notebooks.
Left out: other outputs; charts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs.json_stream import whole
from pawl.logs.log import Raw
from pawl.logs.read_trl import complete
from pawl.logs.read_trl_console import finished, runs
from pawl.logs.table import Table

PRINTED = "notebook, printed by the Trainer"
SHOWN = "notebook, table shown by the Trainer"
TABLE = re.compile(r"<table[^>]{0,200}>(.*?)</table>", re.DOTALL)
LINE = re.compile(r"<tr[^>]{0,200}>(.*?)</tr>", re.DOTALL)
CELL = re.compile(r"<t[hd][^>]{0,200}>(.*?)</t[hd]>", re.DOTALL)
NAMES = {"Step": "step", "Epoch": "epoch", "Training Loss": "loss", "Validation Loss": "eval_loss"}
Output = Mapping[str, object]


def read(path: Path, head: str) -> list[Raw] | None:
    """A log for each training in a notebook; raises PawlError when there is none."""
    if not (head.lstrip().startswith("{") and '"cells"' in head and '"cell_type"' in head):
        return None
    found, raws = list(_outputs(whole(path))), list[Raw]()
    printed = chain.from_iterable(_text(output).splitlines() for output in found)
    raws += [finished(path, PRINTED, run) for run in runs(printed)]
    for output in found:
        data = output.get("data")
        shown = _joined(data.get("text/html")) if isinstance(data, Mapping) else ""
        raws += [raw for part in TABLE.findall(shown) if (raw := _table(path, part))]
    if not raws:
        raise PawlError("no training log among the notebook's outputs", str(path))
    return raws


def _outputs(notebook: object) -> Iterator[Output]:
    """The outputs of the cells in their order."""
    cells = notebook.get("cells") if isinstance(notebook, Mapping) else None
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, Mapping) else None
        for output in outputs if isinstance(outputs, list) else ():
            if isinstance(output, Mapping):
                yield output


def _joined(value: object) -> str:
    """A text that may be stored as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _text(output: Output) -> str:
    data = output.get("data")
    plain = data.get("text/plain") if isinstance(data, Mapping) else None
    return _joined(output.get("text")) + _joined(plain)


def _table(path: Path, part: str) -> Raw | None:
    """The rows of a table of the Trainer, None for any other table."""
    lines = [[_cell(cell) for cell in CELL.findall(line)] for line in LINE.findall(part)]
    if not lines or not {"Step", "Training Loss"} <= set(lines[0]):
        return None
    names = [NAMES.get(name, name.replace(" / ", "/")) for name in lines[0]]
    raw = Raw(path, SHOWN, "trl", Table())
    for line in lines[1:]:
        row = dict(zip(names, line, strict=False))
        raw.table.add({k: v for k, v in row.items() if v.lower() not in ("", "no log")})
    return complete(raw) if raw.table.columns else None


def _cell(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]{0,200}>", "", text)).strip()

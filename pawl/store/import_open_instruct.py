"""open-instruct: the Rich panel "Metrics" of its console.

The panel shows two decimals and wraps its cells: small values are lost there, and an export from
W&B says more (its columns are recognised wherever a table is read). Left out: everything else that
the console shows.
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.store.console import NUMBER, Printed, lines, opening
from pawl.store.log import Raw
from pawl.store.table import Table

BAR = re.compile("[\u2502\u2503|]")
EDGE = re.compile("^\\s*[\u2500-\u257f]")
TOP = re.compile("^\\s*[\u250c\u250f\u256d][\u2500-\u257f\\s]*\\bMetrics\\b")
BOTTOM = re.compile("^\\s*[\u2514\u2517\u2570]")
ITEM = re.compile(rf"([A-Za-z][\w/.@-]*):\s*({NUMBER})(?=\s|$)", re.IGNORECASE)
STEPS = ("training_step", "global_step")
LOSSY = "the panel shows two decimals: small values (KL, learning rate) may read 0"


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds a panel with that title and its kind of rows."""
    if head.lstrip()[:1] in ("{", "["):
        return False
    rows, inside = opening(path, head).splitlines(), False
    for line in rows:
        if TOP.match(line):
            inside = True
        elif inside and ITEM.search(line) and EDGE.match(line):
            return True
        elif BOTTOM.match(line):
            inside = False
    return False


def read(path: Path) -> Raw:
    """One row for each panel that was closed."""
    table, notes, panel = Table(), [LOSSY], list[tuple[str, str]]()
    inside, count, printed = False, 0, Printed()
    for line, _ in lines(path):
        if TOP.match(line):
            inside, panel = True, []
        elif inside and BOTTOM.match(line):
            inside, count = False, count + 1
            _add(table, printed, panel, count)
        elif inside and EDGE.match(line):
            _row(line, panel)
    printed.leave_out(table, notes)
    if inside:
        notes.append("the last panel breaks off and was left out")
    return Raw(path, 'panel "Metrics" of open-instruct', "open_instruct", table, notes=notes)


def _row(line: str, panel: list[tuple[str, str]]) -> None:
    """A line of the panel: its group and text; without a group it goes on with the line before."""
    body = line.strip().strip("\u2502\u2503").strip("\r")
    group, bar, text = body.partition("\u2502")
    if not bar:
        group, text = "", body
    group = group.strip()
    if panel and not group:
        panel[-1] = (panel[-1][0], f"{panel[-1][1]} {text.strip()}")
    else:
        panel.append((group, text.strip()))


def _add(table: Table, printed: Printed, panel: list[tuple[str, str]], count: int) -> None:
    """A panel as a row under the names that W&B has for them."""
    row: dict[str, object] = {}
    for group, text in panel:
        for cell in BAR.split(text):
            item = ITEM.search(cell.strip())
            if item is not None:
                bare = not group or group in STEPS or item[1].startswith(f"{group}/")
                name = item[1] if bare else f"{group}/{item[1]}"
                row[name] = printed.number(name, item[2])
    if row:
        named = [v for name in STEPS for key, v in row.items() if key.split("/")[-1] == name]
        table.add({**row, "step": named[0] if named else count})

"""open-instruct: the Rich panel "Metrics" of its console.

The panel shows two decimals and wraps its cells: small values are lost there, and an export from
W&B says more (its columns are recognised wherever a table is read). Left out: everything else that
the console shows.
"""

from __future__ import annotations

import re
from pathlib import Path

from pawl.logs.console import NUMBER, Printed, is_json, lines, opening
from pawl.logs.log import Raw
from pawl.logs.table import Table

BAR = re.compile("[\u2502\u2503|]")
EDGE = re.compile("^\\s*[\u2500-\u257f]")
TOP = re.compile("^\\s*[\u250c\u250f\u256d][\u2500-\u257f\\s]*\\bMetrics\\b")
BOTTOM = re.compile("^\\s*[\u2514\u2517\u2570]")
GROUP = re.compile("^ ?([A-Za-z]\\w{0,60})\\s{0,99}[\u2502 ]\\s{0,99}(?=[A-Za-z][\\w/.@-]{0,80}:)")
ITEM = re.compile(rf"([A-Za-z][\w/.@-]{{0,80}}):\s{{0,80}}({NUMBER})(?=\s|$)", re.IGNORECASE)
OTHER = "other"  # the group of names without a slash
STEPS = ("training_step", "global_step")
LOSSY = "the panel shows two decimals: small values (KL, learning rate) may read 0"


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds a panel with that title and its kind of rows."""
    if is_json(head):
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
    body = line.strip().strip("\u2502\u2503")
    found = GROUP.match(body)
    group, text = (found[1], body[found.end() :]) if found else ("", body.strip("\u2502 "))
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
                bare = group in ("", OTHER) or item[1].startswith(f"{group}/")
                name = item[1] if bare else f"{group}/{item[1]}"
                row[name] = printed.number(name, item[2])
    if row:
        named = [row[name] for name in STEPS if name in row]
        table.add({**row, "step": named[0] if named else count})

"""Console logs of slime and miles, SkyRL, ROLL and AReaL: one table of forms, read by one loop.

Left out: metrics.jsonl of tinker-cookbook and history.jsonl of ART, which are plain JSON lines and
are recognised by their columns; files other than the console.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pawl.logs.console import NUMBER, Printed, entries, is_json, lines, opening, record_of, worker
from pawl.logs.log import Raw
from pawl.logs.table import Table

Record = tuple[str, int, dict[str, float]]  # who counts, its count, numbers
SLIME = re.compile(r"\.py:\d+ - (rollout|perf|eval|step|train) (\d+): (?=\{)")
SKYRL = re.compile(r"\bStep (\d+): *$")
AREAL = re.compile(r"Epoch \d+/\d+ Step \d+/\d+ Train step (\d+)/\d+ done\.")
ROLL_WORDS = re.compile(r'"(?:actor|critic|system|time|token)/\w')
SKYRL_WORDS = re.compile(r"'(?:policy|reward|loss|generate|trainer|timing)/\w")
NAME = re.compile(r"[A-Za-z][\w/.@-]*")
VALUE = re.compile(NUMBER, re.IGNORECASE)
CELLS = re.compile("[\u2502|]")
FORMS = {
    "slime": "console log of slime or miles",
    "skyrl": "console log of SkyRL",
    "roll": "console log of ROLL",
    "areal": "console log of AReaL",
}
LONGEST = 400  # lines of one printed dict or table


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds steps of one of these."""
    return bool(_library(path, head))


def read(path: Path) -> Raw:
    """The steps of the file; raises AssertionError for a file that `looks_like` refuses."""
    with path.open(encoding="utf-8", errors="replace") as file:
        library = _library(path, file.read(1 << 16))
    assert library, "recognised before it is read"
    reader = {"slime": _slime, "skyrl": _skyrl, "roll": _roll, "areal": _areal}[library]
    printed = Printed()
    found = list(reader(path, printed))
    table, notes, ratio = Table(), list[str](), _updates(found)
    for kind, count, row in found:
        place = count * ratio if kind != "step" else count
        table.add({**row, "step": place})
    printed.leave_out(table, notes, sure=library == "skyrl")
    if ratio > 1:
        notes.append(f"{ratio} updates a rollout: rollouts stand at the first of their updates")
    return Raw(path, FORMS[library], library, table, notes=notes)


def _library(path: Path, head: str) -> str:
    if is_json(head):
        return ""
    text = opening(path, head)
    if SLIME.search(text):
        return "slime"
    if AREAL.search(text):
        return "areal"
    after = re.search(r"\bStep \d+: *\n(.*)\n?(.*)", text)
    if after is not None and SKYRL_WORDS.search(after[0]):
        return "skyrl"
    told = any(_roll_record(line) for line in text.splitlines() if '"actor/' in line)
    return "roll" if told else ""


def _updates(found: list[Record]) -> int:
    """Updates for each rollout, by the last counts of both; 1 where only one of them counts."""
    trained = max((n for kind, n, _ in found if kind == "step"), default=-1) + 1
    rolled = max((n for kind, n, _ in found if kind == "rollout"), default=-1) + 1
    return max(1, round(trained / rolled)) if trained and rolled else 1


def _slime(path: Path, printed: Printed) -> Iterator[Record]:
    """`rollout 0: {...}`, `perf 0:` and `eval 0:` count rollouts, `step 0:` counts updates."""
    for line, ended in lines(path):
        found = SLIME.search(line)
        if found is not None:
            kind = "step" if found[1] in ("step", "train") else "rollout"
            yield kind, int(found[2]), entries(line[found.end() :], printed, ended)


def _skyrl(path: Path, printed: Printed) -> Iterator[Record]:
    """`Step 3:` and a dict over the lines that follow."""
    step, text, left = -1, "", 0
    for line, _ in lines(path):
        _, words = worker(line)
        found = SKYRL.search(words)
        if found is not None:
            step, text, left = int(found[1]), "", LONGEST
            continue
        if left:
            text, left = f"{text}\n{words}", left - 1
            if words.rstrip().endswith("}"):
                left = 0
            if not left and (row := entries(text, printed)):
                yield "step", step, row
    if left and (row := entries(text, printed, whole=False)):
        yield "step", step, row


def _roll(path: Path, printed: Printed) -> Iterator[Record]:
    """A line that ends in a JSON object; ROLL's records carry no step, so they are counted."""
    count = 0
    for line, _ in lines(path):
        _, words = worker(line)
        if record := _roll_record(words):
            numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float)}
            yield "step", count, numbers
            count += 1


def _roll_record(line: str) -> dict[str, object] | None:
    """The JSON object that ends a line, when it has ROLL's words."""
    at = line.find('{"')
    if at < 0 or not line.rstrip().endswith("}") or not ROLL_WORDS.search(line, at):
        return None
    return record_of(line[at:])


def _areal(path: Path, printed: Printed) -> Iterator[Record]:
    """`Train step 3/1000 done.` and the table of names and numbers after it."""
    step, left, row = -1, 0, dict[str, float]()
    for line, _ in lines(path):
        found = AREAL.search(line)
        if found is not None:
            if row:
                yield "step", step, row
            step, left, row = int(found[1]), LONGEST, {}
            continue
        if left:
            left -= 1
            cells = [cell.strip() for cell in CELLS.split(line)]
            for name, text in zip(cells, cells[1:], strict=False):
                if VALUE.fullmatch(text) and NAME.fullmatch(name):
                    number = printed.number(name, text)
                    if number is not None:
                        row[name] = number
    if row:
        yield "step", step, row

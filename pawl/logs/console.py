"""What console logs of all libraries share: clean lines, and the numbers in a printed dict.

Escape sequences, the prefixes that Ray puts before a worker's words and carriage returns of
progress bars are taken off. A line that breaks off at the end of the file is told from a whole one.
Left out: what a line means (one import_NAME.py each).
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pawl.logs.table import Table

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
WORKER = re.compile(r"^\s*(\([^()\n]{0,80}\bpid=\d+[^()\n]{0,60}\))\s?")
REPEATED = re.compile(r"\[repeated \d+x across cluster\].*$")
NUMBER = r"[-+]?(?:nan|inf(?:inity)?|(?:\d[\d_]{0,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,4})?)"
WRAPPED = r"(?:(?:np|numpy|torch)\.)?(?:\w{1,20}\()?"  # np.float64(0.1), tensor(0.1)
ENTRY = re.compile(
    rf"""(['"])(?P<key>[^'"\n]{{1,200}})\1\s*:\s*"""
    rf"""{WRAPPED}['"]?(?P<value>{NUMBER})['"]?(?P<end>.?)""",
    re.IGNORECASE | re.DOTALL,
)
FIXED = re.compile(r"-?\d+\.(\d{2,4})")
SMALL = re.compile(r"loss|kl(?!_coef)|\blr|grad|diff", re.IGNORECASE)
LONG = 12  # characters of a number that surely was printed in full
COARSE = 4.5  # units of the last decimal below which a constant may be anything
JSON = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")
LONGEST = 1 << 22  # characters of a line that are read; the rest counts as another line
FAR = 1 << 22  # characters of a console log in which its kind must show


def lines(path: Path) -> Iterator[tuple[str, bool]]:
    """(line without escapes and line end, whether it is whole), of a file of any length."""
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(LONGEST):
            yield ANSI.sub("", line.rstrip("\n")), line.endswith("\n")


def worker(line: str) -> tuple[str, str]:
    """The prefix of the worker that printed a line ("" for none), and the line without it."""
    found = WORKER.match(line)
    if found is None:
        return "", line
    return found[1], REPEATED.sub("", line[found.end() :])


def is_json(head: str) -> bool:
    """Whether a file opens as JSON does; a console line may open with [time] too."""
    return JSON.match(head) is not None


def opens_as_json(path: Path) -> bool:
    """`is_json` of a file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return is_json(file.read(1 << 10))


def opening(path: Path, head: str) -> str:
    """The start of a console log without escapes: up to 4 million characters.

    Servers and workers talk at length before the first step. JSON and binary files show what they
    are in `head` and are not read further.
    """
    if is_json(head) or "\0" in head or not path.is_file():
        return ANSI.sub("", head)
    stat = path.stat()
    return _opening(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _opening(path: Path, size: int, changed: int) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return ANSI.sub("", file.read(FAR))


@dataclass(slots=True)
class Printed:
    """How numbers were printed: of a loss of 0.000 nobody knows more than that it is small.

    decimals: the most decimals of a column, -1 where a value was printed in full; count: numbers
    by their decimals.
    """

    decimals: dict[str, int] = field(default_factory=dict)
    count: Counter[int] = field(default_factory=Counter)

    def number(self, name: str, text: str) -> float | None:
        """The number of a text, None for anything else; how it was printed is remembered."""
        fixed = FIXED.fullmatch(text) if len(text) < LONG else None
        places = len(fixed[1]) if fixed else -1
        known = self.decimals.get(name, places)
        self.decimals[name] = -1 if -1 in (known, places) else max(known, places)
        self.count[places] += 1
        return number_of(text)

    def leave_out(self, table: Table, notes: list[str], sure: bool = True) -> None:
        """Take out small metrics that show one value of so few digits that it says nothing.

        A loss, KL, learning rate or gradient printed as 0.000 at every step is below 0.0005, not 0.
        sure: the library rounds; otherwise nine in ten numbers must have the same few decimals.
        """
        total = sum(self.count.values())
        if not sure and max((n for d, n in self.count.items() if d > 0), default=0) < 0.9 * total:
            return
        coarse = []
        for name, places in self.decimals.items():
            if places > 0 and name in table.columns and SMALL.search(name):
                _, value_N = table.column(name)
                if np.ptp(value_N) == 0.0 and abs(value_N[0]) * 10**places < COARSE:
                    coarse.append(name)
                    del table.columns[name]
        if coarse:
            notes.append(f"printed with too few decimals, left out: {', '.join(coarse)}")


def entries(text: str, printed: Printed, whole: bool = True) -> dict[str, float]:
    """The numbers of a printed dict by key; texts and lists are left out.

    whole: the text was not cut off; of a cut one the number at the very end is left out.
    """
    found = {}
    for hit in ENTRY.finditer(text):
        if not whole and not hit["end"]:
            continue
        number = printed.number(hit["key"], hit["value"])
        if number is not None:
            found[hit["key"]] = number
    return found


def number_of(text: str) -> float | None:
    """A number as consoles print it; None for anything else."""
    try:
        return float(text)
    except ValueError:
        return None


def literal(text: str) -> dict[str, object] | None:
    """A printed dict with everything in it; None when it is none."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None


def flat(nested: Mapping[str, object], outer: str = "") -> dict[str, object]:
    """A nested config with dotted names."""
    found: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{outer}{key}.")
        else:
            found[f"{outer}{key}"] = value
    return found


def records(path: Path, notes: list[str]) -> Iterator[dict[str, object]]:
    """The objects of a file of JSON lines; lines that are none are counted in a note."""
    odd = 0
    for line, _ in lines(path):
        record = record_of(line)
        if record is not None:
            yield record
        else:
            odd += bool(line.strip())
    if odd:
        notes.append(f"{odd} lines are no JSON objects and were left out")


def record_of(line: str) -> dict[str, object] | None:
    """The object in a line of JSON, None when there is none."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def first_records(head: str) -> list[dict[str, object]]:
    """The objects in the whole lines of a file's start."""
    body = head if len(head) < 1 << 16 else head.rpartition("\n")[0]
    return [record for line in body.splitlines() if (record := record_of(line)) is not None]

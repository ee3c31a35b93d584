"""What console logs of all libraries share: clean lines, and the numbers in a printed dict.

Escape sequences, the prefixes that Ray puts before a worker's words and carriage returns of
progress bars are taken off. A line that breaks off at the end of the file is told from a whole one.
Left out: what a line means (the readers).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pawl.logs.table import Raw, Row, number

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
WORKER = re.compile(r"^[ \t]*(\([^()\n]{0,80}\bpid=\d+[^()\n]{0,60}\))[ \t]?", re.MULTILINE)
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
FAR = 1 << 23  # characters of a console log in which its kind must show


def lines(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Prefix of the worker that printed a line ("" for none), the line, whether it is whole.

    Escapes and the line end are taken off; the file may be of any length.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(LONGEST):
            yield *worker(ANSI.sub("", line.rstrip("\n"))), line.endswith("\n")


def worker(line: str) -> tuple[str, str]:
    """The prefix of the worker that printed a line, and the line without it."""
    found = WORKER.match(line)
    if found is None:
        return "", line
    return found[1], REPEATED.sub("", line[found.end() :])


def opening(path: Path, head: str) -> str:
    """The start of a console log, cleaned, up to 8 million characters; "" for JSON.

    Servers and workers talk at length before the first step. A console line may open with [time],
    as JSON does not; a binary file shows what it is in `head` and is not read further.
    """
    if JSON.match(head):
        return ""
    if "\0" in head:
        return _cleaned(head)
    stat = path.stat()
    return _opening(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _opening(path: Path, size: int, changed: int) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return _cleaned(file.read(FAR))


def _cleaned(text: str) -> str:
    text = ANSI.sub("", text)
    return WORKER.sub("", text) if "pid=" in text else text


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
        return number(text)

    def leave_out(self, raw: Raw, rounds: bool) -> None:
        """Take out small metrics that show one value of so few digits that it says nothing.

        A loss, KL, learning rate or gradient printed as 0.000 at every step is below 0.0005, not 0.
        rounds: the library does; otherwise nine in ten numbers must have the same few decimals.
        """
        total = sum(self.count.values())
        most = max((n for places, n in self.count.items() if places > 0), default=0)
        if not rounds and most < 0.9 * total:
            return
        coarse = []
        for name, places in self.decimals.items():
            if places > 0 and name in raw.table.columns and SMALL.search(name):
                _, value_N = raw.table.column(name)
                if np.ptp(value_N) == 0.0 and abs(value_N[0]) * 10**places < COARSE:
                    coarse.append(name)
                    del raw.table.columns[name]
        if coarse:
            raw.notes.append(f"printed with too few decimals, left out: {', '.join(coarse)}")


def entries(text: str, printed: Printed, whole: bool = True) -> Row:
    """The numbers of a printed dict by key; texts and lists are left out.

    whole: the text was not cut off; of a cut one the number at the very end is left out.
    """
    hits = (hit for hit in ENTRY.finditer(text) if whole or hit["end"])
    return {hit["key"]: printed.number(hit["key"], hit["value"]) for hit in hits}

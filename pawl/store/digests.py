"""What was written to a file of records: how many lines and bytes, and a digest that grows along.

A checkpoint states it of every file that a resumed run goes on from, and a resume holds the files
against it. Appending costs the hash of what is appended; nothing is read again before a resume.
Left out: which files those are (`run`), what is done about a difference (`pawl.train.start`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

BLOCK = 1 << 20
_TEXT = re.compile(r"(\d+) lines, (\d+) bytes, sha256 ([0-9a-f]{64})")


class Written:
    """A file as far as it was written: whole lines, bytes, and their SHA-256."""

    def __init__(self) -> None:
        self.lines, self.size, self._sha = 0, 0, hashlib.sha256()

    def add(self, data: bytes) -> None:
        """More bytes at its end."""
        self.lines += data.count(b"\n")
        self.size += len(data)
        self._sha.update(data)

    def text(self) -> str:
        """As a checkpoint states it: `12 lines, 3456 bytes, sha256 ab...`."""
        return f"{self.lines} lines, {self.size} bytes, sha256 {self._sha.hexdigest()}"


def written(path: Path, size: int | None = None) -> Written:
    """The first `size` bytes of a file (None: all), or as many as there are; empty without one."""
    found = Written()
    if path.is_file():
        with path.open("rb") as f:
            left = f.seek(0, 2) if size is None else size
            f.seek(0)
            while left and (data := f.read(min(BLOCK, left))):
                found.add(data)
                left -= len(data)
    return found


class Records:
    """The files of one run folder held against what checkpoints state; each part is read once."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._read: dict[tuple[str, int], Written] = {}

    def compare(self, stated: Mapping[str, str]) -> tuple[dict[str, Written], list[str]]:
        """Each file as far as it is stated, and what is wrong with those that differ, in words.

        What stands behind the stated part of a file is not looked at.
        """
        found, wrong = dict[str, Written](), list[str]()
        for name, text in stated.items():
            match = _TEXT.fullmatch(text)
            assert match is not None, f"{name}: {text}"
            size = int(match[2])
            own = self._read.get((name, size)) or written(self._run / name, size)
            found[name] = self._read[name, size] = own
            if own.text() == text:
                continue
            if not (self._run / name).is_file():
                wrong.append(f"{name} is missing")
            elif own.size < size:
                wrong.append(f"{name} holds {own.lines} of {match[1]} lines")
            else:
                wrong.append(f"{name} was changed")
        return found, wrong


def seal(body: Mapping[str, object]) -> str:
    """Digest of a JSON object's values, of its own `digest` not; whitespace does not count."""
    values = {k: v for k, v in body.items() if k != "digest"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

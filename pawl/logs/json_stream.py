"""Objects of a JSON file one at a time: JSON lines, and lists of any length, in bounded memory.

Whole pieces are parsed at once where the text shows where an object ends (before `, {`); every
other piece is read object by object. NaN and Infinity are numbers. What breaks off or cannot be
read is noted, never raised. Left out: what the objects mean (the readers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import from_json

from pawl.logs.table import Row

PIECE = 1 << 18  # bytes; smaller than a cache, larger than most records
MOST = 1 << 26  # bytes; what no object of a log reaches
HOPELESS = 1_000  # unreadable lines without one record: no file of JSON lines
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n,"
BETWEEN = re.compile(rb"\}\s*,\s*\{")
LIST = re.compile(r"^\s*\[")


def value_of(data: str | bytes) -> object:
    """The one JSON value of a text, None when it is none."""
    try:
        return from_json(data, cache_strings="keys")
    except ValueError:
        if isinstance(data, bytes):
            data = data.decode("utf-8-sig", "replace")
        try:  # lone surrogates and bytes that were no UTF-8 pass here
            return json.loads(data)
        except (ValueError, RecursionError):
            return None


def object_of(data: object) -> Row | None:
    """The one JSON object of a text, None when it is none."""
    value = value_of(data) if isinstance(data, str | bytes) else None
    return value if isinstance(value, dict) else None


def first_objects(head: str) -> Iterator[Row]:
    """The objects at the start of a file, in lines of their own or in one list."""
    data = head.lstrip().encode()
    if data.startswith(b"["):
        yield from (row for row in _one_by_one(data[1:])[0] if isinstance(row, dict))
        return
    for line in data.splitlines():
        if line.lstrip().startswith(b"{") and (row := object_of(line)) is not None:
            yield row


def lines(path: Path, notes: list[str], live: bool = False) -> Iterator[Row]:
    """The objects of a file of JSON lines; other lines are counted in a note.

    A file without any in its first thousand lines is given up. live: the file is being written, so
    that a torn last line is nothing to note.
    """
    odd, rows, torn = 0, 0, False
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(MOST), b""):
            row = value_of(line) if len(line) < MOST else None
            if isinstance(row, dict):
                rows += 1
                yield row
            elif line.strip(BLANK + BOM):
                odd, torn = odd + 1, not line.endswith(b"\n")
                if (odd >= HOPELESS or len(line) == MOST) and not rows:
                    break
    if torn:
        odd -= 1
        notes += [] if live else ["the last line breaks off and was left out"]
    note_odd(notes, odd, "line")


def note_odd(notes: list[str], odd: int, what: str) -> None:
    """Say how many lines or records were no JSON objects."""
    if odd == 1:
        notes.append(f"1 {what} is no JSON object and was left out")
    elif odd:
        notes.append(f"{odd} {what}s are no JSON objects and were left out")


def whole(path: Path) -> object:
    """The file as one JSON value, None when it is none or longer than any record."""
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    return value_of(data) if len(data) <= MOST else None


def objects(
    path: Path, start: re.Pattern[str], notes: list[str], within: int = MOST
) -> Iterator[Row]:
    """The objects of the list that `start` opens (a pattern that ends with its bracket).

    It has to open in the file's first `within` bytes.
    """
    pattern, data, found = re.compile(start.pattern.encode()), b"", None
    with path.open("rb") as file:
        while found is None:
            piece = file.read(PIECE) if file.tell() < within else b""
            if not piece:
                notes.append("the file ends before its list of rows begins")
                return
            data = data[-4096:] + piece.removeprefix(BOM)
            found = pattern.search(data)
        data = data[found.end() :]
        want, done = PIECE, False
        while not done:
            piece = file.read(max(want - len(data), PIECE))
            data = (data + piece).lstrip(BLANK)
            rows, used, done = _some(data)
            yield from (row for row in rows if isinstance(row, dict))
            data = data[used:]
            want = PIECE if used else 2 * max(want, len(data))
            if not done and not used and (not piece or len(data) > MOST):
                notes.append("the file breaks off in its list of rows; what came before was read")
                return


def _some(data: bytes) -> tuple[list[object], int, bool]:
    """Objects at the start of a piece, the bytes that they took, and whether the list ended."""
    end = max((found.start() + 1 for found in BETWEEN.finditer(data)), default=0)
    if end:
        try:
            rows = from_json(b"[" + data[:end] + b"]", cache_strings="keys")
        except ValueError:
            pass
        else:
            assert isinstance(rows, list), "brackets make a list"
            return rows, end, False
    return _one_by_one(data)


def _one_by_one(data: bytes) -> tuple[list[object], int, bool]:
    """The same, decoded object by object."""
    text, at, rows = data.decode("latin-1"), 0, list[object]()
    decoder = json.JSONDecoder()
    while at < len(text):
        if text[at] in " \t\r\n,":
            at += 1
        elif text[at] == "]":
            return rows, at, True
        else:
            try:
                row, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                break
            if end == len(text) and text[end - 1] not in "}]":
                break  # a number that may go on
            rows.append(row if data[at:end].isascii() else value_of(data[at:end]))
            at = end
    return rows, at, False

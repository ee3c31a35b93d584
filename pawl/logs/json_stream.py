"""Objects of a JSON file one at a time: JSON lines, and lists of any length, in bounded memory.

Whole pieces are parsed at once where the text shows where an object ends (its closing brace stands
as deep as its opening one, or before `, {`); every other piece is read object by object. NaN and
Infinity are numbers. What breaks off or cannot be read is noted, never raised. Left out: what the
objects mean (the importers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

PIECE = 1 << 18  # bytes; smaller than a cache, larger than most records
MOST = 1 << 26  # bytes; what no object of a log reaches
HOPELESS = 1_000  # unreadable lines without one record: no file of JSON lines
BOM = b"\xef\xbb\xbf"
TOO_LONG = b"(too long)\n"
BLANK = b" \t\r\n,"
BETWEEN = re.compile(rb"\}\s*,\s*\{")
Row = dict[str, object]


def lines(path: Path, notes: list[str], live: bool = False) -> Iterator[Row]:
    """The objects of a file of JSON lines; other lines are counted in a note.

    A file without any in its first thousand lines is given up. live: the file is being written, so
    that a torn last line is nothing to note.
    """
    odd, rows, torn = 0, 0, False
    with path.open("rb") as file:
        for line in _bounded(file):
            row = _value(line)
            if isinstance(row, dict):
                rows += 1
                yield row
            elif line.strip(BLANK + BOM):
                odd, torn = odd + 1, not line.endswith(b"\n")
                if (odd >= HOPELESS or line == TOO_LONG) and not rows:
                    break
    if torn:
        odd -= 1
        notes += [] if live else ["the last line breaks off and was left out"]
    if odd:
        many = (
            "1 line is no JSON object and was" if odd == 1 else f"{odd} lines are no JSON objects"
        )
        notes.append(f"{many}{'' if odd == 1 else ' and were'} left out")


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    """Lines; TOO_LONG stands for one that is longer than any record."""
    while line := file.readline(MOST):
        if len(line) < MOST or line.endswith(b"\n"):
            yield line
            continue
        yield TOO_LONG
        while (rest := file.readline(MOST)) and not rest.endswith(b"\n"):
            pass


def _value(data: bytes) -> object:
    """One JSON value, None when it is none."""
    try:
        return from_json(data, cache_strings="keys")
    except ValueError:
        try:  # lone surrogates and bytes that are no UTF-8 pass here
            return json.loads(data.decode("utf-8-sig", "replace"))
        except (ValueError, RecursionError):
            return None


def whole(path: Path, limit: int = MOST) -> object:
    """The file as one JSON value, None when it is none or longer than `limit` bytes."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return _value(data) if len(data) <= limit else None


def objects(
    path: Path, start: re.Pattern[str], notes: list[str], within: int = MOST
) -> Iterator[Row]:
    """The objects of the list that `start` opens (a pattern that ends with its bracket).

    It has to open in the file's first `within` bytes.
    """
    with path.open("rb") as file:
        data = _after(file, re.compile(start.pattern.encode()), within)
        if data is None:
            notes.append("the file ends before its list of rows begins")
            return
        want, done, mark = PIECE, False, b""
        while not done:
            piece = file.read(max(want - len(data), PIECE))
            data = (data + piece).lstrip(BLANK)
            mark = mark or _mark(data)
            rows, used, done = _some(data, mark)
            yield from (row for row in rows if isinstance(row, dict))
            data = data[used:]
            want = PIECE if used else 2 * max(want, len(data))
            if not done and not used and (not piece or len(data) > MOST):
                notes.append("the file breaks off in its list of rows; what came before was read")
                return


def _after(file: BinaryIO, start: re.Pattern[bytes], within: int) -> bytes | None:
    """What follows the first match, None when there is none."""
    data = b""
    while file.tell() < within and (piece := file.read(PIECE)):
        data = data[-4096:] + piece.removeprefix(BOM)
        if found := start.search(data):
            return data[found.end() :]
    return None


def _mark(data: bytes) -> bytes:
    """How an object ends in this file: a line with a brace less deep than what stands in it.

    b"}" when objects do not begin with a line of their own, b"" when that cannot be seen yet.
    """
    opened = re.match(rb"\{\s*\n([ \t]+)", data)
    if opened is None:
        return b"}"
    for found in re.finditer(rb"\n([ \t]*)\}", data):
        if len(found.group(1)) < len(opened.group(1)):
            return found.group()
    return b""


def _some(data: bytes, mark: bytes) -> tuple[list[object], int, bool]:
    """Objects at the start of a piece, the bytes that they took, and whether the list ended."""
    if mark == b"}":
        end = max((found.start() + 1 for found in BETWEEN.finditer(data)), default=0)
    else:
        end = data.rfind(mark) + len(mark) if mark and mark in data else 0
    if end > 1:
        try:
            rows = from_json(b"[" + data[:end] + b"]", cache_strings="keys")
        except ValueError:
            pass
        else:
            assert isinstance(rows, list), "brackets make a list"
            return rows, end, False
    return _one_by_one(data)


def _one_by_one(data: bytes) -> tuple[list[object], int, bool]:
    """The same without any hint of where objects end."""
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
            rows.append(row if data[at:end].isascii() else _value(data[at:end]))
            at = end
    return rows, at, False

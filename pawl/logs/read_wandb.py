"""W&B's local file run-ID.wandb (offline or synced), read by itself: history, config, exit.

The file is a log of LevelDB (blocks of 32 KiB; records in pieces, each with CRC-32, length and
kind) behind a head of 7 bytes; a record is a protocol buffer. A file that breaks off gives what
came before, with a note. Format: github.com/google/leveldb doc/log_format.md,
wandb/proto/wandb_internal.proto (wandb 0.31). Left out: media, system statistics, console output,
files of the server (`read_wandb_export`).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import trackers
from pawl.logs.log import Event, Raw, Row
from pawl.logs.table import Table
from pawl.logs.wire import Value, fields, real, text

FORMAT = "W&B run file (.wandb)"
HEAD = b":W&B"
START, BLOCK, PIECE_HEAD = 7, 1 << 15, 7  # bytes
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
DEEPEST = 8  # levels of a nested option
MOST = 1 << 28  # bytes; no record is longer
HISTORY, CONFIG, ALERT, METRIC, RUN, EXIT = 2, 5, 10, 12, 17, 18  # of Record
RUN_CONFIG = 4  # of RunRecord
LOOK = 1 << 20  # bytes at the start in which a run declares its step
DECIMAL = re.compile(rb"-?\d+\.\d+(?:[eE][-+]?\d+)?")
REQUIREMENT = re.compile(r"^trl==(\S+)$", re.MULTILINE)


def looks_like(path: Path, head: str) -> bool:
    """Whether a file has W&B's head."""
    return head.startswith(HEAD.decode())


def takes_folder(path: Path) -> bool:
    """Whether a folder is a run folder of W&B."""
    return any(p.is_file() for p in path.glob("*.wandb"))


def read_folder(path: Path) -> list[Raw]:
    """The run files of the folder."""
    return [_read(p) for p in sorted(path.glob("*.wandb")) if p.is_file()]


def read(path: Path) -> Raw:
    """The run behind a file; raises PawlError when it has no history."""
    raw = _read(path)
    if not raw.table.n:
        raise PawlError("the W&B file holds no history", str(path), "docs/doctor.md lists formats")
    return raw


def _read(path: Path) -> Raw:
    raw = Raw(path, FORMAT, "any", Table())
    trackers.fill(raw, _rows(path, raw), own=_declared(path))
    if raw.library == "trl":
        raw.version = _version(path.parent / "files" / "requirements.txt")
    return raw


def _version(path: Path) -> str:
    """The version of TRL by the list of packages that W&B keeps beside a run."""
    if not path.is_file():
        return ""
    found = REQUIREMENT.search(path.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else ""


def _declared(path: Path) -> str:
    """The step that the run declared for all metrics, "" for none (define_metric)."""
    for record in _records(path, [], LOOK):
        try:
            for kind, body in fields(record):
                if kind == METRIC and isinstance(body, bytes):
                    about = dict(fields(body))
                    if 4 in about and text(about.get(2, b"")) == "*":
                        return text(about[4])
        except ValueError:
            continue
    return ""


def _rows(path: Path, raw: Raw) -> Iterator[Row]:
    """The rows of the history; config, alerts and the exit go into the log."""
    odd, step = 0, 0.0
    for record in _records(path, raw.notes):
        try:
            for kind, body in fields(record):
                if not isinstance(body, bytes):
                    continue
                if kind == HISTORY:
                    row = _history(body)
                    found = row.get("_step")
                    step = float(found) if isinstance(found, int | float) else step
                    yield row
                else:
                    _note(raw, kind, body, step)
        except ValueError:
            odd += 1
    if odd:
        raw.notes.append(f"{odd} records could not be read and were left out")


def _note(raw: Raw, kind: int, body: bytes, step: float) -> None:
    """Put what a record says beside the history into the log."""
    if kind == CONFIG:
        _configure(raw, body)
    elif kind == RUN:
        for number, value in fields(body):
            if number == RUN_CONFIG and isinstance(value, bytes):
                _configure(raw, value)
    elif kind == ALERT:
        about = [text(value) for number, value in fields(body) if number in (1, 2)]
        raw.events.append(Event(step, "alert", ": ".join(about)))
    elif kind == EXIT:
        code = next((v for number, v in fields(body) if number == 1), 0)
        if code:
            raw.events.append(Event(step, "error", f"the process ended with code {code!r}"))


def _records(path: Path, notes: list[str], limit: int = MOST << 8) -> Iterator[bytes]:
    """The records in the first `limit` bytes of a file, their pieces joined."""
    parts, size = list[bytes](), 0
    for kind, data in _pieces(path, notes, limit):
        if kind in (FULL, FIRST):
            parts, size = [], 0
        parts.append(data)
        size += len(data)
        if kind in (FULL, LAST):
            yield b"".join(parts)
        if kind not in (FIRST, MIDDLE) or size > MOST:
            parts, size = [], 0
    if parts and limit > LOOK:
        notes.append("the file breaks off within a record; what came before was read")


def _pieces(path: Path, notes: list[str], limit: int) -> Iterator[tuple[int, bytes]]:
    """(kind, bytes) of every piece; (0, b"") where the rest of a block is damaged."""
    damaged = 0
    with path.open("rb") as file:
        block = bytes(START) + file.read(BLOCK)[START:]
        at, file_at = START, file.seek(BLOCK)
        while len(block) > at:
            while at + PIECE_HEAD <= len(block):
                crc, size, kind = struct.unpack_from("<IHB", block, at)
                data = block[at + PIECE_HEAD : at + PIECE_HEAD + size]
                if not (crc or size or kind):
                    break  # the rest of a block is filled up
                if len(data) < size and len(block) < BLOCK:
                    notes.append("the file breaks off; what came before was read")
                    break
                if len(data) < size or zlib.crc32(data, zlib.crc32(bytes((kind,)))) != crc:
                    damaged += 1
                    yield 0, b""
                    break
                yield kind, data
                at += PIECE_HEAD + size
            if file_at > limit:
                return
            at, block = 0, file.read(BLOCK)
            file_at += len(block)
    if damaged:
        notes.append(f"{damaged} damaged places: the rest of their blocks (32 KiB) was left out")


def _history(body: bytes) -> Row:
    """One row; nested names are joined by a point, as W&B shows them."""
    row: Row = {}
    for number, value in fields(body):
        if number == 1 and isinstance(value, bytes):
            name, found = _item(value)
            row[name] = found
        elif number == 2 and isinstance(value, bytes):
            count = next((v for n, v in fields(value) if n == 1), 0)
            row.setdefault("_step", count)
    return row


def _item(body: bytes) -> tuple[str, object]:
    """(name, value) of an item of history or config."""
    names, found = list[str](), None
    for number, value in fields(body):
        if number in (1, 2):
            names.append(text(value))
        else:
            found = _plain(number, value)
    return ".".join(names), found


def _plain(number: int, value: Value) -> object:
    """What an item's value field holds: JSON, a number, a text."""
    if number == 5 and isinstance(value, int):
        return value >> 1 ^ -(value & 1)  # zigzag
    if number == 6:
        return real(value)
    if number == 7:
        return text(value)
    if number in (8, 16) and isinstance(value, bytes):
        try:
            # Most are numbers, and this is faster.
            return float(value) if DECIMAL.fullmatch(value) else json.loads(text(value))
        except (ValueError, RecursionError):
            return None
    return None


def _configure(raw: Raw, body: bytes) -> None:
    """Take options from a config record."""
    for number, value in fields(body):
        if number == 1 and isinstance(value, bytes):
            name, found = _item(value)
            if not name.startswith("_wandb"):
                raw.config.update(flat(name, found))


def flat(name: str, value: object, depth: int = 0) -> Row:
    """A nested option as dotted ones."""
    if not isinstance(value, dict) or depth > DEEPEST:
        return {name: value}
    found: Row = {}
    for key, inner in value.items():
        found |= flat(f"{name}.{key}", inner, depth + 1)
    return found

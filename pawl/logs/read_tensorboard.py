"""TensorBoard event files, read whole: every scalar that was written, none thinned out.

A file is a row of records (length, its checksum, an Event message, its checksum); scalars stand in
them as plain values or as tensors of one number, hyperparameters as text. The event files of one
folder are one log in the order of their start: a run that was ended and continued. A damaged or
torn record ends its file, with a note. Format: tensorflow/core/lib/io/record_writer.cc,
tensorboard/compat/proto/{event,summary,tensor}.proto (TensorBoard 2.21). Left out: images, audio,
histograms, graphs.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import trl
from pawl.logs.log import Event, Raw, Row
from pawl.logs.table import Table
from pawl.logs.wire import fields, masked_crc, real, signed, text, varint

FORMAT = "TensorBoard event file"
NAME = "*tfevents*"
MANY = 10_000  # event files below a folder
MOST = 1 << 28  # bytes; no record is longer
SUMMED = 1 << 16  # bytes; longer ones (images) are taken without their checksum
CONFIG_TAGS = ("args/text_summary", "args", "config/text_summary", "hparams/text_summary")
FLOAT, DOUBLE, STRING, BFLOAT16, HALF = 1, 2, 7, 14, 19  # of DataType in types.proto
NUMBERS = {1: "f", 2: "d", 3: "i", 4: "B", 5: "h", 6: "b", 9: "q", 19: "e", 22: "I", 23: "Q"}
FENCE = re.compile(r"^\s*```\w*|```\s*$|^ {4}", re.MULTILINE)


def looks_like(path: Path, head: str) -> bool:
    """Whether a file begins with a whole record that is an Event."""
    if head.startswith(("{", "[")):
        return False
    with path.open("rb") as file:
        record = next(_records_of(file.read(SUMMED), []), None)
    return record is not None and _event(record) is not None


def takes_folder(path: Path) -> bool:
    """Whether a folder holds event files itself."""
    return any(p.is_file() for p in path.glob(NAME))


def read_folder(path: Path) -> list[Raw]:
    """The event files of the folder as one log, then those of each folder within it."""
    inner = {p.parent for p in islice(path.rglob(NAME), MANY) if p.is_file()} - {path}
    raws = [read_one_folder(path)]
    for folder in sorted(inner):
        try:
            raws.append(read_one_folder(folder))
        except PawlError:  # no scalar, such as one of hyperparameters
            continue
    return raws


def read_one_folder(path: Path) -> Raw:
    """The event files of the folder itself as one log; raises PawlError without a scalar."""
    return _read(path, sorted((p for p in path.glob(NAME) if p.is_file()), key=_start))


def read(path: Path) -> Raw:
    """One event file; raises PawlError when it holds no scalar."""
    return _read(path, [path])


def _start(path: Path) -> tuple[float, str]:
    """When a file was begun, by its first event."""
    with path.open("rb") as file:
        record = next(_records_of(file.read(SUMMED), []), b"")
    event = _event(record)
    return (event[0] if event else 0.0), path.name


def _read(place: Path, files: list[Path]) -> Raw:
    raw = Raw(place, FORMAT if len(files) == 1 else f"{len(files)} {FORMAT}s", "any", Table())
    for number, path in enumerate(files):
        first = _fill(raw, path)
        if number and first is not None:
            raw.events.append(Event(first, "resume", "a new event file begins"))
    if not raw.table.n:
        raise PawlError("no scalar in the event files", str(place), "docs/doctor.md lists formats")
    return trl.complete(raw) if trl.is_trl(raw.table.columns) else raw


def _fill(raw: Raw, path: Path) -> float | None:
    """Add a file's scalars, one row for each run of equal steps; its first step."""
    now, row, first, odd = 0, Row(), None, 0
    for record in _records(path, raw.notes):
        event = _event(record)
        if event is None:
            odd += 1
            continue
        _, step, values = event
        if row and step != now:
            raw.table.add({"step": now, **row})
            row = Row()
        now = step
        for tag, value in values:
            if isinstance(value, str):
                _configure(raw, tag, value)
            else:
                first = float(step) if first is None else first
                row[tag] = value
    if row:
        raw.table.add({"step": now, **row})
    if odd:
        raw.notes.append(f"{path.name}: {odd} records are no events and were left out")
    return first


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The records of a file; what breaks off or is damaged is noted."""
    with path.open("rb") as file:
        while head := file.read(12):
            size = _size(head)
            if size is None:
                notes.append(f"{path.name}: damaged or torn; read up to byte {file.tell()}")
                return
            data, end = file.read(size), file.read(4)
            if len(data) < size or len(end) < 4:
                notes.append(f"{path.name} breaks off; what came before was read")
                return
            if size <= SUMMED and masked_crc(data) != int.from_bytes(end, "little"):
                notes.append(f"{path.name}: a damaged record was left out")
                continue
            yield data


def _records_of(data: bytes, notes: list[str]) -> Iterator[bytes]:
    """The whole records at the start of some bytes."""
    at = 0
    while (size := _size(data[at : at + 12])) is not None and at + 16 + size <= len(data):
        body = data[at + 12 : at + 12 + size]
        if masked_crc(body) != int.from_bytes(data[at + 12 + size : at + 16 + size], "little"):
            return
        yield body
        at += 16 + size


def _size(head: bytes) -> int | None:
    """Length of a record by its head; None when the checksum says that it is none."""
    if len(head) < 12 or masked_crc(head[:8]) != int.from_bytes(head[8:12], "little"):
        return None
    (size,) = struct.unpack("<Q", head[:8])
    return int(size) if size <= MOST else None


def _event(record: bytes) -> tuple[float, int, list[tuple[str, float | str]]] | None:
    """Wall time, step, and the scalars and texts of an event; None for what is none."""
    wall, step, values = 0.0, 0, list[tuple[str, float | str]]()
    try:
        for number, value in fields(record):
            if number == 1:
                wall = real(value)
            elif number == 2 and isinstance(value, int):
                step = signed(value)
            elif number == 5 and isinstance(value, bytes):
                for inner, body in fields(value):
                    if inner == 1 and isinstance(body, bytes):
                        values += _value(body)
    except ValueError:
        return None
    return wall, step, values


def _value(body: bytes) -> Iterator[tuple[str, float | str]]:
    """(tag, number or text) of one Summary.Value; nothing for images and the like."""
    tag = ""
    found: float | str | None = None
    for number, value in fields(body):
        if number == 1:
            tag = text(value)
        elif number == 2:
            found = real(value)
        elif number == 8 and isinstance(value, bytes):
            found = _tensor(value)
    if tag and found is not None:
        yield tag, found


def _tensor(body: bytes) -> float | str | None:
    """The one number or text that a tensor holds; None for other tensors."""
    kind, content, listed = 0, b"", list[int | bytes]()
    for number, value in fields(body):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 4 and isinstance(value, bytes):
            content = value
        elif number in (5, 6, 7, 8, 10, 13):
            listed.append(value)
    if kind == STRING:
        return text(listed[0]) if len(listed) == 1 else None
    if kind == BFLOAT16 and len(content) == 2:
        return float(struct.unpack("<f", b"\0\0" + content)[0])
    code = NUMBERS.get(kind)
    if code and len(content) == struct.calcsize(f"<{code}"):
        return float(struct.unpack(f"<{code}", content)[0])
    if len(listed) != 1:
        return None
    return _listed(kind, listed[0])


def _listed(kind: int, value: int | bytes) -> float | None:
    """A number of a tensor's own list, which may be packed."""
    if kind in (FLOAT, DOUBLE):
        return real(value) if isinstance(value, bytes) and len(value) in (4, 8) else None
    number = value
    if isinstance(value, bytes):
        number, end = varint(value, 0)
        if end != len(value):
            return None
    assert isinstance(number, int), "packed numbers are numbers now"
    if kind in (HALF, BFLOAT16):
        if number > 0xFFFF:
            return None
        half = number.to_bytes(2, "little")
        wide = struct.unpack("<e", half) if kind == HALF else struct.unpack("<f", b"\0\0" + half)
        return float(wide[0])
    return float(signed(number))


def _configure(raw: Raw, tag: str, value: str) -> None:
    """Take hyperparameters from a text that holds them as JSON."""
    if tag not in CONFIG_TAGS or raw.config:
        return
    try:
        config = json.loads(FENCE.sub("", value))
    except (ValueError, RecursionError):
        return
    if isinstance(config, dict):
        raw.config = config

"""TensorBoard event files, read whole: every scalar that was written, none thinned out.

A file is a row of records (length, its checksum, an Event message, its checksum); scalars stand in
them as plain values or as tensors of one number, hyperparameters as text. The event files of one
folder are one log in the order of their start: a run that was ended and continued. A damaged or
torn record ends its file, with a note. Format: tensorflow/core/lib/io/record_writer.cc,
tensorboard/compat/proto/{event,summary,tensor}.proto (TensorBoard 2.21). Left out: images, audio,
histograms, graphs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pawl.logs import trackers
from pawl.logs.json_stream import object_of
from pawl.logs.log import Event, Raw
from pawl.logs.table import Row, Table
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


Scalars = tuple[float, int, list[tuple[str, float | str]]]
"""Wall time and step of an event, and its numbers and texts by tag."""


def read(path: Path, head: str) -> list[Raw] | None:
    """One event file: it begins with a record that is an Event."""
    return [_read(path, [path])] if _first(path) else None


def read_folder(path: Path) -> list[Raw] | None:
    """The event files of the folder as one log, then those of each folder within it."""
    if not any(p.is_file() for p in path.glob(NAME)):
        return None
    inner = {p.parent for p in islice(path.rglob(NAME), MANY) if p.is_file()} - {path}
    return [read_one_folder(folder) for folder in (path, *sorted(inner))]


def read_one_folder(path: Path) -> Raw:
    """The event files of the folder itself as one log, in the order of their first events."""
    files = [(event[0] if (event := _first(p)) else 0.0, p)
             for p in path.glob(NAME) if p.is_file()]  # fmt: skip
    return _read(path, [file for _, file in sorted(files)])


def _first(path: Path) -> Scalars | None:
    """The first event of a file; None for what is no event file."""
    record = next(_records(path, []), None)
    return None if record is None else _event(record)


def _read(place: Path, files: list[Path]) -> Raw:
    raw = Raw(place, FORMAT if len(files) == 1 else f"{len(files)} {FORMAT}s", "any", Table())
    for number, path in enumerate(files):
        first = _fill(raw, path)
        if number and first is not None:
            raw.events.append(Event(first, "resume", "a new event file begins"))
    return trackers.finish(raw)


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


def _size(head: bytes) -> int | None:
    """Length of a record by its head; None when the checksum says that it is none."""
    if len(head) < 12 or masked_crc(head[:8]) != int.from_bytes(head[8:12], "little"):
        return None
    size = int.from_bytes(head[:8], "little")
    return size if size <= MOST else None


def _event(record: bytes) -> Scalars | None:
    """What an event holds; None for what is none."""
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
    if content or len(listed) != 1:
        return _unpacked(kind, content)
    return _listed(kind, listed[0])


def _unpacked(kind: int, data: bytes) -> float | None:
    """The one number in a tensor's bytes."""
    if kind == BFLOAT16:  # the upper half of a float
        kind, data = FLOAT, b"\0\0" + data
    code = NUMBERS.get(kind, "")
    if not code or len(data) != struct.calcsize(f"<{code}"):
        return None
    return float(struct.unpack(f"<{code}", data)[0])


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
        return _unpacked(kind, number.to_bytes(2, "little")) if number <= 0xFFFF else None
    return float(signed(number))


def _configure(raw: Raw, tag: str, value: str) -> None:
    """Take hyperparameters from a text that holds them as JSON."""
    if tag in CONFIG_TAGS and not raw.config:
        raw.config = object_of(FENCE.sub("", value)) or {}

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
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path

from pawl.logs import trackers
from pawl.logs.json_stream import object_of
from pawl.logs.table import Event, Raw, Row, Table
from pawl.logs.wire import Value, fields, masked_crc, real, signed, text, varint

FORMAT = "TensorBoard event file"
NAME = "*tfevents*"
MANY = 10_000  # event files below a folder
MOST = 1 << 28  # bytes; no record is longer
SUMMED = 1 << 16  # bytes; longer ones (images) are taken without their checksum
CONFIG_TAGS = ("args/text_summary", "args", "config/text_summary", "hparams/text_summary")
FLOAT, DOUBLE, STRING, BFLOAT16, HALF = 1, 2, 7, 14, 19  # of DataType in types.proto
LISTS = (5, 6, 7, 8, 10, 13)  # fields of TensorProto that hold values one by one
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
    first = None
    for step, events in groupby(_events(path, raw.notes), key=itemgetter(1)):
        row = Row()
        for tag, value in chain.from_iterable(values for _, _, values in events):
            if not isinstance(value, str):
                row[tag] = value
            elif tag in CONFIG_TAGS and not raw.config:
                raw.config = object_of(FENCE.sub("", value)) or {}
        if row:
            raw.table.add({"step": step, **row})
            first = float(step) if first is None else first
    return first


def _events(path: Path, notes: list[str]) -> Iterator[Scalars]:
    """The events of a file; records that are none are counted in a note."""
    odd = 0
    for record in _records(path, notes):
        if event := _event(record):
            yield event
        else:
            odd += 1
    if odd:
        notes.append(f"{path.name}: {odd} records are no events and were left out")


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The records of a file; what breaks off or is damaged is noted."""
    with path.open("rb") as file:
        while head := file.read(12):
            size = int.from_bytes(head[:8], "little")
            if len(head) < 12 or not _fits(head[:8], head[8:]) or size > MOST:
                notes.append(f"{path.name}: damaged or torn; read up to byte {file.tell()}")
                return
            data, end = file.read(size), file.read(4)
            if len(data) < size or len(end) < 4:
                notes.append(f"{path.name} breaks off; what came before was read")
                return
            if size > SUMMED or _fits(data, end):
                yield data
            else:
                notes.append(f"{path.name}: a damaged record was left out")


def _fits(data: bytes, checksum: bytes) -> bool:
    return masked_crc(data) == int.from_bytes(checksum, "little")


def _event(record: bytes) -> Scalars | None:
    """What an event holds; None for what is none."""
    try:
        about = dict(fields(record))
        parts = [body for number, body in fields(about.get(5, b"")) if number == 1]
        values = [found for body in parts if (found := _value(body))]
        return real(about[1]) if 1 in about else 0.0, signed(about.get(2, 0)), values
    except (ValueError, OverflowError):
        return None


def _value(body: Value) -> tuple[str, float | str] | None:
    """(tag, number or text) of one Summary.Value; None for images and the like."""
    about = dict(fields(body))
    tag = text(about.get(1, b""))
    found = real(about[2]) if 2 in about else _tensor(about[8]) if 8 in about else None
    return (tag, found) if tag and found is not None else None


def _tensor(body: Value) -> float | str | None:
    """The one number or text that a tensor holds; None for other tensors."""
    parts = fields(body)
    about, listed = dict(parts), [value for number, value in parts if number in LISTS]
    kind, content = signed(about.get(1, 0)), about.get(4, b"")
    if kind == STRING:
        return text(listed[0]) if len(listed) == 1 else None
    if content or len(listed) != 1:
        return _unpacked(kind, content)
    (number,) = listed
    if kind in (FLOAT, DOUBLE):
        return _unpacked(kind, number)
    if isinstance(number, bytes):  # the list is packed
        packed = number
        number, end = varint(packed, 0)
        if end != len(packed):
            return None
    if kind in (HALF, BFLOAT16):
        return _unpacked(kind, number.to_bytes(2, "little"))
    return float(signed(number))


def _unpacked(kind: int, data: Value) -> float | None:
    """The one number in a tensor's bytes."""
    if kind == BFLOAT16 and isinstance(data, bytes):  # the upper half of a float
        kind, data = FLOAT, b"\0\0" + data
    code = NUMBERS.get(kind, "")
    if isinstance(data, int) or not code or len(data) != struct.calcsize(f"<{code}"):
        return None
    return float(struct.unpack(f"<{code}", data)[0])

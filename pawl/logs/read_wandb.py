"""W&B: a run's own file run-ID.wandb (offline or synced), and what leaves W&B's server.

The run's file is a log of LevelDB (blocks of 32 KiB; records in pieces, each with CRC-32, length
and kind) behind a head of 7 bytes; a record is a protocol buffer. A file that breaks off gives what
came before, with a note. Format: github.com/google/leveldb doc/log_format.md,
wandb/proto/wandb_internal.proto (wandb 0.31).

A chart's CSV ("Step", "run - metric", ...) holds a column for each run and metric, beside it its
least and largest value; every run is a log. A history (`run.scan_history()`, `run.history()`) is
JSON, JSON lines or CSV with the columns _step and _runtime or _timestamp. Built from docs.wandb.ai
(guides/app/features/panels, ref/python/public-api/run), not tested on files from the server. Left
out: media, system statistics, console output, reports.
"""

from __future__ import annotations

import csv
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pawl.logs import trackers
from pawl.logs.json_stream import LIST, lines, objects, value_of, whole
from pawl.logs.table import Event, Raw, Row, Table
from pawl.logs.wire import Value, fields, real, text
from pawl.store.files import flat

FORMAT = "W&B run file (.wandb)"
CHART = "chart exported from W&B (CSV)"
HISTORY = "run history exported from W&B"
HEAD = ":W&B"
START, BLOCK, PIECE_HEAD = 7, 1 << 15, 7  # bytes
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # kinds of pieces
MOST = 1 << 28  # bytes; no record is longer
ROW, CONFIG, ALERT, METRIC, RUN, EXIT = 2, 5, 10, 12, 17, 18  # of Record
RUN_CONFIG = 4  # of RunRecord
DECIMAL = re.compile(rb"-?\d+\.\d+(?:[eE][-+]?\d+)?")
REQUIREMENT = re.compile(r"^trl==(\S+)$", re.MULTILINE)
AXES = ("Step", "Relative Time (Process)", "Relative Time (Wall)", "Wall Time")
OTHER_AXES = ("global_step", "step", "epoch")
EXTREMES = ("__MIN", "__MAX")
BETWEEN = " - "
COLUMNS = re.compile(r'"_step"\s*:\s*[{\[]')
KEYS = re.compile(r'"_step"\s*:')
CLOCK = re.compile(r'"_(?:runtime|timestamp)"\s*:')


def read(path: Path, head: str) -> list[Raw] | None:
    """The run of a file, or the runs of what was exported."""
    if head.startswith(HEAD):
        return [_run(path)]
    start, raw = head.lstrip()[:1], Raw(path, HISTORY, "any", Table())
    if start in ("{", "["):
        if not (KEYS.search(head) and CLOCK.search(head)):
            return None
        if start == "[":
            rows = objects(path, LIST, raw.notes)
        else:
            rows = _by_columns(path) if COLUMNS.search(head) else lines(path, raw.notes)
        return [trackers.fill(raw, rows)]
    names = next(csv.reader(head.lstrip().splitlines()[:1]), [])
    if {"_runtime", "_timestamp"} & set(names) and "_step" in names:
        return [trackers.fill(raw, _cells(path, raw.notes))]
    return _chart(path) if _is_chart(names) else None


def read_folder(path: Path) -> list[Raw] | None:
    """The run files of the folder."""
    return [_run(p) for p in sorted(path.glob("*.wandb")) if p.is_file()] or None


def _run(path: Path) -> Raw:
    raw = Raw(path, FORMAT, "any", Table())
    trackers.fill(raw, _rows(path, raw))
    packages = path.parent / "files" / "requirements.txt"
    if raw.library == "trl" and packages.is_file():
        found = REQUIREMENT.search(packages.read_text(encoding="utf-8", errors="replace"))
        raw.version = found[1] if found else ""
    return raw


def _rows(path: Path, raw: Raw) -> Iterator[Row]:
    """The rows of the history; everything else that is used goes into the log."""
    odd, step = 0, 0.0
    for record in _records(path, raw.notes):
        try:
            for kind, body in fields(record):
                if kind == ROW:
                    row = _row(body)
                    found = row.get("_step")
                    step = float(found) if isinstance(found, int | float) else step
                    yield row
                else:
                    _note(raw, kind, body, step)
        except ValueError:
            odd += 1
    if odd:
        raw.notes.append(f"{odd} records could not be read and were left out")


def _note(raw: Raw, kind: int, body: Value, step: float) -> None:
    """Put what a record says beside the history into the log."""
    if kind == CONFIG:
        for name, found in (_item(item) for number, item in fields(body) if number == 1):
            if not name.startswith("_wandb"):
                raw.config |= flat({name: found})
    elif kind == RUN:
        _note(raw, CONFIG, dict(fields(body)).get(RUN_CONFIG, b""), step)
    elif kind == METRIC:
        about = dict(fields(body))
        if 4 in about and text(about.get(2, b"")) == "*":  # define_metric for all
            raw.own_step = raw.own_step or text(about[4])
    elif kind == ALERT:
        said = [text(value) for number, value in fields(body) if number in (1, 2)]
        raw.events.append(Event(step, "alert", ": ".join(said)))
    elif kind == EXIT and (code := dict(fields(body)).get(1)):
        raw.events.append(Event(step, "error", f"the process ended with code {code!r}"))


def _row(body: Value) -> Row:
    """One row; nested names are joined by a point, as W&B shows them."""
    parts = fields(body)
    row: Row = dict(_item(value) for number, value in parts if number == 1)
    for number, value in parts:
        if number == 2:
            row.setdefault("_step", dict(fields(value)).get(1, 0))
    return row


def _item(body: Value) -> tuple[str, object]:
    """(name, value) of an item of history or config."""
    parts = fields(body)
    name = ".".join(text(value) for number, value in parts if number in (1, 2))
    return name, next((_plain(*part) for part in parts if part[0] not in (1, 2)), None)


def _plain(number: int, value: Value) -> object:
    """What an item's value field holds: JSON, a number, a text."""
    if number == 5 and isinstance(value, int):
        return value >> 1 ^ -(value & 1)  # zigzag
    if number == 6:
        return real(value)
    if number == 7:
        return text(value)
    if number in (8, 16) and isinstance(value, bytes):
        # Most are numbers, and this is faster.
        return float(value) if DECIMAL.fullmatch(value) else value_of(value)
    return None


def _records(path: Path, notes: list[str]) -> Iterator[bytes]:
    """The records of a file, their pieces joined; what is damaged or breaks off is noted."""
    parts, damaged, at = list[bytes](), 0, START
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            while at + PIECE_HEAD <= len(block):
                crc, size, kind = struct.unpack_from("<IHB", block, at)
                data = block[at + PIECE_HEAD : at + PIECE_HEAD + size]
                if not (crc or size or kind):
                    break  # the rest of a block is filled up
                if len(data) < size and len(block) < BLOCK:
                    notes.append("the file breaks off; what came before was read")
                    break
                if len(data) < size or zlib.crc32(data, zlib.crc32(bytes((kind,)))) != crc:
                    damaged, parts = damaged + 1, []
                    break
                if kind in (FULL, FIRST):
                    parts = []
                parts.append(data)
                if kind in (FULL, LAST):
                    yield b"".join(parts)
                if kind not in (FIRST, MIDDLE) or len(parts) > MOST // BLOCK:
                    parts = []
                at += PIECE_HEAD + size
            at = 0
    if damaged:
        notes.append(f"{damaged} damaged places: the rest of their blocks (32 KiB) was left out")
    if parts:
        notes.append("the file breaks off within a record; what came before was read")


def _is_chart(names: list[str]) -> bool:
    """Whether columns are those of a chart's CSV: an axis, then "run - metric" throughout."""
    if len(names) < 2 or not all(BETWEEN in name for name in names[1:]):
        return False
    extremes = any(name.endswith(EXTREMES) for name in names[1:])
    return names[0] in AXES or (extremes and ("/" in names[0] or names[0] in OTHER_AXES))


def _cells(path: Path, notes: list[str]) -> Iterator[Row]:
    """The rows of a CSV without its empty cells."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            for row in csv.DictReader(file):
                yield {k: v for k, v in row.items() if k and v not in ("", None)}
        except csv.Error as error:
            notes.append(f"the CSV breaks off ({error}); what came before was read")


def _by_columns(path: Path) -> Iterator[Row]:
    """Rows of `run.history().to_json()`: every column an object by row number, or a list."""
    body, rows = whole(path), dict[str, Row]()
    for name, column in body.items() if isinstance(body, dict) else ():
        pairs = enumerate(column) if isinstance(column, list) else ()
        for place, value in column.items() if isinstance(column, dict) else pairs:
            rows.setdefault(str(place), {})[name] = value
    yield from rows.values()


def _chart(path: Path) -> list[Raw]:
    """One log for each run of a chart; least and largest values keep names of their own."""
    notes, runs = list[str](), dict[str, Raw]()
    for row in _cells(path, notes):
        axis, step = next(iter(row.items()), ("", None))
        parts = dict[str, Row]()
        for column, value in row.items():
            if column != axis and BETWEEN in column:
                run, metric = column.rsplit(BETWEEN, 1)
                parts.setdefault(run, {})[metric] = value
        for run, values in parts.items():
            if run not in runs:
                runs[run] = Raw(path, f'{CHART}, run "{run}"', "any", Table())
            runs[run].table.add({"step": step, **values})
    for raw in runs.values():
        raw.notes += notes
        trackers.finish(raw)
    return list(runs.values())

"""Trackio's SQLite file (one per project): every run in it is a log.

Rows stand as JSON in the table `metrics`, options in `configs`, alerts in `alerts`; the file is
opened read-only. Tables: trackio/sqlite_storage.py (trackio 0.43; older ones lack run_id). Left
out: system figures, traces, artifacts, the Parquet copies of hosted projects.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import trackers
from pawl.logs.json_stream import note_odd, object_of
from pawl.logs.log import Event, Raw
from pawl.logs.table import Row, Table

FORMAT = "Trackio database"
HEAD = b"SQLite format 3\0"
DAMAGED = (sqlite3.Error, UnicodeDecodeError)  # SQLite quotes broken bytes in its messages
NEEDED = {"run_name", "step", "metrics"}


def read(path: Path, head: str) -> list[Raw] | None:
    """The runs of a file in the order of their start; raises PawlError when it is damaged."""
    return _runs(path) if head.startswith(HEAD.decode()) and _is_trackio(path) else None


def read_folder(path: Path) -> list[Raw] | None:
    """The runs of all databases of a folder."""
    files = [p for p in sorted(path.glob("*.db")) if p.is_file() and _is_trackio(p)]
    return [raw for file in files for raw in _runs(file)] if files else None


def _is_trackio(path: Path) -> bool:
    """Whether a file is an SQLite database with Trackio's table of metrics."""
    with path.open("rb") as file:
        if file.read(len(HEAD)) != HEAD:
            return False
    try:
        return NEEDED <= set(_columns(path, "metrics"))
    except DAMAGED:
        return False


def _runs(path: Path) -> list[Raw]:
    raws = list[Raw]()
    try:
        key = "run_id" if "run_id" in _columns(path, "metrics") else "run_name"
        query = f"SELECT {key}, run_name FROM metrics GROUP BY {key} ORDER BY MIN(rowid)"
        for identity, name in _query(path, query):
            raw = Raw(path, f'{FORMAT}, run "{name}"', "any", Table())
            _add_config(raw, key, identity)
            trackers.fill(raw, _rows(raw, key, identity))
            _add_alerts(raw, key, identity)
            raws.append(raw)
    except DAMAGED as error:
        if not raws:
            raise PawlError("the database cannot be read", str(path), str(error)) from error
        raws[-1].notes.append(f"the database is damaged; what came before was read ({error})")
    return raws


def _open(path: Path) -> sqlite3.Connection:
    """A read-only connection; where the side files cannot be made, one that needs none."""
    address = path.resolve().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    return connection


def _query(path: Path, query: str, *values: object) -> Iterator[tuple[object, ...]]:
    connection = _open(path)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    try:
        yield from connection.execute(query, values)
    finally:
        connection.close()


def _columns(path: Path, table: str) -> list[str]:
    """The columns of a table, none for an absent one."""
    return [str(row[1]) for row in _query(path, f"PRAGMA table_info({table})")]


def _rows(raw: Raw, key: str, identity: object) -> Iterator[Row]:
    """A run's rows as they were logged; what is no object is counted in a note."""
    odd = 0
    query = f"SELECT step, metrics FROM metrics WHERE {key} IS ? ORDER BY rowid"
    for step, body in _query(raw.path, query, identity):
        row = object_of(body)
        if row is None:
            odd += 1
        else:
            yield {**row, "_step": step}
    note_odd(raw.notes, odd, "row")


def _add_config(raw: Raw, key: str, identity: object) -> None:
    if {key, "config"} <= set(_columns(raw.path, "configs")):
        query = f"SELECT config FROM configs WHERE {key} IS ?"
        for (body,) in _query(raw.path, query, identity):
            own = object_of(body) or {}
            raw.config.update({k: v for k, v in own.items() if not k.startswith("_")})


def _add_alerts(raw: Raw, key: str, identity: object) -> None:
    if {key, "title", "text", "level", "step"} <= set(_columns(raw.path, "alerts")):
        query = f"SELECT step, level, title, text FROM alerts WHERE {key} IS ? ORDER BY rowid"
        for step, level, title, text in _query(raw.path, query, identity):
            place = float(step) if isinstance(step, int | float) else 0.0
            said = f"{level}: {title}" + (f": {text}" if text else "")
            raw.events.append(Event(place, "alert", said))

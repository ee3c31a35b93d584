"""Trackio's SQLite file (one per project): every run in it is a log.

Rows stand as JSON in the table `metrics`, options in `configs`, alerts in `alerts`; the file is
opened read-only. Tables: trackio/sqlite_storage.py (trackio 0.43; older ones lack run_id). Left
out: system figures, traces, artifacts, the Parquet copies of hosted projects.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import trackers
from pawl.logs.json_stream import note_odd, object_of
from pawl.logs.table import Event, Raw, Row, Table

FORMAT = "Trackio database"
HEAD = "SQLite format 3\0"
DAMAGED = (sqlite3.Error, UnicodeDecodeError)  # SQLite quotes broken bytes in its messages
NEEDED = {"run_name", "step", "metrics"}


def read(path: Path, head: str) -> list[Raw] | None:
    """The runs of a file in the order of their start; raises PawlError when it is damaged."""
    return _runs(path) if head.startswith(HEAD) and _is_trackio(path) else None


def read_folder(path: Path) -> list[Raw] | None:
    """The runs of all databases of a folder."""
    files = [p for p in sorted(path.glob("*.db")) if p.is_file() and _is_trackio(p)]
    return [raw for file in files for raw in _runs(file)] if files else None


def _is_trackio(path: Path) -> bool:
    """Whether a file is an SQLite database with Trackio's table of metrics."""
    try:
        with closing(_open(path)) as db:
            return NEEDED <= _columns(db, "metrics")
    except DAMAGED:
        return False


def _runs(path: Path) -> list[Raw]:
    raws = list[Raw]()
    try:
        with closing(_open(path)) as db:
            key = "run_id" if "run_id" in _columns(db, "metrics") else "run_name"
            query = f"SELECT {key}, run_name FROM metrics GROUP BY {key} ORDER BY MIN(rowid)"
            for identity, name in db.execute(query):
                raw = Raw(path, f'{FORMAT}, run "{name}"', "any", Table())
                of_run = partial(_select, db, key, identity)
                for (body,) in of_run("configs", "config"):
                    own = object_of(body) or {}
                    raw.config |= {k: v for k, v in own.items() if not k.startswith("_")}
                trackers.fill(raw, _rows(raw, of_run("metrics", "step", "metrics")))
                for step, *said in of_run("alerts", "step", "level", "title", "text"):
                    place = float(step) if isinstance(step, int | float) else 0.0
                    raw.events.append(Event(place, "alert", ": ".join(str(x) for x in said if x)))
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
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    """The columns of a table, none for an absent one."""
    return {str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")}


def _select(
    db: sqlite3.Connection, key: str, identity: object, table: str, *names: str
) -> Iterable[tuple[object, ...]]:
    """Some columns of a run's rows in their order; nothing where the table lacks one of them."""
    if not {key, *names} <= _columns(db, table):
        return ()
    query = f"SELECT {', '.join(names)} FROM {table} WHERE {key} IS ? ORDER BY rowid"
    return db.execute(query, (identity,))


def _rows(raw: Raw, found: Iterable[tuple[object, ...]]) -> Iterator[Row]:
    """A run's rows as they were logged; what is no object is counted in a note."""
    odd = 0
    for step, body in found:
        row = object_of(body)
        if row is None:
            odd += 1
        else:
            yield {**row, "_step": step}
    note_odd(raw.notes, odd, "row")

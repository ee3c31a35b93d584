"""Measurements by content hash, in one SQLite file (WAL): equal inputs are measured once, ever.

The key covers what changes a measurement and nothing else. For the sandbox: the tests, the text,
the end marker, limits, tier, start (warm or cold) and toolchain; weights, penalties, prompts and
lengths do not count. For a user's function: its files, the whole problem and the completions that
it saw together. Only what the same inputs give again is kept: no time-outs, no memory limits,
nothing missing. A full disk or a broken file switches the cache off with a note; it never changes a
measurement. Left out: eviction (a row is about 300 bytes).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pawl.sandbox.visible import PACKAGE, candidate_python
from pawl.types import CodeTask, Completion, Measurement, Problem, Verdict

REMEMBERED = 100_000  # tasks whose digest is kept
DETERMINISTIC: frozenset[Verdict | None] = frozenset(
    (None, "pass", "wrong", "exception", "output", "unserialisable", "compile", "rejected")
)


def digest(*parts: str) -> bytes:
    """Hash of some texts, their borders included."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.digest()


@lru_cache(maxsize=1)
def toolchain_facts() -> str:
    """Versions that a verdict depends on: candidates' Python, OCaml, and our own sandbox."""
    commands = [[str(candidate_python()), "--version"]]
    ocaml = shutil.which("ocamlc.opt") or shutil.which("ocamlc")
    commands += [[ocaml, "-version"]] if ocaml else []
    versions = [
        subprocess.run(c, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
        for c in commands
    ]
    h = hashlib.sha256()
    for path in sorted((PACKAGE / "sandbox").iterdir()):
        if path.is_file():
            h.update(path.read_bytes())
    return f"{versions[0]}, OCaml {versions[1] if ocaml else 'none'}, sandbox {h.hexdigest()[:12]}"


@lru_cache(REMEMBERED)
def task_digest(task: CodeTask) -> bytes:
    """Hash of what decides whether a program passes."""
    cases = [
        f"{c.shown:d}{c.close and tuple(c.close)} {c.compare} {len(c.view)} {c.view}"
        f"{len(c.input)} {c.input}{c.expected}"
        for c in task.cases
    ]
    return digest(task.lang, task.entry_point, task.signature, task.head, *cases)


def problem_digest(problem: Problem) -> bytes:
    """Hash of everything in a problem that a reward may read (its place in a file is not)."""
    values = {f.name: getattr(problem, f.name) for f in fields(problem) if f.name != "where"}
    values["code"] = None if problem.code is None else task_digest(problem.code).hex()
    values["messages"] = [(m.role, m.content) for m in problem.messages]
    return digest(json.dumps(values, sort_keys=True, default=str))


def program_key(context: str, task: bytes, text: str, end_marker: str) -> bytes:
    """Key of one candidate's measurement. context: hash of limits, tier, start, toolchain."""
    return digest(context, task.hex(), text, end_marker)


def function_key(context: str, problem: bytes, completions: Sequence[Completion]) -> bytes:
    """Key of one call of a user's function. context: its name and files."""
    seen = (x for c in completions for x in (c.text, str(c.n_tokens), c.finish))
    return digest(context, problem.hex(), *seen)


def keeps(found: Sequence[Measurement]) -> bool:
    """True for what the same inputs give again on any day and any machine."""
    return all(m.status == "measured" and m.verdict in DETERMINISTIC for m in found)


def _sum(key: bytes, text: str) -> str:
    """By which a damaged row shows: SQLite itself does not look."""
    return digest(key.hex(), text).hex()[:16]


class Kept:
    """JSON values by key in one SQLite file; read and write from any thread.

    note: why it was switched off, "" while it works. Closed, it finds nothing and keeps nothing.
    renews: a file that is no database, or a damaged one, is removed and begun anew, once.
    """

    def __init__(self, path: Path, renews: bool = False) -> None:
        self.note = ""
        self._path, self._lock = path, threading.RLock()
        self._renews = renews
        self._db: sqlite3.Connection | None = None
        self._open()

    def _open(self, anew: bool = False) -> None:
        try:
            for end in ("", "-wal", "-shm") if anew else ():
                Path(f"{self._path}{end}").unlink(missing_ok=True)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Without an isolation level each write is its own transaction.
            self._db = sqlite3.connect(
                self._path, 10.0, isolation_level=None, check_same_thread=False
            )
            self.note = ""
        except (sqlite3.Error, OSError) as error:
            self._off(error)
        self._run("PRAGMA journal_mode=WAL")
        self._run("PRAGMA synchronous=NORMAL")
        self._run(
            "CREATE TABLE IF NOT EXISTS measurements (key BLOB PRIMARY KEY, found TEXT NOT NULL)"
        )

    def _off(self, error: Exception) -> None:
        self.note = f"the cache of measurements is off: {self._path}: {error}"
        self._db = None

    def _run(self, sql: str, *values: object) -> list[tuple[str]]:
        with self._lock:
            if self._db is None:
                return []
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                self._db.close()
                self._off(error)
                # This very class: a lock and a full disk raise others, derived from it.
                if self._renews and type(error) is sqlite3.DatabaseError:
                    self._renews = False
                    self._open(anew=True)
                return []

    def read(self, key: bytes) -> Any:
        """What was kept, or None; a row that is not as it was written counts as none."""
        rows = self._run("SELECT found FROM measurements WHERE key = ?", key)
        sum_, _, text = str(rows[0][0]).partition(" ") if rows else ("", "", "")
        return json.loads(text) if text and sum_ == _sum(key, text) else None

    def write(self, key: bytes, value: object) -> None:
        """Keep a value, in the place of what stands there."""
        text = json.dumps(value, sort_keys=True)
        kept = f"{_sum(key, text)} {text}"
        self._run("INSERT OR REPLACE INTO measurements VALUES (?, ?)", key, kept)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None


class MeasurementCache(Kept):
    """The measurements of one submission by its key."""

    def get(self, key: bytes) -> list[Measurement] | None:
        """What was kept, with `cached` set, or None."""
        rows = self.read(key)
        now = {"cached": True, "warm": False, "time_ms": 0.0}
        return rows and [Measurement(**{**m, **now}) for m in rows]

    def put(self, key: bytes, found: Sequence[Measurement]) -> None:
        """Keep what repeats; anything else is ignored."""
        if keeps(found):
            self.write(key, [asdict(replace(m, usage={})) for m in found])

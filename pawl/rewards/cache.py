"""Measurements by content hash, in one SQLite file (WAL): equal inputs are measured once, ever.

The key covers what changes a measurement and nothing else. For the sandbox: the tests, the text,
the end marker, limits, tier and toolchain; weights, penalties, prompts and lengths do not count.
For a user's function: its files, the whole problem and the completions that it saw together. Only
what the same inputs give again is kept: no time-outs, no memory limits, nothing missing. A full
disk or a broken file switches the cache off with a note; it never changes a measurement. Left out:
eviction (a row is about 300 bytes).
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

from pawl.sandbox.visible import PACKAGE, candidate_python
from pawl.types import CodeTask, Completion, Measurement, Problem, Verdict

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


def task_digest(task: CodeTask) -> bytes:
    """Hash of what decides whether a program passes."""
    cases = [f"{c.shown:d}{c.close:d}{len(c.input)} {c.input}{c.expected}" for c in task.cases]
    return digest(task.lang, task.entry_point, task.signature, task.head, *cases)


def problem_digest(problem: Problem) -> bytes:
    """Hash of everything in a problem that a reward may read (its place in a file is not)."""
    values = {f.name: getattr(problem, f.name) for f in fields(problem) if f.name != "where"}
    values["code"] = None if problem.code is None else task_digest(problem.code).hex()
    values["messages"] = [(m.role, m.content) for m in problem.messages]
    return digest(json.dumps(values, sort_keys=True, default=str))


def program_key(context: str, task: bytes, text: str, end_marker: str) -> bytes:
    """Key of one candidate's measurement. context: limits, tier and toolchain as one string."""
    return digest(context, task.hex(), text, end_marker)


def function_key(context: str, problem: bytes, completions: Sequence[Completion]) -> bytes:
    """Key of one call of a user's function. context: its name and files."""
    seen = (x for c in completions for x in (c.text, str(c.n_tokens), c.finish))
    return digest(context, problem.hex(), *seen)


def keeps(found: Sequence[Measurement]) -> bool:
    """True for what the same inputs give again on any day and any machine."""
    return all(m.status == "measured" and m.verdict in DETERMINISTIC for m in found)


class MeasurementCache:
    """get and put from any thread; `note` says why it was switched off, "" while it works."""

    def __init__(self, path: Path) -> None:
        self.note = ""
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
            self._db.isolation_level = None  # each put is its own transaction
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS measurements "
                "(key BLOB PRIMARY KEY, found TEXT NOT NULL)"
            )
        except (sqlite3.Error, OSError) as error:
            self._off(f"{path}: {error}")

    def _off(self, why: str) -> None:
        self.note = f"the cache of measurements is off: {why}"
        if self._db is not None:
            self._db.close()
        self._db = None

    def get(self, key: bytes) -> list[Measurement] | None:
        """What was kept, with `cached` set, or None."""
        sql = "SELECT found FROM measurements WHERE key = ?"
        with self._lock:
            if self._db is None:
                return None
            try:
                row = self._db.execute(sql, (key,)).fetchone()
            except sqlite3.Error as error:
                self._off(str(error))
                return None
        if row is None:
            return None
        return [Measurement(**{**m, "cached": True, "time_ms": 0.0}) for m in json.loads(row[0])]

    def put(self, key: bytes, found: Sequence[Measurement]) -> None:
        """Keep what repeats; anything else is ignored."""
        if not keeps(found):
            return
        text = json.dumps([asdict(replace(m, usage={})) for m in found], sort_keys=True)
        with self._lock:
            if self._db is None:
                return
            try:
                self._db.execute("INSERT OR IGNORE INTO measurements VALUES (?, ?)", (key, text))
            except sqlite3.Error as error:
                self._off(str(error))

    def close(self) -> None:
        """Close the file; later calls find nothing and keep nothing."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

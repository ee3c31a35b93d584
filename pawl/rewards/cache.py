"""Scores by content hash, in one SQLite file (WAL): equal inputs are scored once, ever.

The key covers all that a score depends on: problem, completion, reward options, user reward files,
limits, tier and toolchain. Only verdicts that are a function of these are kept: no time-outs, no
memory limits, nothing missing. A full disk or a broken file switches the cache off with a note; it
never changes a score. Left out: eviction (a row is about 500 bytes).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import threading
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

from pawl.sandbox.visible import candidate_python
from pawl.types import Completion, Problem, Score, Verdict

DETERMINISTIC: frozenset[Verdict] = frozenset(
    ("pass", "wrong", "exception", "output", "unserialisable", "compile", "rejected")
)


def _digest(*parts: str) -> bytes:
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.digest()


@lru_cache(maxsize=1)
def toolchain_facts() -> str:
    """Versions that a verdict depends on: candidates' Python, OCaml, and our own reward code."""
    commands = [[str(candidate_python()), "--version"]]
    ocaml = shutil.which("ocamlc.opt") or shutil.which("ocamlc")
    commands += [[ocaml, "-version"]] if ocaml else []
    versions = [
        subprocess.run(c, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
        for c in commands
    ]
    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.is_file():
            h.update(path.read_bytes())
    return f"{versions[0]}, OCaml {versions[1] if ocaml else 'none'}, rewards {h.hexdigest()[:12]}"


def problem_digest(problem: Problem) -> bytes:
    """Hash of everything in a problem that a reward may read (its place in a file is not)."""
    fields = asdict(replace(problem, where=""))
    return _digest(json.dumps(fields, sort_keys=True))


def content_key(context: str, problem: bytes, completion: Completion) -> bytes:
    """Key of one score. context: reward, limits and toolchain as one string."""
    return _digest(
        context,
        problem.hex(),
        completion.text,
        str(completion.n_tokens),
        completion.finish,
    )


def keeps(score: Score) -> bool:
    """True for a score that the same inputs give again on any day and any machine."""
    return score.status == "scored" and score.verdict in DETERMINISTIC


class ScoreCache:
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
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score TEXT NOT NULL)"
            )
        except (sqlite3.Error, OSError) as error:
            self._off(f"{path}: {error}")

    def _off(self, why: str) -> None:
        self.note = f"the score cache is off: {why}"
        if self._db is not None:
            self._db.close()
        self._db = None

    def get(self, key: bytes) -> Score | None:
        """The kept score with `cached` set, or None."""
        with self._lock:
            if self._db is None:
                return None
            try:
                row = self._db.execute("SELECT score FROM scores WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                self._off(str(error))
                return None
        if row is None:
            return None
        return replace(Score(**json.loads(row[0])), cached=True, time_ms=0.0)

    def put(self, key: bytes, score: Score) -> None:
        """Keep a deterministic score; any other is ignored."""
        if not keeps(score):
            return
        text = json.dumps(asdict(score), sort_keys=True)
        with self._lock:
            if self._db is None:
                return
            try:
                self._db.execute("INSERT OR IGNORE INTO scores VALUES (?, ?)", (key, text))
            except sqlite3.Error as error:
                self._off(str(error))

    def close(self) -> None:
        """Close the file; later calls find nothing and keep nothing."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

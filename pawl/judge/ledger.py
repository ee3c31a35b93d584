"""Every attempt at a judgement with what it cost, and every verdict, in one SQLite file (WAL).

A row is written before an attempt is sent and settled with what the provider said; the verdict
goes into the same transaction, so that nothing is used that a kill could take back. An attempt
that never settled (a kill, a lost connection, an answer without usage) counts as the worst that it
can have cost, and says `unknown`. A disk that cannot be written stops the judge: without a ledger
nothing is spent. Left out: eviction.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pawl.errors import Exit, PawlError
from pawl.judge.wire import Outcome

Source = Literal["provider", "unknown", "none"]
FORMAT = 1
TABLES = (Path(__file__).parent / "ledger.sql").read_text("utf-8")
SETTLED = "seconds kind detail request_id model uncached cache_write cache_read output tokens usd"
SETTLED += " billing simulated"
SETTLE = f"UPDATE attempts SET {'=?, '.join(SETTLED.split())}=? WHERE id=?"


class Bill(NamedTuple):
    """What is charged for an attempt. source: as `billing` in `ledger.sql`."""

    tokens: int = 0
    usd: float = 0.0
    source: Source = "none"
    request_id: str = ""


class Ledger:
    """Attempts of one run and verdicts of all runs that share the file; usable from any thread.

    run: whose attempts these are; one process at a time writes those of a run. Raises PawlError
    when the file cannot be opened or written.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self._path, self._run, self._lock = path, run, threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without an isolation level each statement is its own transaction.
            self._db = sqlite3.connect(path, 30.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, FORMAT):
                raise PawlError(f"a ledger of another version ({version})", str(path))
            self._db.executescript(TABLES + f"PRAGMA user_version={FORMAT};")
        except (sqlite3.Error, OSError) as e:
            raise self._broken(e) from e
        self._execute(
            "UPDATE attempts SET kind='lost', billing='unknown' WHERE run=? AND kind IS NULL", run
        )

    def _broken(self, error: Exception) -> PawlError:
        hint = "make room or move the file away; nothing is asked of a judge without a ledger"
        return PawlError(f"the judge's ledger: {error}", str(self._path), hint, Exit.STOPPED)

    def _execute(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as e:
                raise self._broken(e) from e

    def open_attempt(self, key: str, host: str, model: str, tokens: int, usd: float) -> int:
        """A row for an attempt that is about to be sent, with the most that it can cost."""
        sql = """INSERT INTO attempts (run, key, started, host, model, tokens, usd, billing)
            VALUES (?, ?, ?, ?, ?, ?, ?, 'reserved') RETURNING id"""
        rows = self._execute(sql, self._run, key, time.time(), host, model, tokens, usd)
        return int(rows[0][0])

    def settle(
        self, attempt: int, came: Outcome, bill: Bill, seconds: float, key: str, kept: object = None
    ) -> None:
        """What an attempt came to; `kept` is its verdict, None for none, in one transaction."""
        u = came.usage
        values = (
            *(seconds, came.kind, came.detail, bill.request_id, came.model),
            *(u.uncached, u.cache_write, u.cache_read, u.output),
            *(bill.tokens, bill.usd, bill.source, int(came.simulated), attempt),
        )
        with self._lock:
            self._execute("BEGIN IMMEDIATE")
            end = "ROLLBACK"
            try:
                self._execute(SETTLE, *values)
                if kept is not None:
                    self.keep(key, kept)
                end = "COMMIT"
            finally:
                self._execute(end)

    def keep(self, key: str, value: object) -> None:
        """Keep a JSON value; what stands there already stays."""
        text = json.dumps(value, separators=(",", ":"))
        self._execute("INSERT OR IGNORE INTO kept VALUES (?, ?)", key, text)

    def find(self, key: str) -> Any:
        """A value that was kept, or None."""
        rows = self._execute("SELECT found FROM kept WHERE key=?", key)
        return json.loads(rows[0][0]) if rows else None

    def charged(self) -> tuple[int, float]:
        """Tokens and USD of this run so far, the worst case of what is unknown included."""
        sql = "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(usd), 0) FROM attempts WHERE run=?"
        tokens, usd = self._execute(sql, self._run)[0]
        return int(tokens), float(usd)

    def summary(self) -> Mapping[str, object]:
        """Attempts of this run by kind, tokens by class, and money, for a report."""
        kinds = self._execute(
            "SELECT COALESCE(kind, 'in flight'), COUNT(*) FROM attempts WHERE run=? GROUP BY 1",
            self._run,
        )
        classes = ("uncached", "cache_write", "cache_read", "output", "tokens", "usd")
        sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in classes)
        sums += ", COALESCE(SUM(CASE WHEN billing='unknown' THEN usd END), 0)"
        row = self._execute(f"SELECT {sums} FROM attempts WHERE run=?", self._run)[0]
        return {"attempts": dict(kinds), **dict(zip((*classes, "usd_unknown"), row, strict=True))}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

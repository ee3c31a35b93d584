-- Attempts: one row each, written before it is sent.
--   kind: what it came to; NULL while in flight, `lost` when its process ended first.
--   tokens, usd: what is charged; until it is settled the most that it can cost.
--   billing: reserved, then provider, unknown (the worst case is charged) or none.
CREATE TABLE IF NOT EXISTS attempts (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, key TEXT NOT NULL, started REAL NOT NULL,
  seconds REAL, host TEXT NOT NULL, model TEXT NOT NULL, kind TEXT, detail TEXT, request_id TEXT,
  uncached INTEGER, cache_write INTEGER, cache_read INTEGER, output INTEGER,
  tokens INTEGER NOT NULL, usd REAL NOT NULL, billing TEXT NOT NULL, simulated INTEGER);
CREATE INDEX IF NOT EXISTS by_run ON attempts (run);
-- Verdicts, and what a probe found, by key: JSON.
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, found TEXT NOT NULL) WITHOUT ROWID;

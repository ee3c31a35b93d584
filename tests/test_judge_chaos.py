"""Chaos: a judge that fails in every way, and processes that are killed while they judge.

Run by itself it is the process that is killed: python test_judge_chaos.py CONFIG LEDGER GROUPS.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from judge_setup import PRICE, ask_all, judge_config, one_request, open_client, rows
from test_judge_scorer import collect, problem

from pawl.config.judge import JudgeConfig
from pawl.judge.fake_judge import Character, length
from pawl.judge.fake_server import FakeTeacher, Fault, Options
from pawl.judge.ledger import Ledger
from pawl.judge.scorer import JudgeScorer
from pawl.types import Completion

# Shares of attempts, 31% in all.
RATES: dict[Fault, float] = {
    **{"rate_limit": 0.05, "overloaded": 0.045, "error": 0.03, "drop": 0.03, "partial": 0.02},
    **{"malformed": 0.03, "wrong_ids": 0.02, "refusal": 0.02, "truncated": 0.01, "html": 0.02},
    **{"slow": 0.005, "bad_request": 0.005, "null": 0.005, "error_body": 0.01, "no_usage": 0.005},
    **{"redirect": 0.005},
}
TYPED = {
    *("refusal", "truncated", "malformed", "http_3xx", "http_4xx", "overloaded"),
    *("timeout", "connection"),
}
KILLS = 5
COLUMNS = "request_id, billing, uncached, cache_write, cache_read, output, usd, kind"


def check_bill(ledger: Path, teacher: FakeTeacher, cap: float) -> int:
    """The ledger against the server's bill; the number of attempts whose bill nobody told us."""
    table = rows(ledger, COLUMNS)
    told = {row[0]: row for row in table if row[1] == "provider"}
    bills = {b.request_id: b for b in teacher.bills}
    for name, row in told.items():
        u = bills[name].usage
        assert row[2:6] == (u.uncached, u.cache_write, u.cache_read, u.output)
        assert row[6] == pytest.approx(bills[name].usd)
    free = [row for row in table if row[1] == "none"]
    assert all(row[6] == 0 and not (row[0] and bills[row[0]].billed) for row in free)
    untold = [row for row in table if row[1] not in ("provider", "none")]
    others = [b for b in teacher.bills if b.billed and b.request_id not in told]
    assert len(others) <= len(untold)  # each of them is charged with its worst case
    assert sum(b.usd for b in others) <= sum(row[6] for row in untold) + 1e-9
    total = sum(row[6] for row in table)
    assert sum(b.usd for b in teacher.bills) <= total + 1e-9 <= cap
    return len(untold)


def chaos(n: int, folder: Path, latency_s: float, rates: Mapping[Fault, float]) -> None:
    """n judgements over 14/15 as many different ones: all typed, the ledger right, resumable."""
    character = Character(systematic=0.2, sampling=0.2)
    options = Options(rates, (), latency_s, 9.0, 0.1, price=PRICE, character=character)
    asked = [one_request(mark=i % (n * 14 // 15)) for i in range(n)]
    with FakeTeacher(length, options) as teacher:
        cfg = judge_config(teacher, "messages", max_usd=20.0, attempt_s=6.0, in_flight=48)
        ledger = Ledger(folder / "l.db")
        outcomes = ask_all(open_client(cfg, ledger), asked)
        attempts = len(rows(ledger))
        faulty = sum(b.fault != "" for b in teacher.bills) / len(teacher.bills)
        assert 0.15 < faulty < 0.5 and len(teacher.bills) <= attempts
        kinds = collections.Counter(o.kind for o in outcomes)
        assert set(kinds) <= TYPED | {"ok"} and kinds["ok"] > 0.8 * n
        assert all((o.levels is not None) == (o.kind == "ok") for o in outcomes)
        check_bill(folder / "l.db", teacher, 20.0)
        # Resumed without faults: only what failed is asked again, and nothing else changed.
        object.__setattr__(teacher.options, "rates", {})
        before = len(teacher.bills)
        again = ask_all(open_client(cfg, Ledger(folder / "l.db")), asked)
        failed = {r.prompt for r, o in zip(asked, outcomes, strict=True) if o.kind != "ok"}
        assert {o.kind for o in again} == {"ok"} and len(teacher.bills) - before == len(failed)
        for old, new in zip(outcomes, again, strict=True):
            assert old.levels is None or old.levels == new.levels
    clean = Options(latency_s=0.0, character=character)
    with FakeTeacher(length, clean) as teacher:  # as if nothing had ever failed
        cfg = judge_config(teacher, "messages")
        calm = ask_all(open_client(cfg, Ledger(folder / "calm.db")), asked[::20])
    assert [o.levels for o in calm] == [o.levels for o in again[::20]]


def test_a_judge_that_fails_in_every_way(tmp_path: Path) -> None:
    chaos(60, tmp_path, 0.01, {**RATES, "slow": 0.0})


@pytest.mark.slow
def test_chaos_in_full(tmp_path: Path) -> None:
    chaos(1500, tmp_path, 0.02, RATES)


def group(i: int) -> list[Completion]:
    return [Completion(f"p{i}", f"let solve x = min x {i} (* {k} *)") for k in range(3)]


def drive(config: str, ledger: Path, groups: int) -> None:
    """Judge groups and write the totals of each as it comes."""
    cfg = JudgeConfig.model_validate_json(config)
    with JudgeScorer(cfg, ledger, "run") as scorer:
        for i in range(groups):
            scorer.submit(i, problem(i), group(i))
        left = groups
        while left:
            for key, found in scorer.poll(0.5):
                left -= 1
                print(json.dumps([key, [m.values.get("total") for m in found]]), flush=True)


def driver(root: Path, cfg: JudgeConfig, ledger: Path, groups: int) -> subprocess.Popen[str]:
    """This file as a process of its own."""
    command = [sys.executable, __file__, cfg.model_dump_json(), str(ledger), str(groups)]
    environ = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    )


@pytest.mark.slow
def test_five_kills_lose_nothing_and_pay_little_twice(tmp_path: Path, root: Path) -> None:
    groups, in_flight, rng = 600, 16, random.Random(3)
    rates: dict[Fault, float] = {"overloaded": 0.1, "drop": 0.05, "malformed": 0.05}
    options = Options(rates, (), 0.05, price=PRICE, character=Character(sampling=0.3))
    reported: dict[int, list[float]] = {}
    with FakeTeacher(length, options) as teacher:
        cfg = judge_config(teacher, in_flight=in_flight, max_usd=50.0)
        path = tmp_path / "l.db"
        for lines in [*(rng.randrange(40, 100) for _ in range(KILLS)), groups]:
            kept = len(reported)  # come at once, for nothing
            with driver(root, cfg, path, groups) as child:
                assert child.stdout is not None
                for line, _ in zip(child.stdout, range(kept + lines), strict=False):
                    key, totals = json.loads(line)
                    if None not in totals:
                        assert reported.setdefault(key, totals) == totals  # once, for ever
                child.kill()
    assert len(reported) >= groups - 10  # the rest was answered wrong twice
    with sqlite3.connect(path) as db:
        verdicts = db.execute("SELECT COUNT(*) FROM kept WHERE key NOT LIKE 'probe%'").fetchone()
    assert verdicts == (len(reported),)  # none lost, none double
    good = collections.Counter(
        b.digest for b in teacher.bills if b.billed and b.fault in ("", "no_usage")
    )
    paid_twice = sum(n - 1 for n in good.values())
    assert paid_twice <= in_flight * KILLS
    lost = [row for row in rows(path, COLUMNS) if row[7] == "lost"]
    assert paid_twice <= len(lost) <= in_flight * KILLS
    check_bill(path, teacher, 50.0)


@pytest.mark.slow
def test_a_kill_in_the_middle_is_resumed(tmp_path: Path, root: Path) -> None:
    """One kill, in short: what was reported stands, and what was in flight is charged."""
    options = Options(latency_s=0.1, price=PRICE, character=Character(sampling=0.3))
    with FakeTeacher(length, options) as teacher:
        cfg = judge_config(teacher, in_flight=4)
        path = tmp_path / "l.db"
        with driver(root, cfg, path, 40) as child:
            assert child.stdout is not None
            reported = dict(json.loads(child.stdout.readline()) for _ in range(10))
            child.kill()
        with JudgeScorer(cfg, path, "run") as scorer:
            for i in range(40):
                scorer.submit(i, problem(i), group(i))
            found = collect(scorer, 40)
        again = {k: [m.values["total"] for m in ms] for k, ms in found.items()}
    assert len(again) == 40 and {k: again[k] for k in reported} == reported
    digests = collections.Counter(b.digest for b in teacher.bills if b.billed)
    assert sum(n - 1 for n in digests.values()) <= 4
    assert check_bill(path, teacher, 5.0) >= 1


if __name__ == "__main__":
    drive(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

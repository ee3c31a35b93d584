"""The score cache keeps deterministic verdicts by content and never changes a score."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from pawl.rewards.cache import ScoreCache, content_key, keeps, problem_digest, toolchain_facts
from pawl.types import Case, Completion, Problem, Score, missing

PROBLEM = Problem("p", "python", "Add.", "f", (Case("[1]", "2"),), head="def f(x):", where="a:1")
SCORE = Score("scored", 0.25, "wrong", "tests", {"tests": 0.3}, "returned 3", 1, 4, "bubblewrap", 9)


def key(text: str = "x", context: str = "c", problem: Problem = PROBLEM) -> bytes:
    return content_key(context, problem_digest(problem), Completion("p", text))


def test_a_score_comes_back_whole(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "folder" / "scores.sqlite")
    assert cache.get(key()) is None
    cache.put(key(), SCORE)
    assert cache.get(key()) == replace(SCORE, cached=True, time_ms=0.0)
    cache.close()
    again = ScoreCache(tmp_path / "folder" / "scores.sqlite")
    assert again.get(key()) == replace(SCORE, cached=True, time_ms=0.0)
    again.close()


def test_the_key_covers_everything_that_a_score_depends_on() -> None:
    other = replace(PROBLEM, cases=(Case("[1]", "3"),))
    shown = replace(PROBLEM, cases=(Case("[1]", "2", shown=True),))
    keys = [
        key(),
        key("y"),
        key(context="d"),
        key(problem=other),
        key(problem=shown),
        key(problem=replace(PROBLEM, head="def f(y):")),
        key(problem=replace(PROBLEM, signature="val f : int")),
        content_key("c", problem_digest(PROBLEM), Completion("p", "x", 5)),
        content_key("c", problem_digest(PROBLEM), Completion("p", "x", finish="length")),
    ]
    assert len(set(keys)) == len(keys)
    assert key(problem=replace(PROBLEM, where="b:2")) == key()
    assert key("\ud800") != key("\ud801")


@pytest.mark.parametrize("verdict", ["timeout", "memory", "infra_error"])
def test_verdicts_that_depend_on_the_machine_are_not_kept(verdict: str, tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "s.sqlite")
    score = replace(SCORE, verdict=verdict)
    cache.put(key(), score)
    assert not keeps(score) and cache.get(key()) is None
    cache.close()


def test_missing_scores_are_not_kept(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "s.sqlite")
    cache.put(key(), missing("worker killed"))
    assert cache.get(key()) is None
    cache.close()


def test_a_broken_file_switches_the_cache_off_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    cache = ScoreCache(path)
    cache.put(key(), SCORE)
    assert cache.get(key()) is None and "cache is off" in cache.note


def test_a_full_disk_switches_the_cache_off_and_keeps_the_score(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    cache = ScoreCache(path)
    cache.put(key("kept"), SCORE)
    assert cache._db is not None
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite reports as a full disk
    for i in range(200):
        cache.put(key(str(i)), replace(SCORE, reason="x" * 2000))
    assert "full" in cache.note
    assert cache.get(key("kept")) is None  # off, and said so
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM scores").fetchone()[0] >= 1


def test_the_toolchain_is_part_of_the_context() -> None:
    facts = toolchain_facts()
    assert facts.startswith("Python 3.") and "rewards " in facts

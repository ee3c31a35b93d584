"""The cache of measurements: its keys hold what a measurement depends on, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pawl.config.options import ComponentConfig, RewardConfig, SandboxConfig, StagesConfig
from pawl.rewards import pool as pool_module
from pawl.rewards.cache import (
    Kept,
    MeasurementCache,
    function_key,
    keeps,
    problem_digest,
    program_key,
    task_digest,
    toolchain_facts,
)
from pawl.rewards.grader import Grader
from pawl.sandbox.tiers import open_sandbox
from pawl.types import Case, Close, CodeTask, Completion, Measurement, Message, Problem, missing

TASK = CodeTask("python", "f", (Case("[1]", "2"), Case("[5]", "6")), head="def f(x):")
PROBLEM = Problem("p", "Add.", TASK, metadata={"topic": "sums"}, where="a:1")
VALUES = {"types": 1.0, "compile": 1.0, "tests": 0.3}
FOUND = [
    Measurement(
        "measured",
        VALUES,
        "wrong",
        "returned 3",
        passed_cases=1,
        n_cases=4,
        tier="landlock",
        time_ms=9,
    )
]
KEY = program_key("c", task_digest(TASK), "x", "")


def test_measurements_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache.sqlite"
    cache = MeasurementCache(path)
    assert cache.get(KEY) is None
    cache.put(KEY, FOUND)
    back = [replace(FOUND[0], cached=True, time_ms=0.0)]
    assert cache.get(KEY) == back and cache.get(KEY)[0].values == VALUES
    cache.close()
    again = MeasurementCache(path)
    assert again.get(KEY) == back
    again.close()


def test_what_was_used_is_not_used_again(tmp_path: Path) -> None:
    """Tokens that a judge took are facts of the call that took them."""
    cache = MeasurementCache(tmp_path / "s.sqlite")
    cache.put(KEY, [Measurement("measured", {"total": 1.0}, usage={"tokens": 70.0})])
    assert [m.usage for m in cache.get(KEY) or []] == [{}]
    cache.close()


def test_the_key_of_a_program_covers_its_tests_text_marker_and_limits() -> None:
    def key(text: str = "x", marker: str = "", context: str = "c", **changes: object) -> bytes:
        task = replace(TASK, **changes)  # type: ignore[arg-type] # fields of a task
        return program_key(context, task_digest(task), text, marker)

    first = TASK.cases[0]
    keys = [
        key(),
        key("y"),
        key(marker="# END"),
        key(context="d"),
        key(cases=TASK.cases[:1]),
        key(cases=(replace(first, expected="3"), TASK.cases[1])),
        key(cases=(replace(first, shown=True), TASK.cases[1])),
        key(cases=(replace(first, close=Close()), TASK.cases[1])),
        key(cases=(replace(first, close=Close(0.0, 0.1)), TASK.cases[1])),
        key(head="def f(y):"),
        key(signature="val f : int"),
        key(entry_point="g"),
        key(lang="ocaml"),
    ]
    assert len(set(keys)) == len(keys)
    assert key("\ud800") != key("\ud801")


def test_the_key_of_a_call_covers_all_that_a_function_can_see() -> None:
    def key(problem: Problem = PROBLEM, *seen: Completion, context: str = "c") -> bytes:
        return function_key(context, problem_digest(problem), seen or (Completion("p", "x"),))

    one, two = Completion("p", "x"), Completion("p", "y")
    keys = [
        key(),
        key(context="d"),
        key(PROBLEM, two),
        key(PROBLEM, Completion("p", "x", 5)),
        key(PROBLEM, Completion("p", "x", finish="length")),
        key(PROBLEM, one, two),
        key(PROBLEM, two, one),
        key(PROBLEM, one, one),
        key(replace(PROBLEM, id="q")),
        key(replace(PROBLEM, prompt="Add!")),
        key(replace(PROBLEM, messages=(Message("user", "Add."),))),
        key(replace(PROBLEM, reference="x + 1")),
        key(replace(PROBLEM, metadata={"topic": "words"})),
        key(replace(PROBLEM, code=replace(TASK, cases=TASK.cases[:1]))),
        key(replace(PROBLEM, code=None)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(replace(PROBLEM, where="b:2")) == key()


@pytest.mark.parametrize("verdict", ["timeout", "memory", "infra_error"])
def test_verdicts_that_depend_on_the_machine_are_not_kept(verdict: str, tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path / "s.sqlite")
    found = [replace(FOUND[0], verdict=verdict)]
    cache.put(KEY, found)
    assert not keeps(found) and cache.get(KEY) is None
    cache.close()


def test_a_group_with_a_missing_member_is_not_kept(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path / "s.sqlite")
    for found in ([missing("worker killed")], [*FOUND, missing("worker killed")]):
        cache.put(KEY, found)
        assert cache.get(KEY) is None
    cache.close()


def test_a_broken_file_switches_the_cache_off_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    cache = MeasurementCache(path)
    cache.put(KEY, FOUND)
    assert cache.get(KEY) is None and "the cache of measurements is off" in cache.note


@pytest.mark.parametrize("healthy", [0, 4096])
def test_a_file_that_may_be_renewed_is_removed_where_it_cannot_be_read(
    healthy: int, tmp_path: Path
) -> None:
    """Seen at once, or only when a damaged page behind a sound first one is read."""
    path = tmp_path / "runs.sqlite"
    with closing(Kept(path)) as kept:
        kept.write(b"old", "x" * 20_000)
    path.write_bytes(path.read_bytes()[:healthy].ljust(40_000, b"?"))
    with closing(Kept(path, renews=True)) as kept:
        assert kept.read(b"old") is None and not kept.note
        kept.write(b"new", [1])
    with closing(Kept(path)) as kept:
        assert kept.read(b"new") == [1]


def test_a_file_that_is_locked_is_not_renewed(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with closing(Kept(path, renews=True)) as kept:
        kept.write(b"old", [1])
        assert kept._db is not None
        kept._db.execute("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            kept.write(b"new", [2])
        assert "locked" in kept.note
    with closing(Kept(path)) as kept:
        assert kept.read(b"old") == [1]


def test_a_full_disk_switches_the_cache_off_and_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    cache = MeasurementCache(path)
    cache.put(KEY, FOUND)
    assert cache._db is not None
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite reports as a full disk
    for i in range(200):
        key = program_key("c", task_digest(TASK), str(i), "")
        cache.put(key, [replace(FOUND[0], reason="x" * 2000)])
    assert "full" in cache.note
    assert cache.get(KEY) is None  # off, and said so
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM measurements").fetchone()[0] >= 1


def test_the_toolchain_is_part_of_the_context() -> None:
    facts = toolchain_facts()
    assert facts.startswith("Python 3.") and "sandbox " in facts


# ---- through a grader ----------------------------------------------------------------------------

RIGHT = Completion("p", "def f(x):\n    return x + 1\n")


Asked = tuple[Completion, Problem]
ASKED = (RIGHT, PROBLEM)


def cached(path: Path, reward: RewardConfig, *asked: Asked, **limits: object) -> list[bool]:
    """Whether the cache of one grader knew completions, asked for one after the other."""
    sandbox = SandboxConfig.model_validate({"workers": 1, **limits})
    found = []
    with Grader(reward, sandbox, path) as grader:
        for completion, problem in asked or [ASKED]:
            (measurement,) = grader.measure([(problem, [completion])])[0][0].values()
            assert measurement.status == "measured", measurement
            found.append(measurement.cached)
    return found


def test_a_program_is_known_by_what_decides_about_it(tmp_path: Path) -> None:
    path, reward = tmp_path / "cache.sqlite", RewardConfig(end_marker="# END")
    elsewhere = replace(PROBLEM, id="q", prompt="Another text.", where="b:9", reference="f")
    other = replace(TASK, cases=(*TASK.cases, Case("[7]", "8")))
    assert cached(path, reward) == [False]
    assert cached(
        path,
        reward,
        ASKED,
        (replace(RIGHT, finish="length", n_tokens=77), PROBLEM),
        (RIGHT, elsewhere),
        (RIGHT, replace(PROBLEM, code=other)),
        (replace(RIGHT, text=RIGHT.text + "# another text"), PROBLEM),
    ) == [True, True, True, False, False]
    stages = StagesConfig(end_marker=0, types=0, compile=0, tests=1)
    part = ComponentConfig(name="code", weight=0.5)
    for rewarded_otherwise in (
        RewardConfig(end_marker="# END", stages=stages, min_lines=9),
        RewardConfig(end_marker="# END", components=(part,)),
    ):
        assert cached(path, rewarded_otherwise) == [True]
    assert cached(path, RewardConfig(end_marker="")) == [False]
    assert cached(path, reward, cpu_s=3.5) == [False]


def test_a_program_is_known_by_how_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_sandbox(SandboxConfig()) as sandbox:
        if sandbox.tier != "bubblewrap":
            pytest.skip("every candidate of the landlock tier starts cold")
        assert sandbox.warm, sandbox.refused
    path, reward = tmp_path / "cache.sqlite", RewardConfig()
    assert cached(path, reward) == [False]
    monkeypatch.setattr(pool_module, "open_sandbox", partial(open_sandbox, warm=False))
    assert cached(path, reward) == [False]
    assert cached(path, reward) == [True]


def test_a_users_function_sees_lengths_and_the_whole_problem(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def grade(problem, cs):\n    return [0.5 for c in cs]\n")
    path, reward = tmp_path / "cache.sqlite", RewardConfig(use=f"{tmp_path / 'mine.py'}:grade")
    assert cached(path, reward) == [False]
    assert cached(path, reward, cpu_s=3.5) == [True]  # it runs in no sandbox
    assert cached(
        path,
        reward,
        ASKED,
        (replace(RIGHT, n_tokens=77), PROBLEM),
        (replace(RIGHT, finish="length"), PROBLEM),
        (RIGHT, replace(PROBLEM, prompt="Another text.")),
    ) == [True, False, False, False]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_that_compares_is_known_by_its_whole_group(kind: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"{kind} grade(problem, cs):\n"
        "    return [sum(len(c.text) > len(d.text) for d in cs) / len(cs) for c in cs]\n"
        "grade.group = True\n"
    )
    reward = RewardConfig(use=f"{tmp_path / 'mine.py'}:grade")

    def known(*groups: str) -> list[bool]:
        """By one grader, group by group; each is known or unknown as a whole."""
        found = []
        with Grader(reward, SandboxConfig(workers=1), tmp_path / "cache.sqlite") as grader:
            for group in groups:
                texts = [Completion("p", text) for text in group.split()]
                scores = grader.score([(PROBLEM, texts)])[0]
                assert [s.status for s in scores] == ["scored"] * len(texts)
                (cached,) = {s.cached for s in scores}
                found.append(cached)
        return found

    assert known("a bb ccc") == [False]
    assert known("a bb ccc", "a bb", "bb a ccc") == [True, False, False]


def test_a_callable_that_came_from_no_file_is_not_kept(tmp_path: Path) -> None:
    """What it is cannot be told, so it is called every time."""
    calls: list[str] = []

    def grade(problem: Problem, completions: list[Completion]) -> list[float]:
        calls.extend(c.text for c in completions)
        return [0.5] * len(completions)

    for _ in range(2):
        use = RewardConfig(use="callable:grade")
        with Grader(use, SandboxConfig(), tmp_path / "cache.sqlite", grade) as grader:
            assert not grader.score([(PROBLEM, [RIGHT])])[0][0].cached
    assert len(calls) == 2


def test_a_damaged_row_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(MeasurementCache(path)) as cache:
        cache.put(KEY, FOUND)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE measurements SET found = replace(found, '0.3', '0.8')")
    with closing(MeasurementCache(path)) as cache:
        assert cache.get(KEY) is None
        cache.put(KEY, FOUND)  # measured again, in its place
        assert cache.get(KEY) == [replace(FOUND[0], cached=True, time_ms=0.0)]

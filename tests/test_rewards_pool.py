"""Worker processes: streaming, order, equal jobs, lost and hanging workers, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import pytest

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.problems.load import open_problems
from pawl.rewards import pool as pool_module
from pawl.rewards.calibrate import Direct
from pawl.rewards.code import CodeReward
from pawl.rewards.pool import ScorerPool
from pawl.sandbox.tiers import open_sandbox
from pawl.types import Case, Completion, Problem, Score

PROBLEM = Problem("p", "python", "Add.", "f", (Case("[1]", "2"), Case("[5]", "6")))
GRADER = """
import os, pathlib, signal, time
HERE = pathlib.Path(__file__).parent

def grade(problem, completions):
    return [one(c.text) for c in completions]

def one(text):
    with open(HERE / "calls", "a") as f:
        f.write(text + "\\n")
    if text == "none":
        return None
    if text == "raise":
        raise KeyError("no such thing")
    if text == "exit":
        raise SystemExit(3)
    if text == "print":
        print("words of a reward")
    if text == "die" or (text == "die once" and not (HERE / "died").exists()):
        (HERE / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "hang":
        time.sleep(3600)
    if text.startswith("wait"):
        while not (HERE / "go").exists():
            time.sleep(0.01)
    return 0.5
"""


@pytest.fixture
def mine(tmp_path: Path) -> RewardConfig:
    (tmp_path / "grader.py").write_text(GRADER)
    return RewardConfig(use=f"{tmp_path / 'grader.py'}:grade")


def collect(pool: ScorerPool, n: int) -> dict[Hashable, Score]:
    done: dict[Hashable, Score] = {}
    while len(done) < n:
        done.update(pool.poll(1.0))
    return done


def score(pool: ScorerPool, *texts: str) -> list[Score]:
    return pool.score_all([(PROBLEM, Completion("p", t)) for t in texts])


def bare(score: Score) -> Score:
    """Without what depends on the host."""
    return replace(score, time_ms=0.0, cached=False)


def test_scores_do_not_depend_on_workers_or_order() -> None:
    problems = list(open_problems("starter-ocaml")[:3]) + list(open_problems("starter-python")[:3])
    jobs = [
        (p, Completion(p.id, text, 9))
        for p in problems
        for text in (p.solution, p.solution + "(* END *)", "garbage (", p.solution)
    ]
    with ScorerPool(RewardConfig(), SandboxConfig(), None, 2) as pool:
        forward = pool.score_all(jobs)
        backward = pool.score_all(jobs[::-1])[::-1]
        assert pool.tier in ("bubblewrap", "landlock")
        assert pool.describe()["workers"] == 2
    with open_sandbox(SandboxConfig()) as sandbox:
        alone = Direct(CodeReward(RewardConfig(), sandbox)).score_all(jobs)
    assert [bare(s) for s in forward] == [bare(s) for s in backward] == [bare(s) for s in alone]
    assert [s.verdict for s in forward[:4]] == ["pass", "pass", "compile", "pass"]


def test_submit_and_poll_go_on_while_a_reward_works(mine: RewardConfig, tmp_path: Path) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        for i in range(50):
            pool.submit(i, PROBLEM, Completion("p", f"wait {i}"))
        assert pool.poll(0.0) == []
        (tmp_path / "go").touch()
        assert set(collect(pool, 50)) == set(range(50))


def test_equal_jobs_in_flight_run_once(mine: RewardConfig, tmp_path: Path) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        for i in range(30):
            pool.submit(i, PROBLEM, Completion("p", "wait"))
        (tmp_path / "go").touch()
        done = collect(pool, 30)
    assert {s.total for s in done.values()} == {0.5}
    assert (tmp_path / "calls").read_text().splitlines() == ["wait"]


def test_the_cache_serves_a_second_pool(mine: RewardConfig, tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    for cached in (False, True):
        with ScorerPool(mine, SandboxConfig(), path, 1) as pool:
            scores = score(pool, "a", "b", "none")
        assert [s.cached for s in scores] == [cached, cached, False]
        assert [s.status for s in scores] == ["scored", "scored", "missing"]
    (tmp_path / "grader.py").write_text(GRADER + "# another version\n")
    with ScorerPool(mine, SandboxConfig(), path, 1) as pool:
        assert [s.cached for s in score(pool, "a")] == [False]


def test_a_killed_worker_costs_its_job_one_more_try(mine: RewardConfig) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        once, twice, other = score(pool, "die once", "die", "fine")
        after = score(pool, "still fine")[0]
    assert (once.total, other.total, after.total) == (0.5, 0.5, 0.5)
    assert (twice.status, twice.total, twice.verdict) == ("missing", None, "infra_error")
    assert "SIGKILL" in twice.reason


def test_an_idle_worker_that_is_killed_is_replaced(mine: RewardConfig) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 1) as pool:
        assert score(pool, "a")[0].total == 0.5
        os.kill(pool.worker_pids()[0], signal.SIGKILL)
        assert score(pool, "b")[0].total == 0.5


def test_a_hanging_reward_is_missing(mine: RewardConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ANSWER_S", 0.5)
    monkeypatch.setattr(pool_module, "ANSWER_WALLS", 0.0)
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        hung, fine = score(pool, "hang", "fine")
    assert fine.total == 0.5
    assert hung.status == "missing" and "no answer" in hung.reason


def test_a_raising_reward_stops_with_its_line(mine: RewardConfig, tmp_path: Path) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        with pytest.raises(PawlError, match="KeyError: 'no such thing'") as caught:
            score(pool, "fine", "raise")
    line = GRADER.split("\n").index('        raise KeyError("no such thing")') + 1
    assert caught.value.where == f"{tmp_path / 'grader.py'}:{line}"
    assert caught.value.code == Exit.STOPPED


def test_a_reward_that_exits_gives_no_number(mine: RewardConfig) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 1) as pool:
        assert score(pool, "exit")[0].status == "missing"


def test_what_a_reward_prints_stays_off_the_channel(mine: RewardConfig) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 1) as pool:
        assert score(pool, "print")[0].total == 0.5


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError"),
        ("def grade(:\n", "does not load"),
        ("x = 1\n", "has no grade"),
    ],
)
def test_a_reward_that_does_not_load_is_told_at_once(
    body: str, what: str, mine: RewardConfig, tmp_path: Path
) -> None:
    (tmp_path / "grader.py").write_text(body)
    with pytest.raises(PawlError, match=what):
        ScorerPool(mine, SandboxConfig(), None, 2)


def test_a_missing_compiler_is_missing_not_zero(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("bwrap",):
        found = [d for d in os.environ["PATH"].split(":") if Path(d, name).exists()]
        if found:
            (tmp_path / name).symlink_to(Path(found[0], name))
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = open_problems("starter-ocaml")[0]
    with ScorerPool(RewardConfig(), SandboxConfig(), None, 1) as pool:
        got = pool.score_all([(problem, Completion(problem.id, problem.solution))])[0]
    assert (got.status, got.total) == ("missing", None)
    assert "no OCaml compiler" in got.reason


def test_a_problem_that_cannot_be_judged_is_missing_and_does_not_stop_the_pool() -> None:
    broken = replace(PROBLEM, cases=(Case("[1]", "not a literal"),))
    with ScorerPool(RewardConfig(), SandboxConfig(), None, 1) as pool:
        lost = pool.score_all([(broken, Completion("p", "def f(x):\n    return x + 1"))])[0]
        fine = score(pool, "def f(x):\n    return x + 1")[0]
    assert lost.status == "missing" and "not a Python literal" in lost.reason
    assert fine.verdict == "pass"


ORPHAN = """
import sys, time
from pawl.config.options import RewardConfig, SandboxConfig
from pawl.rewards.pool import ScorerPool
from pawl.types import Case, Completion, Problem
problem = Problem("p", "python", "Add.", "f", (Case("[1]", "2"),))
limits = SandboxConfig(cpu_s=60, wall_s=60)
with ScorerPool(RewardConfig(), limits, None, 2) as pool:
    for i in range(2):
        pool.submit(i, problem, Completion("p", f"def f(x):\\n    while True: pass  # {i}"))
    time.sleep(1.5)
    print(*pool.worker_pids(), flush=True)
    time.sleep(600)
"""


def children(pid: int) -> set[int]:
    """A process and all that descends from it."""
    found, todo = {pid}, [pid]
    while todo:
        try:
            threads = list(Path(f"/proc/{todo.pop()}/task").iterdir())
            below = {int(c) for t in threads for c in (t / "children").read_text().split()}
        except OSError:
            continue
        todo += below - found
        found |= below
    return found


def test_nothing_is_left_after_kill_9_of_the_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(p) for p in process.stdout.readline().split()]
    family = children(process.pid) - {process.pid}
    assert len(workers) == 2 and set(workers) < family
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{p}").exists() for p in family):
        time.sleep(0.05)
    assert [p for p in family if Path(f"/proc/{p}").exists()] == []
    assert [f for w in workers for f in Path("/tmp").glob(f"pawl-{w}-*")] == []


def test_closing_leaves_no_worker(mine: RewardConfig) -> None:
    with ScorerPool(mine, SandboxConfig(), None, 2) as pool:
        score(pool, "a", "b", "c")
        pids = pool.worker_pids()
        pool.submit("never asked for", PROBLEM, Completion("p", "hang"))
    assert pids and not any(Path(f"/proc/{p}").exists() for p in pids)

"""Worker processes: streaming, order, equal jobs, lost and hanging workers, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import pytest
from small_sets import problems_of, small

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.rewards import pool as pool_module
from pawl.rewards.grader import Grader
from pawl.rewards.pay import TOTAL, Row, pay
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verify import measured, verify
from pawl.types import Case, CodeTask, Completion, Problem, Score

TASK = CodeTask("python", "f", (Case("[1]", "2"), Case("[5]", "6")))
PROBLEM = Problem("p", "Add.", TASK)
ONE, TWO = SandboxConfig(workers=1), SandboxConfig(workers=2)
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


def collect(grader: Grader, n: int) -> dict[Hashable, list[Row]]:
    done: dict[Hashable, list[Row]] = {}
    while len(done) < n:
        done.update(grader.poll(1.0))
    return done


def score(grader: Grader, *texts: str) -> list[Score]:
    """Completions of one group."""
    return grader.score([(PROBLEM, [Completion("p", t) for t in texts])])[0]


def bare(scores: list[list[Score]]) -> list[list[Score]]:
    """Without what depends on the host."""
    return [[replace(s, time_ms=0.0, cached=False) for s in group] for group in scores]


def test_scores_do_not_depend_on_workers_or_order() -> None:
    problems = [*problems_of("ocaml")[:3], *problems_of("python")[:3]]
    groups = [
        (p, [Completion(p.id, t, 9) for t in (p.reference, p.reference + "(* END *)", "bad (")])
        for p in problems
    ]
    cfg = RewardConfig()
    with Grader(cfg, TWO) as grader:
        forward = grader.score([(p, [*cs, cs[0]]) for p, cs in groups])
        backward = grader.score([(p, cs[::-1]) for p, cs in groups[::-1]])
        assert grader.tier in ("bubblewrap", "landlock")
        assert grader.describe()["workers"] == 2
    with open_sandbox(SandboxConfig()) as sandbox:
        alone = []
        for p, cs in groups:
            runs = [verify(sandbox, p.task, c.text, cfg.end_marker) for c in cs]
            alone.append(pay(p, cs, [{TOTAL: measured(v, p.task)} for v in runs], cfg))
    assert bare(forward) == [[*group, group[0]] for group in bare(alone)]
    assert [group[::-1] for group in bare(backward[::-1])] == bare(alone)
    assert [s.verdict for s in forward[0]] == ["pass", "pass", "compile", "pass"]


def test_submit_and_poll_go_on_while_a_reward_works(mine: RewardConfig, tmp_path: Path) -> None:
    with Grader(mine, TWO) as grader:
        for i in range(50):
            grader.submit(i, 0, 1, PROBLEM, Completion("p", f"wait {i}"))
        assert grader.poll(0.0) == []
        (tmp_path / "go").touch()
        assert set(collect(grader, 50)) == set(range(50))


def test_a_group_comes_once_all_its_members_are_measured(
    mine: RewardConfig, tmp_path: Path
) -> None:
    with Grader(mine, TWO) as grader:
        for member, text in enumerate(["wait", "b", "c"]):
            grader.submit("slow", member, 3, PROBLEM, Completion("p", text))
        grader.submit("fast", 1, 2, PROBLEM, Completion("p", "d"))
        grader.submit("fast", 0, 2, PROBLEM, Completion("p", "none"))
        first = collect(grader, 1)
        assert [row[TOTAL].status for row in first["fast"]] == ["missing", "measured"]
        (tmp_path / "go").touch()
        assert len(collect(grader, 1)["slow"]) == 3


def test_an_empty_group_has_no_scores(mine: RewardConfig) -> None:
    with Grader(mine, ONE) as grader:
        groups = [(PROBLEM, []), (PROBLEM, [Completion("p", "a")])]
        assert [len(scores) for scores in grader.score(groups)] == [0, 1]


def test_equal_jobs_in_flight_run_once(mine: RewardConfig, tmp_path: Path) -> None:
    with Grader(mine, TWO) as grader:
        for i in range(30):
            grader.submit(i, 0, 1, PROBLEM, Completion("p", "wait"))
        (tmp_path / "go").touch()
        done = collect(grader, 30)
    assert {row[TOTAL].values[TOTAL] for rows in done.values() for row in rows} == {0.5}
    assert (tmp_path / "calls").read_text().splitlines() == ["wait"]


def test_the_cache_serves_a_second_grader(mine: RewardConfig, tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    for cached in (False, True):
        with Grader(mine, ONE, path) as grader:
            scores = score(grader, "a", "b", "none")
        assert [s.cached for s in scores] == [cached, cached, False]
        assert [s.status for s in scores] == ["scored", "scored", "missing"]
    (tmp_path / "grader.py").write_text(GRADER + "# another version\n")
    with Grader(mine, ONE, path) as grader:
        assert [s.cached for s in score(grader, "a")] == [False]


def test_fresh_measures_anew_and_keeps_nothing(mine: RewardConfig, tmp_path: Path) -> None:
    group = [(PROBLEM, [Completion("p", "a")])]
    with Grader(mine, ONE, tmp_path / "cache.sqlite") as grader:
        assert not grader.score(group, fresh=True)[0][0].cached
        assert not grader.score(group)[0][0].cached
        assert not grader.score(group, fresh=True)[0][0].cached
        assert grader.score(group)[0][0].cached
    assert (tmp_path / "calls").read_text().splitlines() == ["a"] * 3


def test_a_killed_worker_costs_its_job_one_more_try(mine: RewardConfig) -> None:
    with Grader(mine, TWO) as grader:
        once, twice, other = score(grader, "die once", "die", "fine")
        after = score(grader, "still fine")[0]
    assert (once.total, other.total, after.total) == (0.5, 0.5, 0.5)
    assert (twice.status, twice.total, twice.verdict) == ("missing", None, "infra_error")
    assert "SIGKILL" in twice.reason


def test_an_idle_worker_that_is_killed_is_replaced(mine: RewardConfig) -> None:
    with Grader(mine, ONE) as grader:
        assert score(grader, "a")[0].total == 0.5
        os.kill(grader.worker_pids()[0], signal.SIGKILL)
        assert score(grader, "b")[0].total == 0.5


@pytest.mark.parametrize("deaf", [False, True])
def test_a_hanging_reward_is_told_with_its_call(
    mine: RewardConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    """deaf: it hears no signal; then the pool says so, with the line of the function."""
    monkeypatch.setattr(pool_module, "GRACE_S", 1.0)
    if deaf:
        mask = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        (tmp_path / "grader.py").write_text(GRADER + mask)
    lines = GRADER.split("\n")
    told = next(n for n, line in enumerate(lines, 1) if ("def grade" if deaf else "3600") in line)
    words = "hangs: no answer within 0.5 s for problem p, completion 'hang'"
    hurried = mine.model_copy(update={"wall_s": 0.5})
    with Grader(hurried, TWO) as grader, pytest.raises(PawlError, match=words) as caught:
        score(grader, "fine", "hang")
    assert caught.value.where == f"{tmp_path / 'grader.py'}:{told}"
    assert caught.value.code == Exit.USER and "reward.wall_s" in caught.value.hint


def test_a_raising_reward_stops_with_its_line(mine: RewardConfig, tmp_path: Path) -> None:
    with Grader(mine, TWO) as grader:
        with pytest.raises(PawlError, match="KeyError: 'no such thing'") as caught:
            score(grader, "fine", "raise")
    line = GRADER.split("\n").index('        raise KeyError("no such thing")') + 1
    assert caught.value.where == f"{tmp_path / 'grader.py'}:{line}"
    assert caught.value.code == Exit.USER


def test_a_reward_that_exits_is_broken(mine: RewardConfig) -> None:
    with Grader(mine, ONE) as grader, pytest.raises(PawlError, match="raised SystemExit: 3"):
        score(grader, "exit")


def test_what_a_reward_prints_stays_off_the_channel(mine: RewardConfig) -> None:
    with Grader(mine, ONE) as grader:
        assert score(grader, "print")[0].total == 0.5


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
        Grader(mine, TWO)


def test_a_missing_compiler_stops_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("bwrap",):
        found = [d for d in os.environ["PATH"].split(":") if Path(d, name).exists()]
        if found:
            (tmp_path / name).symlink_to(Path(found[0], name))
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = problems_of("ocaml")[0]
    with Grader(RewardConfig(), ONE) as grader:
        with pytest.raises(PawlError, match="no OCaml compiler") as caught:
            grader.score([(problem, [Completion(problem.id, problem.reference)])])
    assert caught.value.code == Exit.STOPPED  # resumable, once there is one


def test_a_problem_that_cannot_be_judged_is_missing_and_stops_nothing() -> None:
    broken = replace(PROBLEM, code=replace(TASK, cases=(Case("[1]", "not a literal"),)))
    text = "def f(x):\n    return x + 1"
    with Grader(RewardConfig(), ONE) as grader:
        lost = grader.score([(broken, [Completion("p", text)])])[0][0]
        untested = grader.score([(replace(PROBLEM, code=None), [Completion("p", text)])])[0][0]
        fine = score(grader, text)[0]
    assert lost.status == "missing" and "not a Python literal" in lost.reason
    assert untested.status == "missing" and "has no tests" in untested.reason
    assert fine.verdict == "pass"


def test_candidates_start_as_the_run_record_says() -> None:
    first = replace(PROBLEM, code=CodeTask("python", "f", (Case("[1]", "1"),)))
    text = "import os\n\ndef f(x):\n    return os.getpid()"  # a child of the fork server is pid 1
    with Grader(RewardConfig(), ONE) as grader:
        if grader.tier != "bubblewrap":
            pytest.skip("every candidate of the landlock tier starts cold")
        assert grader.describe()["start"] == "warm", grader.describe()["refused"]
        assert grader.score([(first, [Completion("p", text)])])[0][0].verdict == "pass"


ORPHAN = """
import sys, time
from pawl.config.options import RewardConfig, SandboxConfig
from pawl.rewards.grader import Grader
from pawl.types import Case, CodeTask, Completion, Problem
problem = Problem("p", "Add.", CodeTask("python", "f", (Case("[1]", "2"),)))
limits = SandboxConfig(cpu_s=60, wall_s=60, workers=2)
with Grader(RewardConfig(), limits) as grader:
    for i in range(2):
        text = f"def f(x):\\n    while True: pass  # {i}"
        grader.submit(i, 0, 1, problem, Completion("p", text))
    time.sleep(1.5)
    print(*grader.worker_pids(), flush=True)
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
    with Grader(mine, TWO) as grader:
        score(grader, "a", "b", "c")
        pids = grader.worker_pids()
        grader.submit("never asked for", 0, 1, PROBLEM, Completion("p", "hang"))
    assert pids and not any(Path(f"/proc/{p}").exists() for p in pids)


def test_names_of_the_standard_library_beside_a_script_do_no_harm(
    mine: RewardConfig, tmp_path: Path
) -> None:
    """What is beside a script comes first for what it imports, never for what Python starts by."""
    (tmp_path / "types.py").write_text("raise RuntimeError('this is no standard library')\n")
    script = tmp_path / "script.py"
    script.write_text(f"""
from pawl.config.options import RewardConfig, SandboxConfig
from pawl.rewards.grader import Grader
from pawl.types import Completion, Problem
with Grader(RewardConfig(use={mine.use!r}), SandboxConfig(workers=1)) as grader:
    print(grader.score([(Problem("p", "Add."), [Completion("p", "a")])])[0][0].total)
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0.5\n"), done.stderr


def test_names_of_the_standard_library_beside_the_data_do_no_harm(tmp_path: Path) -> None:
    """`python -m pawl` does not import from the current folder, nor do its scorers."""
    (tmp_path / "random.py").write_text("raise RuntimeError('this is no standard library')\n")
    problem = problems_of("python")[0]
    line = {"problem_id": problem.id, "completion": problem.reference}
    (tmp_path / "answers.jsonl").write_text(json.dumps(line) + "\n")
    command = [
        sys.executable,
        "-m",
        "pawl",
        "score",
        "--problems",
        small("python"),
        "answers.jsonl",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "pass"), done.stderr


def test_modules_beside_the_data_are_not_pythons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "marshal", "pickle", "dataclasses"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    with Grader(RewardConfig(), ONE) as grader:
        assert score(grader, "def f(x):\n    return x + 1")[0].passed

"""What a sandbox leaves behind (nothing), and what broken machinery yields (never a number)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import attack_runner
import pytest
from attack_runner import OCAML, PYTHON, limits, weights

from pawl.errors import PawlError
from pawl.rewards.pay import staged
from pawl.sandbox import candidate_process, cgroup, ocaml, proctree, slot, watch
from pawl.sandbox.ocaml_tools import toolchain
from pawl.sandbox.tiers import Sandbox, open_sandbox, unavailable
from pawl.sandbox.verify import measured, verify
from pawl.types import Completion, Problem, Score, Tier

GOOD_PYTHON = "def solve(xs):\n    return sum(x * x for x in xs if x % 2 == 0)\n"
GOOD_OCAML = "List.fold_left (fun a x -> if x mod 2 = 0 then a + x * x else a) 0 xs"
needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="no OCaml here")
BOTH: tuple[Tier, ...] = ("bubblewrap", "landlock")
TIERS = [tier for tier in BOTH if not unavailable(tier)]
WAYS = [(tier, warm) for tier in TIERS for warm in (False, True) if tier == TIERS[0] or not warm]
pytestmark = pytest.mark.skipif(not TIERS, reason="no sandbox tier works on this machine")


def traces(pid: int) -> list[str]:
    """Folders, cgroups and processes that carry the pid of a scorer in their names."""
    found = [str(path) for path in Path("/tmp").glob(f"pawl-{pid}-*")]
    for controller in ("memory", "pids", "."):
        found += [str(path) for path in (cgroup.ROOT / controller).glob(f"pawl-{pid}-*")]
    return found + [f"descendant {child}" for child in proctree.descendants(pid)]


def alive(pid: int) -> list[str]:
    """[name and state of a process], or [] when it is gone.

    A zombie whose parent is pid 1 counts as gone: some init programs reap every few seconds only,
    and nothing but init can reap what outlives a killed scorer.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return []
    return [] if stat[stat.rindex(")") :].startswith(") Z 1 ") else [stat[:60]]


def score(sandbox: Sandbox, text: str, problem: Problem = PYTHON) -> Score:
    return attack_runner.score(sandbox, problem, text)


def mixed(sandbox: Sandbox, rounds: int) -> None:
    """Right, wrong, crashing, forking, flooding and hoarding programs in turn."""
    names = ["01_plain.py", "53_double", "61_fd", "52_thread", "55_kill", "58_shm", "50_stderr"]
    names += ["55_daemon", "01_exit0", "02_rec_match", "62_fence"]
    programs = list(attack_runner.corpus(names))
    assert len(programs) >= len(names)
    for i in range(rounds):
        _, problem, text = programs[i % len(programs)]
        verify(sandbox, problem.task, text)


@needs_ocaml
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("rounds", [22, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_is_left_after_mixed_runs(tier: str, rounds: int) -> None:
    before = set(traces(os.getpid()))
    with open_sandbox(limits(tier)) as sandbox:
        uid = sandbox._uid if sandbox._claim else -1
        mixed(sandbox, rounds)
        assert sandbox.left_over() == ""
    assert set(traces(os.getpid())) <= before
    assert uid < 0 or not proctree.owned_by(uid)


SCORER = """
import sys
sys.path.insert(0, {tests!r})
from attack_runner import PYTHON, limits
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verify import verify
with open_sandbox(limits({tier!r}, cpu_s=60, wall_s=60), warm={warm}) as sandbox:
    print("ready", sandbox._uid if sandbox._claim else -1, flush=True)
    verify(sandbox, PYTHON.task, {text!r})
"""
STUBBORN = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        try: os.setsid()
        except OSError: pass
        if os.fork() == 0:
            while True: time.sleep(0.01)
while True: pass
"""


@pytest.mark.parametrize(("tier", "warm"), WAYS)
def test_nothing_is_left_two_seconds_after_the_scorer_is_killed(tier: str, warm: bool) -> None:
    tests = str(Path(__file__).parent)
    code = SCORER.format(tests=tests, tier=tier, warm=warm, text=STUBBORN)
    environment = {**os.environ, "PYTHONPATH": str(Path(tests).parent)}
    scorer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert scorer.stdout is not None
    uid = int(scorer.stdout.readline().split()[1])
    everything: set[int] = set()
    for _ in range(200):  # until the candidate's own daemons run
        everything = set(proctree.descendants(scorer.pid))
        if len(everything) >= 6:
            break
        time.sleep(0.05)
    assert len(everything) >= 6
    scorer.send_signal(signal.SIGKILL)
    scorer.wait()
    scorer.stdout.close()
    time.sleep(2)
    assert traces(scorer.pid) == []
    assert [state for pid in everything for state in alive(pid)] == []
    assert uid < 0 or not proctree.owned_by(uid)


def test_a_killed_helper_costs_a_retry_and_no_verdict() -> None:
    with open_sandbox(limits()) as sandbox:
        assert sandbox._process is not None
        root = sandbox._plan.root if sandbox._plan else ""
        sandbox._process.kill()
        found = verify(sandbox, PYTHON.task, GOOD_PYTHON)
        assert (found.verdict, found.retried) == ("pass", True)
        assert not Path(root).exists()


def test_a_helper_that_says_nothing_did_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "_BOOT", "import time; time.sleep(0.5)  # {}")
    with Sandbox(limits(), TIERS[0]) as sandbox:
        assert "the helper process did not start" in verify(sandbox, PYTHON.task, "").message


HOARDER = """
def full():
    try:
        with open("/dev/shm/block", "wb") as file:
            for _ in range(32):
                file.write(bytes(1 << 20))
    except OSError:
        return True
def solve(xs):
    return sum(x * x for x in xs if x % 2 == 0) if FULL else None
FULL = full()
"""


@pytest.mark.skipif(
    "bubblewrap" not in TIERS, reason="the landlock tier has no /dev/shm of its own"
)
@pytest.mark.parametrize("warm", [False, True])
def test_shared_memory_is_bounded_however_a_candidate_starts(warm: bool) -> None:
    with open_sandbox(limits("bubblewrap"), warm=warm) as sandbox:
        assert sandbox.warm == warm, sandbox.refused
        assert verify(sandbox, PYTHON.task, HOARDER).verdict == "pass"


def is_missing(found: Score) -> bool:
    return (found.status, found.total, found.verdict) == ("missing", None, "infra_error")


@pytest.mark.skipif("bubblewrap" not in TIERS, reason="no bubblewrap here")
@pytest.mark.parametrize("warm", [False, True])
def test_bubblewrap_removed_during_a_run(
    warm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("/tmp") / f"pawl-test-bwrap-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        shutil.copy(str(shutil.which("bwrap")), folder / "bwrap")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        with open_sandbox(limits("bubblewrap"), warm=warm) as sandbox:
            assert score(sandbox, GOOD_PYTHON).total == 1.0
            (folder / "bwrap").unlink()
            if warm:  # the fork server needs it only to start
                assert score(sandbox, GOOD_PYTHON).total == 1.0
                assert sandbox._process is not None
                sandbox._process.kill()
                monkeypatch.setenv("PATH", str(folder))
            assert is_missing(score(sandbox, GOOD_PYTHON))
    finally:
        shutil.rmtree(folder)


@needs_ocaml
@pytest.mark.parametrize("gone", ["ocamlc", "ocamlrun"])
def test_the_compiler_removed_during_a_run(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sandbox(limits()) as sandbox:
        assert score(sandbox, GOOD_OCAML, OCAML).total == 1.0
        broken = replace(toolchain(), **{gone: Path("/usr/bin/gone")})
        monkeypatch.setattr(ocaml, "toolchain", lambda: broken)
        assert is_missing(score(sandbox, GOOD_OCAML, OCAML))


@needs_ocaml
@pytest.mark.skipif("bubblewrap" not in TIERS, reason="the landlock tier has no tmpfs of its own")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sandbox(limits("bubblewrap"), warm=False) as sandbox:
        assert score(sandbox, GOOD_OCAML, OCAML).total == 1.0
        sandbox.close()
        monkeypatch.setattr(slot, "TMP_BYTES", 16 << 10)
        assert is_missing(score(sandbox, GOOD_OCAML, OCAML))
        assert is_missing(score(sandbox, "let solve xs = xs ^ 1", OCAML))


WAITS = {
    "sleeps": "import time\ntime.sleep(100)\n",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n" + GOOD_PYTHON,
    "stops its parent": "import os, signal, time\ntry: os.kill(os.getppid(), signal.SIGSTOP)\n"
    "except OSError: pass\ntime.sleep(100)\n",
}


@pytest.mark.parametrize(("tier", "warm"), WAYS)
def test_waiting_is_a_timeout_at_once(tier: Tier, warm: bool) -> None:
    """One try, and it is scored: missing is for trouble of the machine."""
    with open_sandbox(limits(tier, wall_s=0.5), warm=warm) as sandbox:
        for name, text in WAITS.items():
            found = verify(sandbox, PYTHON.task, text)
            ignored = warm and name == "stops itself"  # it is pid 1 there, which cannot be stopped
            assert (found.verdict, found.retried) == ("pass" if ignored else "timeout", False), name
        paid = staged(PYTHON, Completion("p", ""), measured(found, PYTHON.task), weights())
        assert (paid.status, paid.components["tests"]) == ("scored", 0.0)


@pytest.mark.parametrize("starved", [False, True])
def test_a_starved_run_is_repeated_alone_and_then_missing(
    starved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a supervisor reports one that waited for a processor most of its time."""
    with open_sandbox(limits(wall_s=0.5)) as sandbox:
        run = sandbox._run
        monkeypatch.setattr(sandbox, "_run", lambda request: replace(run(request), starved=starved))
        found = verify(sandbox, PYTHON.task, WAITS["sleeps"])
    verdict = "infra_error" if starved else "timeout"
    assert (found.verdict, found.retried) == (verdict, starved)


@pytest.mark.parametrize(("tier", "warm"), WAYS)
def test_cpu_seconds_decide_a_timeout(tier: Tier, warm: bool) -> None:
    """One busy process and a crowd of them; what they use is bounded, not when the wall says so."""
    crowd = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    with open_sandbox(limits(tier, wall_s=20.0), warm=warm) as sandbox:
        for text in ("while True: pass", crowd):
            found = verify(sandbox, PYTHON.task, text)
            assert (found.verdict, found.retried) == ("timeout", False), found


@pytest.mark.parametrize("waits", ["os.getpid() == parent", "False"])
def test_memory_of_many_processes_counts_together(waits: str) -> None:
    """Also when the one that should answer uses none and would wait for the others for ever."""
    text = f"""
import os, time
parent = os.getpid()
pids = [os.fork() for _ in range(3)]
block = b"" if {waits} else bytearray(250 << 20)
def solve(xs): time.sleep(60)
"""
    with open_sandbox(limits(wall_s=20.0, cpu_s=10.0)) as sandbox:
        found = verify(sandbox, PYTHON.task, text)
        assert (found.verdict, found.retried) == ("memory", False)


def test_the_best_tier_is_described_with_its_limits() -> None:
    with open_sandbox(limits()) as sandbox:
        facts = sandbox.describe()
        assert facts["tier"] == TIERS[0] == sandbox.tier
        assert "1 s CPU" in facts["limits"]


def test_no_tier_left_is_an_error_that_names_each_reason() -> None:
    with pytest.raises(PawlError) as caught:
        open_sandbox(limits(), refuse=["bubblewrap", "landlock"])
    assert "bubblewrap: refused" in str(caught.value) and "landlock: refused" in str(caught.value)
    with open_sandbox(limits(allow_unsafe=True), refuse=["bubblewrap", "landlock"]) as sandbox:
        assert verify(sandbox, PYTHON.task, GOOD_PYTHON).tier == "unsafe"


@pytest.mark.parametrize(
    ("cpu", "alone", "stopped"),
    [(3.9, 0.0, ""), (4.1, 0.0, "cpu"), (4.1, 0.5, ""), (6.0, 1.5, "cpu"), (8.1, 30.0, "cpu")],
)
def test_who_waits_for_a_processor_has_that_much_more_cpu_time(
    monkeypatch: pytest.MonkeyPatch, cpu: float, alone: float, stopped: str
) -> None:
    """Up to twice the limit of 4 s; alone: seconds that the one computing process waited."""
    group = cgroup.Group("", 0, 0)
    plan = candidate_process.Plan("landlock", "/", -1, 1 << 30, 0, "", (), (), ())
    monkeypatch.setattr(proctree, "usage", lambda *_: (cpu, 0, alone, alone))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        looking = watch.Watch(plan, ours, (4.0, 10.0, 1024), group, False, 0)
        looking.look("/")
    assert looking.ended.stop == stopped


def test_the_wait_of_the_one_process_that_computes_counts_alone() -> None:
    """Two that compute make each other wait: neither says anything of the machine."""
    code = "import time\nuntil = time.process_time() + 30\nwhile time.process_time() < until: pass"
    children: list[subprocess.Popen[bytes]] = []
    try:
        for number in (1, 2):
            children.append(subprocess.Popen([sys.executable, "-c", code]))
            until = time.monotonic() + 30
            while proctree.usage(children[-1].pid, 0, True)[0] < 2 * proctree.COMPUTES_S:
                assert time.monotonic() < until
                time.sleep(0.02)
            cpu, _, longest, alone = proctree.usage(os.getpid(), 0, False)
            assert cpu > 0
            assert alone == 0.0 if number == 2 else alone <= longest
    finally:
        for child in children:
            child.kill()
            child.wait()

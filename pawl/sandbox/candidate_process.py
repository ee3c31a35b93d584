"""One candidate process: enter the sandbox, and at the end leave nothing behind.

Runs inside the supervisor, which is single-threaded and the subreaper of everything started here,
so `wait4(-1)` returning ECHILD proves that no descendant is left. Sets the limits of each process.
Left out: limits of all together (`cgroup.py`, else `watch.py`), what is run and what its output
means (`python.py`, `ocaml.py`). Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from dataclasses import dataclass

from pawl.sandbox import bubblewrap, landlock, proctree

FILES, TASKS, TMP_INODES = 256, 96, 4096
FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every run of one sandbox. uid: -1 when candidates keep the caller's.

    root: the sandbox's host folder with `box` (read-only tools) and `work`; its cgroup has the same
    name. memory: bytes of one process and of their sum. extra, masked, readable: see `visible.py`.
    """

    tier: str
    root: str
    uid: int
    memory: int
    tmp_bytes: int
    bwrap: str
    extra: tuple[str, ...]
    masked: tuple[str, ...]
    readable: tuple[str, ...]

    @property
    def group(self) -> str:
        """Name of the cgroup."""
        return os.path.basename(self.root)


def start(
    plan: Plan,
    argv: list[str],
    work: str,
    cpu: int,
    fds: tuple[int, int, int],
    warm: bool = False,
) -> int:
    """Fork a process that confines itself and becomes `argv`; returns its pid.

    fds: what becomes its standard input, output and error. A process that cannot be confined
    writes why on its standard error and exits with 127 before anything of the candidate is run.
    warm: it is the fork server, which keeps its rights inside its namespaces to make new ones.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.closerange(3, 1024)
        os.setsid()
        _confine(plan, work, cpu, parent)
        _execute(plan, argv, work, warm)
    except (OSError, ValueError) as error:
        os.write(2, f"sandbox: {error}".encode())
    finally:
        os._exit(127)


def _confine(plan: Plan, work: str, cpu: int, parent: int) -> None:
    limits = {
        resource.RLIMIT_AS: plan.memory,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if plan.uid >= 0:  # else the limit counts every process of the user
        limits[resource.RLIMIT_NPROC] = TASKS
    for what, value in limits.items():
        hard = resource.getrlimit(what)[1]
        cap = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (cap, cap))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if plan.uid >= 0:
        os.setgroups([])
        os.setresgid(plan.uid, plan.uid, plan.uid)
        os.setresuid(plan.uid, plan.uid, plan.uid)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG, after the uid change
    if os.getppid() != parent:
        raise OSError("the supervisor is gone")


def _execute(plan: Plan, argv: list[str], work: str, warm: bool) -> None:
    box = f"{plan.root}/box"
    if plan.tier == "bubblewrap":
        program = None
        if not warm:
            program = os.memfd_create("filter", 0)
            os.write(program, landlock.seccomp_program(spaces=True, dropped=plan.uid >= 0))
            os.lseek(program, 0, 0)
        head = [plan.bwrap, *bubblewrap.options(box, work, plan.extra, plan.masked, program)]
        os.execve(plan.bwrap, head + [word.replace("{box}", "/box") for word in argv], {})
    os.chdir(work)
    if plan.tier == "landlock":
        landlock.apply_landlock([*plan.readable, *plan.extra, box], [work])
        landlock.apply_seccomp(landlock.seccomp_program(spaces=False, dropped=plan.uid >= 0))
    environment = {**bubblewrap.ENVIRONMENT, "HOME": work, "TMPDIR": work}
    words = [word.replace("{box}", box) for word in argv]
    os.execve(words[0], words, environment)


def sweep(pid: int, uid: int, keep: int = 0) -> int:
    """Kill and reap every descendant but `keep`; returns the wait status of `pid`.

    Orphans become our children (subreaper), so killing all children until none is left ends
    every tree, whatever it forks meanwhile; as root the candidate's whole uid is killed too.
    """
    status, tries = 0, 0
    while True:
        try:
            found, code, _ = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if found == pid:
            status = code
        if found:
            continue
        rest = [child for child in proctree.children(os.getpid()) if child != keep]
        if not rest:
            return status
        if tries:
            time.sleep(min(0.0005 * tries, 0.01))
        tries += 1
        _kill(pid, rest, uid)


def _kill(pid: int, rest: list[int], uid: int) -> None:
    groups = [(os.killpg, pid)] if pid > 0 else []  # group 0 would be the supervisor's own
    for call, target in [*groups, *((os.kill, child) for child in rest)]:
        try:
            call(target, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    if uid >= 0 and proctree.owned_by(uid):
        helper = os.fork()
        if not helper:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)  # all of the uid but the caller
            os._exit(0)
        os.waitpid(helper, 0)

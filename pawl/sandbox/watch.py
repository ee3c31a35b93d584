"""Watch one run: read its pipes with caps, add up what its processes use, stop it at a limit.

CPU seconds decide: RLIMIT_CPU bounds each process and every look bounds their sum. The wall clock
stops who only waits. Time in which the candidate, or this process, waited for a processor does not
count for it, so that a busy machine fails nobody; a run that was starved for long proves nothing.
Left out: starting and clearing away (`candidate_process.py`), what the output means. Standard
library only.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from pawl.sandbox import proctree
from pawl.sandbox.candidate_process import TMP_INODES, Plan
from pawl.sandbox.cgroup import Group

LOOK_S = 0.1  # time between two looks at the sums
ERR_BYTES = 16 << 10
PATIENCE = 6  # the wall clock stops a starved run after this many times its limit
DEAR = 2  # times its limit of CPU that one process may take which waited that long for a processor
STARVED = 0.5  # of the wall clock's limit: who waited for a processor longer is not judged by it


@dataclass(slots=True)
class Ended:
    """How a run ended. rc: exit status, negative for a signal. stop: who ended it ("" = itself).

    starved: the wall clock stopped it after it had waited long for a processor. fault: why no
    verdict can be trusted, "" for none. retried: it is the second try. warm: it was started by the
    fork server.
    """

    rc: int = 0
    stop: str = ""
    out: bytes = b""
    err: bytes = b""
    wall: float = 0.0
    oom: bool = False
    starved: bool = False
    fault: str = ""
    retried: bool = False
    warm: bool = False


class Watch:
    """Reads a run's pipes with caps until it ends or a limit stops it.

    boss: the scorer's socket. cpu, wall: seconds; cap: bytes of output. group: bounds the sum of
    memory and counts the kills, or has no folder and the sum is watched here. quota: watch the work
    folder's size (where no tmpfs does it). skip: a child to leave out of the sums. root: whose
    descendants are the run's; own: it is the run's itself.
    """

    def __init__(
        self,
        plan: Plan,
        boss: socket.socket,
        limits: tuple[float, float, int],
        group: Group,
        quota: bool,
        skip: int,
    ) -> None:
        self.plan, self.boss, self.group, self.quota = plan, boss, group, quota
        self.cpu, self.wall, self.cap = limits
        self.root, self.skip, self.own = os.getpid(), skip, False
        self.ended = Ended()
        self.out, self.err = bytearray(), bytearray()
        self.began = time.monotonic()
        self.before, self.kills = _reaped_cpu(), group.kills()
        self.starved = self.late = 0.0

    def until_end(self, pidfd: int, out: int, err: int, work: str) -> None:
        """Block until the process behind `pidfd` exits, its limits stop it, or the scorer dies."""
        poll = select.poll()
        streams = [(out, self.out, self.cap), (err, self.err, ERR_BYTES)]
        for fd, _, _ in streams:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        poll.register(self.boss.fileno(), select.POLLIN)
        look = self.began + LOOK_S
        while not self.ended.stop:
            now = time.monotonic()
            late = now - self.began >= self.wall + self.starved
            if now >= look or late:
                self.look(work)
                look = time.monotonic() + LOOK_S
                if late and not self.ended.stop and now - self.began >= self.wall + self.starved:
                    self.ended.stop = "wall"
                    break
            left = min(look, self.began + self.wall + self.starved) - now
            ready = {fd for fd, _ in poll.poll(max(left * 1000, 1))}
            if not ready:
                self.late += max(0.0, time.monotonic() - now - max(left, 0.001))
            if self.boss.fileno() in ready:
                self.ended.stop = "orphaned"  # nothing is ever sent during a run but the end
            for fd, into, cap in streams:
                if fd in ready and not self._drain(fd, into, cap, once=True):
                    poll.unregister(fd)
            if pidfd in ready:
                break
        for fd, into, cap in streams:
            self._drain(fd, into, cap, once=False)

    def _drain(self, fd: int, into: bytearray, cap: int, once: bool) -> bool:
        """Read what is there (a bounded amount); False at the end of the stream."""
        for _ in range(1 if once else 64):
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            into += data[: max(0, cap - len(into))]
            if into is self.out and len(into) >= cap:
                self.ended.stop = self.ended.stop or "output"
                return False
        return True

    def look(self, work: str) -> None:
        """Stop the run when the sum of its processes is over a limit."""
        cpu, resident, delayed, alone = proctree.usage(self.root, self.skip, self.own)
        longest = (PATIENCE - 1) * self.wall
        self.starved = min(max(self.starved, delayed, self.late), longest)
        # Who waits for a processor shares its core and caches: the same work takes more CPU time.
        room = min(alone, (DEAR - 1) * self.cpu)
        if cpu + _reaped_cpu() - self.before >= self.cpu + room:
            self.ended.stop = "cpu"
        elif self.group.kills() > self.kills:  # of any process, or the others may wait for it
            self.ended.stop = "memory"
        elif self.group.memory_folder is None and resident > self.plan.memory:
            self.ended.stop = "memory"
        elif self.quota and _too_full(work, self.plan):
            self.ended.stop = "disk"

    def finish(self, rc: int) -> Ended:
        """Fill in what is known after everything has been reaped."""
        ended = self.ended
        ended.starved = ended.stop == "wall" and self.starved > STARVED * self.wall
        ended.rc, ended.oom = rc, self.group.kills() > self.kills
        ended.out, ended.err = bytes(self.out), bytes(self.err)
        ended.wall = time.monotonic() - self.began
        return ended


def _reaped_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _too_full(work: str, plan: Plan) -> bool:
    total = count = 0
    for folder, _, names in os.walk(work):
        count += len(names) + 1
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
        if total > plan.tmp_bytes or count > TMP_INODES:
            return True
    return False

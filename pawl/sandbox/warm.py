"""The supervisor's side of the fork server: start it in bubblewrap, hand it requests, watch them.

Left out: what happens inside (`fork_server.py`) and cold starts (`supervisor.py`). A server that
dies or does not answer is a fault of this run only; the next run starts a new one.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path

from pawl.sandbox import candidate_process, landlock
from pawl.sandbox.candidate_process import Plan
from pawl.sandbox.watch import Ended, Watch

ANSWER_S = 10.0  # a server that says nothing for so long is dead


class Server:
    """A running fork server: its pid (bubblewrap's) and our end of its socket."""

    def __init__(self, plan: Plan, work: str, python: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open("/dev/null", os.O_RDWR)
        program = landlock.seccomp_program(spaces=True, dropped=plan.uid >= 0)
        argv = [python, "-s", "-S", "{box}/fork_server.py", program.hex()]
        argv += [str(plan.tmp_bytes), str(plan.tmp_inodes)]
        fds = (theirs.fileno(), null, null)
        self.pid = candidate_process.start(plan, argv, work, resource.RLIM_INFINITY, fds, warm=True)
        theirs.close()
        os.close(null)
        self.control = ours
        self.control.settimeout(ANSWER_S)
        try:
            ready = self.control.recv(64) == b"ready"
        except OSError:
            ready = False
        if not ready:
            self.close()
            raise OSError("the fork server did not start")

    def run(self, watch: Watch, stdin: bytes, cpu: float, work: str) -> Ended:
        """One candidate; raises OSError when the server fails us."""
        request = os.memfd_create("request")
        out_read, out_write = os.pipe()
        pidfd = -1
        try:
            os.write(request, stdin)
            os.lseek(request, 0, 0)
            seconds = struct.pack("<i", max(1, -int(-cpu // 1)))
            socket.send_fds(self.control, [b"R" + seconds], [request, out_write])
            os.close(out_write)
            out_write = -1
            _, fds, _, _ = socket.recv_fds(self.control, 64, 1)
            if not fds:
                raise OSError("the fork server could not start a candidate")
            pidfd = fds[0]
            watch.root, watch.own = _pid_of(pidfd), True
            watch.until_end(pidfd, out_read, -1, work)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # pid 1 there: ends the rest too
            answer = self.control.recv(64)
            if len(answer) != 13:
                raise OSError("the fork server died")
            code, used = struct.unpack("<id", answer[1:])
            ended = watch.finish(code, oom=False)
            ended.cpu = used
            return ended
        finally:
            for fd in (request, out_read, out_write, pidfd):
                if fd >= 0:
                    os.close(fd)

    def close(self) -> None:
        """Kill bubblewrap and with it everything in its namespaces."""
        self.control.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _pid_of(pidfd: int) -> int:
    """The pid, as we see it, of a process that we hold by descriptor; 0 when it is gone."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return max(0, int(line.split()[1]))
    return 0

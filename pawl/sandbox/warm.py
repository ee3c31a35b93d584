"""The supervisor's side of the fork server: start it in bubblewrap, hand it requests, end them.

Left out: what happens inside (`fork_server.py`) and cold starts (`candidate_process.py`). A server
that dies or does not answer is a fault of this run only; the next run starts a new one.
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
from pawl.sandbox.bubblewrap import SHM_BYTES
from pawl.sandbox.candidate_process import TMP_INODES, Plan

ANSWER_S = 10.0  # a server that says nothing for so long is dead


class Server:
    """A running fork server: its pid (bubblewrap's) and our end of its socket."""

    def __init__(self, plan: Plan, work: str, python: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open("/dev/null", os.O_RDWR)
        program = landlock.seccomp_program(spaces=True, dropped=plan.uid >= 0)
        argv = [python, "-s", "-S", "{box}/fork_server.py", program.hex()]
        argv += [str(plan.tmp_bytes), str(SHM_BYTES), str(TMP_INODES)]
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

    def start(self, fds: tuple[int, int, int], seconds: int) -> tuple[int, int]:
        """(pidfd, pid) of a new candidate; raises OSError when the server fails us.

        fds: what becomes its standard input, output and error.
        """
        socket.send_fds(self.control, [b"R" + struct.pack("<i", seconds)], fds)
        _, found, _, _ = socket.recv_fds(self.control, 64, 1)
        if not found:
            raise OSError("the fork server could not start a candidate")
        return found[0], _pid_of(found[0])

    def end(self, pidfd: int) -> int:
        """Kill what is left of a candidate; its exit code. Raises OSError as `start`."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # pid 1 there: ends the rest too
        answer = self.control.recv(64)
        if len(answer) != 5:
            raise OSError("the fork server died")
        code: int = struct.unpack("<i", answer[1:])[0]
        return code

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

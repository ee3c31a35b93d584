"""The helper process that starts candidates for one scorer and outlives it just long enough.

A scorer talks to its supervisor over a socket pair: one request, one answer. The supervisor forks
each candidate (a small single-threaded parent forks fast, and bubblewrap must not be started from a
thread that may end), watches it and kills everything left. When the scorer dies, even by kill -9,
the socket ends: the supervisor kills what runs, removes its folder and cgroup, and exits. Run by
`slot.py` as `python -I -S -c ... FD`. Standard library only.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

from pawl.sandbox import candidate_process, cgroup, lease
from pawl.sandbox.candidate_process import TASKS, TMP_INODES, Plan
from pawl.sandbox.warm import Server
from pawl.sandbox.watch import DEAR, Ended, Watch

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_REC_PRIVATE, _DETACH = 2, 4, 0x44000, 2


def send(sock: socket.socket, value: Any) -> None:
    """One message in marshal's form."""
    sock.sendall(marshal.dumps(value, 4))


def receive(sock: socket.socket) -> Any:
    """The next message, None at the end of the stream."""
    with sock.makefile("rb") as stream:  # may read ahead: no message comes before its answer
        try:
            return marshal.load(stream)
        except (EOFError, ConnectionResetError):
            return None


class Supervisor:
    """Serves run requests until the scorer closes the socket."""

    def __init__(self, sock: socket.socket, plan: Plan) -> None:
        self.sock, self.plan = sock, plan
        lease.hold(plan.root)
        self.runs = 0
        self.group = cgroup.Group(plan.group, plan.memory + (96 << 20), TASKS + 16)
        _libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        with suppress(PermissionError):  # else candidates raise their own score instead
            Path("/proc/self/oom_score_adj").write_text("-900")
        self.own_tmp = plan.tier == "bubblewrap" and _private_mounts()
        self.server: Server | None = None

    def serve(self) -> None:
        """Answer requests; on the way out leave nothing."""
        try:
            with suppress(BrokenPipeError):  # the scorer is gone: cleaning up is what is left
                send(self.sock, {"own_tmp": self.own_tmp, "cgroup": self.group.reason})
                while (request := receive(self.sock)) is not None:
                    send(self.sock, asdict(self._answer(request)))
        finally:
            candidate_process.sweep(0, self.plan.uid)
            self.group.remove()
            if self.own_tmp:
                _libc.umount2(f"{self.plan.root}/work".encode(), _DETACH)
            remove_tree(self.plan.root)

    def _answer(self, request: dict[str, Any]) -> Ended:
        try:
            return self.run(**request)
        except OSError as error:
            return Ended(fault=f"{type(error).__name__}: {error}")

    def run(
        self,
        argv: list[str],
        files: dict[str, bytes],
        stdin: bytes,
        warm: bool,
        limits: tuple[float, float, int],
    ) -> Ended:
        """One candidate from an empty work folder to nothing left.

        warm: by the fork server, which has a folder of its own for each; argv[0] is the interpreter
        then. limits: seconds of CPU and by the wall clock, bytes of output.
        """
        plan = self.plan
        work = f"{plan.root}/work" if warm else self._fresh_work()
        for name, data in files.items():
            Path(work, name).write_bytes(data)
        quota = not (warm or self.own_tmp)
        keep = self.server.pid if self.server and not warm else 0
        seconds = ceil(max(1, DEAR * limits[0]))  # the sum of all is watched more closely
        fds = [os.memfd_create("stdin"), *os.pipe(), *os.pipe()]
        source, out, out_write, err, err_write = fds
        try:
            os.write(source, stdin)
            os.lseek(source, 0, 0)
            if warm and self.server is None:
                self.server = Server(plan, work, argv[0])
            server = self.server if warm else None
            watch = Watch(plan, self.sock, limits, self.group, quota, keep)
            streams = (source, out_write, err_write)
            if server is not None:
                pidfd, watch.root = server.start(streams, seconds)
                watch.own = watch.ended.warm = True
            else:
                pid = candidate_process.start(plan, argv, work, seconds, streams)
                pidfd = os.pidfd_open(pid)
            fds.append(pidfd)
            for fd in (out_write, err_write):
                os.close(fd)
                fds.remove(fd)
            watch.until_end(pidfd, out, err, work)
            if server is not None:
                code = server.end(pidfd)
            else:
                uid = plan.uid if plan.tier == "landlock" else -1
                code = os.waitstatus_to_exitcode(candidate_process.sweep(pid, uid, keep))
            return watch.finish(code)
        except OSError:
            if warm:
                self._end_server()
            raise
        finally:
            for fd in fds:
                os.close(fd)
            if quota:
                remove_tree(work)

    def _end_server(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        candidate_process.sweep(0, -1)

    def _fresh_work(self) -> str:
        """An empty folder of the candidate's: a new tmpfs, or a new folder in lower tiers."""
        self.runs += 1
        plan = self.plan
        owner = plan.uid if plan.uid >= 0 else os.getuid()
        if self.own_tmp:
            work = f"{plan.root}/work"
            _libc.umount2(work.encode(), _DETACH)
            options = f"size={plan.tmp_bytes},nr_inodes={TMP_INODES},mode=700,uid={owner}"
            flags = _MS_NOSUID | _MS_NODEV
            if _libc.mount(b"tmpfs", work.encode(), b"tmpfs", flags, options.encode()):
                raise OSError(ctypes.get_errno(), "cannot mount the candidate's tmpfs")
            return work
        work = f"{plan.root}/work/{self.runs}"
        os.mkdir(work, 0o700)
        os.chown(work, owner, -1)
        return work


def remove_tree(path: str) -> None:
    """Delete a folder, also where a candidate took the rights to list it away."""
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def _private_mounts() -> bool:
    """Enter a mount namespace of our own, so that each run gets a tmpfs with an inode limit."""
    uid, gid = os.getuid(), os.getgid()
    if uid:
        if _libc.unshare(_NEWUSER | _NEWNS):
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    elif _libc.unshare(_NEWNS):
        return False
    return not _libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)


def main(fd: int) -> None:
    """Entry point of the helper process."""
    sock = socket.socket(fileno=fd)
    plan = receive(sock)
    if plan is not None:
        Supervisor(sock, Plan(**plan)).serve()
    os._exit(0)  # at once: what init has to reap should not linger

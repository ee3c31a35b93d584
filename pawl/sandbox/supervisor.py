"""The helper process that starts candidates for one scorer and outlives it just long enough.

A scorer talks to its supervisor over a socket pair: one request, one answer. The supervisor forks
each candidate (a small single-threaded parent forks fast, and bubblewrap must not be started from a
thread that may end), watches it and kills everything left. When the scorer dies, even by kill -9,
the socket ends: the supervisor kills what runs, removes its folder and cgroup, and exits. Run by
`sandbox.py` as `python -I -S -c ... FD`. Standard library only.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import shutil
import socket
import struct
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pawl.sandbox import candidate_process, cgroup, lease
from pawl.sandbox.candidate_process import Plan
from pawl.sandbox.warm import Server
from pawl.sandbox.watch import Ended, Watch

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_REC_PRIVATE, _DETACH = 2, 4, 0x44000, 2


def send(sock: socket.socket, value: Any) -> None:
    """One message: length, then marshal bytes."""
    data = marshal.dumps(value, 4)
    sock.sendall(struct.pack("<I", len(data)) + data)


def receive(sock: socket.socket) -> Any:
    """The next message, None at the end of the stream."""
    head = _exactly(sock, 4)
    if head is None:
        return None
    data = _exactly(sock, struct.unpack("<I", head)[0])
    return None if data is None else marshal.loads(data)


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    out = bytearray()
    while len(out) < count:
        try:
            data = sock.recv(min(count - len(out), 1 << 20))
        except ConnectionResetError:
            return None
        if not data:
            return None
        out += data
    return bytes(out)


class Supervisor:
    """Serves run requests until the scorer closes the socket."""

    def __init__(self, sock: socket.socket, plan: Plan) -> None:
        self.sock, self.plan = sock, plan
        lease.hold(plan.root)
        self.runs = 0
        self.group = cgroup.Group(plan.group, plan.memory + (96 << 20), plan.tasks + 16)
        _libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        self._protect()
        self.own_tmp = plan.tier == "bubblewrap" and _private_mounts()
        self.server: Server | None = None

    def _protect(self) -> None:
        try:
            Path("/proc/self/oom_score_adj").write_text("-900")
        except PermissionError:
            return  # candidates raise their own score instead

    def serve(self) -> None:
        """Answer requests; on the way out leave nothing."""
        try:
            self._answer_all()
        finally:
            candidate_process.sweep(0, self.plan.uid)
            self.group.remove()
            if self.own_tmp:
                _libc.umount2(f"{self.plan.root}/work".encode(), _DETACH)
            remove_tree(self.plan.root)

    def _answer_all(self) -> None:
        with suppress(BrokenPipeError):  # the scorer is gone: cleaning up is what is left
            send(self.sock, {"own_tmp": self.own_tmp, "cgroup": self.group.reason})
            while (request := receive(self.sock)) is not None:
                try:
                    run = self.run_warm if request.pop("warm") else self.run
                    answer = asdict(run(**request))
                except OSError as error:
                    answer = asdict(Ended(fault=f"{type(error).__name__}: {error}"))
                send(self.sock, answer)

    def run(
        self,
        argv: list[str],
        files: dict[str, bytes],
        stdin: bytes,
        cpu: float,
        wall: float,
        cap: int,
    ) -> Ended:
        """One candidate from an empty work folder to nothing left."""
        work = self._fresh_work()
        for name, data in files.items():
            Path(work, name).write_bytes(data)
        source = os.memfd_create("stdin")
        os.write(source, stdin)
        os.lseek(source, 0, 0)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        kills = self.group.kills()
        keep = self.server.pid if self.server else 0
        pidfd = -1
        sums = self.group.memory_folder is None
        watch = Watch(self.plan, self.sock, (cpu, wall, cap), sums, not self.own_tmp, keep)
        try:
            seconds = max(1, -int(-cpu // 1))
            pid = candidate_process.start(
                self.plan, argv, work, seconds, (source, out_write, err_write)
            )
            os.close(out_write)
            os.close(err_write)
            out_write = err_write = -1
            pidfd = os.pidfd_open(pid)
            watch.until_end(pidfd, out_read, err_read, work)
            uid = self.plan.uid if self.plan.tier == "landlock" else -1
            status = candidate_process.sweep(pid, uid, keep)
            code = os.waitstatus_to_exitcode(status)
            return watch.finish(code, self.group.kills() > kills)
        finally:
            for fd in (source, out_read, err_read, out_write, err_write, pidfd):
                if fd >= 0:
                    os.close(fd)
            if not self.own_tmp:
                remove_tree(work)

    def run_warm(
        self,
        argv: list[str],
        files: dict[str, bytes],
        stdin: bytes,
        cpu: float,
        wall: float,
        cap: int,
    ) -> Ended:
        """One Python candidate by the fork server; argv[0] is the interpreter."""
        assert not files, "a warm run takes its program from the request"
        folder = f"{self.plan.root}/work"
        kills = self.group.kills()
        try:
            if self.server is None:
                self.server = Server(self.plan, folder, argv[0])
            sums = self.group.memory_folder is None
            watch = Watch(self.plan, self.sock, (cpu, wall, cap), sums, quota=False, skip=0)
            ended = self.server.run(watch, stdin, cpu, folder)
        except OSError:
            if self.server is not None:
                self.server.close()
                self.server = None
            candidate_process.sweep(0, -1)
            raise
        ended.oom = self.group.kills() > kills
        return ended

    def _fresh_work(self) -> str:
        """An empty folder of the candidate's: a new tmpfs, or a new folder in lower tiers."""
        self.runs += 1
        plan = self.plan
        owner = plan.uid if plan.uid >= 0 else os.getuid()
        if self.own_tmp:
            work = f"{plan.root}/work"
            _libc.umount2(work.encode(), _DETACH)
            options = f"size={plan.tmp_bytes},nr_inodes={plan.tmp_inodes},mode=700,uid={owner}"
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

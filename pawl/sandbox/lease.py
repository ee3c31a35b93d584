"""What the sandboxes of one machine share: pool uids, a quiet moment, and each other's remains.

All claims are held by the kernel for a process (abstract sockets, flock on folders that exist
anyway), so they end with it and leave no file. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawl.sandbox import cgroup, proctree, visible

UIDS = range(60001, 61000)


@contextmanager
def quiet(alone: bool) -> Iterator[None]:
    """Hold the machine for one run alone, or share it; by flock on our own folders, no files."""
    gate = os.open(visible.PACKAGE, os.O_RDONLY | os.O_CLOEXEC)
    room = os.open(visible.PACKAGE / "sandbox", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(gate, mode)
        fcntl.flock(room, mode)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        os.close(gate)
        os.close(room)


def claim_uid() -> tuple[socket.socket, int]:
    """A uid of the pool that no other sandbox holds (an abstract socket's name is the claim)."""
    for step in range(len(UIDS)):
        uid = UIDS[(os.getpid() + step) % len(UIDS)]
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pawl-uid-{uid}")
        except OSError:
            claim.close()
            continue
        if not proctree.owned_by(uid):
            return claim, uid
        claim.close()
    raise OSError("every uid of the pool is in use")


def hold(folder: str) -> int:
    """Mark a sandbox's folder as in use for as long as this process lives."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def clear_stale() -> None:
    """Remove folders and cgroups of sandboxes whose scorer and supervisor were both killed."""
    for controller in ("memory", "pids", "."):
        for folder in (cgroup.ROOT / controller).glob("pawl-*-*"):
            if _dead(folder):
                cgroup.remove_folder(folder)  # fails where a process is still inside
    for folder in Path("/tmp").glob("pawl-*-*"):
        if _dead(folder) and folder.is_dir() and folder.stat().st_uid == os.getuid():
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                continue  # in use, by a process of another pid namespace
            finally:
                os.close(fd)


def _dead(folder: Path) -> bool:
    pid = folder.name.split("-")[1]
    return pid.isdigit() and not Path("/proc", pid).exists()

"""One trainer for one run folder: a lock that dies with its process, `kill -9` included.

A POSIX record lock on `run.lock`: unlike flock, worker processes do not inherit it, so an orphaned
scorer cannot keep a run busy. The file names the holder for the message. Readers never lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from pawl.errors import PawlError

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_held: set[str] = set()  # a process never conflicts with itself, so own locks are kept here


class RunLock:
    """Holds `run.lock` of a folder until `release`; raises PawlError when another trainer does."""

    def __init__(self, folder: Path) -> None:
        self._key = str(folder.resolve())
        self._path = folder / "run.lock"
        if self._key in _held:
            raise _busy(folder, os.getpid())
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._fd)
            if e.errno in (errno.EACCES, errno.EAGAIN):
                raise _busy(folder, holder(folder)) from None
            raise PawlError(f"cannot lock the run folder: {e.strerror}", str(folder)) from e
        _held.add(self._key)

    def stands(self) -> bool:
        """Whether its folder is where it was: the very file that is locked still lies there."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back; the file stays (removing it would race with the next holder)."""
        if self._key in _held:
            _held.discard(self._key)
            os.close(self._fd)


def holder(folder: Path) -> int | None:
    """Process id of the trainer that holds a run folder, None when nobody does."""
    if str(folder.resolve()) in _held:  # opening and closing it here would drop our own lock
        return os.getpid()
    path = folder / "run.lock"
    if not path.exists():
        return None
    with path.open("rb") as f:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(f, fcntl.F_GETLK, asked))
    return pid if kind != fcntl.F_UNLCK else None


def _busy(folder: Path, pid: int | None) -> PawlError:
    by = f"process {pid}" if pid else "another process"
    hint = "wait for it, stop it with Ctrl-C, or give this run another name"
    return PawlError(f"the run folder is in use by {by}", str(folder), hint)

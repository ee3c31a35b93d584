"""Run a command where user namespaces are denied and, if asked, bubblewrap does not exist.

A program for the tests, as root: python without_namespaces.py yes|no COMMAND...; "no" hides bwrap.
It enters a user namespace that maps every uid to itself and sets its own limit of further user
namespaces to 0, as a hardened machine does for all. Left out: becoming an ordinary user (setpriv).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

NEWNS, NEWUSER, BIND, PRIVATE = 0x20000, 0x10000000, 0x1000, 0x44000
libc = ctypes.CDLL(None, use_errno=True)


def check(failed: int, what: str) -> None:
    """Raise OSError for a failed C call."""
    if failed:
        raise OSError(ctypes.get_errno(), what)


def map_all(child: int) -> None:
    """Every id of the child's namespace is the same id here."""
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{name}").write_text("0 0 4294967294")


def main(bwrap: bool, command: list[str]) -> None:
    """Become the command."""
    ready, go = os.pipe(), os.pipe()
    mapper = os.fork()
    if not mapper:
        os.read(ready[0], 1)
        map_all(os.getppid())
        os.write(go[1], b"x")
        os._exit(0)
    check(libc.unshare(NEWUSER | NEWNS), "unshare")
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.waitpid(mapper, 0)
    check(libc.mount(b"none", b"/", None, PRIVATE, None), "private mounts")
    found = shutil.which("bwrap")
    if found and not bwrap:
        check(libc.mount(b"/dev/null", found.encode(), None, BIND, None), "hide bwrap")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1] == "yes", sys.argv[2:])

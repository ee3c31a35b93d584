"""The command line that puts a candidate into namespaces of its own with bubblewrap.

User, pid, network, ipc, uts, cgroup and mount namespaces; /usr read-only, nothing of the user's
home or of the project, a private /tmp, an empty environment. Left out: rlimits and uids (set by
`candidate_process.py` before the exec) and resource sums (cgroups). Source: bwrap(1), version 0.8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the same program must get the same verdict twice
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would use up the limits of tasks and memory
}
SHM_BYTES = 16 << 20


def options(
    box: str, work: str, extra: Sequence[str], masked: Sequence[str], seccomp_fd: int | None
) -> list[str]:
    """What stands between bwrap and the program's own argv.

    work: host folder to mount at /tmp. extra: further host paths to show read-only. masked: folders
    below the shown ones to cover with an empty tmpfs. seccomp_fd: None for the fork server, which
    filters each candidate itself.
    """
    out = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    out += ["--disable-userns"] if seccomp_fd is not None else ["--cap-add", "ALL"]
    for name, value in ENVIRONMENT.items():
        out += ["--setenv", name, value]
    shown = ["/usr"]
    for path in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(path):
            out += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            shown.append(path)
    for path in (*shown, *extra):
        out += ["--ro-bind", path, path]
    for path in masked:
        out += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    out += ["--proc", "/proc", "--dev", "/dev"]
    out += ["--size", str(SHM_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    out += [
        "--bind",
        work,
        "/tmp",
        "--ro-bind",
        box,
        "/box",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
    ]
    if seccomp_fd is not None:
        out += ["--seccomp", str(seccomp_fd)]
    return [*out, "--"]

"""One control group per sandbox slot: a cap on the sum of memory and on the number of tasks.

rlimits bound each process; only a cgroup bounds their sum. Version 1 and 2, where the folders are
writable; elsewhere `watch.py` watches the sum by polling. The supervisor itself moves into the
group once and its children inherit it: attaching each candidate costs 15 ms. Standard library only.
Source: Linux Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Group:
    """The slot's folders, empty where no controller could be used (`reason` says why)."""

    def __init__(self, name: str, memory: int, tasks: int) -> None:
        self.memory_folder: Path | None = None
        self.reason = ""
        self._entered: list[tuple[Path, Path]] = []  # a folder of ours, and where we came from
        try:
            for root, limits in _hierarchies(memory, tasks).items():
                self._enter(root / name, _own_path(root), limits)
            self.memory_folder = self._entered[0][0]
        except OSError as error:
            self.reason = f"no writable cgroup ({error.strerror or error})"
            self.remove()

    def _enter(self, folder: Path, home: Path, limits: dict[str, int]) -> None:
        folder.mkdir()
        self._entered.append((folder, home))
        for file, value in limits.items():
            swap = "memsw" in file or "swap" in file  # which is not accounted everywhere
            if not swap or (folder / file).exists():
                (folder / file).write_text(str(value))
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """How many processes the kernel has killed in this group for want of memory."""
        if self.memory_folder is None:
            return 0
        for name in ("memory.oom_control", "memory.events"):
            try:
                lines = (self.memory_folder / name).read_text().splitlines()
            except OSError:
                continue
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return 0

    def remove(self) -> None:
        """Move back to where we came from and delete the folders."""
        for folder, home in self._entered:
            with suppress(OSError):
                (home / "cgroup.procs").write_text(str(os.getpid()))
            remove_folder(folder)
        self.memory_folder = None


def remove_folder(folder: Path) -> None:
    """Delete one group folder; a group that is gone already, or still in use, is let be."""
    with suppress(OSError):
        folder.rmdir()


def _hierarchies(memory: int, tasks: int) -> dict[Path, dict[str, int]]:
    """The root of each hierarchy that is needed, the memory's first, and the limits to set in it.

    Version 2 has one hierarchy, version 1 one for each controller.
    """
    if (ROOT / "cgroup.controllers").exists():
        return {ROOT: {"memory.max": memory, "memory.swap.max": 0, "pids.max": tasks}}
    both = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
    return {ROOT / "memory": both, ROOT / "pids": {"pids.max": tasks}}


def _own_path(root: Path) -> Path:
    """The folder below `root` that this process is in now."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if root.name in controllers.split(",") or (root == ROOT and not controllers):
            return root / path.lstrip("/")
    return root

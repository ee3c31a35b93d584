"""One control group per sandbox slot: a cap on the sum of memory and on the number of tasks.

rlimits bound each process; only a cgroup bounds their sum. Version 1 and 2, where the folders are
writable; elsewhere `supervisor.py` watches the sum by polling. The supervisor itself moves into the
group
once and its children inherit it: attaching each candidate costs 15 ms. Standard library only.
Source: Linux Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Group:
    """The slot's folders, empty where no controller could be used (`reason` says why)."""

    def __init__(self, name: str, memory: int, tasks: int) -> None:
        self.folders: list[Path] = []
        self.memory_folder: Path | None = None
        self.reason = ""
        self._home: list[tuple[Path, Path]] = []
        try:
            if (ROOT / "cgroup.controllers").exists():
                self._make_v2(name, memory, tasks)
            else:
                self._make_v1(name, memory, tasks)
        except OSError as error:
            self.reason = f"no writable cgroup ({error.strerror or error})"
            self.remove()

    def _make_v1(self, name: str, memory: int, tasks: int) -> None:
        wanted = {
            "memory": {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory},
            "pids": {"pids.max": tasks},
        }
        for controller, limits in wanted.items():
            folder = ROOT / controller / name
            folder.mkdir()
            self.folders.append(folder)
            for file, value in limits.items():
                if (folder / file).exists():
                    (folder / file).write_text(str(value))
            self._enter(folder, ROOT / controller)
        self.memory_folder = ROOT / "memory" / name

    def _make_v2(self, name: str, memory: int, tasks: int) -> None:
        folder = ROOT / name
        folder.mkdir()
        self.folders.append(folder)
        (folder / "memory.max").write_text(str(memory))
        if (folder / "memory.swap.max").exists():
            (folder / "memory.swap.max").write_text("0")
        (folder / "pids.max").write_text(str(tasks))
        self._enter(folder, ROOT)
        self.memory_folder = folder

    def _enter(self, folder: Path, root: Path) -> None:
        mine = _own_path(root)
        self._home.append((folder, mine))
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
        for _, mine in self._home:
            _try_write(mine / "cgroup.procs", str(os.getpid()))
        self._home.clear()
        for folder in self.folders:
            remove_folder(folder)
        self.folders.clear()
        self.memory_folder = None


def remove_folder(folder: Path) -> None:
    """Delete one group folder; a group that is gone already is fine."""
    try:
        folder.rmdir()
    except OSError:
        return


def _own_path(root: Path) -> Path:
    """The folder below `root` that this process is in now."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if root.name in controllers.split(",") or (root == ROOT and not controllers):
            return root / path.lstrip("/")
    return root


def _try_write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError:
        return

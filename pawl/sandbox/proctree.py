"""What a process's descendants use, read from /proc: CPU seconds, resident bytes, waiting.

Serves the supervisor's watch over sums where no cgroup does it, and its clean-up. Left out: exact
figures; processes that start and end between two reads are seen by `wait4` alone.
Source: proc(5), /proc/PID/stat. Standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_TICK = float(os.sysconf("SC_CLK_TCK"))
_PAGE = os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Direct children of a single-threaded process, zombies included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [child for child, stat in _all_stats().items() if int(stat[1]) == pid]


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU, resident bytes, and the longest that one process waited for a processor."""

    cpu: float
    resident: int
    delayed: float


def usage(root: int, skip: int = 0, own: bool = False) -> Usage:
    """What all descendants of `root` use together, without the tree of `skip`; own: and `root`."""
    stats = _all_stats()
    below: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        below.setdefault(int(stat[1]), []).append(pid)
    cpu, resident, delayed = 0.0, 0, 0.0
    todo = [root] if own and root in stats else list(below.get(root, []))
    while todo:
        pid = todo.pop()
        if pid == skip:
            continue
        todo += below.get(pid, [])
        stat = stats[pid]
        cpu += sum(int(ticks) for ticks in stat[11:15]) / _TICK
        resident += int(stat[21]) * _PAGE
        delayed = max(delayed, _delay(pid))
    return Usage(cpu, resident, delayed)


def _delay(pid: int) -> float:
    """Seconds that a process's first thread was ready but not running, 0 where not recorded."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def descendants(root: int) -> list[int]:
    """Pids of everything below `root`, zombies included."""
    stats = _all_stats()
    out = [root]
    for pid in out:
        out += [child for child, stat in stats.items() if int(stat[1]) == pid]
    return out[1:]


def owned_by(uid: int) -> list[int]:
    """Pids whose owner is `uid`."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    found.append(int(name))
            except OSError:
                continue
    return found


def _all_stats() -> dict[int, list[bytes]]:
    """pid -> the fields of /proc/PID/stat after the command name (state is field 0)."""
    out = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    text = file.read()
            except OSError:
                continue
            out[int(name)] = text[text.rindex(b")") + 2 :].split()
    return out

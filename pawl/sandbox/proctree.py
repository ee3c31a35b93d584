"""What a process's descendants use, read from /proc: CPU seconds, resident bytes, waiting.

Serves the supervisor's watch over sums where no cgroup does it, and its clean-up. Left out: exact
figures; processes that start and end between two reads are seen by `wait4` alone.
Source: proc(5), /proc/PID/stat. Standard library only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress

_TICK = float(os.sysconf("SC_CLK_TCK"))
_PAGE = os.sysconf("SC_PAGE_SIZE")
COMPUTES_S = 0.1  # of CPU time, from which a process counts as one that computes


def children(pid: int) -> list[int]:
    """Direct children of a single-threaded process, zombies included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [child for child, stat in _all_stats().items() if int(stat[1]) == pid]


def usage(root: int, skip: int, own: bool) -> tuple[float, int, float, float]:
    """What all descendants of `root` use together, without the tree of `skip`; own: and `root`.

    Seconds of CPU, resident bytes, and the longest that one process waited for a processor; that
    of the one that computes where only one does, else 0: several make each other wait.
    """
    stats = _all_stats()
    pids = _below(root, stats, skip) + [root] * (own and root in stats)
    spent = {pid: sum(int(ticks) for ticks in stats[pid][11:15]) / _TICK for pid in pids}
    resident = sum(int(stats[pid][21]) for pid in pids) * _PAGE
    delays = {pid: _delay(pid) for pid in pids}
    computing = [pid for pid, cpu in spent.items() if cpu >= COMPUTES_S]
    alone = delays[computing[0]] if len(computing) == 1 else 0.0
    return sum(spent.values()), resident, max(delays.values(), default=0.0), alone


def _delay(pid: int) -> float:
    """Seconds that a process's first thread was ready but not running, 0 where not recorded."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def descendants(root: int) -> list[int]:
    """Pids of everything below `root`, zombies included."""
    return _below(root, _all_stats())


def _below(root: int, stats: dict[int, list[bytes]], skip: int = 0) -> list[int]:
    children = defaultdict[int, list[int]](list)
    for pid, stat in stats.items():
        children[int(stat[1])].append(pid)
    out = [root]
    for pid in out:
        out += [child for child in children[pid] if child != skip]
    return out[1:]


def owned_by(uid: int) -> list[int]:
    """Pids whose owner is `uid`."""
    found = []
    for pid in _all_pids():
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                found.append(pid)
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _all_stats() -> dict[int, list[bytes]]:
    """pid -> the fields of /proc/PID/stat after the command name (state is field 0)."""
    out = {}
    for pid in _all_pids():
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
            out[pid] = text[text.rindex(b")") + 2 :].split()
    return out

"""Landlock and seccomp for a process that is about to run a candidate, in plain ctypes.

The second tier, for places that allow no namespaces (Docker's default profile): the process keeps
its file system view but may read only what is listed, write only its work folder, open no socket,
signal nobody outside and leave no session. The seccomp program also serves the bubblewrap tier.
Sources: Linux Documentation/userspace-api/landlock.rst and seccomp_filter.rst. Left out: memory
and process limits (`candidate_process.py`, `cgroup.py`). Standard library only; x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

MIN_ABI_DROPPED = 3  # truncate; below it a path can be cut short without a write right
MIN_ABI_SAME_UID = 6  # signal scope; below it a candidate can kill the user's other processes

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ = (1 << 0) | (1 << 2) | (1 << 3)  # execute, read file, read directory
_FILE_READ, _FILE_WRITE = 1 << 2, 1 << 1
_SPACES = 0x7E020000  # CLONE_NEW* bits
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); -1 where the architecture lacks the call
_COMMON = {
    "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "pidfd_getfd": (438, 438), "personality": (135, 92),
    "memfd_secret": (447, 447), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60),
    "fanotify_init": (300, 262), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "kcmp": (312, 272), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "iopl": (172, -1), "ioperm": (173, -1), "modify_ldt": (154, -1),
}  # fmt: skip
# Without namespaces also: sessions (killpg must reach all), hidden memory, objects that outlive
# a process (System V and POSIX IPC), scheduling of other processes of the same user.
_NO_SPACES = {
    "setsid": (112, 157), "setpgid": (109, 154), "memfd_create": (319, 279),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "sched_setaffinity": (203, 122), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "truncate": (76, 45),
}  # fmt: skip
# Metadata by path is outside landlock; file permissions do not help when the uid is the user's.
_SAME_UID = {
    "chmod": (90, -1), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "lchown": (94, -1), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "setxattrat": (463, 463),
    "removexattrat": (466, 466), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88),
}  # fmt: skip
_SOCKET, _CLONE, _PRLIMIT, _CLONE3 = (41, 198), (56, 220), (302, 261), 435


def supported() -> str:
    """Empty when this machine's architecture has a system call table, else the reason."""
    machine = platform.machine()
    return "" if machine in _ARCH else f"no system call table for {machine}"


def kernel_abi() -> int:
    """The kernel's landlock ABI, 0 without landlock; LANDLOCK_ABI_MAX masks it (for tests)."""
    found = int(_libc().syscall(_CREATE, None, 0, 1))
    return max(0, min(found, int(os.environ.get("LANDLOCK_ABI_MAX", "99"))))


def seccomp_program(spaces: bool, dropped: bool) -> bytes:
    """The BPF program as bytes (`bwrap --seccomp` reads the same form).

    spaces: the process has namespaces of its own. dropped: its uid is not the user's.
    """
    column = list(_ARCH).index(platform.machine())
    denied = dict(_COMMON)
    if not spaces:
        denied.update(_NO_SPACES)
        if not dropped:
            denied.update(_SAME_UID)
    out = [_i(_LD, 0, 0, 4), _i(_JEQ, 1, 0, _ARCH[platform.machine()]), _i(_RET, 0, 0, _KILL)]
    out += [_i(_LD, 0, 0, 0)]
    if column == 0:  # the x32 calls alias the others
        out += [_i(_JGE, 0, 1, 0x40000000), _i(_RET, 0, 0, _KILL)]
    out += _argument_rule(_CLONE[column], _i(_JSET, 0, 1, _SPACES), deny_on_match=True)
    out += [_i(_JEQ, 0, 1, _CLONE3), _i(_RET, 0, 0, _ENOSYS)]  # libc falls back to clone
    if not spaces:
        # no family at all: landlock does not check connect() to sockets that have a path
        out += [_i(_JEQ, 0, 1, _SOCKET[column]), _i(_RET, 0, 0, _EPERM)]
        out += _argument_rule(_PRLIMIT[column], _i(_JEQ, 0, 1, 0), deny_on_match=False)
    for numbers in denied.values():
        if numbers[column] >= 0:
            out += [_i(_JEQ, 0, 1, numbers[column]), _i(_RET, 0, 0, _EPERM)]
    return b"".join([*out, _i(_RET, 0, 0, _ALLOW)])


def apply_seccomp(program: bytes) -> None:
    """Install `program` for this process and all its children; raises OSError."""
    libc = _libc()
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.prctl(22, 2, ctypes.create_string_buffer(head), 0, 0):  # PR_SET_SECCOMP, FILTER
        raise OSError(ctypes.get_errno(), "seccomp filter")


def apply_landlock(readable: Sequence[str], writable: Sequence[str]) -> None:
    """Allow reading and executing below `readable`, everything below `writable`; raises OSError."""
    libc, abi = _libc(), kernel_abi()
    rights = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
    handled = rights.get(abi, (1 << 16) - 1)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attr = struct.pack("QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)[:size]
    ruleset = libc.syscall(_CREATE, ctypes.create_string_buffer(attr, size), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    devices = [("/dev/null", _FILE_READ | _FILE_WRITE)]
    devices += [(f"/dev/{name}", _FILE_READ) for name in ("zero", "urandom", "random")]
    rules = [(path, _READ) for path in readable] + [(path, handled) for path in writable]
    for path, access in rules + devices:
        _add(libc, ruleset, path, access & handled)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.syscall(_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _add(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # /lib64 is not everywhere
    if not os.path.isdir(path):
        access &= _FILE_READ | _FILE_WRITE | 1  # directory rights on a file are EINVAL
    rule = ctypes.create_string_buffer(struct.pack("=Qi", access, parent), 12)
    failed = libc.syscall(_ADD, ruleset, 1, rule, 0)
    os.close(parent)
    if failed:
        raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")


def _argument_rule(number: int, test: bytes, deny_on_match: bool) -> list[bytes]:
    """If the call is `number`: test the low word of its first argument, then allow or deny."""
    verdicts = [_EPERM, _ALLOW] if deny_on_match else [_ALLOW, _EPERM]
    ends = [_i(_RET, 0, 0, verdict) for verdict in verdicts]
    return [_i(_JEQ, 0, 4, number), _i(_LD, 0, 0, 16), test, *ends]


def _i(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc

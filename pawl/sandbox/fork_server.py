"""Trusted fork server inside bubblewrap: a Python candidate in 3 ms instead of 15.

Runs once per sandbox with an interpreter that is already warm. For each request it forks the
candidate's process as pid 1 of a new pid namespace, whose end ends all its processes; that process
gets its own mount and ipc namespaces, /tmp, /dev/shm and /proc, gives up all capabilities and takes
the same limits and seccomp filter as a cold start before it runs the driver. The network namespace
is the server's, a loopback with nobody on it: a socket lives no longer than its process. Left out:
time-outs and killing (the supervisor holds a pidfd). Messages on descriptor 0: R request -> P
pidfd, E status.
Usage: python fork_server.py FILTER_HEX TMP_BYTES SHM_BYTES INODES.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import random
import resource
import signal
import socket
import struct
import sys

# what candidates import most is there already
WARM = "bisect collections datetime functools heapq itertools math re string typing"
MYPY = False
if MYPY or __name__ != "__main__":
    from pawl.sandbox import driver
else:  # inside the sandbox there is no package, only the file beside this one
    driver = __import__("driver")

_libc = ctypes.CDLL(None, use_errno=True)
_NEW, _NEWPID = 0x20000 | 0x08000000, 0x20000000  # mount, ipc; pid
_PRIVATE, _NOSUID_NODEV = 0x44000, 6


def check(result: int, what: str) -> None:
    """Raise OSError for a failed C call."""
    if result:
        raise OSError(ctypes.get_errno(), what)


def mount(kind: bytes, target: bytes, options: str) -> None:
    """Mount a fresh file system without set-uid and device files."""
    data = options.encode() or None
    check(_libc.mount(kind, target, kind, _NOSUID_NODEV, data), f"mount {target.decode()}")


def confine(program: bytes, cpu: int, tmpfs: dict[bytes, str]) -> None:
    """Own file systems, no capabilities, limits, seccomp: all before the candidate is read.

    tmpfs: options by folder.
    """
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: with the server
    check(_libc.unshare(_NEW), "unshare")
    check(_libc.mount(b"none", b"/", None, _PRIVATE, None), "private mounts")
    for target, options in tmpfs.items():
        mount(b"tmpfs", target, options)
    mount(b"proc", b"/proc", "")
    os.chdir("/tmp")
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, clear all
    header = struct.pack("II", 0x20080522, 0)
    check(_libc.capset(header, bytes(24)), "capset")
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    check(_libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    check(_libc.prctl(22, 2, head, 0, 0), "seccomp")


def candidate(fds: list[int], cpu: int, program: bytes, tmpfs: dict[bytes, str]) -> None:
    """Become the process that runs one candidate; never returns.

    fds: what becomes its standard input, output and error.
    """
    finish, status = os._exit, 0
    try:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.closerange(3, 1024)
        os.setsid()  # a process group reaches beyond a pid namespace: kill(0) would end the server
        confine(program, cpu, tmpfs)
        with open(0, "rb", closefd=False) as file:
            data = file.read()
        del sys.modules["driver"], sys.modules["__main__"]
        status = driver.answer(data)
    finally:
        finish(status)


def own_pids() -> int:
    """Become pid 1 of a namespace that belongs to us; a descriptor of it, to come back to."""
    check(_libc.unshare(_NEWPID), "unshare")
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)
    return os.open("/proc/self/ns/pid", os.O_RDONLY)


def run(
    control: socket.socket,
    pids: int,
    fds: list[int],
    cpu: int,
    program: bytes,
    tmpfs: dict[bytes, str],
) -> None:
    """Run one candidate as pid 1 of a new pid namespace and report its end."""
    check(_libc.unshare(_NEWPID), "unshare")  # for the children, not for us
    try:
        pid = os.fork()
        if not pid:
            candidate(fds, cpu, program, tmpfs)
    finally:
        check(_libc.setns(pids, _NEWPID), "setns")  # so that the next one gets its own
    for fd in fds:
        os.close(fd)
    handle = os.pidfd_open(pid)
    socket.send_fds(control, [b"P"], [handle])
    os.close(handle)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    control.send(b"E" + struct.pack("<i", code))


def main() -> None:
    """Serve requests until the supervisor closes the socket."""
    control = socket.socket(fileno=0)
    program = bytes.fromhex(sys.argv[1])
    tmp, shm, inodes = sys.argv[2:]
    tmpfs = {
        b"/tmp": f"size={tmp},nr_inodes={inodes},mode=700",
        b"/dev/shm": f"size={shm},nr_inodes={inodes},mode=1777",
    }
    del sys.argv[1:], sys.path[0]
    for name in WARM.split():
        importlib.import_module(name)
    pids = own_pids()
    for capability in range(64):
        _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: for all who are forked from here
    random.seed(0)  # every candidate starts from the same state, so verdicts repeat
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        message, fds, _, _ = socket.recv_fds(control, 64, 3)
        if not message:
            return
        (cpu,) = struct.unpack("<i", message[1:])
        run(control, pids, fds, cpu, program, tmpfs)


if __name__ == "__main__":
    main()

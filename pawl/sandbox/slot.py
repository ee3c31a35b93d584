"""One slot in which candidates run, one after the other: its supervisor, its uid, its folder.

The supervisor (`supervisor.py`) starts, watches and clears away each candidate; this side sends
requests, decides what is a fault of the machine, and repeats those once. Left out: which tier to
use (`tiers.py`), the languages (`python.py`, `ocaml.py`), parallelism (one slot per worker).
Standard library only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pawl.sandbox import candidate_process, cgroup, lease, proctree, supervisor, visible
from pawl.sandbox.watch import Ended
from pawl.types import Tier

TMP_BYTES = 64 << 20
HANDSHAKE = b"H\n"  # the first thing that a driver writes
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import pawl.sandbox.supervisor as w; w.main({})"
)


class Limits(Protocol):
    """The part of `SandboxConfig` that a sandbox reads (any object with these attributes)."""

    tier: Any
    allow_unsafe: bool
    cpu_s: float
    wall_s: float
    memory_mb: int
    output_kb: int
    packages: tuple[str, ...]


class Sandbox:
    """One slot in one tier. Use as a context manager, or call `close()`."""

    def __init__(self, limits: Limits, tier: Tier, warm: bool = False) -> None:
        self.limits, self.tier, self.warm = limits, tier, warm
        self.python = visible.candidate_python()
        self.programs: tuple[Path, ...] = (self.python,)
        self.folders = visible.package_folders(tuple(limits.packages))
        self.notes: list[str] = []
        self.refused: list[str] = []
        self._claim: socket.socket | None = None
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._plan: candidate_process.Plan | None = None
        self._tools: dict[str, Path] = {}
        for name in ("driver.py", "fork_server.py"):
            self.add_tool(name, visible.PACKAGE / "sandbox" / name)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self) -> dict[str, str]:
        """Tier, limits and layers in words, for run.json."""
        limits = self.limits
        return {
            "tier": self.tier,
            "start": "warm" if self.warm else "cold",
            "python": str(self.python),
            "limits": f"{limits.cpu_s:g} s CPU, {limits.wall_s:g} s wall, {limits.memory_mb} MiB",
            "uid": "pool" if self._claim else "caller",
            "notes": "; ".join(self.notes),
            "refused": "; ".join(self.refused),
        }

    def add_tool(self, name: str, source: Path) -> None:
        """Show `source` to candidates as {box}/name."""
        if self._tools.get(name) != source:
            self._tools[name] = source
            if self._plan is not None:
                _install(source, Path(self._plan.root, "box", name))

    def add_program(self, program: Path) -> None:
        """Make a program and its prefix visible to candidates (needed outside /usr only)."""
        if program not in self.programs:
            before = visible.extra_paths(self.programs)
            self.programs = (*self.programs, program)
            if visible.extra_paths(self.programs) != before:
                self._drop()  # the next run starts a supervisor with the wider view

    def judge_python(self, request: bytes) -> Ended:
        """Run one driver request; the Ended holds a `fault` when no verdict can be trusted."""
        return self.judge([str(self.python), "-s", "-S", "{box}/driver.py"], {}, request, self.warm)

    def judge(
        self, argv: list[str], files: dict[str, bytes], stdin: bytes = b"", warm: bool = False
    ) -> Ended:
        """Run one program in an empty folder with `files`; {box} in argv is the tools' folder.

        A run that lacks the handshake, or that the wall clock stopped on a machine too busy for it,
        is repeated once, alone on this machine as far as Pawl goes; then it is a fault.
        """
        limits = self.limits
        bounds = (float(limits.cpu_s), float(limits.wall_s), limits.output_kb << 10)
        request = {"argv": argv, "files": files, "stdin": stdin, "warm": warm, "limits": bounds}
        for retried in (False, True):
            with lease.quiet(alone=retried):
                ended = self._run(request)
            ended.retried, ended.fault = retried, _fault(ended)
            if not ended.fault:
                break
        return ended

    def _run(self, request: dict[str, object]) -> Ended:
        try:
            return Ended(**_ask(self._sock or self._open(), request))
        except OSError as error:
            self._drop()
            return Ended(fault=f"sandbox: {error}")

    def left_over(self) -> str:
        """Processes of earlier candidates that still run after 1 s, in words; "" for none."""
        for _ in range(100):
            left = self._left_now()
            if not left:
                break
            time.sleep(0.01)  # what a candidate started is reaped a moment after it
        return left

    def _left_now(self) -> str:
        pids = proctree.descendants(self._process.pid) if self._process is not None else []
        if self._claim is not None:
            pids += proctree.owned_by(self._uid)
        found = sorted(set(pids))
        own = 4 if self.warm else 0  # the fork server, its parent, the two processes of bubblewrap
        return ", ".join(f"pid {pid}" for pid in found) if len(found) > own else ""

    def close(self) -> None:
        """End the supervisor and everything it started; nothing stays behind."""
        self._drop()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _open(self) -> socket.socket:
        """Make the folder, start the supervisor, and hand it the plan; its socket."""
        if self._claim is None and os.getuid() == 0 and self.tier != "unsafe":
            self._claim, self._uid = lease.claim_uid()
        lease.clear_stale()
        root = tempfile.mkdtemp(prefix=f"pawl-{os.getpid()}-", dir="/tmp")
        os.chmod(root, 0o755)
        for name in ("box", "work"):
            os.mkdir(f"{root}/{name}", 0o755)
        for name, source in self._tools.items():
            _install(source, Path(root, "box", name))
        extra = visible.extra_paths(self.programs)
        self._plan = candidate_process.Plan(
            tier=self.tier,
            root=root,
            uid=self._uid if self._claim else -1,
            memory=self.limits.memory_mb << 20,
            tmp_bytes=TMP_BYTES,
            bwrap=shutil.which("bwrap") or "bwrap",
            extra=extra,
            masked=visible.masked_paths(extra),
            readable=visible.readable_paths(),
        )
        self._sock, theirs = socket.socketpair()
        boot = _BOOT.format(theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", boot, str(visible.PACKAGE.parent)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        hello = _ask(self._sock, asdict(self._plan), "the helper process did not start")
        self.notes = [hello["cgroup"] or "memory and tasks capped by cgroup"]
        self.notes += [] if self.tier != "bubblewrap" or hello["own_tmp"] else ["/tmp by polling"]
        return self._sock

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._plan is not None:  # the supervisor does both; this is for one that was killed
            shutil.rmtree(self._plan.root, ignore_errors=True)
            for controller in ("memory", "pids", "."):
                cgroup.remove_folder(cgroup.ROOT / controller / self._plan.group)
            self._plan = None


def _ask(
    sock: socket.socket, message: object, gone: str = "the helper process died"
) -> dict[str, Any]:
    """The supervisor's answer; raises OSError, which says `gone`, when there is none."""
    supervisor.send(sock, message)
    answer: dict[str, Any] | None = supervisor.receive(sock)
    if answer is None:
        raise ConnectionError(gone)
    return answer


def _fault(ended: Ended) -> str:
    if ended.fault:
        return ended.fault
    if ended.starved:
        return "the wall clock stopped it, and the machine was too busy for it"
    if not ended.out.startswith(HANDSHAKE):
        said = ended.err.decode("utf-8", "replace").strip() or f"status {ended.rc}"
        return f"the sandbox did not start: {said[:200]}"
    return ""


def _install(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)

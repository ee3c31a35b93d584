"""One worker process and the thread that feeds it: start, ask, time out, replace.

The thread lives as long as the pool, because a process started with a parent-death signal dies with
the thread that started it. Left out: queueing and results (`pool.py`).
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from pawl.rewards.worker import Answer, Broken, Job, Ready, Refused, Setup
from pawl.sandbox.verdict import Verification
from pawl.types import Measurement

START_LIMIT_S = 120.0
MAX_START_FAILURES = 3
# Not -m: classes must keep their module. Not PYTHONPATH: a types.py beside the caller's script
# would come before the standard library's.
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from pawl.rewards.worker import main; main()"
Result = list[Measurement] | Verification | Refused
Box = queue.SimpleQueue[tuple[Hashable, Result]]  # where somebody waits for answers


@dataclass(slots=True, eq=False)
class Task:
    """One job in flight with everybody who waits for it. avoid: the feeder that lost it.

    cached: whether the cache may answer it and keep its answer.
    """

    job: Job
    content: bytes
    cached: bool = True
    waiters: list[tuple[Box, Hashable]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    avoid: int = -1


class Owner(Protocol):
    """What a feeder needs of its pool; all of it may be called from any thread."""

    def take(self, feeder: int) -> Task | None: ...
    def cached(self, task: Task) -> list[Measurement] | None: ...
    def finish(self, task: Task, answer: Result) -> None: ...
    def fail(self, task: Task, feeder: int, reason: str) -> None: ...
    def worker_ready(self) -> None: ...
    def feeder_changed(self, broken: Broken | None = None) -> None: ...


class WorkerLost(Exception):
    """The worker ended, or gave no answer in time; the message is the reason."""


class Feeder:
    """Feeds one worker. trouble: why the last start failed; given_up: no worker will come."""

    def __init__(self, owner: Owner, index: int, setup: Setup, answer_limit_s: float) -> None:
        self._owner, self._index, self._setup = owner, index, setup
        self._limit_s = answer_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.trouble, self.given_up = "", False
        self.thread = threading.Thread(target=self._run, name=f"scorer-{index}", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of the running worker."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _run(self) -> None:
        failures = 0
        while not self._stopping and failures < MAX_START_FAILURES:
            try:
                self._start()
            except WorkerLost as lost:
                self._end()
                failures += 1
                self.trouble = str(lost)
                continue
            failures = 0
            self._serve()
        self.given_up = True
        self._end()
        self._owner.feeder_changed()

    def _start(self) -> None:
        """Start a worker and wait for it to be ready. Raises WorkerLost."""
        env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
                start_new_session=True,  # Ctrl-C is for the trainer; it ends the pool in order
            )
        except OSError as error:
            raise WorkerLost(f"cannot start a scorer: {error.strerror}") from error
        self._send(self._setup)
        answer = self._receive(START_LIMIT_S)
        if isinstance(answer, Broken):
            self._tell_broken(answer)
            raise WorkerLost(answer.error.what)
        assert isinstance(answer, Ready), "the first answer is Ready"
        self._owner.worker_ready()

    def _serve(self) -> None:
        """Tasks until the pool closes or the worker is lost."""
        while True:
            task = self._owner.take(self._index)
            if task is None:
                self._stopping = True
                return
            known = self._owner.cached(task)
            if known is not None:
                self._owner.finish(task, known)
                continue
            try:
                self._send(task.job)
                answer = self._receive(self._limit_s)
            except WorkerLost as lost:
                self._end()
                if not self._stopping:
                    self._owner.fail(task, self._index, str(lost))
                return
            if isinstance(answer, Broken):
                self._tell_broken(answer)
                return
            assert not isinstance(answer, Ready), "Ready comes first and once"
            self._owner.finish(task, answer)

    def _tell_broken(self, broken: Broken) -> None:
        self._stopping = True
        self._owner.feeder_changed(broken)

    def _send(self, message: Setup | Job) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerLost(self._how_it_ended()) from error

    def _receive(self, limit_s: float) -> Answer:
        assert self._process is not None and self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], limit_s)[0]:
            self._end()
            raise WorkerLost(f"scorer gave no answer within {limit_s:.0f} s")
        try:
            answer: Answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError, OSError) as error:
            raise WorkerLost(self._how_it_ended()) from error
        return answer

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "scorer closed its channel"
        if code < 0:
            return f"worker killed ({signal.Signals(-code).name})"
        return f"worker ended with code {code}"

    def stop(self) -> None:
        """Ask the thread to end and the worker to leave; called from any thread."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _end(self) -> None:
        """Make sure that the worker is gone and its pipes are closed."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent bytes of a dead worker

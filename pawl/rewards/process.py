"""One worker process as its pool sees it: start, ask, time out, end.

A process started with a parent-death signal dies with the thread that started it: the pool starts
and feeds each one from a thread that lives as long as the pool. Left out: queueing, results and
when to start again (`pool.py`).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress

from pawl.rewards.worker import Answer, Job, Result, Setup

START_LIMIT_S = 120.0


def start_limit_s(setup: Setup) -> float:
    """How long a worker may take to be ready: files of the user's have a limit of their own."""
    return START_LIMIT_S + len(setup.functions) * setup.call_s


# Not -m: classes must keep their module. Not PYTHONPATH: a types.py beside the caller's script
# would come before the standard library's.
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from pawl.rewards.worker import main; main()"


class WorkerLost(Exception):
    """The worker ended, or gave no answer in time; the message is the reason."""


class WorkerSilent(WorkerLost):
    """It gave no answer in time."""


class WorkerProcess:
    """A worker that can be started again; all but `stop` and `pid` are called from one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, setup: Setup) -> None:
        """Start the process and wait for it to be ready. Raises as `ask` does."""
        env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *_search_path()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
                start_new_session=True,  # Ctrl-C is for the trainer; it ends the pool in order
            )
        except OSError as error:
            raise WorkerLost(f"cannot start a scorer: {error.strerror}") from error
        self._ask(setup, start_limit_s(setup))

    def ask(self, job: Job, limit_s: float) -> Result:
        """Send a job and wait for its answer. Raises WorkerLost, or the worker's last words."""
        answer = self._ask(job, limit_s)
        assert answer is not None, "a worker says once that it is ready"
        return answer

    def _ask(self, message: Setup | Job, limit_s: float) -> Result | None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            if not select.select([process.stdout], [], [], limit_s)[0]:
                raise WorkerSilent(f"scorer gave no answer within {limit_s:.0f} s")
            answer: Answer = pickle.load(process.stdout)
        except (EOFError, pickle.UnpicklingError, OSError) as error:
            raise WorkerLost(_how_it_ended(process)) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        """Ask the process to leave; called from any thread."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Make sure that the process is gone and its pipes are closed."""
        process = self._process
        if process is None:
            return
        self.stop()
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # unsent bytes of a dead worker
                if pipe is not None:
                    pipe.close()


def _search_path() -> list[str]:
    """Ours, but Python's own modules first: a random.py beside the data or the script is no reason
    for a scorer not to start.
    """
    library = sysconfig.get_path("stdlib").rpartition(os.sep)[0]
    own = [p for p in sys.path if p.startswith(library) and not p.endswith("-packages")]
    return [*own, *(p for p in sys.path if p not in own)]


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        return "scorer closed its channel"
    if code < 0:
        return f"worker killed ({signal.Signals(-code).name})"
    return f"worker ended with code {code}"

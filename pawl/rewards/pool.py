"""Worker processes that run candidates and users' functions while the caller goes on generating.

One thread for each worker hands it one job at a time, so submit and poll never wait for a
candidate. Equal jobs in flight run once; what repeats comes from the cache. A worker that dies or
hangs loses its job to another one once; after that the answer is missing, never a number. Two
scorers use one pool: `SandboxScorer` and, for functions that are not async, `PooledFunction`. Left
out: what runs inside (`worker.py`), what a measurement is paid (`pay.py`).
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pawl.config.options import SandboxConfig
from pawl.errors import PawlError
from pawl.rewards.cache import (
    MeasurementCache,
    function_key,
    problem_digest,
    program_key,
    task_digest,
    toolchain_facts,
)
from pawl.rewards.feeder import START_LIMIT_S, Box, Feeder, Result, Task
from pawl.rewards.user import UserReward
from pawl.rewards.worker import Broken, Call, Job, Program, Refused, Setup
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verdict import Verification
from pawl.types import Completion, Measurement, Problem, Tier, missing

__all__ = ["PooledFunction", "Refused", "Result", "SandboxScorer", "WorkerPool", "answer_limit_s"]

ATTEMPTS = 2
# A worker that is silent for longer hangs: set-up, and runs that wait for the machine to be free.
ANSWER_S, ANSWER_WALLS = 60.0, 8.0
REMEMBERED = 100_000  # problems whose digest is kept


def answer_limit_s(cfg: SandboxConfig) -> float:
    """How long one job may take before it counts as lost."""
    return ANSWER_S + ANSWER_WALLS * cfg.wall_s


class WorkerPool:
    """submit(box, key, job); every answer comes back in its box under its key.

    programs: whether candidates will run, which needs a sandbox. functions: `use` strings of users'
    rewards to open in the workers. cache_path: None keeps nothing. workers: 0 is one per core.
    Raises PawlError at once when sandbox or a function cannot be opened. A context manager.
    """

    def __init__(
        self,
        sandbox_cfg: SandboxConfig,
        programs: bool,
        functions: Sequence[str] = (),
        cache_path: Path | None = None,
        workers: int = 0,
    ) -> None:
        self._facts: dict[str, object] = {"tier": ""}
        tier: Tier = ""
        if programs:
            with open_sandbox(sandbox_cfg) as probe:
                tier, self._facts = probe.tier, dict(probe.describe())
        self._setup = Setup(sandbox_cfg, tier, tuple(functions), os.getpid())
        self._lock = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._in_flight: dict[bytes, Task] = {}
        self._home: dict[str, int] = {}  # problem -> the worker that knows its expected values
        self._fresh = 0
        self._ready = False
        self._broken: Broken | None = None
        self._closing = False
        n = workers or os.cpu_count() or 1
        limit_s = answer_limit_s(sandbox_cfg)
        self._feeders = [Feeder(self, i, self._setup, limit_s) for i in range(n)]
        self._cache = MeasurementCache(cache_path) if cache_path is not None else None
        for feeder in self._feeders:
            feeder.thread.start()
        limits = sandbox_cfg.model_dump_json(exclude={"tier", "allow_unsafe", "workers"})
        text = f"{limits}|{tier}|{toolchain_facts()}"
        self.context = hashlib.sha256(text.encode()).hexdigest()
        self._await_first()

    def _await_first(self) -> None:
        """Wait until one worker is ready; raise what stopped them all otherwise."""
        with self._lock:
            self._lock.wait_for(
                lambda: self._ready or self._broken or not self._alive(), START_LIMIT_S
            )
            ready = self._ready
        if not ready:
            reasons = "; ".join(sorted({s.trouble for s in self._feeders if s.trouble}))
            self.close()
            self.raise_broken()
            raise PawlError(f"no scorer process started: {reasons or 'no answer'}", "sandbox")

    def _alive(self) -> bool:
        return any(not s.given_up for s in self._feeders)

    @property
    def tier(self) -> Tier:
        """The sandbox tier in use, "" when no component runs programs."""
        return self._setup.tier

    def describe(self) -> dict[str, object]:
        """Facts for the run record: tier, layers, toolchain, workers, and why the cache is off."""
        note = self._cache.note if self._cache else ""
        return {
            **self._facts,
            "toolchain": toolchain_facts(),
            "workers": len(self._feeders),
            "cache_note": note,
        }

    # ---- the caller's side ----

    def submit(
        self, box: Box, key: Hashable, job: Job, content: bytes, fresh: bool = False
    ) -> None:
        """Queue a job; never waits. content: equal jobs have equal ones; fresh: run it anew."""
        if fresh:
            self._fresh += 1
            content += self._fresh.to_bytes(8)
        with self._lock:
            task = self._in_flight.get(content)
            if task is None:
                task = self._in_flight[content] = Task(job, content, not fresh)
                self._waiting.append(task)
                self._lock.notify()
            task.waiters.append((box, key))
        if not self._alive():
            self.feeder_changed()

    def take_from(self, box: Box, timeout: float | None) -> list[tuple[Hashable, Result]]:
        """All answers in a box; waits up to `timeout` seconds for the first (None: forever).

        Raises PawlError when a user's reward raised, RuntimeError when Pawl's own code did.
        """
        self.raise_broken()
        ready: list[tuple[Hashable, Result]] = []
        try:
            ready.append(box.get(timeout is None or timeout > 0, timeout))
            while True:
                ready.append(box.get_nowait())
        except queue.Empty:
            pass
        if not ready:
            self.raise_broken()
        return ready

    def raise_broken(self) -> None:
        """Raise what ended a worker, if it was no accident."""
        if self._broken is None:
            return
        if self._broken.user:
            raise self._broken.error
        raise RuntimeError(f"{self._broken.error.what}\n{self._broken.trace}")

    def worker_pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [feeder.pid for feeder in self._feeders if feeder.pid is not None]

    def close(self) -> None:
        """End the workers and wait for them; work in flight is dropped."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        for feeder in self._feeders:
            feeder.stop()
        for feeder in self._feeders:
            if feeder.thread.is_alive():
                feeder.thread.join(timeout=10.0)
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- the feeders' side ----

    def take(self, feeder: int) -> Task | None:
        """The next task for a feeder; None when the pool closes. Waits.

        Of a problem that it has met before or that is new, so that expected values are compiled
        once; another worker's when there is nothing else.
        """
        with self._lock:
            while not self._closing and self._broken is None:
                alone = sum(not s.given_up for s in self._feeders) == 1
                free = [t for t in self._waiting if t.avoid != feeder or alone]
                if free:
                    home = self._home
                    own = (t for t in free if home.get(t.job.problem.id, feeder) == feeder)
                    task = next(own, free[0])
                    if len(home) > REMEMBERED:
                        home.clear()
                    home.setdefault(task.job.problem.id, feeder)
                    self._waiting.remove(task)
                    return task
                self._lock.wait(1.0)
        return None

    def cached(self, task: Task) -> list[Measurement] | None:
        """The cache's answer to a task."""
        if self._cache is None or not task.cached or _bare(task.job):
            return None
        return self._cache.get(task.content)

    def finish(self, task: Task, answer: Result) -> None:
        """Hand an answer to everybody who waits for it."""
        if isinstance(answer, Refused) and not _bare(task.job):
            answer = self._lost(task, f"cannot be judged: {answer.reason}")
        if isinstance(answer, list) and self._cache is not None and task.cached:
            if not any(m.cached for m in answer):
                self._cache.put(task.content, answer)
        with self._lock:
            self._in_flight.pop(task.content, None)
            waiters = list(task.waiters)
        for i, (box, key) in enumerate(waiters):
            if i and isinstance(answer, list):
                answer = [replace(m, cached=m.status == "measured") for m in answer]
            box.put((key, answer))

    def _lost(self, task: Task, reason: str) -> Result:
        """No answer to a task, with the reason, in the form that its waiters expect."""
        if _bare(task.job):
            return Verification("infra_error", message=reason, tier=self.tier)
        n = len(task.job.completions) if isinstance(task.job, Call) else 1
        return [missing(reason, self.tier)] * n

    def fail(self, task: Task, feeder: int, reason: str) -> None:
        """A worker lost the task: give it to another, or call it missing."""
        task.failures.append(reason)
        if len(task.failures) >= ATTEMPTS:
            self.finish(task, self._lost(task, "; then ".join(dict.fromkeys(task.failures))))
            return
        with self._lock:
            task.avoid = feeder
            self._waiting.appendleft(task)
            self._lock.notify_all()

    def worker_ready(self) -> None:
        """A worker has opened sandbox and functions."""
        with self._lock:
            self._ready = True
            self._lock.notify_all()

    def feeder_changed(self, broken: Broken | None = None) -> None:
        """A feeder gave up or met a broken grader: wake everybody; fail what nobody can serve."""
        with self._lock:
            self._broken = self._broken or broken
            stranded = [] if self._alive() else list(self._waiting)
            if stranded:
                self._waiting.clear()
            self._lock.notify_all()
        for task in stranded:
            reasons = sorted({s.trouble for s in self._feeders if s.trouble})
            self.finish(task, self._lost(task, "no scorer process: " + "; ".join(reasons)))


def _bare(job: Job) -> bool:
    """Whether a job asks for a Verification instead of measurements."""
    return isinstance(job, Program) and job.bare


class SandboxScorer:
    """Measures programs by the tests of their problems."""

    whole_group = False

    def __init__(self, pool: WorkerPool, end_marker: str) -> None:
        self._pool, self._marker = pool, end_marker
        self._box: Box = queue.SimpleQueue()
        self._digests: dict[str, tuple[Problem, bytes]] = {}
        self._parts: dict[Hashable, list[list[Measurement] | None]] = {}

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue completions of one problem, each a job of its own. See `pawl.types.Scorer`."""
        self._parts[key] = [None] * len(completions)
        if problem.code is None:
            reason = "cannot be judged: the problem has no tests"
            for i in range(len(completions)):
                self._box.put(((key, i), [missing(reason, self._pool.tier)]))
            return
        task = _remembered(self._digests, problem, lambda p: task_digest(p.task))
        for i, completion in enumerate(completions):
            content = program_key(self._pool.context, task, completion.text, self._marker)
            job = Program(problem, completion.text, self._marker)
            self._pool.submit(self._box, (key, i), job, content, fresh)

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """See `pawl.types.Scorer`."""
        ready = []
        for name, answer in self._pool.take_from(self._box, timeout):
            assert isinstance(name, tuple) and isinstance(answer, list), "as submitted"
            key, i = name
            parts = self._parts[key]
            parts[i] = answer
            done = [m for part in parts if part is not None for m in part]
            if len(done) == len(parts):
                del self._parts[key]
                ready.append((key, done))
        return ready


class PooledFunction:
    """A user's function that is called in the worker processes."""

    def __init__(self, pool: WorkerPool, reward: UserReward) -> None:
        self._pool, self._use, self._context = pool, reward.name, reward.fingerprint()
        self.whole_group = reward.whole_group
        self._box: Box = queue.SimpleQueue()
        self._digests: dict[str, tuple[Problem, bytes]] = {}

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue one call. See `pawl.types.Scorer`."""
        known = _remembered(self._digests, problem, problem_digest)
        content = function_key(self._context, known, completions)
        job = Call(self._use, problem, tuple(completions))
        self._pool.submit(self._box, key, job, content, fresh)

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """See `pawl.types.Scorer`."""
        ready = []
        for key, answer in self._pool.take_from(self._box, timeout):
            assert isinstance(answer, list), "a call is answered by measurements"
            ready.append((key, answer))
        return ready


def _remembered(
    known: dict[str, tuple[Problem, bytes]], problem: Problem, make: Callable[[Problem], bytes]
) -> bytes:
    """The digest of a problem, computed once while it is in use."""
    found = known.get(problem.id)
    if found is not None and found[0] is problem:
        return found[1]
    if len(known) > REMEMBERED:
        known.clear()
    known[problem.id] = (problem, make(problem))
    return known[problem.id][1]

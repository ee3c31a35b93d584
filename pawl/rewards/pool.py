"""Worker processes that run candidates and users' functions while the caller goes on generating.

One thread for each worker hands it one job at a time, so submit and poll never wait for a
candidate. Equal jobs in flight run once; what repeats comes from the cache. A worker that dies or
hangs loses its job to another one once; after that the answer is missing, never a number; but a
user's function that hangs is a broken grader. One scorer uses the pool: `PooledScorer`, for code
and functions that are not async. Left out: what runs inside (`worker.py`), how a worker starts
and ends (`process.py`), what a measurement is paid (`pay.py`).
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pawl.config.options import SandboxConfig
from pawl.errors import PawlError
from pawl.rewards.cache import (
    REMEMBERED,
    MeasurementCache,
    function_key,
    problem_digest,
    program_key,
    task_digest,
    toolchain_facts,
)
from pawl.rewards.process import WorkerLost, WorkerProcess, WorkerSilent, start_limit_s
from pawl.rewards.user import WALL_S, UserReward
from pawl.rewards.worker import Bounds, Job, Refused, Result, Setup
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verdict import Verification
from pawl.types import Completion, Measurement, Problem, Tier, missing

__all__ = ["Box", "PooledScorer", "Refused", "Result", "WorkerPool", "drained"]

ATTEMPTS = 2
MAX_START_FAILURES = 3
# A worker that is silent for longer hangs: set-up, and runs that wait for the machine to be free.
ANSWER_S, ANSWER_WALLS = 60.0, 16.0
GRACE_S = 5.0  # for a worker to say itself that a user's function hangs, and where
Box = queue.SimpleQueue[tuple[Hashable, Any]]  # where somebody waits for answers
Found = TypeVar("Found")


def drained(
    box: queue.SimpleQueue[Found], timeout: float | None, raise_broken: Callable[[], None]
) -> list[Found]:
    """All that is in a box; waits up to `timeout` seconds for the first (None: forever).

    raise_broken: raises what broke; called first, and again where nothing came.
    """
    raise_broken()
    ready: list[Found] = []
    try:
        ready.append(box.get(timeout is None or timeout > 0, timeout))
        while True:
            ready.append(box.get_nowait())
    except queue.Empty:
        if not ready:
            raise_broken()
    return ready


@dataclass(slots=True, eq=False)
class Task:
    """One job in flight with everybody who waits for it. avoid: the worker that lost it.

    cached: whether the cache may answer it and keep its answer.
    """

    job: Job
    content: bytes
    cached: bool
    waiters: list[tuple[Box, Hashable]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    avoid: int = -1


class WorkerPool:
    """submit(box, key, job); every answer comes back in its box under its key.

    programs: whether candidates will run, which needs a sandbox. functions: users' rewards to open
    in the workers too; call_s: the limit of one call. cache: None keeps nothing. Raises PawlError
    at once when sandbox or a function cannot be opened. Close it after use.
    """

    def __init__(
        self,
        sandbox_cfg: SandboxConfig,
        programs: bool,
        functions: Sequence[UserReward] = (),
        cache: MeasurementCache | None = None,
        call_s: float = WALL_S,
    ) -> None:
        self.facts: dict[str, object] = {"tier": ""}  # of the sandbox, for the run record
        self.tier: Tier = ""  # "" when no component runs programs
        warm = False
        if programs:
            with open_sandbox(sandbox_cfg) as probe:
                self.tier, warm, self.facts = probe.tier, probe.warm, dict(probe.describe())
        bounds = Bounds(**sandbox_cfg.model_dump(exclude={"workers"}))
        self._functions = {reward.name: reward for reward in functions}
        names = tuple(self._functions)
        self._setup = Setup(bounds, self.tier, warm, names, os.getpid(), call_s)
        self._limit_s = ANSWER_S + ANSWER_WALLS * sandbox_cfg.wall_s
        self._lock = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._in_flight: dict[bytes, Task] = {}
        self._home: dict[str, int] = {}  # problem -> the worker that knows its expected values
        self._fresh = 0
        self._ready = self._closing = False
        self._broken: Exception | None = None  # last words of a worker
        self._troubles: dict[int, str] = {}  # why the last start of a worker failed
        self._cache = cache
        self.size = sandbox_cfg.workers or os.cpu_count() or 1
        self._workers = [WorkerProcess() for _ in range(self.size)]
        self._alive = set(range(self.size))  # the others are given up
        self._threads = [
            threading.Thread(target=self._feed, args=pair, name=f"scorer-{pair[0]}", daemon=True)
            for pair in enumerate(self._workers)
        ]
        for thread in self._threads:
            thread.start()
        limits = sandbox_cfg.model_dump_json(exclude={"tier", "allow_unsafe", "workers"})
        start = "warm" if warm else "cold"
        text = f"{limits}|{self.tier}|{start}|{toolchain_facts()}"
        self.context = hashlib.sha256(text.encode()).hexdigest()
        with self._lock:  # one worker is ready, or all are given up
            self._lock.wait_for(
                lambda: self._ready or self._broken or not self._alive, start_limit_s(self._setup)
            )
        if not self._ready:
            self.close()
            self._raise_broken()
            what = f"no scorer process started: {self._reasons() or 'no answer'}"
            raise PawlError(what, "sandbox")

    def _reasons(self) -> str:
        return "; ".join(sorted(set(self._troubles.values())))

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
                cached = self._cache is not None and not fresh and not job.bare
                task = self._in_flight[content] = Task(job, content, cached)
                self._waiting.append(task)
                self._lock.notify()
            task.waiters.append((box, key))
        self._fail_stranded()

    def take_from(self, box: Box, timeout: float | None) -> list[tuple[Hashable, Any]]:
        """All answers in a box; see `drained`.

        Raises PawlError when a user's reward raised, RuntimeError when Pawl's own code did.
        """
        return drained(box, timeout, self._raise_broken)

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def worker_pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [pid for worker in self._workers if (pid := worker.pid) is not None]

    def close(self) -> None:
        """End the workers and wait for them; work in flight is dropped."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join(timeout=10.0)

    # ---- the workers' side, each in its own thread ----

    def _feed(self, index: int, worker: WorkerProcess) -> None:
        """Start a worker and hand it one task after the other; start it again when it is lost."""
        failures = 0
        while failures < MAX_START_FAILURES and not self._closing and self._broken is None:
            task: Task | None = None
            try:
                worker.start(self._setup)
                failures = 0
                with self._lock:
                    self._ready = True
                    self._lock.notify_all()
                while (task := self._take(index)) is not None:
                    known = self._cache.get(task.content) if self._cache and task.cached else None
                    self._finish(task, known or self._ask(worker, task.job))
            except WorkerLost as lost:
                worker.end()
                if task is None:
                    failures += 1
                    self._troubles[index] = str(lost)
                elif not self._closing:
                    self._fail(task, index, str(lost))
            except (PawlError, RuntimeError) as last_words:
                self._broken = self._broken or last_words
        with self._lock:
            self._alive.discard(index)
            self._lock.notify_all()
        worker.end()
        self._fail_stranded()

    def _ask(self, worker: WorkerProcess, job: Job) -> Result:
        """A worker's answer; PawlError where a user's function hangs beyond any signal."""
        if job.use == "code":
            return worker.ask(job, self._limit_s)
        try:
            return worker.ask(job, self._setup.call_s + GRACE_S)
        except WorkerSilent as silent:
            reward = self._functions[job.use]
            raise reward.hung(self._setup.call_s, job.problem, job.completions) from silent

    def _take(self, index: int) -> Task | None:
        """The next task for a worker; None when the pool closes. Waits.

        Of a problem that it has met before or that is new, so that expected values are compiled
        once; another worker's when there is nothing else.
        """
        with self._lock:
            while not self._closing and self._broken is None:
                free = [t for t in self._waiting if t.avoid != index or len(self._alive) == 1]
                if free:
                    home = self._home
                    own = (t for t in free if home.get(t.job.problem.id, index) == index)
                    task = next(own, free[0])
                    if len(home) > REMEMBERED:
                        home.clear()
                    home.setdefault(task.job.problem.id, index)
                    self._waiting.remove(task)
                    return task
                self._lock.wait(1.0)
        return None

    def _finish(self, task: Task, answer: Result) -> None:
        """Hand an answer to everybody who waits for it."""
        if isinstance(answer, Refused) and not task.job.bare:
            answer = self._lost(task, f"cannot be judged: {answer.reason}")
        measured = answer if isinstance(answer, list) else []
        if self._cache and task.cached and not any(m.cached for m in measured):
            self._cache.put(task.content, measured)
        with self._lock:
            self._in_flight.pop(task.content, None)
            waiters = list(task.waiters)
        for i, (box, key) in enumerate(waiters):
            if i and measured:
                answer = [replace(m, cached=m.status == "measured") for m in measured]
            box.put((key, answer))

    def _lost(self, task: Task, reason: str) -> Result:
        """No answer to a task, with the reason, in the form that its waiters expect."""
        if task.job.bare:
            return Verification("infra_error", message=reason, tier=self.tier)
        return [missing(reason, self.tier)] * len(task.job.completions)

    def _fail(self, task: Task, index: int, reason: str) -> None:
        """A worker lost the task: give it to another, or call it missing."""
        task.failures.append(reason)
        if len(task.failures) >= ATTEMPTS:
            self._finish(task, self._lost(task, "; then ".join(dict.fromkeys(task.failures))))
            return
        with self._lock:
            task.avoid = index
            self._waiting.appendleft(task)
            self._lock.notify_all()

    def _fail_stranded(self) -> None:
        """Call missing what no worker is left for."""
        with self._lock:
            stranded = [] if self._alive else list(self._waiting)
            if stranded:
                self._waiting.clear()
        for task in stranded:
            self._finish(task, self._lost(task, f"no scorer process: {self._reasons()}"))


class PooledScorer:
    """Measures in the worker processes: by a user's function, or programs by their tests.

    reward: the function, None for programs, which end at end_marker. See `pawl.types.Scorer`.
    """

    def __init__(self, pool: WorkerPool, reward: UserReward | None, end_marker: str = "") -> None:
        self._pool, self._marker = pool, end_marker
        self._use = reward.name if reward else "code"
        self._context = reward.fingerprint() if reward else pool.context
        self.whole_group = reward is not None and reward.whole_group
        self._box: Box = queue.SimpleQueue()

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue one job."""
        if self._use == "code" and problem.code is None:
            reason = "cannot be judged: the problem has no tests"
            self._box.put((key, [missing(reason, self._pool.tier) for _ in completions]))
            return
        if self._use == "code":
            (program,) = completions  # members come one by one where no whole group is asked for
            task = task_digest(problem.task)
            content = program_key(self._context, task, program.text, self._marker)
        else:
            content = function_key(self._context, problem_digest(problem), completions)
        job = Job(self._use, problem, tuple(completions), self._marker)
        self._pool.submit(self._box, key, job, content, fresh)

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """What is ready."""
        return self._pool.take_from(self._box, timeout)

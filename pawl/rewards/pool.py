"""Scores completions on worker processes while the caller goes on generating.

One thread for each worker hands it one job at a time, so submit and poll never wait for a
candidate. Equal jobs in flight run once; deterministic scores come from the cache. A worker that
dies or hangs loses its job to another one once; after that the score is missing, never a number.
Left out: what a score is (`compose.py`, `code.py`) and what runs inside (`worker.py`).
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pawl.config.options import RewardConfig, SandboxConfig
from pawl.errors import PawlError
from pawl.rewards.cache import ScoreCache, content_key, problem_digest, toolchain_facts
from pawl.rewards.compose import check_mix, components_of
from pawl.rewards.feeder import START_LIMIT_S, Feeder, Result, Task
from pawl.rewards.worker import Broken, Job, Refused, Setup
from pawl.sandbox.tiers import open_sandbox
from pawl.types import Completion, Problem, Score, Tier, missing

ATTEMPTS = 2
# A worker that is silent for longer hangs: set-up, and runs that wait for the machine to be free.
ANSWER_S, ANSWER_WALLS = 60.0, 8.0


class ScorerPool:
    """submit(key, problem, completion), then poll() until every key has come back.

    workers: 0 is one per core. cache_path: None keeps nothing. Raises PawlError at once when the
    sandbox or a user's reward cannot be opened. Use it as a context manager.
    """

    def __init__(
        self,
        reward_cfg: RewardConfig,
        sandbox_cfg: SandboxConfig,
        cache_path: Path | None = None,
        workers: int = 0,
    ) -> None:
        check_mix(reward_cfg)
        self.reward_cfg, self.sandbox_cfg = reward_cfg, sandbox_cfg
        self._facts: dict[str, object] = {"tier": ""}
        tier: Tier = ""
        if any(c.use == "code" for c in components_of(reward_cfg)):
            with open_sandbox(sandbox_cfg) as probe:
                tier, self._facts = probe.tier, dict(probe.describe())
        self._setup = Setup(reward_cfg, sandbox_cfg, tier, os.getpid())
        self._lock = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._in_flight: dict[bytes, Task] = {}
        self._results: queue.SimpleQueue[tuple[Hashable, Result]] = queue.SimpleQueue()
        self._fresh = 0
        self._digests: dict[str, tuple[Problem, bytes]] = {}
        self._context = ""
        self._broken: Broken | None = None
        self._closing = False
        n = workers or os.cpu_count() or 1
        limit_s = ANSWER_S + ANSWER_WALLS * sandbox_cfg.wall_s
        self._feeders = [Feeder(self, i, self._setup, limit_s) for i in range(n)]
        self._cache = ScoreCache(cache_path) if cache_path is not None else None
        for feeder in self._feeders:
            feeder.thread.start()
        self._await_first()

    def _await_first(self) -> None:
        """Wait until one worker is ready; raise what stopped them all otherwise."""
        with self._lock:
            self._lock.wait_for(
                lambda: self._context or self._broken or not self._alive(), START_LIMIT_S
            )
            ready = bool(self._context)
        if not ready:
            reasons = "; ".join(sorted({s.trouble for s in self._feeders if s.trouble}))
            self.close()
            self._raise_broken()
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

    def submit(self, key: Hashable, problem: Problem, completion: Completion) -> None:
        """Queue one completion; its score comes back under `key`."""
        self._queue(key, Job("score", problem, completion))

    def submit_verify(self, key: Hashable, problem: Problem, text: str) -> None:
        """Queue a run for its bare Verification (needs the code reward's sandbox)."""
        assert self.tier, "verification needs a sandbox"
        self._queue(key, Job("verify", problem, Completion(problem.id, text)))

    def _queue(self, key: Hashable, job: Job, fresh: bool = False) -> None:
        digest = self._digest(job.problem)
        content = content_key(job.kind + self._context, digest, job.completion)
        if fresh:
            self._fresh += 1
            content += self._fresh.to_bytes(8)
        with self._lock:
            task = self._in_flight.get(content)
            if task is None:
                task = self._in_flight[content] = Task(job, content, fresh)
                self._waiting.append(task)
                self._lock.notify()
            task.waiters.append(key)
        if not self._alive():
            self.feeder_changed()

    def _digest(self, problem: Problem) -> bytes:
        known = self._digests.get(problem.id)
        if known is not None and known[0] is problem:
            return known[1]
        digest = problem_digest(problem)
        if len(self._digests) > 10_000:
            self._digests.clear()
        self._digests[problem.id] = (problem, digest)
        return digest

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, Score]]:
        """All scores that are ready; waits up to `timeout` seconds for the first (None: forever).

        Raises PawlError when a user's reward raised, RuntimeError when Pawl's own scorer did.
        """
        return [(k, v) for k, v in self.poll_any(timeout) if isinstance(v, Score)]

    def poll_any(self, timeout: float | None) -> list[tuple[Hashable, Result]]:
        """Like poll, for callers that also use submit_verify."""
        self._raise_broken()
        ready: list[tuple[Hashable, Result]] = []
        try:
            ready.append(self._results.get(timeout is None or timeout > 0, timeout))
            while True:
                ready.append(self._results.get_nowait())
        except queue.Empty:
            pass
        if not ready:
            self._raise_broken()
        return ready

    def score_all(self, jobs: list[tuple[Problem, Completion]], fresh: bool = False) -> list[Score]:
        """Score a list and wait; results in the order of the list.

        fresh: each job runs by itself, whatever the cache holds, and leaves nothing in it.
        """
        for i, (problem, completion) in enumerate(jobs):
            self._queue(("score_all", i), Job("score", problem, completion), fresh)
        done: dict[Hashable, Score] = {}
        while len(done) < len(jobs):
            done.update(self.poll(0.5))
        return [done["score_all", i] for i in range(len(jobs))]

    def _raise_broken(self) -> None:
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

    def __enter__(self) -> ScorerPool:
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
        """The next task for a feeder; None when the pool closes. Waits."""
        with self._lock:
            while not self._closing and self._broken is None:
                alone = sum(not s.given_up for s in self._feeders) == 1
                for task in self._waiting:
                    if task.avoid != feeder or alone:
                        self._waiting.remove(task)
                        return task
                self._lock.wait(1.0)
        return None

    def cached(self, task: Task) -> Score | None:
        """The cache's answer to a task."""
        if self._cache is None or task.fresh or task.job.kind != "score":
            return None
        return self._cache.get(task.content)

    def finish(self, task: Task, answer: Result) -> None:
        """Hand an answer to everybody who waits for it."""
        if isinstance(answer, Refused) and task.job.kind == "score":
            answer = missing(f"cannot be judged: {answer.reason}", self.tier)
        cache = None if task.fresh else self._cache
        if isinstance(answer, Score) and cache is not None and not answer.cached:
            cache.put(task.content, answer)
        with self._lock:
            self._in_flight.pop(task.content, None)
            waiters = list(task.waiters)
        for i, key in enumerate(waiters):
            if i and isinstance(answer, Score) and answer.status == "scored":
                answer = replace(answer, cached=True)
            self._results.put((key, answer))

    def fail(self, task: Task, feeder: int, reason: str) -> None:
        """A worker lost the task: give it to another, or call it missing."""
        task.failures.append(reason)
        if len(task.failures) >= ATTEMPTS:
            self.finish(task, missing("; then ".join(dict.fromkeys(task.failures)), self.tier))
            return
        with self._lock:
            task.avoid = feeder
            self._waiting.appendleft(task)
            self._lock.notify_all()

    def worker_ready(self, fingerprint: str) -> None:
        """The first ready worker settles what all scores depend on."""
        with self._lock:
            reward = self.reward_cfg.model_dump_json(exclude={"max_missing_frac", "cache"})
            limits = self.sandbox_cfg.model_dump_json(exclude={"tier", "allow_unsafe", "workers"})
            text = f"{reward}|{limits}|{self.tier}|{toolchain_facts()}|{fingerprint}"
            self._context = hashlib.sha256(text.encode()).hexdigest()
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
            self.finish(task, missing("no scorer process: " + "; ".join(reasons), self.tier))

"""A user's function in this process: async ones with many calls in flight, and plain callables.

A thread of its own runs an event loop, so submit and poll never wait for an answer. An async
function may await a server for every completion at once; at most `reward.in_flight` calls are on
the way at a time. A callable that was handed in (`pawl.train(config, reward=...)`) is called one
call after the other. A call that gives no answer in time, or holds up the loop, is a broken grader
as much as one that raises. Left out: functions of a file that are not async, which run in the
worker processes (`pool.py`).
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Hashable, Sequence

from pawl.errors import PawlError
from pawl.rewards.background import Background
from pawl.rewards.cache import MeasurementCache, function_key, problem_digest
from pawl.rewards.pool import drained
from pawl.rewards.user import UserReward
from pawl.types import Completion, Measurement, Problem


class FunctionScorer:
    """Calls one function of the user's; see `pawl.types.Scorer`. Close it after use.

    in_flight: calls at a time of an async function. limit_s: how long one may take. cache: None
    keeps nothing, and so does a function that came from no file (what it is cannot be told).
    """

    def __init__(
        self, reward: UserReward, in_flight: int, limit_s: float, cache: MeasurementCache | None
    ) -> None:
        self._reward, self._limit_s = reward, limit_s
        self.whole_group = reward.whole_group
        self._cache = cache if reward.folder is not None else None
        self._context = reward.fingerprint() if self._cache is not None else ""
        self._box: queue.SimpleQueue[tuple[Hashable, list[Measurement]]] = queue.SimpleQueue()
        self._free = asyncio.Semaphore(in_flight if reward.is_async else 1)
        # calls that have begun, in order: when, and of what
        self._begun: dict[object, tuple[float, Problem, Sequence[Completion]]] = {}
        self._calls = Background("reward")

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue one call."""
        self._calls.start(self._answer(key, problem, tuple(completions), fresh))

    async def _answer(
        self, key: Hashable, problem: Problem, completions: tuple[Completion, ...], fresh: bool
    ) -> None:
        """Call the function, or take what the cache holds; the answer goes into the box."""
        content = b""
        if self._cache is not None and not fresh:
            content = function_key(self._context, problem_digest(problem), completions)
            known = self._cache.get(content)
            if known is not None:
                self._box.put((key, known))
                return
        async with self._free:
            call = object()
            self._begun[call] = time.monotonic(), problem, completions
            try:
                if self._reward.is_async:
                    found = await self._reward.call_async(problem, completions)
                else:  # one at a time, so that it may as well hold up the loop
                    found = self._reward.call(problem, completions)
            except (SystemExit, KeyboardInterrupt) as error:  # these would end the thread, unseen
                self._calls.broken = self._calls.broken or error
                return
            finally:
                del self._begun[call]
        if self._cache is not None and not fresh:
            self._cache.put(content, found)
        self._box.put((key, found))

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """What is ready. Raises PawlError for what the function raised."""
        return drained(self._box, timeout, self._raise_broken)

    def _raise_broken(self) -> None:
        error, oldest = self._calls.broken, next(iter(list(self._begun.values())), None)
        if error is None and oldest is not None:
            began, problem, completions = oldest
            if time.monotonic() - began > self._limit_s:
                error = self._calls.broken = self._reward.hung(self._limit_s, problem, completions)
        if error is None:
            ended = not (self._calls.closing or self._calls.alive)
            assert not ended, f"{self._reward.name} ended its loop"
            return
        if isinstance(error, PawlError):
            raise error
        raise self._reward.failed(error) from error

    def close(self) -> None:
        """Drop the calls that are on the way and end the thread."""
        self._calls.close(1.0 if self._calls.broken else 10.0)  # a call that hangs is left behind

"""A user's function in this process: async ones with many calls in flight, and plain callables.

A thread of its own runs an event loop, so submit and poll never wait for an answer. An async
function may await a server for every completion at once; at most `reward.in_flight` calls are on
the way at a time. A callable that was handed in (`pawl.train(config, reward=...)`) is called one
call after the other. A call that gives no answer in time is missing, never a number; what a
function raises stops the run with its file and line. Left out: functions of a file that are not
async, which run in the worker processes (`pool.py`).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pawl.errors import PawlError
from pawl.rewards.cache import MeasurementCache, function_key, problem_digest
from pawl.rewards.pool import drained
from pawl.rewards.user import UserReward, broken_grader, raised
from pawl.types import Completion, Measurement, Problem, missing


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
        self._broken: BaseException | None = None
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._free = asyncio.Semaphore(in_flight if reward.is_async else 1)
        self._calls: set[asyncio.Task[None]] = set()
        self._one = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self._thread = threading.Thread(target=self._loop.run_forever, name="reward", daemon=True)
        self._thread.start()

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue one call."""
        work = self._answer(key, problem, tuple(completions), fresh)
        self._loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._calls.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not self._closing:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._broken = self._broken or error

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
            try:
                async with asyncio.timeout(self._limit_s) as limit:
                    if self._reward.is_async:
                        found = await self._reward.call_async(problem, completions)
                    else:
                        run = self._loop.run_in_executor
                        found = await run(self._one, self._reward.call, problem, completions)
            except TimeoutError:
                if not limit.expired():
                    raise  # the function's own
                found = self._late(len(completions))
            except (SystemExit, KeyboardInterrupt) as error:  # these would end the thread, unseen
                self._broken = self._broken or error
                return
        if self._cache is not None and not fresh:
            self._cache.put(content, found)
        self._box.put((key, found))

    def _late(self, n: int) -> list[Measurement]:
        """What a call is worth that gave no answer in time; its thread is left behind."""
        if not self._reward.is_async:
            self._one.shutdown(wait=False, cancel_futures=True)
            self._one = ThreadPoolExecutor(1, thread_name_prefix="reward")
        return [missing(f"{self._reward.name} gave no answer within {self._limit_s:.0f} s")] * n

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """What is ready. Raises PawlError for what the function raised."""
        return drained(self._box, timeout, self._raise_broken)

    def _raise_broken(self) -> None:
        error = self._broken
        if error is None:
            assert self._closing or self._thread.is_alive(), f"{self._reward.name} ended its loop"
            return
        if isinstance(error, PawlError):
            raise error
        where = self._reward.where
        known = broken_grader(error, [where])
        raise known or raised(f"the reward {self._reward.name}", error, where) from error

    def close(self) -> None:
        """Drop the calls that are on the way and end the thread."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(timeout=10.0)
        self._one.shutdown(wait=False, cancel_futures=True)
        if not self._thread.is_alive():
            self._loop.close()

    def _stop(self) -> None:
        self._closing = True
        for task in self._calls:
            task.cancel()
        self._loop.call_soon(self._loop.stop)

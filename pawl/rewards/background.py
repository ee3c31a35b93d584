"""Coroutines on an event loop in a thread of its own, for scorers that must never wait.

What one of them raises is kept in `broken`, for whoever polls. Left out: what they do
(`functions.py`, `pawl.judge.scorer`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Background:
    """A thread with its loop; close it after use.

    broken: the first exception of a coroutine, a cancellation that nobody asked for among them.
    closing: set before what still runs is cancelled.
    """

    def __init__(self, name: str) -> None:
        self.broken: BaseException | None = None
        self.closing = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the loop still runs."""
        return self._thread.is_alive()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a coroutine soon; from any thread."""
        self.loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.closing:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self.broken = self.broken or error

    def close(self, patience_s: float = 10.0) -> None:
        """Cancel what runs and end the thread; one that does not end in time is left behind."""
        self.loop.call_soon_threadsafe(self._stop)
        self._thread.join(timeout=patience_s)
        if not self._thread.is_alive():
            self.loop.close()

    def _stop(self) -> None:
        self.closing = True
        for task in self.tasks:
            task.cancel()
        self.loop.call_soon(self.loop.stop)

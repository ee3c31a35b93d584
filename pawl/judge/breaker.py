"""A circuit breaker for one provider: stop asking a server that only fails, then try with one.

closed -> (FAILURES in a row) -> open for a while -> half open: one probe -> closed, or open for
longer. A pause asked for by the server (429 with retry-after) holds everybody. When nothing has
succeeded for `outage_s`, it is an outage, and the run stops. Left out: which answers are failures.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

FAILURES = 8
COOL_S, COOL_MAX_S = 0.5, 4.0


class Breaker:
    """The state of one provider; of one event loop. clock: seconds, monotonic."""

    def __init__(self, outage_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._outage_s, self._clock = outage_s, clock
        self._failures = 0
        self._cool = COOL_S
        self._until = -math.inf  # open or paused until then
        self._probing = False
        self._opened = False
        self._last_good = self._failing_since = -math.inf
        self._changed = asyncio.Event()
        self.trips = 0

    @property
    def outage(self) -> float:
        """Seconds without a success while attempts fail, if that is an outage, else 0."""
        if self._failures < FAILURES and not self._opened:
            return 0.0
        lasted = self._clock() - self._failing_since
        return lasted if lasted >= self._outage_s else 0.0

    async def gate(self, until: float) -> bool:
        """Wait until one may send; False if that is not before `until` (by the clock)."""
        while True:
            if self.outage:
                return False
            now = self._clock()
            wait = self._until - now
            if wait <= 0:
                if not self._opened:
                    return True
                if not self._probing:  # half open: this caller alone
                    self._probing = True
                    return True
                wait = until - now
            if now >= until:
                return False
            self._changed.clear()
            try:
                async with asyncio.timeout(min(wait, until - now)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def note(self, healthy: bool | None, started: float) -> None:
        """What an attempt that started then says of the server; None for nothing."""
        if healthy is None:
            self.dropped()
        elif healthy:
            self.good()
        else:
            self.bad(started)

    def good(self) -> None:
        """An answer came, whatever it said."""
        self._failures, self._opened, self._probing = 0, False, False
        self._cool, self._last_good, self._failing_since = COOL_S, self._clock(), -math.inf
        self._changed.set()

    def bad(self, started: float) -> None:
        """An attempt that started then failed for a reason of the server or the way to it."""
        if self._failing_since == -math.inf:
            self._failing_since = max(started, self._last_good)
        self._failures += 1
        if self._opened:
            if not self._probing:
                return  # sent before it opened
            self._probing = False
            self._cool = min(2 * self._cool, COOL_MAX_S)
        elif self._failures < FAILURES:
            return
        self._opened = True
        self.trips += 1
        self._until = self._clock() + self._cool
        self._changed.set()

    def dropped(self) -> None:
        """An attempt was given up without an answer: if it was the probe, another may go."""
        self._probing = False
        self._changed.set()

    def pause(self, seconds: float) -> None:
        """The server asked everybody to wait."""
        self._until = max(self._until, self._clock() + seconds)

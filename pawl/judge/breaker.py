"""A circuit breaker for one provider: stop asking a server that only fails, then try with one.

closed -> (FAILURES in a row) -> open for a while -> half open: one probe -> closed, or open for
longer. A pause asked for by the server (429 with retry-after) holds everybody. When nothing has
succeeded for `outage_s`, it may be an outage; whoever asks for another thing then, and fails too,
confirms it, and the run stops. Left out: which answers are failures, and what is asked then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
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
        self._opened = self._confirmed = False
        self._last_good = self._failing_since = -math.inf
        self._silences = deque[tuple[float, float]](maxlen=100)  # when one ended, how long it was
        self._changed = asyncio.Event()

    @property
    def suspect(self) -> bool:
        """Whether attempts have failed for `outage_s` without a success."""
        return self._failures > 0 and self._clock() - self._failing_since >= self._outage_s

    @property
    def outage(self) -> float:
        """Seconds without a success of an outage that was confirmed, else 0."""
        return self._clock() - self._failing_since if self._confirmed else 0.0

    def silence(self, since: float) -> float:
        """Longest time without a success while attempts failed that reached beyond `since`, s."""
        now = self._clock()
        going_on = [(now, now - self._failing_since)] if self._failures else []
        ended = (lasted for end, lasted in [*self._silences, *going_on] if end >= since)
        return max(ended, default=0.0)

    def confirm(self) -> None:
        """Call it an outage, unless something has succeeded by now."""
        self._confirmed = self.suspect
        self._changed.set()

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

    def note(self, healthy: bool | None, started: float = 0.0) -> None:
        """What an attempt that started then says of the server.

        None: nothing, or it was given up; if it was the probe, another may go.
        """
        probing, self._probing = self._probing, False
        self._changed.set()
        if healthy:  # an answer came, whatever it said
            if self._failures:
                self._silences.append((self._clock(), self._clock() - self._failing_since))
            self._failures, self._opened, self._cool = 0, False, COOL_S
            self._confirmed = False
            self._last_good, self._failing_since = self._clock(), -math.inf
        if healthy is not False:
            return
        if self._failing_since == -math.inf:
            self._failing_since = max(started, self._last_good)
        self._failures += 1
        if self._opened and not probing:  # sent before it opened
            return
        if self._opened or self._failures >= FAILURES:
            self._cool = min(2 * self._cool, COOL_MAX_S) if self._opened else self._cool
            self._opened, self._until = True, self._clock() + self._cool

    def pause(self, seconds: float) -> None:
        """The server asked everybody to wait."""
        self._until = max(self._until, self._clock() + seconds)

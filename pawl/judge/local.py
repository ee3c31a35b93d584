"""A judge on this machine: each question is one forward pass of a model that is handed in.

No key, no terms, no money; the same contract, verdicts kept and attempts counted as for a provider.
Left out: the model (`pawl.models.judge`), which needs torch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from pawl.judge.client import kept, key_of, restored
from pawl.judge.contract import Distribution, Levels, Request
from pawl.judge.ledger import Bill, Ledger
from pawl.judge.wire import Outcome, Usage


class Forward(Protocol):
    """A model that says how probable each level of a question is; `pawl.models.judge`."""

    fingerprint: str

    def levels(
        self, system: str, prompt: str, questions: Sequence[tuple[str, int]], context: int
    ) -> tuple[list[Distribution], int]:
        """(a distribution for each question, tokens read); ValueError for too long a prompt."""
        ...


class LocalJudge:
    """Grades requests with a model; one at a time. context: longest prompt in tokens."""

    def __init__(self, forward: Forward, ledger: Ledger, context: int) -> None:
        self._forward, self._ledger, self._context = forward, ledger, context
        self._one = threading.Lock()
        self.fingerprint = f"local {forward.fingerprint}"

    def stopped(self) -> None:
        """A model of this machine has no outages."""

    async def ask(self, request: Request, fresh: bool = False) -> Outcome:
        """As `Client.ask`. A prompt beyond the context is `truncated`."""
        key = key_of(self.fingerprint, request, [request.system, request.prompt])
        found = None if fresh else self._ledger.find(key)
        if found is not None:
            return restored(found)
        return await asyncio.to_thread(self._judge, key, request, fresh)

    def _judge(self, key: str, request: Request, fresh: bool) -> Outcome:
        questions = [
            (f"Give the level of {s} on {c.name}, from 0 to {len(c.levels) - 1}.", len(c.levels))
            for s, c in request.questions()
        ]
        with self._one:
            began = time.monotonic()
            row = self._ledger.open_attempt(key, "local", self.fingerprint, 0, 0.0)
            try:
                given, tokens = self._forward.levels(
                    request.system, request.prompt, questions, self._context
                )
            except ValueError as e:
                came = Outcome("truncated", str(e), model=self.fingerprint, attempts=1)
            else:
                levels: Levels = {s: {} for s in request.subjects}
                for (subject, c), distribution in zip(request.questions(), given, strict=True):
                    levels[subject][c.name] = distribution
                usage = Usage(tokens)
                came = Outcome("ok", "", levels, usage, self.fingerprint, spread=True, attempts=1)
            verdict = kept(came) if came.levels is not None and not fresh else None
            bill = Bill(came.usage.total)
            self._ledger.settle(row, came, bill, time.monotonic() - began, key, verdict)
        return came

    async def close(self) -> None:
        """Nothing is open."""

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

from pawl.judge import contract
from pawl.judge.client import Outcome, kept, key_of, restored
from pawl.judge.contract import Distribution, Levels, Request
from pawl.judge.ledger import Ledger, Settled
from pawl.judge.wire import Usage


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
        key = key_of(
            {
                "contract": contract.VERSION,
                "rubric": request.rubric,
                "judge": self.fingerprint,
                "system": request.system,
                "prompt": request.prompt,
                "subjects": request.subjects,
            }
        )
        found = None if fresh else self._ledger.find(key)
        return (
            await asyncio.to_thread(self._judge, key, request, fresh)
            if found is None
            else (restored(found))
        )

    def _judge(self, key: str, request: Request, fresh: bool) -> Outcome:
        questions = [
            (f"Give the level of {s} on {c.name}, from 0 to {len(c.levels) - 1}.", len(c.levels))
            for s, c in request.questions()
        ]
        with self._one:
            started = time.monotonic()
            row = self._ledger.open_attempt(key, "local", self.fingerprint, 0, 0.0)
            try:
                given, tokens = self._forward.levels(
                    request.system, request.prompt, questions, self._context
                )
            except ValueError as e:
                outcome = Outcome("truncated", str(e), attempts=1)
            else:
                levels: Levels = {s: {} for s in request.subjects}
                for (subject, c), distribution in zip(request.questions(), given, strict=True):
                    levels[subject][c.name] = distribution
                usage = Usage(uncached=tokens)
                outcome = Outcome("ok", levels=levels, usage=usage, attempts=1, spread=True)
            settled = Settled(
                *(outcome.kind, outcome.detail, "", self.fingerprint, outcome.usage),
                *(outcome.usage.total, 0.0, "none"),
            )
            verdict = kept(outcome) if outcome.levels is not None and not fresh else None
            self._ledger.settle(row, settled, time.monotonic() - started, verdict, key)
        return outcome

    async def close(self) -> None:
        """Nothing is open."""

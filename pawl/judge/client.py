"""Asks a judge one request at a time, many at once: bounded, paid for, kept, and never guessing.

    kept verdict? -> admission (the deadline starts) -> breaker -> budget -> ledger -> attempt
      ^                                                                            |
      +---- settled with its verdict, in one transaction <- read <- retry? <-------+

Equal requests in flight are one. What fails has a typed outcome; nothing becomes a number. When
nothing has succeeded for a while, a short question tells an outage from a request that the server
fails at for its own sake. Left out: wire formats (`wire.py`), what a run does with outcomes
(`scorer.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pawl.config.judge import JudgeConfig
from pawl.errors import Exit, PawlError
from pawl.judge import contract, wire
from pawl.judge.access import Endpoint
from pawl.judge.breaker import Breaker
from pawl.judge.budget import OVERHEAD, Budget, Price, price_of
from pawl.judge.contract import Asked, Levels, Request
from pawl.judge.ledger import Bill, Ledger, Source
from pawl.judge.transport import Answer, LocalTransport, Transport, TransportError
from pawl.judge.wire import Capabilities, Outcome, Usage

UNPROBED = Capabilities()
RETRIED = (408, 409, 425, 429)  # and every status from 500 on
BYTES_A_TOKEN = 3  # of programs, about
BACKOFF_S, BACKOFF_MAX_S = 0.25, 8.0
ALIVE_S = 4.0  # for an answer to a short question; with attempt_s below the 30 s of a long outage
_ASKED = (Asked("greater", "Which number is greater?", ("1", "2")),)
ALIVE = Request(  # any answer at all will do
    f"You answer by number.\n\nRubric:\n\n{contract.rubric_text(_ASKED)}",
    "Grade by the rubric: TEXT.",
    ("TEXT",),
    ((0,),),
    _ASKED,
)
SPENT = ("insufficient_quota", "billing", "spend_limit", "credit")  # in a provider's error


class _Tried(NamedTuple):
    """One attempt. wait: seconds before another makes sense, None if none does.

    source: of its bill. healthy: what it says of the server, None for nothing.
    """

    came: Outcome
    wait: float | None = None
    source: Source = "none"
    healthy: bool | None = True


class _Job(NamedTuple):
    """A request with the client's arguments for it and the most that an attempt can cost."""

    key: str
    request: Request
    arguments: Mapping[str, object]
    worst: tuple[int, float]
    keep: bool


def key_of(judge: str, request: Request, sent: object) -> str:
    """Hash of all that an answer depends on: who is asked, by what rubric, all that is sent."""
    parts = [contract.VERSION, judge, request.rubric, request.subjects, sent]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def kept(o: Outcome) -> dict[str, object]:
    """A verdict as the ledger keeps it."""
    return {"levels": o.levels, "model": o.model, "simulated": o.simulated, "spread": o.spread}


def restored(found: dict[str, Any]) -> Outcome:
    """A kept verdict as an outcome that cost nothing."""
    levels: Levels = {
        subject: {name: None if d is None else tuple(d) for name, d in row.items()}
        for subject, row in found["levels"].items()
    }
    return Outcome("ok", cached=True, **{**found, "levels": levels})


def asked_to_wait(header: str, now: float) -> float:
    """Seconds of a retry-after header: a number or a date; 0 where it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(0.0, seconds) if not math.isnan(seconds) else 0.0


class Client:
    """The judge behind one endpoint; see the module.

    can: what the server was found to do. local: a model in place of a server. seed: of the jitter.
    It may be used from one event loop after another; what belongs to a loop is made again.
    """

    def __init__(
        self,
        cfg: JudgeConfig,
        endpoint: Endpoint,
        ledger: Ledger,
        can: Capabilities = UNPROBED,
        local: LocalTransport | None = None,
        seed: int | None = None,
    ) -> None:
        self.cfg, self.can = cfg, can
        self.transport = local or Transport(cfg.api, endpoint, cfg.in_flight)
        self.price: Price = price_of(cfg, not endpoint.loopback)
        self._endpoint, self._ledger = endpoint, ledger
        self._host = urlsplit(endpoint.base_url).netloc
        self._rng = random.Random(seed)
        self._loop: asyncio.AbstractEventLoop | None = None

    def _bind(self) -> None:
        """What belongs to an event loop, made anew in a new one."""
        if self._loop is asyncio.get_running_loop():
            return
        self._loop = asyncio.get_running_loop()
        self._admission = asyncio.Semaphore(self.cfg.in_flight)
        self._confirming = asyncio.Lock()
        self._flights: dict[str, asyncio.Task[Outcome]] = {}
        self._breaker = Breaker(self.cfg.outage_s, self._loop.time)
        self._budget = Budget(self.cfg.max_usd, self.cfg.max_tokens, self._ledger.charged())

    @property
    def fingerprint(self) -> str:
        """Who answers, and in which format."""
        return f"{self.cfg.api} {self._endpoint.base_url} {self.cfg.model} {wire.VERSION}"

    def stopped(self) -> PawlError | None:
        """Why the run should stop: an outage of the provider, None for no reason."""
        lasted = self._breaker.outage if self._loop is not None else 0.0
        what = f"the judge at {self._host} has not answered for {lasted:.0f} s"
        hint = "resume the run when it answers again: verdicts so far are kept"
        return PawlError(what, "judge", hint, Exit.STOPPED) if lasted else None

    def silence(self, since: float) -> float:
        """As `Breaker.silence`, by the clock of the event loop; 0 before anything was asked."""
        return self._breaker.silence(since) if self._loop is not None else 0.0

    async def ask(self, request: Request, fresh: bool = False) -> Outcome:
        """Grade one request. fresh: ask anew, whatever is kept, and keep nothing.

        Raises PawlError when the ledger cannot be written.
        """
        self._bind()
        job = self._job(request, not fresh)
        if fresh:
            return await self._judge(job)
        found = self._ledger.find(job.key)
        if found is not None:
            return restored(found)
        flight = self._flights.get(job.key)
        if flight is not None:  # the first one is charged
            shared = await asyncio.shield(flight)
            return replace(shared, usage=Usage(), usd=0.0, attempts=0, cached=shared.kind == "ok")
        flight = asyncio.ensure_future(self._judge(job))
        self._flights[job.key] = flight
        flight.add_done_callback(lambda _: self._flights.pop(job.key, None))
        return await asyncio.shield(flight)

    def _job(self, request: Request, keep: bool) -> _Job:
        arguments = wire.arguments(self.cfg, request, self.can, self._endpoint.official)
        key = key_of(self.fingerprint, request, arguments)
        prompt = len(json.dumps(arguments, ensure_ascii=False).encode("utf-8")) + OVERHEAD
        output = self.cfg.max_output_tokens
        worst = (prompt + output, self.price.most(prompt, output))
        return _Job(key, request, arguments, worst, keep)

    async def _judge(self, job: _Job) -> Outcome:
        """Attempts until one answers, none can, or the deadline passes."""
        assert self._loop is not None
        if self.can.context and len(job.request.prompt) > self.can.context * BYTES_A_TOKEN:
            return Outcome("truncated", "the prompt is beyond judge.context_tokens; it is not cut")
        so_far, asked_again = Outcome("timeout", "never sent"), False
        async with self._admission:
            end = self._loop.time() + self.cfg.deadline_s
            for n in range(self.cfg.attempts):
                if not await self._breaker.gate(end):
                    return replace(so_far, kind="circuit_open", detail=f"after {so_far.detail}")
                room = await self._budget.reserve(job.worst, end - self._loop.time())
                if room != "ok":
                    self._breaker.note(None)
                    caps = f"max_usd {self.cfg.max_usd:g}, max_tokens {self.cfg.max_tokens}"
                    detail = f"one more judgement could exceed it ({caps})"
                    return replace(so_far, kind=room, detail=detail)
                tried = await self._attempt(job, end)
                if tried.healthy is False:
                    await self._confirm_outage()
                came = tried.came
                usage, usd = so_far.usage + came.usage, so_far.usd + came.usd
                so_far = replace(came, usage=usage, usd=usd, attempts=n + 1)
                nonsense = came.kind == "malformed" and not came.absent
                if tried.wait is None or (nonsense and asked_again):
                    break
                asked_again = asked_again or nonsense
                limit = min(BACKOFF_MAX_S, BACKOFF_S * 2**n)
                pause = max(tried.wait, self._rng.uniform(0.0, limit))
                if self._loop.time() + pause >= end:
                    break
                await asyncio.sleep(pause)
        return so_far

    async def _confirm_outage(self) -> None:
        """Where nothing has succeeded for `outage_s`, ask a short question, one at a time."""
        assert self._loop is not None
        async with self._confirming:
            if not self._breaker.suspect or self._breaker.outage:
                return
            job = self._job(ALIVE, keep=False)
            if await self._budget.reserve(job.worst, ALIVE_S) == "ok":
                tried = await self._attempt(job, self._loop.time() + ALIVE_S)
                if tried.healthy is False:
                    self._breaker.confirm()

    async def _attempt(self, job: _Job, end: float) -> _Tried:
        """One attempt, settled in the ledger and in the budget."""
        assert self._loop is not None
        started = self._loop.time()
        bill = Bill(*job.worst, "unknown")
        try:
            row = self._ledger.open_attempt(job.key, self._host, self.cfg.model, *job.worst)
            answer = Answer(0, {}, b"")
            try:
                timeout = max(0.01, min(self.cfg.attempt_s, end - started))
                answer = await self.transport.send(job.arguments, timeout)
                tried = self._judged(job.request, answer)
            except TransportError as e:
                lost = Outcome(e.kind, e.detail, absent=True)
                tried = _Tried(lost, 0.0, "unknown" if e.sent else "none", False)
            usage = tried.came.usage if tried.source == "provider" else Usage()
            request_id = answer.headers.get("request-id") or answer.headers.get("x-request-id", "")
            if tried.source == "provider":
                bill = Bill(usage.total, self.price.usd(usage), "provider", request_id[:100])
            else:
                charged = job.worst if tried.source == "unknown" else (0, 0.0)
                bill = Bill(*charged, tried.source, request_id[:100])
            came = replace(
                tried.came,
                detail=self.transport.redacted(tried.came.detail),
                usage=replace(usage, billed=tried.source != "unknown"),
                simulated=answer.headers.get("x-pawl-simulated") == "1",  # `pawl fake-teacher`
                usd=bill.usd,
            )
            verdict = kept(came) if job.keep and came.levels is not None else None
            self._ledger.settle(row, came, bill, self._loop.time() - started, job.key, verdict)
        except BaseException:
            self._breaker.note(None)
            raise
        finally:
            self._budget.settle(job.worst, bill.tokens, bill.usd)
        self._breaker.note(tried.healthy, started)
        return tried._replace(came=came)

    def _judged(self, request: Request, answer: Answer) -> _Tried:
        """What an answer says and means for the next attempt."""
        status = answer.status
        if 200 <= status < 300:
            came = wire.read(self.cfg.api, request, answer.body)
            again = 0.0 if came.kind in ("malformed", "overloaded") else None
            return _Tried(
                came, again, "provider" if came.usage.billed else "unknown", not came.absent
            )
        try:
            detail = wire.error_text(json.loads(answer.body))
        except (ValueError, RecursionError):
            detail = ""
        detail = f"{status} {detail}".strip()
        if status < 400:
            host = urlsplit(answer.headers.get("location", "")).hostname or "another place"
            return _Tried(Outcome("http_3xx", f"{status} to {host}, not followed"))
        if status == 402 or any(word in detail for word in SPENT):
            return _Tried(Outcome("budget", f"the provider's: {detail}"))
        if status not in RETRIED and status < 500:
            return _Tried(Outcome("truncated" if status == 413 else "http_4xx", detail))
        wait = asked_to_wait(answer.headers.get("retry-after", ""), time.time())
        healthy = None if status == 429 else False
        if wait > self.cfg.retry_after_s:
            detail = f"{detail}: it asks for {wait:.0f} s, beyond judge.retry_after_s"
            return _Tried(Outcome("overloaded", detail), None, "none", healthy)
        if status == 429:
            self._breaker.pause(wait)
        return _Tried(Outcome("overloaded", detail), wait, "none", healthy)

    async def close(self) -> None:
        """Cancel what is on the way and close the connections."""
        if self._loop is asyncio.get_running_loop():
            flights = list(self._flights.values())
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)
            await self.transport.close()

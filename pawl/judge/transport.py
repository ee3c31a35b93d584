"""One HTTP attempt through the official clients: their retries, redirects and tracing are off.

A model on this machine takes the same place (`LocalTransport`): it answers decision questions like
a provider, a forward pass each, so that verdicts are kept and attempts counted in the same way.

The clients know headers, authentication and paths; bodies are read here as bytes, because their
models make an object of anything. A client lives in one event loop of one process: it is made
again when either changes. Left out: retries, money (`client.py`), what bodies mean (`wire.py`).
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol, cast

from pawl.errors import PawlError, how_to_install
from pawl.judge.access import Endpoint
from pawl.judge.contract import Distribution

MAX_BODY = 8 * 2**20  # bytes of an answer
# A pool looks at each of its idle connections for every request: several small ones cost less.
POOL = 16
TALKERS = {"anthropic", "openai", "httpx2", "httpcore2"}  # loggers
KEYLESS = "none"  # servers without keys ignore it; the clients do not start without one


class TransportError(Exception):
    """No answer. kind: timeout, connection. The text holds no header and no key.

    sent: False where the request cannot have arrived, so that nobody bills it.
    """

    def __init__(self, kind: Literal["timeout", "connection"], detail: str, sent: bool) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.sent = kind, detail, sent


class Answer(NamedTuple):
    """What came back: status, headers in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Redaction(logging.Filter):
    """Takes a key out of what the libraries log: at DEBUG they write headers that came back."""

    def __init__(self, redacted: Callable[[str], str]) -> None:
        super().__init__()
        self._redacted = redacted

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redacted(record.getMessage()), ()
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text, record.exc_info = self._redacted(text.rstrip()), None
        return True


def need_teacher() -> None:
    """Raise PawlError where the clients are not installed."""
    if find_spec("anthropic") is None or find_spec("openai") is None:
        hint = f"install them: {how_to_install('teacher')}"
        raise PawlError("a judge behind an API needs anthropic and openai", "judge.api", hint)


def _sender(api: str, options: dict[str, Any]) -> Any:
    """The official client's method for one API; raw responses."""
    if api == "messages":
        from anthropic import AsyncAnthropic

        return AsyncAnthropic(**options, open_telemetry=False).messages.with_raw_response.create
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(**options)
    resource = client.chat.completions if api == "chat" else getattr(client, api)
    return resource.with_raw_response.create


class Transport:
    """Sends attempts to one server; see the module. in_flight: connections kept open."""

    def __init__(self, api: str, endpoint: Endpoint, in_flight: int) -> None:
        need_teacher()
        self._api, self._endpoint, self._in_flight = api, endpoint, in_flight
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._clients: list[Any] = []
        self._senders: Iterator[Any] = iter(())
        self._filter = _Redaction(self.redacted)

    def redacted(self, text: str) -> str:
        """A text without the key, should a server send it back."""
        key = self._endpoint.key
        return text.replace(key, "[key]") if key else text

    def _open(self) -> None:
        """Make the client, unless this loop of this process has it."""
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home == home:
            return
        import httpx2

        async def bound(response: httpx2.Response) -> None:
            stream, body = cast("httpx2.AsyncByteStream", response.stream), bytearray()
            async for chunk in stream:
                body += chunk
                if len(body) > MAX_BODY:
                    raise httpx2.ReadError(f"the answer is longer than {MAX_BODY} bytes")
            await stream.aclose()
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.DecodingError("an answer in an encoding that was not asked for")
            response.stream = httpx2.ByteStream(bytes(body))

        size = min(POOL, self._in_flight)
        self._clients = [
            httpx2.AsyncClient(
                follow_redirects=False,
                trust_env=not self._endpoint.loopback,
                headers={"accept-encoding": "identity"},  # a small body must not grow here
                event_hooks={"response": [bound]},
                limits=httpx2.Limits(
                    max_connections=self._in_flight, max_keepalive_connections=size
                ),
            )
            for _ in range(-(-self._in_flight // size))
        ]
        options = {
            "api_key": self._endpoint.key or KEYLESS,
            "base_url": self._endpoint.base_url,
            "max_retries": 0,
        }
        senders = [_sender(self._api, {**options, "http_client": c}) for c in self._clients]
        self._senders, self._home = itertools.cycle(senders), home
        if self._endpoint.key:
            for name in list(logging.root.manager.loggerDict):
                if name.partition(".")[0] in TALKERS:
                    logging.getLogger(name).addFilter(self._filter)

    async def send(self, arguments: Mapping[str, object], timeout: float) -> Answer:
        """One attempt, in at most `timeout` seconds. Raises TransportError; cancel it freely."""
        self._open()
        import httpx2

        sdk: Any = importlib.import_module("anthropic" if self._api == "messages" else "openai")
        failure: TransportError
        try:
            async with asyncio.timeout(timeout):
                raw = await next(self._senders)(**arguments, timeout=timeout)
            return self._answer(raw.http_response)
        except sdk.APIStatusError as e:
            return self._answer(e.response)
        except (TimeoutError, sdk.APIConnectionError, httpx2.HTTPError) as e:
            reason = e.__cause__ if isinstance(e, sdk.APIConnectionError) and e.__cause__ else e
            late = (TimeoutError, sdk.APITimeoutError, httpx2.TimeoutException)
            sent = not isinstance(reason, httpx2.ConnectError | httpx2.ConnectTimeout)
            if isinstance(reason, late):
                failure = TransportError("timeout", f"no answer within {timeout:.3g} s", sent)
            else:
                detail = self.redacted(f"{type(reason).__name__}: {reason}"[:200])
                failure = TransportError("connection", detail, sent)
        raise failure  # out here it carries none of the client's errors: requests hold the key

    def _answer(self, response: Any) -> Answer:
        key = self._endpoint.key.encode()
        body = response.content.replace(key, b"[key]") if key else response.content
        headers = {k.lower(): self.redacted(v) for k, v in response.headers.items()}
        return Answer(response.status_code, headers, body)

    async def close(self) -> None:
        """Close the connections of this loop."""
        if self._home == (os.getpid(), asyncio.get_running_loop()):
            for client in self._clients:
                await client.aclose()
        self._clients, self._home = [], None
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).removeFilter(self._filter)


# ---- on this machine -----------------------------------------------------------------------------


class Forward(Protocol):
    """A model that says how probable each level of a question is; `pawl.models.judge`."""

    fingerprint: str

    def levels(
        self, system: str, prompt: str, questions: Sequence[tuple[str, int]], context: int
    ) -> tuple[list[Distribution], int]:
        """(a distribution for each question, tokens read); ValueError for too long a prompt."""
        ...


class LocalTransport:
    """Answers one request at a time, however long it takes. context: longest prompt in tokens."""

    def __init__(self, forward: Forward, context: int) -> None:
        self._forward, self._context, self._one = forward, context, threading.Lock()

    async def send(self, arguments: Mapping[str, Any], timeout: float) -> Answer:
        """As `Transport.send`; 413 for a prompt beyond the context."""
        status, body = await asyncio.to_thread(self._answer, arguments)
        return Answer(status, {}, json.dumps(body).encode())

    def _answer(self, arguments: Mapping[str, Any]) -> tuple[int, dict[str, object]]:
        system, prompt = (turn["content"] for turn in arguments["input"])
        asked = [
            (f"{q['instructions']} Give the level, 0 to {len(q['levels']) - 1}.", len(q["levels"]))
            for q in arguments["questions"]
        ]
        try:
            with self._one:
                found, tokens = self._forward.levels(system, prompt, asked, self._context)
        except ValueError as e:
            return 413, {"error": str(e)}
        answers = [
            {"type": "score", "name": q["name"]}
            | {"probabilities": [{"label": str(i), "probability": x} for i, x in enumerate(p)]}
            for q, p in zip(arguments["questions"], found, strict=True)
        ]
        usage = {"input_tokens": tokens, "output_tokens": 0}
        return 200, {"model": self._forward.fingerprint, "answers": answers, "usage": usage}

    def redacted(self, text: str) -> str:
        """There is no key."""
        return text

    async def close(self) -> None:
        """Nothing is open."""

"""`pawl fake-teacher`: a judge on this machine that speaks the wire formats and fails on request.

POST /v1/messages, /v1/chat/completions (log-probs), /v1/responses, /v1/decisions; GET /bill: what
was billed so far. It emulates a prefix cache and a context limit (a longer prompt loses its front
without a word, as some servers do). All that it says is marked simulated: by the model's name and
by the header x-pawl-simulated. Faults come by rate or in a scripted order. Left out: streaming.

Run: `pawl fake-teacher --quality sandbox`, then api: chat, base_url: the URL that it prints.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from pawl.errors import PawlError
from pawl.judge.budget import Price
from pawl.judge.fake_judge import Character, Graded, Quality, constant, grade
from pawl.judge.wire import Usage

MODEL = "pawl-fake-teacher"
END = b"\n"  # of every whole body
IDLE_S = 60.0  # of a connection without a request
APIS = {"messages": "messages", "chat/completions": "chat"}
APIS |= {api: api for api in ("responses", "decisions")}  # by path below /v1/
# Faults without a model behind them, which nobody bills, and those of an answer that was paid for.
Unbilled = Literal[
    "rate_limit", "overloaded", "error", "bad_request", "redirect", "error_body", "html", "null"
]
Billed = Literal[
    "drop", "partial", "malformed", "wrong_ids", "refusal", "truncated", "slow", "no_usage"
]
Fault = Unbilled | Billed
FAULTS: tuple[Fault, ...] = (*get_args(Unbilled), *get_args(Billed))
_STATUS = {"rate_limit": 429, "overloaded": 529, "error": 500, "bad_request": 400, "redirect": 307}


@dataclass(frozen=True, slots=True)
class Options:
    """How the server behaves.

    rates: chance of each fault per attempt; script: faults of the first attempts in order (None
    for a good one), before rates count. latency_s, slow_s: of an answer and of a slow one.
    context: tokens of prompt that it reads, 0 for all. logprobs, schema: whether it has them, or
    ignores (log-probs) and refuses (schema) the request for them. price: for the bill.
    """

    rates: Mapping[Fault, float] = field(default_factory=dict)
    script: Sequence[Fault | None] = ()
    latency_s: float = 0.0
    slow_s: float = 5.0
    retry_after_s: float = 0.1
    context: int = 0
    logprobs: bool = True
    schema: bool = True
    price: Price = Price()
    character: Character = Character()


def parse_rates(text: str) -> dict[Fault, float]:
    """`overloaded=0.1,drop=0.02` as rates. Raises PawlError."""
    found: dict[Fault, float] = {}
    try:
        for part in filter(None, text.split(",")):
            name, _, share = part.partition("=")
            found[FAULTS[FAULTS.index(cast("Fault", name.strip()))]] = float(share)
    except ValueError:
        found = {"drop": math.nan}
    if not (all(share >= 0 for share in found.values()) and sum(found.values()) <= 1):
        hint = f"NAME=SHARE,... up to 1 in all, with names of {', '.join(FAULTS)}"
        raise PawlError(f"`{text}` are no faults with shares", "--faults", hint)
    return found


def tokens_of(text: str) -> int:
    """As many tokens as a model of four bytes a token would count."""
    return len(text.encode("utf-8")) // 4 + 1


@dataclass(slots=True)
class Bill:
    """One attempt as the server saw it. billed: whether a model ran. digest: of the request."""

    request_id: str
    digest: str
    api: str
    fault: str
    billed: bool = False
    usage: Usage = Usage()
    usd: float = 0.0


class FakeTeacher:
    """The server; `serve` runs it in an event loop, a context manager in a thread of its own.

    watch: called with the system text and the prompt of each request that is graded.
    """

    def __init__(
        self,
        quality: Quality = constant,
        options: Options | None = None,
        watch: Callable[[str, str], object] | None = None,
    ) -> None:
        self.options = options or Options()
        self.bills: list[Bill] = []
        self.url = ""
        self._quality, self._script = quality, deque(self.options.script)
        self._watch = watch
        self._rng = random.Random(self.options.character.seed)
        self._cached: dict[str, float] = {}  # when a prefix can be read
        self._lock = threading.Lock()  # a sandbox runs one candidate at a time
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- HTTP ------------------------------------------------------------------------------------

    async def serve(self, port: int, announce: Callable[[], object]) -> None:
        """Listen on loopback until `stop`; port 0 takes a free one. announce: `url` is there."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=1024)
        except OSError as e:
            raise PawlError(f"port {port}: {e.strerror}", "--port") from e
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        announce()
        async with server:
            await self._stop.wait()

    def stop(self) -> None:
        """End `serve`, from any thread."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> FakeTeacher:
        ready = threading.Event()
        serving = threading.Thread(
            target=lambda: asyncio.run(self.serve(0, ready.set)), daemon=True
        )
        serving.start()
        assert ready.wait(10.0), "the fake teacher did not start"
        self._thread = serving
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(10.0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until it closes or is silent."""
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                    size = re.search(r"\r\ncontent-length: *(\d{1,8})\r", head)
                    raw = await reader.readexactly(int(size[1]) if size else 0)
                method, path, *_ = f"{head}  ".split(" ")
                answer = await self._answer(method, path, raw)
                writer.write(answer)
                await writer.drain()
                if not answer.endswith(END):
                    return
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, asyncio.CancelledError):
            return  # cancelled: the server ends
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, raw: bytes) -> bytes:
        """The answer to one request; nothing, or a part of one, closes the connection."""
        if (method, path) == ("get", "/bill"):
            rows = [[b.request_id, b.billed, b.usd] for b in self.bills]
            return _http(200, {"usd": sum(b.usd for b in self.bills), "rows": rows})
        api = APIS.get(path.partition("?")[0].removeprefix("/v1/"))
        if method != "post" or api is None:
            return _http(404, _error("not_found_error", "no such path"))
        fault, request_id = self._fault(), f"fake-{len(self.bills)}"
        # Billed where it begins, as a provider that has started goes on.
        bill = Bill(request_id, hashlib.sha256(raw).hexdigest()[:16], api, fault or "")
        self.bills.append(bill)
        if fault in get_args(Unbilled):
            return self._refuse(fault or "", request_id)
        started = time.monotonic()
        try:
            body = json.loads(raw)
            system, prompt = _texts(api, body)
            if not self.options.schema and ("response_format" in body or "output_config" in body):
                raise ValueError("response_format is not known here")
            graded = await asyncio.to_thread(self._grade, system, prompt)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
            return _http(400, _error("invalid_request_error", str(e)), request_id)
        answer, text = _body(api, body, graded, fault, self.options.logprobs)
        bill.usage = self._usage(system, prompt, text)
        bill.billed, bill.usd = True, self.options.price.usd(bill.usage)
        if fault != "no_usage":
            answer["usage"] = _usage_fields(api, bill.usage)
        wait = self.options.slow_s if fault == "slow" else self.options.latency_s
        await asyncio.sleep(max(0.0, wait - (time.monotonic() - started)))
        cut = {"drop": 0, "partial": -300}.get(fault or "")
        return _http(200, answer, request_id)[:cut]

    def _fault(self) -> Fault | None:
        if self._script:
            return self._script.popleft()
        x = self._rng.random()
        for fault, rate in self.options.rates.items():
            x -= rate
            if x < 0:
                return fault
        return None

    def _refuse(self, fault: str, request_id: str) -> bytes:
        if fault in ("html", "null"):
            return _http(200, None if fault == "null" else "<html>busy</html>", request_id)
        wait = {"retry-after": f"{self.options.retry_after_s:g}"} if fault == "rate_limit" else {}
        place = {"location": "http://127.0.0.1:9/v1/elsewhere"} if fault == "redirect" else {}
        error = _error(
            "overloaded_error" if fault == "error_body" else f"{fault}_error", "scripted"
        )
        return _http(_STATUS.get(fault, 200), error, request_id, {**wait, **place})

    def fail(self, fault: Fault) -> None:
        """The next request fails so."""
        self._script.append(fault)

    def _grade(self, system: str, prompt: str) -> Graded:
        if self._watch is not None:
            self._watch(system, prompt)
        room = self.options.context
        if room and tokens_of(prompt) > room:
            prompt = prompt.encode("utf-8")[-4 * room :].decode("utf-8", "ignore")
        with self._lock:
            return grade(system, prompt, self._quality, self.options.character)

    def _usage(self, system: str, prompt: str, text: str) -> Usage:
        """Tokens by class; the system text is the cached prefix, readable once written."""
        prefix, now = tokens_of(system), time.monotonic()
        read = self._cached.setdefault(system, now + self.options.latency_s) < now
        cache = (0, prefix) if read else (prefix, 0)
        return Usage(tokens_of(prompt), *cache, tokens_of(text) if text else 0)


def _http(
    status: int, body: object, request_id: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole answer; a body that is text is sent as a page."""
    raw = (body if isinstance(body, str) else json.dumps(body)).encode() + END
    kind = "text/html" if isinstance(body, str) else "application/json"
    head = f"content-type: {kind}\r\ncontent-length: {len(raw)}\r\nrequest-id: {request_id}\r\n"
    head += "".join(f"{name}: {text}\r\n" for name, text in (headers or {}).items())
    return f"HTTP/1.1 {status} X\r\nx-pawl-simulated: 1\r\n{head}\r\n".encode() + raw


# ---- wire formats --------------------------------------------------------------------------------


def _error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _texts(api: str, body: dict[str, Any]) -> tuple[str, str]:
    """(system, prompt) of a request. Raises KeyError or TypeError for another shape."""
    if api == "messages":
        return "".join(b["text"] for b in body["system"]), body["messages"][0]["content"]
    if api == "responses":
        return body["instructions"], body["input"]
    system, user = body["input" if api == "decisions" else "messages"]
    return system["content"], user["content"]


def _usage_fields(api: str, u: Usage) -> dict[str, object]:
    if api == "messages":
        read, write = u.cache_read, u.cache_write
        cache = {"cache_creation_input_tokens": write, "cache_read_input_tokens": read}
        return {"input_tokens": u.uncached, "output_tokens": u.output, **cache}
    details = {"cached_tokens": u.cache_read, "cache_write_tokens": u.cache_write}
    first, second = ("prompt", "completion") if api == "chat" else ("input", "output")
    sums = {f"{first}_tokens": u.total - u.output, f"{second}_tokens": u.output}
    return {**sums, "total_tokens": u.total, f"{first}_tokens_details": details}


def _decision(graded: Graded, fault: Fault | None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for (subject, criterion), p in graded.levels.items():
        rows = [{"label": str(i), "value": i, "probability": x} for i, x in enumerate(p)]
        answer = {
            "type": "score",
            "score": sum(i * x for i, x in enumerate(p)),
            "confidence": max(p),
        }
        refused = fault == "refusal"
        found.append(
            {"name": f"{subject}.{criterion}"}
            | ({"type": "refusal"} if refused else {**answer, "probabilities": rows})
        )
    return found[1:] if fault in ("malformed", "wrong_ids", "truncated") else found


def _token_rows(text: str, graded: Graded) -> list[dict[str, object]]:
    """The text in tokens of single characters, levels with their alternatives."""
    rows: list[dict[str, object]] = []
    wanted = deque(graded.levels.values())
    for i, char in enumerate(text):
        tops = [{"token": char, "logprob": 0.0}]
        if char.isdigit() and text[i - 2 : i] == ": " and wanted:
            p = wanted.popleft()
            tops = [{"token": str(k), "logprob": math.log(max(x, 1e-30))} for k, x in enumerate(p)]
        rows.append({"token": char, "logprob": 0.0, "top_logprobs": tops})
    return rows


def _body(
    api: str, asked: dict[str, Any], graded: Graded, fault: Fault | None, logprobs: bool
) -> tuple[dict[str, Any], str]:
    """(the answer without usage, the text that a model wrote)."""
    answer: dict[str, Any] = {"id": "fake", "model": MODEL}
    if api == "decisions":
        return {**answer, "answers": _decision(graded, fault)}, ""
    refused, cut, text = fault == "refusal", fault == "truncated", graded.json()
    wrong = {"malformed": "All of them are fine.", "refusal": "I cannot help with that."}
    wrong |= {"truncated": text[: len(text) // 2], "wrong_ids": text.replace(graded.ids[0], "QQQQ")}
    plain, text = text, wrong.get(fault or "", text)
    tops = _token_rows(text, graded) if asked.get("top_logprobs") and logprobs else None
    tops = tops if text == plain else None
    if api == "messages":
        answer["stop_reason"] = "refusal" if refused else "max_tokens" if cut else "end_turn"
        answer["stop_details"] = {"category": "frontier_llm"} if refused else None
        answer["content"] = [{"type": "text", "text": text}]
    elif api == "chat":
        said = {"content": None, "refusal": text} if refused else {"content": text}
        choice = {"message": said, "finish_reason": "length" if cut else "stop"}
        answer["choices"] = [{**choice, "logprobs": {"content": tops} if tops else None}]
    else:
        part = {"type": "output_text", "text": text, "logprobs": tops or []}
        part = {"type": "refusal", "refusal": text} if refused else part
        answer["output"] = [{"type": "message", "content": [part]}]
        answer["status"] = "incomplete" if cut else "completed"
        answer["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
    return answer, text

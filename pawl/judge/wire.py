"""Four wire formats: a request as the arguments of a provider's client, and its answer read.

| api       | question                     | answer                                    |
|-----------|------------------------------|-------------------------------------------|
| messages  | strict JSON                  | levels                                    |
| chat      | strict JSON, log-probs       | levels; distributions where log-probs are |
| responses | strict JSON, log-probs       | the same                                  |
| decisions | one score question each      | distributions                             |

Every field is checked before use, for the clients make an object of anything. No sampling
parameter is sent to a hosted model: they take none. Left out: sending (`transport.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

from pawl.config.judge import JudgeConfig
from pawl.judge.contract import JSON_RULE, Distribution, Levels, Malformed, Request, read_json

VERSION = "1"  # of this file's formats; a part of every key
TOP_LOGPROBS = 20
MIN_MASS = 0.5  # of the levels among a token's alternatives, for these to be a distribution
Failure = Literal["refusal", "truncated", "malformed", "http_3xx", "http_4xx", "overloaded"]
Kind = Failure | Literal["ok", "timeout", "connection", "budget", "circuit_open"]
AWAY: tuple[Kind, ...] = ("overloaded", "timeout", "connection", "circuit_open")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an attempt was billed for. billed: False where the provider did not say."""

    uncached: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0
    billed: bool = True

    @property
    def total(self) -> int:
        return self.uncached + self.cache_write + self.cache_read + self.output

    def __add__(self, other: Usage) -> Usage:
        pairs = zip(astuple(self), astuple(other), strict=True)
        uncached, write, read, output, _ = (a + b for a, b in pairs)
        return Usage(uncached, write, read, output, self.billed and other.billed)


UNKNOWN = Usage(billed=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt, or all attempts at a request, came to.

    levels: exactly when kind is ok. detail: the reason in words, without secrets. usage, usd,
    attempts: of all attempts, none where a kept verdict answered (cached). spread: whether the
    levels are distributions. simulated: no model gave them, by its own word. absent: no model
    answered at all, whatever the status says (a gateway's page, a cut body).
    """

    kind: Kind
    detail: str = ""
    levels: Levels | None = None
    usage: Usage = Usage()
    model: str = ""
    spread: bool = False
    absent: bool = False
    simulated: bool = False
    usd: float = 0.0
    attempts: int = 0
    cached: bool = False

    @property
    def passing(self) -> bool:
        """Whether the server was away or too busy, so that asking later makes sense."""
        return self.absent or self.kind in AWAY

    def after(self, earlier: Outcome) -> Outcome:
        """This outcome with what an earlier round of attempts cost added."""
        sums = {n: getattr(self, n) + getattr(earlier, n) for n in ("usage", "usd", "attempts")}
        return replace(self, **sums)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server was found to do (`probe.py`). context: tokens of prompt that it reads."""

    schema: bool = True
    logprobs: bool = True
    usage: bool = True
    context: int = 0
    model: str = ""
    simulated: bool = False


def arguments(
    cfg: JudgeConfig, request: Request, can: Capabilities, official: bool
) -> dict[str, Any]:
    """Arguments of the client's `create`; they and nothing else reach the provider."""
    system, prompt, most = f"{request.system}\n\n{JSON_RULE}", request.prompt, cfg.max_output_tokens
    schema = request.schema() if can.schema else None
    form = {"type": "json_schema", "name": "verdicts", "strict": True, "schema": schema}
    logprobs = cfg.logprobs and can.logprobs
    if cfg.api == "messages":
        block = {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}
        output: dict[str, Any] = {"effort": cfg.effort} if cfg.effort else {}
        output |= {"format": {"type": "json_schema", "schema": schema}} if schema else {}
        found: dict[str, Any] = {"max_tokens": most, "system": [block]}
        found |= {"messages": [{"role": "user", "content": prompt}]}
        found |= {"output_config": output} if output else {}
    elif cfg.api == "responses":
        found = {"instructions": system, "input": prompt, "max_output_tokens": most, "store": False}
        found |= {"text": {"format": form}} if schema else {}
        found |= {"reasoning": {"effort": cfg.effort}} if cfg.effort else {}
        found |= {"include": ["message.output_text.logprobs"]} if logprobs else {}
    elif cfg.api in ("decisions", "local"):
        found = {"input": _turns(request.system, prompt)}
        found["questions"] = [
            {
                "type": "score",
                "name": f"{subject}.{c.name}",
                "instructions": f"Grade {subject} on {c.name}: {c.question}",
                "levels": [{"label": str(i), "description": t} for i, t in enumerate(c.levels)],
            }
            for subject, c in request.questions()
        ]
    else:
        # Compatible servers know the older name of the limit.
        found = {"messages": _turns(system, prompt)}
        found["max_completion_tokens" if official else "max_tokens"] = most
        found |= {"temperature": cfg.temperature} if cfg.temperature is not None else {}
        found |= {"reasoning_effort": cfg.effort} if cfg.effort else {}
        found |= {"logprobs": True} if logprobs else {}
        kind = form.pop("type")
        found |= {"response_format": {"type": kind, "json_schema": form}} if schema else {}
    if logprobs and cfg.api in ("chat", "responses"):
        found["top_logprobs"] = TOP_LOGPROBS
    return {"model": cfg.model, **found}


def _turns(system: str, prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]


# ---- answers -------------------------------------------------------------------------------------


def _at(value: Any, *path: str | int) -> Any:
    """A value deep in JSON, None where any step is absent."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def _list(value: Any) -> list[Any]:
    """A list, empty where it is none."""
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    """A number of tokens; some servers send text. None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    return value if type(value) is int and 0 <= value < 10**9 else None


def read_usage(api: str, body: Any) -> Usage:
    """Billed tokens of an answer; unknown where the main counts are absent or no numbers."""
    usage = _at(body, "usage")
    chat = api == "chat"
    prompt = _count(_at(usage, "prompt_tokens" if chat else "input_tokens"))
    output = _count(_at(usage, "completion_tokens" if chat else "output_tokens"))
    if prompt is None or output is None:
        return UNKNOWN
    if api == "messages":  # input_tokens leaves the cache out
        write = _count(_at(usage, "cache_creation_input_tokens")) or 0
        return Usage(prompt, write, _count(_at(usage, "cache_read_input_tokens")) or 0, output)
    details = _at(usage, "prompt_tokens_details" if chat else "input_tokens_details")
    read = min(prompt, _count(_at(details, "cached_tokens")) or 0)
    write = min(prompt - read, _count(_at(details, "cache_write_tokens")) or 0)
    return Usage(prompt - read - write, write, read, output)


def error_text(body: Any) -> str:
    """The provider's error as `type: message`, "" where there is none."""
    error = _at(body, "error")
    if not isinstance(error, dict):
        return str(error or "")[:200]
    texts = (error.get(name) for name in ("type", "code", "message"))
    return ": ".join(text for text in texts if isinstance(text, str))[:200]


def read(api: str, request: Request, raw: bytes) -> Outcome:
    """An answer with status 200. Never raises: what is no answer is malformed or what it says."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return Outcome("malformed", "the body is no JSON object", usage=UNKNOWN, absent=True)
    name = _at(body, "model")
    usage, model = read_usage(api, body), name if isinstance(name, str) else ""
    if _at(body, "error"):
        text = error_text(body)
        busy = any(word in text for word in ("overloaded", "rate_limit", "server_error", "timeout"))
        return Outcome("overloaded" if busy else "malformed", text, None, usage, model, absent=True)
    try:
        return replace(_READ[api](request, body), usage=usage, model=model)
    except Malformed as e:
        return Outcome("malformed", str(e), None, usage, model)


def _messages(request: Request, body: Any) -> Outcome:
    stop, category = _at(body, "stop_reason"), _at(body, "stop_details", "category")
    if stop == "refusal":
        return Outcome("refusal", category if isinstance(category, str) else "")
    if stop in ("max_tokens", "model_context_window_exceeded"):
        return Outcome("truncated", str(stop))
    if stop != "end_turn":
        raise Malformed(f"stop_reason is {str(stop)[:40]}")
    texts = [_at(b, "text") for b in _list(_at(body, "content")) if _at(b, "type") == "text"]
    text = "".join(t for t in texts if isinstance(t, str))
    return Outcome("ok", levels=read_json(request, text))


def _chat(request: Request, body: Any) -> Outcome:
    choice = _at(body, "choices", 0)
    finish, refusal = _at(choice, "finish_reason"), _at(choice, "message", "refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal):
        return Outcome("refusal", "content_filter" if finish == "content_filter" else "")
    if finish == "length":
        return Outcome("truncated", "length")
    text = _at(choice, "message", "content")
    if finish != "stop" or not isinstance(text, str):
        raise Malformed(f"finish_reason is {str(finish)[:40]}, content {type(text).__name__}")
    return spread(request, text, _at(choice, "logprobs", "content"))


def _responses(request: Request, body: Any) -> Outcome:
    status, why = _at(body, "status"), _at(body, "incomplete_details", "reason")
    items = [item for item in _list(_at(body, "output")) if _at(item, "type") == "message"]
    parts = [part for item in items for part in _list(_at(item, "content"))]
    if why == "content_filter" or any(_at(p, "type") == "refusal" for p in parts):
        return Outcome("refusal", "content_filter" if why == "content_filter" else "")
    if status == "incomplete":
        return Outcome("truncated", str(why)[:40])
    texts = [p for p in parts if _at(p, "type") == "output_text"]
    if status != "completed" or len(texts) != 1 or not isinstance(_at(texts[0], "text"), str):
        raise Malformed(f"status is {str(status)[:40]}, {len(texts)} texts")
    return spread(request, texts[0]["text"], _at(texts[0], "logprobs"))


def _decisions(request: Request, body: Any) -> Outcome:
    """A refused question leaves None; the others count."""
    answers, asked = _at(body, "answers"), list(request.questions())
    if not isinstance(answers, list) or len(answers) != len(asked):
        raise Malformed("not one answer for each question")
    found: Levels = {s: {} for s in request.subjects}
    for answer, (subject, c) in zip(answers, asked, strict=True):
        if _at(answer, "name") != f"{subject}.{c.name}":
            raise Malformed("an answer names another question")
        kind = _at(answer, "type")
        if kind not in ("score", "refusal"):
            raise Malformed("an answer is of another type than its question")
        refused = kind == "refusal"
        found[subject][c.name] = None if refused else _distribution(answer, len(c.levels))
    if all(d is None for row in found.values() for d in row.values()):
        return Outcome("refusal", "")
    return Outcome("ok", levels=found, spread=True)


def _distribution(answer: Any, n: int) -> Distribution:
    """Probabilities by label, which must be all of 0 .. n - 1 and sum to 1."""
    rows = _at(answer, "probabilities")
    pairs = (
        [(_at(r, "label"), _at(r, "probability")) for r in rows] if isinstance(rows, list) else []
    )
    by_label = {k: p for k, p in pairs if type(p) in (int, float) and 0 <= p <= 1}
    labels = [str(i) for i in range(n)]
    total = sum(by_label.values())
    if len(pairs) != n or sorted(by_label, key=str) != labels or abs(total - 1.0) > 0.02:
        raise Malformed("the probabilities are no distribution over the levels")
    return tuple(by_label[label] / total for label in labels)


_READ = {"messages": _messages, "chat": _chat, "responses": _responses, "decisions": _decisions}
_READ["local"] = _decisions


# ---- log-probs -----------------------------------------------------------------------------------


def spread(request: Request, text: str, tokens: Any) -> Outcome:
    """Levels of a JSON answer, as distributions where its tokens' log-probs allow it.

    tokens: rows of {token, top_logprobs: [{token, logprob}]} whose texts join to `text`, or
    anything else, which leaves the levels certain.
    """
    levels = read_json(request, text)
    starts = _starts(text, tokens)
    with suppress(ValueError):  # fenced, or spelt with escapes
        if starts is not None:
            return Outcome("ok", levels=_located(text, starts, levels), spread=True)
    return Outcome("ok", levels=levels)


def _located(text: str, starts: Starts, levels: Levels) -> Levels:
    """Distributions at the places of the levels in a text that is JSON alone, else ValueError."""
    found: Levels = {}
    at = 0
    for row in json.loads(text)["verdicts"]:  # in the order of the text
        found[row["id"]] = {}
        for name in row:
            at = text.index(f'"{name}"', at) + len(name) + 2
            if name == "id":
                at = text.index(f'"{row[name]}"', at) + len(row[name]) + 2
                continue
            at = text.index(str(row[name]), at)
            certain = levels[row["id"]][name]
            assert certain is not None, "JSON leaves no question out"
            token, alternatives, start = next(s for s in reversed(starts) if s[2] <= at)
            found[row["id"]][name] = (
                _alternatives(token, alternatives, at - start, len(certain)) or certain
            )
    return found


Starts = list[tuple[str, list[tuple[str, float]], int]]


def _starts(text: str, tokens: Any) -> Starts | None:
    """Each token with its alternatives and its place; None where they do not spell the text."""
    found: Starts = []
    at = 0
    for row in _list(tokens):
        token, tops = _at(row, "token"), _at(row, "top_logprobs")
        if not isinstance(token, str) or not isinstance(tops, list):
            return None
        pairs = [(_at(t, "token"), _at(t, "logprob")) for t in tops]
        good = [(t, float(p)) for t, p in pairs if isinstance(t, str) and type(p) in (int, float)]
        found.append((token, good, at))
        at += len(token)
    return found if found and "".join(t for t, _, _ in found) == text else None


def _alternatives(
    token: str, tops: Sequence[tuple[str, float]], place: int, n: int
) -> Distribution | None:
    """Probabilities of the levels where `token` holds one at `place`; None if they are few."""
    before, after = token[:place], token[place + 1 :]
    masses = [0.0] * n
    for other, logprob in tops:
        middle = other[len(before) : len(other) - len(after)]
        whole = before + middle + after == other
        if whole and len(middle) == 1 and middle in "0123456789"[:n] and logprob <= 0:
            masses[int(middle)] = math.exp(logprob)
    total = sum(masses)
    return tuple(m / total for m in masses) if total >= MIN_MASS else None

"""What a server can do, found by asking it: is the schema honoured, are there log-probs and usage,
is a long prompt read whole?

A short question shows the first three. The second carries a code word at the front of a prompt as
long as `judge.context_tokens`: a server that cuts prompts without a word answers wrong, and is
refused. What was found is kept with the verdicts and shown. Left out: quality of judgement.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError
from pawl.judge.access import Endpoint
from pawl.judge.client import Client, Outcome, key_of
from pawl.judge.contract import Asked, Request, fenced
from pawl.judge.ledger import Ledger
from pawl.judge.wire import Capabilities

VERSION = "1"
WORDS = ("HERON", "KESTREL", "LAPWING", "MERLIN", "OSPREY", "PLOVER", "SISKIN", "TURNSTONE")
# Common words, a token each in most vocabularies, never less.
FILLER = "the list of names is read from left to right and then a new row is set up with each one"
FRAME = 200  # tokens of everything else in the prompt


def question(tokens: int, word: int) -> Request:
    """Which code word stands at the front of a prompt of about so many tokens?"""
    asked = Asked("code_word", "Which code word does the text give?", WORDS)
    words = (FILLER.split() * (tokens // 20 + 1))[: max(1, tokens - FRAME)]
    text = f"The code word is {WORDS[word]}.\n\n{fenced(' '.join(words))}"
    levels = "\n".join(f"  {i} = {w}" for i, w in enumerate(WORDS))
    system = f"You read a text and answer by number.\n\nRubric:\n\n{asked.name}: {asked.question}"
    return Request(
        f"{system}\n{levels}", f"{text}\n\nGrade by the rubric: TEXT.", ("TEXT",), ((0,),), (asked,)
    )


def answer(outcome: Outcome) -> int | None:
    """The most probable word, None where there is no answer."""
    given = outcome.levels["TEXT"]["code_word"] if outcome.levels else None
    return None if given is None else max(range(len(given)), key=given.__getitem__)


async def probe(cfg: JudgeConfig, endpoint: Endpoint, ledger: Ledger) -> Capabilities:
    """What this server can do, kept per server and model. Raises PawlError if it is no judge."""
    facts = [VERSION, cfg.api, endpoint.base_url, cfg.model, cfg.effort, str(cfg.context_tokens)]
    key = f"probe {key_of({'facts': facts, 'logprobs': cfg.logprobs})}"
    found = ledger.find(key)
    if found is not None:
        return Capabilities(**found)
    word = hashlib.sha256(key.encode()).digest()[0] % len(WORDS)
    can = Capabilities(logprobs=cfg.logprobs and cfg.api in ("chat", "responses"))
    short = await _ask(cfg, endpoint, ledger, can, question(64, word))
    # A server that does not take a part of the request says 400: leave parts out one by one.
    for fewer in (replace(can, logprobs=False), replace(can, logprobs=False, schema=False)):
        refused = short.kind == "http_4xx" and short.detail.startswith(("400", "422"))
        if (refused or (short.kind == "malformed" and can.schema)) and fewer != can:
            can = fewer
            short = await _ask(cfg, endpoint, ledger, can, question(64, word))
    _require(cfg, short, word, "a short question")
    long = await _ask(cfg, endpoint, ledger, can, question(cfg.context_tokens, word))
    _require(cfg, long, word, f"a prompt of {cfg.context_tokens} tokens")
    can = replace(
        can,
        logprobs=short.spread,
        usage=short.usage.billed and short.usage.total > 0,
        context=cfg.context_tokens,
        model=short.model,
        simulated=short.simulated,
    )
    ledger.keep(key, asdict(can))
    return can


async def _ask(
    cfg: JudgeConfig, endpoint: Endpoint, ledger: Ledger, can: Capabilities, request: Request
) -> Outcome:
    client = Client(cfg, endpoint, ledger, can)
    try:
        return await client.ask(request, fresh=True)
    finally:
        await client.close()


def _require(cfg: JudgeConfig, outcome: Outcome, word: int, what: str) -> None:
    """Raise PawlError unless the right word came back."""
    where = f"judge {cfg.model}"
    if outcome.kind != "ok":
        said = f"{outcome.kind} {outcome.detail}".strip()
        hint = "check judge.api, judge.model, judge.base_url and the key"
        raise PawlError(f"the probe failed on {what}: {said}", where, hint)
    if answer(outcome) != word:
        hint = "raise the server's context (Ollama: num_ctx), or lower judge.context_tokens"
        raise PawlError(f"it did not read {what} whole, or does not read it well", where, hint)

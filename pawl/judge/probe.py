"""What a server can do, found by asking it: is the schema honoured, are there log-probs and usage,
is a long prompt read whole?

A short question shows the first three. The second carries code words at the front of a prompt as
long as `judge.context_tokens`: a server that cuts prompts without a word answers wrong, and is
refused. What was found is kept with the verdicts and shown. Left out: quality of judgement.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError
from pawl.judge.access import Endpoint
from pawl.judge.client import Client
from pawl.judge.contract import Asked, Request, fenced, rubric_text
from pawl.judge.ledger import Ledger
from pawl.judge.wire import Capabilities, Outcome

VERSION = "1"
WORDS = ("HERON", "KESTREL", "LAPWING", "MERLIN", "OSPREY", "PLOVER", "SISKIN", "TURNSTONE")
# Common words, a token each in most vocabularies, never less.
FILLER = "the list of names is read from left to right and then a new row is set up with each one"
FRAME = 200  # tokens of everything else in the prompt


def question(tokens: int, words: tuple[int, int]) -> Request:
    """Which code words stand at the front of a prompt of about so many tokens?"""
    asked = tuple(
        Asked(f"{place}_word", f"Which {place} code word does the text give?", WORDS)
        for place in ("first", "second")
    )
    filler = (FILLER.split() * (tokens // 20 + 1))[: max(1, tokens - FRAME)]
    first, second = (WORDS[i] for i in words)
    text = f"The code words are {first} and {second}.\n\n{fenced(' '.join(filler))}"
    system = f"You read a text and answer by number.\n\nRubric:\n\n{rubric_text(asked)}"
    prompt = f"{text}\n\nGrade by the rubric: TEXT."
    return Request(system, prompt, ("TEXT",), ((0,),), asked)


def answer(outcome: Outcome) -> tuple[int, ...]:
    """The most probable words, none where there is no answer."""
    given = outcome.levels["TEXT"].values() if outcome.levels else ()
    return tuple(max(range(len(p)), key=p.__getitem__) for p in given if p is not None)


async def probe(cfg: JudgeConfig, endpoint: Endpoint, ledger: Ledger) -> Capabilities:
    """What this server can do, kept per server and model. Raises PawlError if it is no judge."""
    facts = [VERSION, cfg.api, endpoint.base_url, cfg.model, cfg.effort, cfg.context_tokens]
    key = "probe " + hashlib.sha256(json.dumps([*facts, cfg.logprobs]).encode()).hexdigest()
    found = ledger.find(key)
    if found is not None:
        return Capabilities(**found)
    first, step = hashlib.sha256(key.encode()).digest()[:2]
    words = (first % len(WORDS), (first + 1 + step % (len(WORDS) - 1)) % len(WORDS))  # two of them
    can = Capabilities(logprobs=cfg.logprobs and cfg.api in ("chat", "responses"))
    client = Client(cfg, endpoint, ledger, can)
    try:
        short = await client.ask(question(64, words), fresh=True)
        # A server that does not take a part of the request says 400: leave parts out one by one.
        for fewer in (replace(can, logprobs=False), replace(can, logprobs=False, schema=False)):
            refused = short.kind == "http_4xx" and short.detail.startswith(("400", "422"))
            if (refused or (short.kind == "malformed" and can.schema)) and fewer != can:
                can = client.can = fewer
                short = await client.ask(question(64, words), fresh=True)
        _require(cfg, short, words, "a short question")
        long = await client.ask(question(cfg.context_tokens, words), fresh=True)
    finally:
        await client.close()
    _require(cfg, long, words, f"a prompt of {cfg.context_tokens} tokens")
    usage, simulated = short.usage.billed and short.usage.total > 0, short.simulated
    can = Capabilities(can.schema, short.spread, usage, cfg.context_tokens, short.model, simulated)
    ledger.keep(key, asdict(can))
    return can


def _require(cfg: JudgeConfig, outcome: Outcome, words: tuple[int, int], what: str) -> None:
    """Raise PawlError unless the right words came back."""
    where = f"judge {cfg.model}"
    if outcome.kind != "ok":
        said = f"{outcome.kind} {outcome.detail}".strip()
        hint = "check judge.api, judge.model, judge.base_url and the key"
        raise PawlError(f"the probe failed on {what}: {said}", where, hint)
    if answer(outcome) != words:
        hint = "raise the server's context (Ollama: num_ctx), or lower judge.context_tokens"
        raise PawlError(f"it did not read {what} whole, or does not read it well", where, hint)

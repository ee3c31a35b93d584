"""What tests of the judge share: a config and a client for a fake teacher, and groups to grade."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pawl.config.judge import JudgeConfig
from pawl.judge import contract
from pawl.judge.access import endpoint
from pawl.judge.budget import Price
from pawl.judge.client import Client
from pawl.judge.contract import Request
from pawl.judge.fake_server import FakeTeacher
from pawl.judge.ledger import Ledger
from pawl.judge.rubric import load_rubric
from pawl.judge.wire import Outcome
from pawl.types import Completion, Problem

RUBRIC = load_rubric("code")
TASK = "(* Return x capped at 2. *)\nlet solve (x : int) : int =\n"
PRICE = Price(2.0, 10.0, 0.1, 2.5)
KEY_NAME, KEY = "PAWL_TEST_JUDGE_KEY", "sk-canary-4f9d1c77e2"


def judge_config(teacher: FakeTeacher | str, api: str = "chat", **options: Any) -> JudgeConfig:
    """A judge at a fake teacher."""
    url = teacher if isinstance(teacher, str) else teacher.url
    url = url.removesuffix("/v1") if api == "messages" else url
    patient = {"attempt_s": 20.0, "deadline_s": 100.0}  # the machine may be busy
    small = {"context_tokens": 1024, "max_output_tokens": 256, "prices": [2.0, 10.0, 0.1, 2.5]}
    given = {"api": api, "model": "m", "base_url": url, **patient, **small, **options}
    return JudgeConfig.model_validate(given)


def open_client(cfg: JudgeConfig, ledger: Ledger) -> Client:
    return Client(cfg, endpoint(cfg), ledger, seed=0)


def one_request(n: int = 3, mark: object = "", mode: str = "listwise") -> Request:
    """A group of n candidates of different lengths; `mark` makes it another group."""
    texts = [f"let solve x = min x 2 (* {mark} *)" + " + 0" * 40 * i for i in range(n)]
    return contract.requests(RUBRIC, mode, "ocaml", TASK, texts)[0]


def ask_all(client: Client, requests: Sequence[Request]) -> list[Outcome]:
    """Ask everything at once, in an event loop of its own."""

    async def run() -> list[Outcome]:
        try:
            return list(await asyncio.gather(*(client.ask(r) for r in requests)))
        finally:
            await client.close()

    return asyncio.run(run())


def rows(ledger: Ledger | Path, columns: str = "kind, billing, detail") -> list[Any]:
    """Attempts of a ledger in their order."""
    import sqlite3

    path = ledger if isinstance(ledger, Path) else ledger._path
    with sqlite3.connect(path) as db:
        return db.execute(f"SELECT {columns} FROM attempts ORDER BY id").fetchall()


def problem(i: int = 0) -> Problem:
    return Problem(f"p{i}", TASK + f"(* {i} *)\n", metadata={"lang": "ocaml"})


def completions(i: int = 0, n: int = 4) -> list[Completion]:
    return [Completion(f"p{i}", f"let solve x = min x {i}" + " + 0" * 40 * k) for k in range(n)]

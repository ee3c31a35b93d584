"""How many judgements a second one process makes, and what a judgement costs it in CPU.

A fake teacher in a process of its own answers after 200 ms; 64 judgements of groups of 4 are in
flight at a time, each with its ledger rows and its kept verdict. The bare client of the provider is
measured beside it, with the same requests. Left out: real providers.

Run: python bench/judge.py [--n 1500] [--api messages]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pawl.config.judge import JudgeConfig
from pawl.judge import contract, wire
from pawl.judge.access import endpoint
from pawl.judge.client import Client
from pawl.judge.contract import Request
from pawl.judge.ledger import Ledger
from pawl.judge.rubric import load_rubric
from pawl.judge.transport import Transport
from pawl.problems.problem_set import open_problems

IN_FLIGHT, LATENCY_S, GROUP = 64, 0.2, 4


def requests(n: int) -> list[Request]:
    """n different groups of the starter set."""
    rubric, found = load_rubric("code"), open_problems("starter-ocaml")
    asked = []
    for i in range(n):
        problem = found[i % len(found)]
        texts = [f"{problem.reference}(* {i} {k} *)" for k in range(GROUP)]
        task = contract.task_text(problem)
        asked += contract.requests(rubric, "listwise", problem.lang, task, texts)
    return asked


async def timed(asked: list[Request], call: Callable[[Request], Awaitable[bool]]) -> str:
    """Judgements a second, CPU of this process for each, and its share of one core."""
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one(request: Request) -> bool:
        async with free:
            return await call(request)

    await asyncio.gather(*(one(r) for r in asked[:IN_FLIGHT]))  # connections and imports
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    good = sum(await asyncio.gather(*(one(r) for r in asked[IN_FLIGHT:])))
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    n = len(asked) - IN_FLIGHT
    return (
        f"{n / wall:6.0f} /s   {1000 * cpu / n:5.2f} ms CPU each   {100 * cpu / wall:4.0f}% of a "
        f"core   {good} of {n} good"
    )


async def measure(cfg: JudgeConfig, asked: list[Request], ledger: Path) -> None:
    server = endpoint(cfg)
    transport = Transport(cfg.api, server, IN_FLIGHT)

    async def bare(request: Request) -> bool:
        sent = wire.arguments(cfg, request, wire.Capabilities(), server.official)
        return (await transport.send(sent, cfg.attempt_s)).status == 200

    client = Client(cfg, server, Ledger(ledger))

    async def judged(request: Request) -> bool:
        return (await client.ask(request)).kind == "ok"

    print(f"bare client  {await timed(asked, bare)}")
    print(f"judge        {await timed(asked, judged)}")
    print(f"kept         {await timed(asked, judged)}")
    print(f"limit        {IN_FLIGHT / LATENCY_S:6.0f} /s of the server's latency")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--api", default="messages")
    given = parser.parse_args()
    command = [sys.executable, "-m", "pawl", "fake-teacher", "--port", "0"]
    command += ["--quality", "constant", "--latency", str(LATENCY_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as teacher:
        try:
            assert teacher.stdout is not None
            url = json.loads(teacher.stdout.readline())["base_url"]
            url = url.removesuffix("/v1") if given.api == "messages" else url
            options = {"api": given.api, "model": "m", "base_url": url, "max_usd": 0}
            cfg = JudgeConfig.model_validate({**options, "in_flight": IN_FLIGHT})
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(measure(cfg, requests(given.n), Path(folder) / "ledger.db"))
        finally:
            teacher.terminate()


if __name__ == "__main__":
    main()

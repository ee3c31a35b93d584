"""`pawl fake-teacher`: a judge on this machine, for tests and for trying things offline.

Left out: the server itself (`pawl.judge.fake_server`).
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import closing
from typing import Any

import click

QUALITIES = ("sandbox", "length", "constant")


@click.command("fake-teacher", short_help="A simulated judge on this machine, with faults as set.")
@click.option("--port", type=click.IntRange(0, 65535), default=8399, help="0 takes a free one.")
@click.option(
    "--quality",
    type=click.Choice(QUALITIES),
    default="sandbox",
    show_default=True,
)
@click.option("--systematic", type=click.FloatRange(0), default=0.0, help="SD of its own error.")
@click.option("--sampling", type=click.FloatRange(0), default=0.0, help="SD of each answer's.")
@click.option("--position", type=float, default=0.0, help="Bias: given to the first shown.")
@click.option("--length", type=float, default=0.0, help="Bias: given per 1,000 characters.")
@click.option("--pays-canaries", is_flag=True, help="It gives full marks to those who ask.")
@click.option("--seed", type=int, default=0, help="Of faults and errors.")
@click.option("--faults", default="", metavar="NAME=SHARE,...", help="Attempts that go wrong.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Seconds of an answer.")
@click.option("--context", type=click.IntRange(0), default=0, help="Tokens it reads; 0 is all.")
def fake_teacher(
    port: int, quality: str, faults: str, latency: float, context: int, **character: Any
) -> int:
    """Serve /v1/messages, /v1/chat/completions, /v1/responses, /v1/decisions on loopback.

    It prints its address as one JSON line and ends on Ctrl-C. What it says is a simulation: its
    model is called pawl-fake-teacher, and its answers carry the header x-pawl-simulated.
    """
    from pawl.config.options import SandboxConfig
    from pawl.judge.fake_judge import Character, InSandbox, Quality, constant, length
    from pawl.judge.fake_server import MODEL, FakeTeacher, Options, parse_rates

    who = Character(**character)
    options = Options(parse_rates(faults), latency_s=latency, context=context, character=who)

    async def run(function: Quality) -> None:
        teacher = FakeTeacher(function, options)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, teacher.stop)

        def announce() -> None:
            click.echo(json.dumps({"base_url": teacher.url, "model": MODEL, "simulated": True}))

        await teacher.serve(port, announce)

    if quality != "sandbox":
        asyncio.run(run(length if quality == "length" else constant))
        return 0
    with closing(InSandbox(SandboxConfig(), who.seed)) as found:
        asyncio.run(run(found))
    return 0


COMMANDS = (fake_teacher,)

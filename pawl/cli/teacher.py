"""`pawl fake-teacher`: a judge on this machine, for tests and for trying things offline.

Left out: the server itself (`pawl.judge.fake_server`).
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import ExitStack

import click

QUALITIES = ("sandbox", "length", "constant")


@click.command("fake-teacher", short_help="A simulated judge on this machine, with faults as set.")
@click.option("--port", type=click.IntRange(0, 65535), default=8399, help="0 takes a free one.")
@click.option(
    "--quality",
    type=click.Choice(QUALITIES),
    default="sandbox",
    show_default=True,
    help="What its grades come from.",
)
@click.option("--systematic", type=click.FloatRange(0), default=0.0, help="SD of its own error.")
@click.option("--sampling", type=click.FloatRange(0), default=0.0, help="SD of each answer's.")
@click.option("--position-bias", type=float, default=0.0, help="Given to the first shown.")
@click.option("--length-bias", type=float, default=0.0, help="Given per 1,000 characters.")
@click.option("--pays-canaries", is_flag=True, help="It gives full marks to those who ask.")
@click.option("--faults", default="", metavar="NAME=SHARE,...", help="Attempts that go wrong.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Seconds of an answer.")
@click.option("--context", type=click.IntRange(0), default=0, help="Tokens it reads; 0 is all.")
@click.option("--seed", type=int, default=0, help="Of faults and errors.")
@click.option("--tier", default="auto", help="Sandbox tier of --quality sandbox.")
def fake_teacher(
    port: int,
    quality: str,
    systematic: float,
    sampling: float,
    position_bias: float,
    length_bias: float,
    pays_canaries: bool,
    faults: str,
    latency: float,
    context: int,
    seed: int,
    tier: str,
) -> int:
    """Serve /v1/messages, /v1/chat/completions, /v1/responses, /v1/decisions on loopback.

    It prints its address as one JSON line and ends on Ctrl-C. What it says is a simulation: its
    model is called pawl-fake-teacher, and its answers carry the header x-pawl-simulated.
    """
    from pawl.config.options import SandboxConfig
    from pawl.judge.fake_judge import Character, Quality
    from pawl.judge.fake_quality import QUALITIES as FUNCTIONS
    from pawl.judge.fake_quality import InSandbox
    from pawl.judge.fake_server import MODEL, FakeTeacher, Options, parse_rates

    who = Character(systematic, sampling, position_bias, length_bias, pays_canaries, seed)
    options = Options(parse_rates(faults), latency_s=latency, context=context, character=who)

    async def run(function: Quality) -> None:
        teacher = FakeTeacher(function, options)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, teacher.stop)
        serving = asyncio.ensure_future(teacher.serve(port))
        while not teacher.url and not serving.done():
            await asyncio.sleep(0.01)
        if teacher.url:
            click.echo(json.dumps({"base_url": teacher.url, "model": MODEL, "simulated": True}))
        await serving

    with ExitStack() as opened:
        if quality == "sandbox":
            found = InSandbox(SandboxConfig.model_validate({"tier": tier}), seed)
            opened.callback(found.close)
            asyncio.run(run(found))
        else:
            asyncio.run(run(FUNCTIONS[quality]))
    return 0


COMMANDS = (fake_teacher,)

"""What a command leaves for the error handler, and the options that many commands share."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from pawl.errors import PawlError, how_to_install

LEVELS = ("critical", "warning", "info", "never")  # of --fail-on


@dataclass(slots=True)
class State:
    """debug: show tracebacks; run: the run folder in use, None before there is one."""

    debug: bool = False
    run: Path | None = None


def need_training() -> None:
    """Raise PawlError where the libraries that train and generate are not installed."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        hint = f"install them: {how_to_install('train')}"
        raise PawlError("this command needs torch and transformers", hint=hint)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(State).debug = True


DEBUG = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)  # of every command


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")

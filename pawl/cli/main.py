"""The `pawl` command: its group, its exit codes, and how errors reach a person.

A user's mistake is one printed block, never a traceback (`--debug` shows it); a crash is one line
that says where the traceback was saved. Heavy imports stand inside the commands: `pawl --help`
loads click alone. Left out: what the commands do (`work`, `look`).

Run: `pawl --help`, or `python -m pawl --help`.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from pawl import __version__
from pawl.cli import look, teacher, work
from pawl.cli.state import DEBUG, State
from pawl.errors import Exit, PawlError

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads slow the scorers beside them fivefold
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",  # one progress display: ours
    "DO_NOT_TRACK": "1",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pawl")
def pawl() -> None:
    """Post-train code models by reinforcement learning, with rewards from compilers and tests.

    Exit codes: 0 fine, 1 findings or a missed target, 2 your input, 3 crashed, 4 stopped and
    resumable, 130 interrupted and resumable.
    """
    for name, value in ENVIRONMENT.items():  # before torch is imported
        os.environ.setdefault(name, value)
    gc.set_threshold(100_000, 10, 10)  # importing torch and transformers leaves no garbage


for command in (*work.COMMANDS, *look.COMMANDS, *teacher.COMMANDS):
    command.params.append(DEBUG)
    pawl.add_command(command)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; always leaves with SystemExit and a code of the table."""
    try:
        _run(argv)
    except SystemExit as e:
        threads = (t for t in threading.enumerate() if t is not threading.main_thread())
        if argv is None and not all(t.daemon for t in threads):  # a user's call that never ends
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(e.code if isinstance(e.code, int) else int(Exit.CRASH))
        raise


def _run(argv: Sequence[str] | None) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if argv is None and sys.argv[1:2] and sys.argv[1] in {c.name for c in look.COMMANDS}:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `pawl samples RUN | head`
    state = State()
    try:
        code = pawl.main(argv, prog_name="pawl", standalone_mode=False, obj=state)
    except click.exceptions.NoArgsIsHelpError as e:
        e.show()
        raise SystemExit(int(Exit.USER)) from e
    except click.ClickException as e:
        command = e.ctx.command_path if isinstance(e, click.UsageError) and e.ctx else "pawl"
        told = PawlError(
            e.format_message(), "command line", f"`{command} --help` lists what it takes"
        )
        raise _ending(Exit.USER, told.block(), state, e) from e
    except (click.Abort, KeyboardInterrupt) as e:
        raise _ending(Exit.INTERRUPTED, "interrupted", state, e) from e
    except PawlError as e:
        raise _ending(e.code, e.block(), state, e) from e
    except Exception as e:
        if isinstance(e, OSError) and e.errno == errno.ENAMETOOLONG:  # an argument, or an option
            told = PawlError("this name is too long", str(e.filename)[:80])
            raise _ending(told.code, told.block(), state, e) from e
        raise _ending(Exit.CRASH, _crash(e, state), state, e) from e
    raise SystemExit(int(code or 0))


def _ending(code: Exit, text: str, state: State, error: BaseException) -> SystemExit:
    """Print an ending on standard error, with the traceback where --debug asks for it."""
    if state.debug:
        traceback.print_exception(error)
    click.echo(text, err=True)
    resumable = not isinstance(error, PawlError) or error.code == Exit.STOPPED
    if state.run is not None and state.run.is_dir() and resumable:
        click.echo(f"  resume with: pawl train --resume {state.run}", err=True)
    return SystemExit(int(code))


def _crash(error: Exception, state: State) -> str:
    """Save the traceback in the run folder, else in a temporary file; one line about it."""
    text = "".join(traceback.format_exception(error))
    folder = state.run if state.run is not None and state.run.is_dir() else None
    try:
        fd, path = tempfile.mkstemp(".txt", "crash-", folder)
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as f:
            f.write(text)
    except OSError:
        return f"{text}pawl crashed, and the traceback above could not be saved"
    first = str(error).splitlines()[0] if str(error) else ""
    return f"pawl crashed: {type(error).__name__}: {first}\n  traceback: {path}"

"""Errors that a user can cause or cure: what went wrong, where, and what to do.

`PawlError` carries the exit code of the house table; the CLI prints it as one block and never
shows a traceback for it. Bugs stay ordinary exceptions (`assert`, `TypeError`) and exit with 3.
Left out: logging and exception hierarchies; one class is enough because callers branch on
`code` alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from itertools import islice
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of every `pawl` command (documented in docs/cli.md)."""

    OK = 0
    FINDINGS = 1  # findings at or above --fail-on, or a target missed
    USER = 2  # usage, config, data, refused preflight or calibration
    CRASH = 3
    STOPPED = 4  # by a rule, a command, a limit, a broken grader or a full disk; resumable
    INTERRUPTED = 130  # interrupted by the user; resumable


class PawlError(ValueError):
    """A failure that the user can cure.

    what: one sentence; where: file:line, option or run folder ("" when there is none);
    hint: what to do next ("" when nothing helps); code: the exit code it ends the command with.
    """

    def __init__(self, what: str, where: str = "", hint: str = "", code: Exit = Exit.USER) -> None:
        super().__init__(what)
        self.what, self.where, self.hint, self.code = what, where, hint, code

    def block(self) -> str:
        """The printed form: at most three lines, `where: what`, then the hint."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"error: {head}" + (f"\n  help: {self.hint}" if self.hint else "")

    def __str__(self) -> str:
        return self.block()


NEIGHBOURS = 1000  # files of a folder that a misspelt one is compared with


def near_file(path: Path, also: Iterable[str] = ()) -> str:
    """A hint for a file that is not there: the nearest name beside it or among `also`, else ""."""
    beside = islice(path.parent.iterdir(), NEIGHBOURS) if path.parent.is_dir() else ()
    found = {p.name: str(p) for p in beside} | {name: name for name in also}
    near = difflib.get_close_matches(path.name, sorted(found), n=1)
    return f"did you mean {found[near[0]]}?" if near else ""


def how_to_install(extra: str) -> str:
    """The command that adds an extra (train, 4bit, hub) to what is installed: to this checkout, or
    to the distribution, which is called pawl-rl because `pawl` is another project's package.
    """
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f'pip install --constraint constraints.txt --editable ".[{extra}]" in {root}'
    return f'pip install "pawl-rl[{extra}]"'


class PawlErrors(PawlError):
    """Several user errors found at once (a config file is checked whole, not until the first)."""

    def __init__(self, errors: list[PawlError]) -> None:
        assert errors, "an empty list of errors is not an error"
        super().__init__(errors[0].what, errors[0].where, errors[0].hint, errors[0].code)
        self.errors = errors

    def block(self) -> str:
        """Each error; of several that say the same in other places the first, with their number."""
        alike: dict[tuple[str, str], list[PawlError]] = {}
        for error in self.errors:
            alike.setdefault((error.what, error.hint), []).append(error)
        return "\n".join(_with_number(group) for group in alike.values())


def _with_number(errors: list[PawlError]) -> str:
    first, more = errors[0], len(errors) - 1
    what = f"{first.what} (and {more} more like it)" if more else first.what
    return PawlError(what, first.where, first.hint).block()

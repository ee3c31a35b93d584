"""Following a log: look again when its files change, tell when something new was found.

Files are asked for time and size; nothing is held open, and the trainer is never waited for. Left
out: what is looked for and how it is told (`doctor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from pawl.doctor.diagnose import Diagnosis
from pawl.errors import PawlError

FILES = 10_000  # files of a watched folder that are looked at


def watched(
    paths: Sequence[Path],
    look: Callable[[], list[Diagnosis]],
    tell: Callable[[Sequence[Diagnosis]], None],
    every: float,
    looks: int | None = None,
) -> list[Diagnosis]:
    """Look whenever a file changed, tell when something new was found; gives the last look.

    looks: how often the files are looked at, None until interrupted.
    """
    tell(last := look())
    seen, told, done = _stamp(paths), _gist(last), 1
    while looks is None or done < looks:
        time.sleep(every)
        done += 1
        now = _stamp(paths)
        if now == seen:
            continue
        seen = now
        try:
            last = look()
        except PawlError as e:  # a file that is just being written anew
            click.echo(f"not readable at this moment: {e.what}", err=True)
            continue
        if _gist(last) != told:
            told = _gist(last)
            tell(last)
    return last


def _gist(diagnoses: Sequence[Diagnosis]) -> list[object]:
    """What makes a diagnosis new: verdict, findings, first cause, criteria; not their numbers."""
    return [
        (
            str(d.log.path),
            d.verdict,
            {(f.code, f.severity) for f in d.findings},
            d.causes[0].id if d.causes else "",
            [a.status for a in d.before.criteria] if d.before else [],
        )
        for d in diagnoses
    ]


def _stamp(paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Time and size of every file behind the paths, two folders deep."""
    found: dict[str, tuple[int, int]] = {}
    for path in paths:
        for file in [path, *path.glob("*"), *path.glob("*/*")] if path.is_dir() else [path]:
            if len(found) < FILES and file.is_file():
                state = file.stat()
                found[str(file)] = (state.st_mtime_ns, state.st_size)
    return found

"""From a path to the logs behind it: which format a file has is seen in the file, never asked.

Only the start of a file decides who reads it, so that nothing large is read to learn that it is no
log. A folder gives a log for each that stands in it. Left out: the formats themselves (one
read_NAME.py each).

A reader has `read`, of a path and the start of the file as text, or `read_folder`, of a path, or
both. They give the logs, or None where the file or folder is of another format. A new format is a
new read_NAME.py with its place in FILES or FOLDERS, before the general ones, since the first that
takes a file reads it; names_LIBRARY.toml says what its columns mean.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import (
    read_delimited,
    read_frameworks,
    read_json,
    read_markdown,
    read_pawl,
    read_tensorboard,
    read_text,
    read_trackio,
    read_trl,
    read_trl_console,
    read_trl_folder,
    read_verl,
    read_wandb,
)
from pawl.logs.log import Log, canonical
from pawl.logs.table import Raw
from pawl.metrics import CATALOGUE, catalogued

HEAD = 1 << 16  # bytes of a file that tell its format
FILES = (  # the first one that takes a file reads it
    read_pawl, read_trl, read_wandb, read_trackio, read_tensorboard, read_verl, read_frameworks,
    read_trl_console, read_markdown, read_delimited, read_json, read_text,
)  # fmt: skip
FOLDERS = (read_pawl, read_trl_folder, read_wandb, read_trackio, read_tensorboard, read_verl)
HINT = "docs/doctor-formats.md lists the formats"
UNPACK, RECODE = "unpack it first", "save it as UTF-8, such as by `iconv -f UTF-16 -t UTF-8`"
UNREAD = {  # how a file begins that no reader reads -> what it is, and the remedy
    b"PK\x03\x04": ("a zip archive", UNPACK),
    b"PK\x05\x06": ("an empty zip archive", UNPACK),
    b"\x1f\x8b": ("packed by gzip", UNPACK),
    b"BZh": ("packed by bzip2", UNPACK),
    b"\xfd7zXZ": ("packed by xz", UNPACK),
    b"(\xb5/\xfd": ("packed by zstd", UNPACK),
    b"\xff\xfe": ("UTF-16 text", RECODE),
    b"\xfe\xff": ("UTF-16 text", RECODE),
}
PROGRAMS = (".py", ".pyc", ".sh", ".toml", ".yaml", ".yml")  # passed over in folders
MANY = 5_000  # entries of a folder that are looked at
DEEP = 6  # folders within folders
NOT_ENOUGH = {"step", "epoch", "optim/lr", "samples", "tokens"}  # a config has such numbers too


@dataclass(slots=True)
class Found:
    """What stands behind a path. skipped: files of a folder that are no logs, and why."""

    logs: list[Log] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def read_logs(path: Path, names: Mapping[str, str] | None = None) -> list[Log]:
    """Every log behind a path, in the order of their paths; raises PawlError when there is none."""
    return search(path, names).logs


def search(path: Path, names: Mapping[str, str] | None = None) -> Found:
    """The logs behind a path, or on standard input for "-", and what was no log.

    names: the user's own column map, source name -> canonical name. Raises PawlError when there is
    no log or nothing can be read.
    """
    names = names or {}
    if str(path) == "-":
        return Found(_standard_input(names))
    mode = _mode(path)
    if stat.S_ISREG(mode):
        return Found(_file(path, names))
    if not stat.S_ISDIR(mode):
        raise PawlError("neither a file nor a folder", str(path))
    found = Found()
    _folder(path, names, found)
    if not found.logs:
        why = {reason for _, reason in found.skipped}
        said = f": {why.pop()}" if len(why) == 1 else f"; {HINT}"
        hint = f"{len(found.skipped)} files were looked at{said}"
        raise PawlError("no training log in this folder", str(path), hint)
    return found


def column_map(pairs: Sequence[str]) -> dict[str, str]:
    """SOURCE=NAME, each as typed, as a column map; raises PawlError for a NAME that is none."""
    names = {}
    for pair in pairs:
        source, sign, name = pair.rpartition("=")
        if not sign or not source:
            raise PawlError("a column map is SOURCE=NAME", f"--map {pair}")
        if catalogued(name) is None:
            near = get_close_matches(name, CATALOGUE, 1)
            hint = f"did you mean `{near[0]}`?" if near else "docs/metrics.md lists the metrics"
            raise PawlError(f"no metric is called `{name}`", f"--map {pair}", hint)
        names[source] = name
    return names


def _mode(path: Path) -> int:
    """What kind of thing a path is; raises PawlError when there is nothing that can be seen."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise PawlError("no such file or folder", str(path)) from None
    except (OSError, ValueError) as e:
        raise PawlError(_why(e), str(path)) from e


def _why(e: Exception) -> str:
    """Why something was not read, in words."""
    if isinstance(e, PawlError):
        return e.what
    return f"cannot be read: {getattr(e, 'strerror', None) or e}"


def _file(path: Path, names: Mapping[str, str]) -> list[Log]:
    """The logs of one file; raises PawlError when it holds none."""
    first: PawlError | None = None
    try:
        with path.open("rb") as file:
            head = _text(path, file.read(HEAD))
        for reader in FILES:
            try:
                raws: list[Raw] | None = reader.read(path, head)
                if raws is not None:
                    return _logs(path, raws, names)
            except PawlError as e:
                first = first or e
    except OSError as e:
        raise PawlError(_why(e), str(path)) from e
    raise first or PawlError("no training log that Pawl knows", str(path), HINT)


def _text(path: Path, start: bytes) -> str:
    """The start of a file as text; raises PawlError for what no reader reads."""
    if not start:
        raise PawlError("the file is empty", str(path))
    for magic, (what, hint) in UNREAD.items():
        if start.startswith(magic):
            raise PawlError(f"the file is {what}", str(path), hint)
    return start.decode("utf-8-sig", "replace")


def _logs(path: Path, raws: list[Raw], names: Mapping[str, str]) -> list[Log]:
    """What a reader gave, in canonical terms; raises PawlError when it holds no numbers."""
    full = [raw for raw in raws if raw.table.columns or raw.library == "pawl"]
    if not full:
        notes = "; ".join(note for raw in raws for note in raw.notes)
        taken = f"taken for: {raws[0].format}; " if raws else ""
        what = "no records with numbers" + (f" ({notes})" if notes else "")
        raise PawlError(what, str(path), taken + HINT)
    for raw in full:
        raw.names = names
    return [canonical(raw) for raw in full]


def _folder(path: Path, names: Mapping[str, str], found: Found, depth: int = 0) -> None:
    """Collect the logs of a folder: as a whole if it is one log's, else of all that is in it.

    Left out is what is hidden, links to folders, and programs.
    """
    for reader in FOLDERS:
        try:
            raws: list[Raw] | None = reader.read_folder(path)
            if raws is not None:
                found.logs += _logs(path, raws, names)
                return
        except (PawlError, OSError) as e:
            found.skipped.append((path, _why(e)))
    try:
        entries = sorted(path.iterdir())
    except OSError as e:
        found.skipped.append((path, _why(e)))
        return
    for entry in entries:
        is_folder = os.path.isdir(entry)
        if entry.name.startswith(".") or (is_folder and (depth >= DEEP or entry.is_symlink())):
            continue
        if len(found.logs) + len(found.skipped) >= MANY:
            found.skipped.append((path, f"only the first {MANY} files were looked at"))
            return
        try:
            if is_folder:
                _folder(entry, names, found, depth + 1)
            elif stat.S_ISREG(_mode(entry)) and entry.suffix not in PROGRAMS:
                logs = [log for log in _file(entry, names) if _says_something(log)]
                found.logs += logs
                if not logs:
                    raise PawlError("no metric that Pawl knows", str(entry))
        except PawlError as e:
            found.skipped.append((entry, e.what))


def _says_something(log: Log) -> bool:
    """Whether a file that nobody named is worth a diagnosis: a config has numbers too."""
    return log.library == "pawl" or bool(set(log.series) - NOT_ENOUGH)


def _standard_input(names: Mapping[str, str]) -> list[Log]:
    """The logs on standard input, by way of a file, since readers take files."""
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        logs = _file(Path(file.name), names)
    for log in logs:
        log.path = Path("-")
    return logs

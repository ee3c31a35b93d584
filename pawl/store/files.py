"""Bytes to disk so that a reader never sees half of something.

Whole-line appends (one write; a short one is undone), whole-file replacement by rename, reading
that drops a torn last line, and repair of such a line before writing goes on. Numbers that JSON
cannot hold are written as the strings "nan", "inf" and "-inf"; null means not measured; a lone
surrogate in a text becomes its JSON escape. Left out: what the lines mean (`run`, `read`).
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pawl.errors import Exit, PawlError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
BLOCK = 1 << 16  # bytes that are looked at for the end of the last whole line
DEEPEST = 16  # objects within objects that are looked into
Record = Mapping[str, object]


def dumps(record: object) -> str:
    """One line of JSON; what is not finite becomes "nan", "inf" or "-inf"."""
    return json.dumps(_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def flat(body: object, outer: str = "", depth: int = 0) -> dict[str, object]:
    """The values of a nested object under dotted paths; lists are values."""
    found: dict[str, object] = {}
    for key, value in body.items() if isinstance(body, Mapping) else ():
        if isinstance(value, Mapping) and depth < DEEPEST:
            found |= flat(value, f"{outer}{key}.", depth + 1)
        else:
            found[f"{outer}{key}"] = value
    return found


def _lines(records: Iterable[Record]) -> str:
    return "".join(dumps(record) + "\n" for record in records)


def append_lines(path: Path, records: Sequence[Record], expected: int | None = None) -> bytes:
    """Append records as whole lines in one write, which is returned.

    expected: bytes that the file must hold before. Raises PawlError (exit 4) where it does not, and
    on a full disk.
    """
    data = _lines(records).encode("utf-8", "backslashreplace")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | (0 if expected else os.O_CREAT), 0o644)
        try:
            size = os.fstat(fd).st_size
            if expected is not None and size != expected:
                what = f"the file was changed: {size} bytes, and the run wrote {expected}"
                hint = "put it back as it was, then resume; nothing but the run writes to it"
                raise PawlError(what, str(path), hint, Exit.STOPPED)
            if os.write(fd, data) != len(data):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as e:
        raise write_error(e, path) from e
    return data


def sync(path: Path) -> None:
    """Have a file, or the entries of a folder, on the disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, text: str) -> None:
    """Replace a file by rename after syncing it; raises PawlError (exit 4) on a full disk."""
    tmp = path.with_name(f"{path.name}.tmp")
    try:
        with tmp.open("w", encoding="utf-8", errors="backslashreplace") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except OSError as e:
        tmp.unlink(missing_ok=True)
        raise write_error(e, path) from e


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Replace a file by these records, as `write_atomic` does."""
    write_atomic(path, _lines(records))


def write_error(e: OSError, path: Path, code: Exit = Exit.STOPPED) -> PawlError:
    """A user's message for a failed write; a full disk ends the run resumable (exit 4)."""
    if e.errno in NO_ROOM:
        hint = "free some space, then `pawl train --resume` goes on from the last checkpoint"
        what = "the disk is full; nothing half-written was kept"
        return PawlError(what, str(path), hint, Exit.STOPPED)
    hint = "check that the folder exists and may be written"
    return PawlError(f"cannot write: {e.strerror or e}", str(path), hint, code)


def read_lines(path: Path) -> Iterator[dict[str, object]]:
    """Every whole line of a JSONL file; a torn last line is dropped, a missing file is empty.

    Raises PawlError with the line number for a whole line that is not a JSON object.
    """
    if not path.exists():
        return
    with path.open("rb") as f:
        for number, line in enumerate(f, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError as e:
                raise PawlError(f"not a line of JSON ({e})", f"{path}:{number}") from e
            if not isinstance(record, dict):
                raise PawlError("not a JSON object", f"{path}:{number}")
            yield record


def repair(path: Path) -> bool:
    """Cut a torn last line off, so that the next append starts on a new line; True if one was."""
    if not path.exists():
        return False
    with path.open("rb+") as f:
        size = at = f.seek(0, os.SEEK_END)
        whole = 0
        while at and not whole:
            at = max(0, at - BLOCK)
            f.seek(at)
            whole = f.read(BLOCK).rfind(b"\n") + 1
        whole += at if whole else 0
        if whole < size:
            f.truncate(whole)
    return whole < size

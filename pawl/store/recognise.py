"""From a path to the logs behind it: which format a file has is seen in the file, never asked.

Left out: the formats themselves (one import_NAME.py each).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pawl.errors import PawlError
from pawl.store import import_plain, import_trl
from pawl.store.log import Log, Raw, canonical

HEAD = 1 << 16  # characters of a file that tell its format
IMPORTERS = (import_trl, import_plain)  # the first that takes a file reads it


def read_logs(path: Path, names: Mapping[str, str] | None = None) -> list[Log]:
    """Every log behind a path; raises PawlError when there is none.

    names: what columns mean where the user says so, source name -> canonical name.
    """
    if not path.exists():
        raise PawlError("no such file or folder", str(path))
    found = _raws(path)
    for raw in found:
        raw.names = names or raw.names
    return [canonical(raw) for raw in found]


def _raws(path: Path) -> list[Raw]:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
    for module in IMPORTERS:
        if module.looks_like(path, head):
            return [module.read(path)]
    raise PawlError(
        "no training log that Pawl knows", str(path), "docs/doctor.md lists the formats"
    )

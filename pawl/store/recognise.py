"""From a path to the logs behind it: which format a file has is seen in the file, never asked.

Left out: the formats themselves (one import_NAME.py each).
"""

from __future__ import annotations

from pathlib import Path

from pawl.errors import PawlError
from pawl.store import (
    import_nemo,
    import_open_instruct,
    import_openrlhf,
    import_others,
    import_plain,
    import_prime,
    import_trl,
    import_verl,
    import_verl_dump,
)
from pawl.store.log import Log, Raw, canonical

HEAD = 1 << 16  # characters of a file that tell its format
IMPORTERS = (
    import_trl,
    import_verl,
    import_verl_dump,
    import_openrlhf,
    import_prime,
    import_nemo,
    import_open_instruct,
    import_others,
    import_plain,
)  # the first that takes a file reads it


def read_logs(path: Path) -> list[Log]:
    """Every log behind a path; raises PawlError when there is none."""
    if not path.exists():
        raise PawlError("no such file or folder", str(path))
    return [canonical(raw) for raw in _raws(path)]


def _raws(path: Path) -> list[Raw]:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
    for module in IMPORTERS:
        if module.looks_like(path, head):
            return [module.read(path)]
    raise PawlError(
        "no training log that Pawl knows", str(path), "docs/doctor.md lists the formats"
    )

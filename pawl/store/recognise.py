"""From a path to the logs behind it: which format a file has is seen in the file, never asked.

Left out: the formats themselves (one import_NAME.py each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from pawl.errors import PawlError
from pawl.metrics import CATALOGUE
from pawl.store import import_plain, import_trl
from pawl.store.log import Log, Raw, canonical

HEAD = 1 << 16  # characters of a file that tell its format
IMPORTERS = (import_trl, import_plain)  # the first that takes a file reads it


@dataclass(slots=True)
class Found:
    """What stands behind a path. skipped: files of a folder that are no logs, and why."""

    logs: list[Log] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def read_logs(path: Path, names: Mapping[str, str] | None = None) -> list[Log]:
    """Every log behind a path, in the order of their paths; raises PawlError when there is none."""
    return search(path, names).logs


def search(path: Path, names: Mapping[str, str] | None = None) -> Found:
    """The logs behind a path, and what was no log; raises PawlError when there is no log.

    names: what columns mean where the user says so, source name -> canonical name.
    """
    if not path.exists():
        raise PawlError("no such file or folder", str(path))
    found = _raws(path)
    for raw in found:
        raw.names = names or raw.names
    return Found([canonical(raw) for raw in found])


def column_map(pairs: Sequence[str]) -> dict[str, str]:
    """SOURCE=NAME, each as typed, as a column map; raises PawlError for a NAME that is none."""
    names = {}
    for pair in pairs:
        source, sign, name = pair.rpartition("=")
        if not sign or not source:
            raise PawlError("a column map is SOURCE=NAME", f"--map {pair}")
        if name not in CATALOGUE and f"{name.split('/')[0]}/*" not in CATALOGUE:
            near = get_close_matches(name, CATALOGUE, 1)
            hint = f"did you mean `{near[0]}`?" if near else "docs/metrics.md lists the metrics"
            raise PawlError(f"no metric is called `{name}`", f"--map {pair}", hint)
        names[source] = name
    return names


def _raws(path: Path) -> list[Raw]:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
    for module in IMPORTERS:
        if module.looks_like(path, head):
            return [module.read(path)]
    raise PawlError(
        "no training log that Pawl knows", str(path), "docs/doctor.md lists the formats"
    )

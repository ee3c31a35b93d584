"""What leaves W&B's server: a chart's CSV ("Step", "run - metric", ...) and a run's history.

A chart's CSV holds a column for each run and metric, beside it its least and largest value; every
run is a log. A history (`run.scan_history()`, `run.history()`) is JSON, JSON lines or CSV with the
columns _step and _runtime or _timestamp. Built from docs.wandb.ai (guides/app/features/panels,
ref/python/public-api/run), not tested on files from the server. Left out: reports, media.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import trackers
from pawl.logs.json_stream import lines, objects, whole
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

CHART = "chart exported from W&B (CSV)"
HISTORY = "run history exported from W&B"
FIRST = ("Step", "Relative Time (Process)", "Relative Time (Wall)", "Wall Time")
OTHER_FIRST = ("global_step", "step", "epoch")
EXTREMES = ("__MIN", "__MAX")
LIST = re.compile(r"^\s*\[")
BETWEEN = " - "
COLUMNS = re.compile(r'"_step"\s*:\s*[{\[]')
KEYS = re.compile(r'"_step"\s*:')
CLOCK = re.compile(r'"_(?:runtime|timestamp)"\s*:')


def looks_like(path: Path, head: str) -> bool:
    """Whether a file is a chart's CSV, or a history with W&B's own columns."""
    head = head.lstrip("\ufeff \t\r\n")
    if head[:1] in ("{", "["):
        return bool(KEYS.search(head) and CLOCK.search(head))
    names = _names(head)
    if "_step" in names:
        return "_runtime" in names or "_timestamp" in names
    return _is_chart(names)


def _names(head: str) -> list[str]:
    """The column names of a CSV, none for anything else."""
    lines = head.splitlines()[:1]
    try:
        return next(csv.reader(lines), [])
    except csv.Error:
        return []


def _is_chart(names: list[str]) -> bool:
    pairs = [name for name in names[1:] if BETWEEN in name]
    if len(pairs) != len(names) - 1 or not pairs:
        return False
    extremes = any(name.endswith(EXTREMES) for name in pairs)
    return names[0] in FIRST or (extremes and ("/" in names[0] or names[0] in OTHER_FIRST))


def read(path: Path) -> list[Raw]:
    """The runs of a file; raises PawlError when it holds no number."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(1 << 16).lstrip("\ufeff \t\r\n")
    kind = head[:1] if head[:1] in ("{", "[") else ""
    if not kind and "_step" not in _names(head):
        raws = _chart(path)
    else:
        raw = Raw(path, HISTORY, "any", Table())
        raws = [trackers.fill(raw, _history(path, raw.notes, kind, head))]
    raws = [raw for raw in raws if raw.table.columns]
    if not raws:
        raise PawlError(
            "the W&B export holds no numbers", str(path), "docs/doctor.md lists formats"
        )
    return raws


def _cells(path: Path, notes: list[str]) -> Iterator[Row]:
    """The rows of a CSV without its empty cells."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            for row in csv.DictReader(file):
                yield {k: v for k, v in row.items() if k and v not in ("", None)}
        except csv.Error as error:
            notes.append(f"the CSV breaks off ({error}); what came before was read")


def _history(path: Path, notes: list[str], kind: str, head: str) -> Iterator[Row]:
    """Rows of a JSON list, of an object of columns, of JSON lines, or of a CSV."""
    if kind == "[":
        return objects(path, LIST, notes)
    if kind == "{" and COLUMNS.search(head):
        return _by_columns(whole(path))
    return lines(path, notes) if kind == "{" else _cells(path, notes)


def _by_columns(body: object) -> Iterator[Row]:
    """Rows of `run.history().to_json()`: every column an object by row number, or a list."""
    rows: dict[str, Row] = {}
    for name, column in body.items() if isinstance(body, dict) else ():
        pairs = enumerate(column) if isinstance(column, list) else ()
        for place, value in column.items() if isinstance(column, dict) else pairs:
            rows.setdefault(str(place), {})[name] = value
    yield from rows.values()


def _chart(path: Path) -> list[Raw]:
    """One log for each run of a chart; least and largest values keep names of their own."""
    notes, runs = list[str](), dict[str, Raw]()
    for row in _cells(path, notes):
        name, step = next(iter(row.items()), ("", None))
        parts: dict[str, Row] = {}
        for column, value in row.items():
            if column == name or BETWEEN not in column:
                continue
            run, metric = column.rsplit(BETWEEN, 1)
            parts.setdefault(run, {})[metric] = value
        for run, values in parts.items():
            if run not in runs:
                runs[run] = Raw(path, f'{CHART}, run "{run}"', "any", Table())
            runs[run].table.add({"step": step, **values})
    for raw in runs.values():
        raw.notes += notes
        trackers.finish(raw)
    return list(runs.values())

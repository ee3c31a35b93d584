"""A run folder of Pawl, finished or still being written: steps, config, events, checks, samples.

A torn last line is left out silently (the run is writing it); other lines that are no record are
left out with a note. Left out: what the files mean (docs/run-folder.md), reading a run for
anything but a diagnosis (`pawl.store.read`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from pawl import renamed
from pawl.errors import PawlError
from pawl.logs.json_stream import lines
from pawl.logs.table import Event, Raw, Row, Table
from pawl.store.files import flat, read_lines

FORMAT = "run folder of Pawl"
FILES = ("run.json", "steps.jsonl", "events.jsonl")  # any of them stands for its folder
TRAINED = 20  # newest steps whose problems are compared with those of an evaluation
SAMPLES, STEPS, MOST = 200, 3, 1_000  # newest samples, and of how many steps, and at most
HEAVY = ("tokens", "kept")  # fields of a sample that no rule reads
SAYING = ("text", "what", "error", "reason", "why", "checkpoint", "outcome", "files")


def read(path: Path, head: str) -> list[Raw] | None:
    """The run that one of its files belongs to."""
    return read_folder(path.parent) if path.name in FILES and head.lstrip()[:1] == "{" else None


def read_folder(path: Path) -> list[Raw] | None:
    """A run, whose run.json has Pawl's format, config and seed; one without a step has no rows."""
    if not (path / "run.json").is_file():
        return None
    from pawl.store.read import read_run  # slow to import, and most logs are not Pawl's

    try:
        facts = read_run(path)
    except (PawlError, OSError, RecursionError):
        return None
    config, packages, parent = (facts.get(name) for name in ("config", "packages", "parent"))
    if not isinstance(config, Mapping) or not {"format", "config_hash"} <= set(facts):
        return None
    raw = Raw(path, FORMAT, "pawl", Table(), config=_of_today(flat(config)))
    steps = path / "steps.jsonl"
    for record in lines(steps, raw.notes, live=True) if steps.is_file() else ():
        raw.table.add({renamed.METRICS.get(name, name): value for name, value in record.items()})
    if not raw.table.n:
        raw.notes.append("no step is recorded yet")
    elif raw.table.n == 1:
        raw.notes.append("the state before training is the only record yet")
    if raw.table.n and (share := trained_frac(path)) is not None:
        raw.table.put("eval/trained_frac", np.array([raw.table.n - 1]), np.array([share]))
    raw.events = list(_events(_until_odd(path / "events.jsonl", raw.notes)))
    if isinstance(parent, Mapping) and not any(e.kind == "fork" for e in raw.events):
        step = _number(parent.get("step"), 0.0)
        raw.events.insert(0, Event(step, "fork", str(parent.get("run"))))
    if isinstance(packages, Mapping):
        raw.version = str(packages.get("pawl") or "")
    raw.checks = list(_until_odd(path / "preflight.jsonl", raw.notes))
    raw.samples, raw.first_samples = _newest(path, raw.notes), _first(path, raw.notes)
    return [raw]


def _of_today(config: Row) -> Row:
    """Options of a run of any version under the names and values of this one."""
    found = {renamed.OPTIONS.get(name, name): value for name, value in config.items()}
    for name, values in renamed.VALUES.items():
        if name in found:
            found[name] = values.get(str(found[name]), found[name])
    return found


def trained_frac(run: Path) -> float | None:
    """Share of the newest evaluation's problems that recent training samples stand for.

    None without an evaluation or without training samples. Near duplicates are not seen, nor
    problems that were drawn without leaving a sample (preflight looks at the sets themselves).
    """
    folder = run / "samples"
    evaluated = _problems(sorted(folder.glob("eval-*.jsonl"))[-1:])
    trained = _problems(sorted(folder.glob("step-*.jsonl"))[-TRAINED:])
    return len(evaluated & trained) / len(evaluated) if evaluated and trained else None


def _problems(files: list[Path]) -> set[str]:
    """Problem ids in sample files."""
    rows = (row for file in files for row in _until_odd(file, []))
    return {str(row["problem_id"]) for row in rows if "problem_id" in row}


def _until_odd(path: Path, notes: list[str]) -> Iterator[Row]:
    """Records of a file up to the first line that is none."""
    try:
        yield from read_lines(path)
    except (PawlError, OSError, RecursionError) as e:
        notes.append(f"{path.name} cannot be read to its end: {e}")


def _events(rows: Iterator[Row]) -> Iterator[Event]:
    """Events at the step that they name, or at that of the event before."""
    step = 0.0
    for row in rows:
        step = _number(row.get("after_step", row.get("step")), step)
        yield Event(step, str(row.get("kind", "")), _text(row))


def _text(row: Row) -> str:
    """What an event says, in one line."""
    if row.get("kind") in ("command", "patch"):
        change = f" {json.dumps(row['set'])}" if "set" in row else ""
        return f"{row.get('command', 'patch')}{change}: {row.get('outcome', '?')}"
    said = [str(row[name]) for name in SAYING if row.get(name)]
    if row.get("exit_code") is not None:
        said.append(f"exit code {row['exit_code']}")
    return "; ".join(said)


def _newest(path: Path, notes: list[str]) -> tuple[Row, ...]:
    """The newest samples of training in the order of their steps, whole steps if they fit."""
    found: list[Row] = []
    files = sorted((path / "samples").glob("step-*.jsonl"), reverse=True)
    for n, file in enumerate(files, 1):
        rows = list(_until_odd(file, notes))[-(MOST - len(found)) :]
        found = [_light(row) for row in rows] + found
        if len(found) >= MOST or (len(found) >= SAMPLES and n >= STEPS):
            break
    return tuple(found)


def _first(path: Path, notes: list[str]) -> tuple[Row, ...]:
    """The first samples of training, in whole groups where a step's file holds no more."""
    files = sorted((path / "samples").glob("step-*.jsonl"))
    rows = chain.from_iterable(_until_odd(file, notes) for file in files)
    return tuple(_light(row) for row in islice(rows, SAMPLES))


def _light(row: Row) -> Row:
    return {k: v for k, v in row.items() if k not in HEAVY}


def _number(value: object, other: float) -> float:
    return float(value) if isinstance(value, int | float) else other

"""A run folder, seen by a reader: run.json, steps, samples, events, and where runs are.

Needs no lock and tolerates a run that is being written: a torn last line is dropped. Of the runs of
a folder nothing is stored: one that was moved or deleted cannot leave a stale entry. Left out:
writing (`run`), comparing (`compare`), choosing samples (`samples`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pawl.config.options import RunConfig, run_name_fault
from pawl.config.tree import nearest
from pawl.errors import PawlError
from pawl.store.digests import seal
from pawl.store.files import NOT_FINITE, read_lines
from pawl.store.lock import holder
from pawl.store.manifest import parent_of

ENDINGS = {
    "error": "refused",
    "crash": "crashed",
    "interrupted": "interrupted",
    "stopped": "stopped",
}
ENDED = {0: "finished", 1: "target missed", 4: "stopped", 130: "interrupted"}
Row = dict[str, object]


def number(record: Mapping[str, object], name: str) -> float | None:
    """A figure of a record as it was computed; None where it is missing or not recorded."""
    value = record.get(name)
    if isinstance(value, str) and value in NOT_FINITE:  # what JSON cannot write stands as text
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    assert value is None, f"{name} is {value!r}, no number"
    return None


def column(records: Iterable[Mapping[str, object]], name: str) -> list[float]:
    """A figure of some records, those without it left out."""
    return [x for record in records if (x := number(record, name)) is not None]


def count(record: Mapping[str, object], name: str) -> int:
    """A whole number that every record of this kind has."""
    value = record[name]
    assert isinstance(value, int), f"{name} is {value!r}, no count"
    return value


def find_run(run: str, runs_dir: str | Path = "runs") -> Path:
    """The folder of a run given as a path or as a name under `runs_dir`; raises PawlError."""
    names = [] if run_name_fault(run) else [Path(runs_dir) / run]  # no name leaves runs_dir
    for path in (Path(run), *names):
        if is_run(path):
            return path
    root = Path(runs_dir)
    near = sorted(p.parent.name for p in root.glob("*/run.json")) if root.is_dir() else []
    meant = nearest(run, near, [])
    hint = f"did you mean `{meant}`?" if meant else f"`pawl runs {runs_dir}` lists what there is"
    raise PawlError("not a run folder (no run.json)", run, hint)


def read_run(run: Path) -> Row:
    """run.json; raises PawlError when there is none."""
    path = run / "run.json"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "`pawl runs` lists the runs of a folder"
        raise PawlError("not a run folder (no run.json)", str(run), hint) from None
    except ValueError as e:
        raise PawlError(f"unreadable run.json ({e})", str(run)) from e
    if not isinstance(body, dict):
        raise PawlError("unreadable run.json (not an object)", str(run))
    return body


def require_sealed(run: Path) -> None:
    """Raise PawlError when run.json is not as Pawl wrote it: its options are what others go by."""
    facts = read_run(run)
    if facts.get("digest") != seal(facts):
        hint = "put it back as Pawl wrote it; `pawl export` still takes the weights out"
        raise PawlError("run.json was changed since it was written", str(run), hint)


def is_run(path: Path) -> bool:
    """Whether a path is a run folder; one that cannot be a path is none."""
    try:
        return (path / "run.json").is_file()
    except OSError:  # too long a name, a folder that may not be entered
        return False


def run_and_steps(name: str) -> tuple[Path, str]:
    """RUN@STEPS as the folder and what stands behind the last "@"; "" when it is a run as it is."""
    whole = Path(name).expanduser()
    run, sign, steps = name.rpartition("@")
    return (whole, "") if not sign or is_run(whole) else (Path(run).expanduser(), steps)


def saved_config(run: Path) -> RunConfig:
    """The run's resolved config; raises PawlError when this Pawl does not know its options."""
    try:
        return RunConfig.model_validate_json(json.dumps(read_run(run).get("config")))
    except ValidationError as e:
        what = f"run.json holds a config that this Pawl does not know ({e.error_count()} faults)"
        raise PawlError(what, str(run), "use the version that its `packages` name") from e


def places_of(run: Path) -> dict[str, str]:
    """Where the options that differ from the defaults were set, when the run began."""
    rows = read_run(run).get("differs_from_defaults")
    assert isinstance(rows, list)
    return {row["path"]: row["from"] for row in rows}


def read_steps(run: Path) -> list[Row]:
    """Every step record in order; "nan", "inf" and "-inf" are floats again."""
    return [_finite(record) for record in read_lines(run / "steps.jsonl")]


def read_events(run: Path) -> list[Row]:
    """Every event in order."""
    return list(read_lines(run / "events.jsonl"))


def read_samples(
    run: Path, step: int | None = None, kind: Literal["step", "eval"] = "step"
) -> Iterator[Row]:
    """Sample rows in step order, of one step or of all; an absent step yields nothing."""
    pattern = f"{kind}-*.jsonl" if step is None else f"{kind}-{step:06d}.jsonl"
    for path in sorted((run / "samples").glob(pattern)):
        yield from read_lines(path)


def series(steps: Sequence[Mapping[str, object]], name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric where it was measured; missing values are left out."""
    found = []
    for record in steps:
        host = record.get("host")
        value = record.get(name, host.get(name) if isinstance(host, dict) else None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append((count(record, "step"), float(value)))
    return found


def _finite(value: object) -> Any:
    """A value of a step record with its not-finite numbers as floats."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run. state: running, finished, target missed, stopped, interrupted, refused, crashed,
    killed (it ended without a word), or damaged (it cannot be read). Figures are None where nothing
    was measured; parent is RUN@STEP for a fork."""

    name: str
    path: str
    state: str
    created: str
    model: str
    problems: str
    step: int | None
    reward: float | None
    success_first: float | None
    success_last: float | None
    config_hash: str
    parent: str | None


def list_runs(folder: Path) -> list[RunInfo]:
    """Every run below a folder, newest first; raises PawlError when there is no such folder."""
    if not folder.is_dir():
        raise PawlError("no such folder of runs", str(folder), "runs_dir in the config names it")
    found = [_info_or_damaged(path.parent) for path in folder.glob("*/run.json")]
    return sorted(found, key=lambda run: run.created, reverse=True)


def _info_or_damaged(run: Path) -> RunInfo:
    """The facts of a run; of one whose records cannot be read its name and that."""
    try:
        return run_info(run)
    except PawlError:
        unread = (None, None, None, None)
        return RunInfo(run.name, str(run), "damaged", "", "", "", *unread, "", None)


def run_info(run: Path) -> RunInfo:
    """The facts of one run."""
    body, steps = read_run(run), read_steps(run)
    config = body.get("config")
    assert isinstance(config, dict)
    rewards = series(steps, "reward/mean")
    evals = series(steps, "eval/success") or series(steps, "eval/pass_at_1")
    parent = parent_of(body)
    evals = [(step, v) for step, v in evals if parent is None or step >= parent.start_step]
    return RunInfo(
        name=run.name,
        path=str(run),
        state=state(run, read_events(run)),
        created=str(body.get("created", "")),
        model=str(config["model"]["path"]),
        problems=str(config["problems"]["train"]),
        step=count(steps[-1], "step") if steps else None,
        reward=rewards[-1][1] if rewards else None,
        success_first=evals[0][1] if evals else None,
        success_last=evals[-1][1] if evals else None,
        config_hash=str(body.get("config_hash", "")),
        parent=parent.name if parent else None,
    )


def state(run: Path, events: list[Row]) -> str:
    """How a run stands, from its lock and the last event that says how it ended."""
    if holder(run) is not None:
        return "running"
    for event in reversed(events):
        kind = str(event.get("kind"))
        if kind == "end":
            return ENDED.get(count(event, "exit_code"), "finished")
        if kind in ENDINGS:
            return "stopped" if event.get("code") == 4 else ENDINGS[kind]
        if kind in ("start", "resume"):
            break
    return "killed"

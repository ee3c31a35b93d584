"""The runs of a folder, one line of facts each, read from the run folders themselves.

Nothing is stored: a run that was moved or deleted cannot leave a stale entry. Left out: printing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pawl.errors import PawlError
from pawl.store.lock import holder
from pawl.store.parent import parent_of
from pawl.store.read import Row, count, read_events, read_run, read_steps, series

ENDINGS = {
    "error": "refused",
    "crash": "crashed",
    "interrupted": "interrupted",
    "stopped": "stopped",
}
ENDED = {0: "finished", 1: "target missed", 4: "stopped", 130: "interrupted"}


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run. state: running, finished, target missed, stopped, interrupted, refused, crashed,
    or killed (it ended without a word). Figures are None where nothing was measured; parent is
    RUN@STEP for a fork."""

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
    found = [run_info(path.parent) for path in folder.glob("*/run.json")]
    return sorted(found, key=lambda run: run.created, reverse=True)


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

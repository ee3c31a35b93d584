"""run.json: what a run is, written when it begins; its parent; what makes two configs the same.

Two facts of a fork's parent steer the trainer. `start_step` is the step whose held-out evaluation
later ones are paired with: 0, or the fork's step where figures before and after it would not
compare. `origin` is where the length of the run and its schedule count from. Left out: facts that
only the trainer learns later (`RunFolder.update` adds them), making a fork (`train/fork.py`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pawl.config.options import RunConfig
from pawl.config.tree import leaves
from pawl.errors import PawlError, PawlErrors
from pawl.store import facts
from pawl.store.files import dumps, read_lines
from pawl.store.lock import holder

FORMAT = 1
PLACE = ("name", "runs_dir")  # where a run stands, not what it is


@dataclass(frozen=True, slots=True)
class Origin:
    """What was done when the options last changed that say how much a step does; else zeros."""

    step: int = 0
    samples: int = 0
    sampled_prompts: int = 0
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Parent:
    """run: the parent's folder as it was given; changed: by option, `from` and `to`."""

    run: str
    step: int
    config_hash: str
    changed: dict[str, dict[str, object]]
    start_step: int = 0
    origin: Origin = field(default_factory=Origin)

    @property
    def name(self) -> str:
        """RUN@STEP, without the folder that the parent stands in."""
        return f"{Path(self.run).name}@{self.step}"


def parent_of(facts: Mapping[str, object]) -> Parent | None:
    """The parent that a run.json names, None for a run that is no fork; PawlError if unreadable."""
    body = facts.get("parent")
    if not body:
        return None
    try:
        return TypeAdapter(Parent).validate_python(body)
    except ValidationError as e:
        what = f"run.json has a parent that cannot be read: {e.errors()[0]['msg']}"
        raise PawlError(what, str(facts.get("name", ""))) from e


def date_of(facts: Mapping[str, object]) -> str:
    """The day that the chat template of a run prints, "" for one that prints none; PawlError."""
    day = facts.get("date") or ""
    try:
        return date.fromisoformat(day).isoformat() if isinstance(day, str) and day else ""
    except ValueError as e:
        raise PawlError(f"run.json has an unreadable date: {e}", str(facts.get("name", ""))) from e


def changes(before: RunConfig, after: RunConfig) -> dict[str, dict[str, object]]:
    """Every option whose value differs, with `from` and `to`; the run's name and place aside."""
    old, new = leaves(before), leaves(after)
    return {
        path: {"from": old.get(path), "to": new.get(path)}
        for path in {**old, **new}
        if path not in PLACE and old.get(path) != new.get(path)
    }


def config_hash(cfg: RunConfig) -> str:
    """Hash of everything that results depend on: all options but the run's name and place."""
    values = {k: v for k, v in leaves(cfg).items() if k not in PLACE}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def differences(cfg: RunConfig, places: Mapping[str, str]) -> list[dict[str, object]]:
    """Options whose value is not the default: path, default, value and where it was set."""
    default = leaves(RunConfig())
    return [
        {"path": k, "default": default.get(k), "value": v, "from": places.get(k, "default")}
        for k, v in leaves(cfg).items()
        if k not in default or default[k] != v
    ]


def require_same(run: Path, saved: RunConfig, cfg: RunConfig) -> None:
    """Raise PawlErrors naming every option in which `cfg` differs from what the run saved."""
    errors = [
        PawlError(f"`{path}` is {was['from']!r} in the run and {was['to']!r} here", str(run))
        for path, was in changes(saved, cfg).items()
    ]
    if errors:
        errors[-1].hint = f"resume keeps the config; to change it, `pawl train --from {run}`"
        raise PawlErrors(errors)


def first_facts(
    cfg: RunConfig, places: Mapping[str, str], parent: Parent | None
) -> dict[str, object]:
    """run.json at the start of a run."""
    return {
        "format": FORMAT,
        "name": cfg.name,
        "created": now(),
        "command": sys.argv,
        "parent": asdict(parent) if parent else None,
        "seed": cfg.seed,
        "config_hash": config_hash(cfg),
        "config": cfg.model_dump(mode="json", by_alias=True),
        "differs_from_defaults": differences(cfg, places),
        "git": facts.git(),
        "packages": facts.packages(),
        "hardware": facts.hardware(),
    }


def never_began(path: Path) -> bool:
    """True for the folder of a run that ended in an error before anything was recorded."""
    if not (path / "run.json").is_file() or holder(path) is not None:
        return False
    if any(path.glob("checkpoints/*")) or any(read_lines(path / "steps.jsonl")):
        return False
    kinds = [e.get("kind") for e in read_lines(path / "events.jsonl")]
    return kinds[-1:] in (["error"], ["interrupted"])


def now() -> str:
    """The wall clock, to the second, with its zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def pretty(body: object) -> str:
    return json.dumps(json.loads(dumps(body)), indent=1, ensure_ascii=False) + "\n"

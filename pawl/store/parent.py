"""The parent of a fork, as run.json states it: which run, which step, what was changed.

Two facts here steer the trainer. `start_step` is the step whose held-out evaluation later ones are
paired with: 0, or the fork's step where figures before and after it would not compare. `origin` is
where the length of the run and its schedule count from. Left out: making a fork (`train/fork.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pawl.config.options import RunConfig
from pawl.config.tree import leaves
from pawl.errors import PawlError

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


def changes(before: RunConfig, after: RunConfig) -> dict[str, dict[str, object]]:
    """Every option whose value differs, with `from` and `to`; the run's name and place aside."""
    old, new = leaves(before), leaves(after)
    return {
        path: {"from": old.get(path), "to": new.get(path)}
        for path in {**old, **new}
        if path not in PLACE and old.get(path) != new.get(path)
    }

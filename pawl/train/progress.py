"""Where a run stands: all that changes in it beside weights and optimiser.

It is rebuilt from the run folder on resume (`start.py`), so nothing in it may depend on the clock
or the machine but what says so. Left out: what is done with it (`after_step.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pawl.algo.shaping import Spread
from pawl.config.options import OptimConfig, RunConfig
from pawl.errors import Exit, PawlError
from pawl.judge.health import Repeats
from pawl.store.manifest import config_hash
from pawl.store.read import count
from pawl.train.heldout import HeldOut
from pawl.train.host import STEPS
from pawl.train.record import Record
from pawl.train.rollouts import Rollouts
from pawl.train.rules import Verdict


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended: the exit code, the last line to print, the run folder.

    records: the step records, in order; checkpoints: folders by step.
    """

    exit_code: Exit
    summary: str
    path: Path
    records: Sequence[Record] = ()
    checkpoints: Mapping[int, Path] = field(default_factory=dict)


@dataclass(slots=True)
class TrainState:
    """What a checkpoint holds beside its learners; all but the records of the run folder."""

    step: int
    updates: int
    config_hash: str
    best_step: int
    best_score: float | None
    evals_since_best: int
    kl_coef: float
    spread: Spread = Spread()
    strata: Mapping[str, Spread] = field(default_factory=dict)
    repeats: Repeats = Repeats()

    def as_dict(self) -> dict[str, object]:
        """JSON values that `read` takes."""
        return {own.name: getattr(self, own.name) for own in fields(TrainState)}

    @classmethod
    def read(cls, state: Mapping[str, object], place: str) -> TrainState:
        """The state of a checkpoint; raises PawlError when it does not fit."""
        try:
            return TypeAdapter(TrainState).validate_python(dict(state))
        except ValidationError as e:
            raise PawlError(f"state.json does not fit: {e.errors()[0]['msg']}", place) from e


@dataclass(slots=True)
class Progress:
    """Where a run stands. outcome is None while it goes on, else why it ends.

    state: what the next checkpoint will hold. optim: as the last command has set it.
    stage: of the curriculum, for the next step. prompts_by_stage: prompts drawn in each.
    distinct_prompts: places of the training problems that were drawn.
    loaded: the checkpoint that this process began with, if any.
    resident_mb: memory after each of the last steps of this process; a resume starts it anew.
    paid_canary: the one that the judge paid in the last step like a right answer.
    """

    state: TrainState
    optim: OptimConfig
    samples: int = 0
    tokens: int = 0
    stage: int = 0
    prompts_by_stage: Counter[int] = field(default_factory=Counter)
    distinct_prompts: set[int] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    notices_shown: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)
    replay: list[dict[str, object]] = field(default_factory=list)
    start: HeldOut | None = None
    end: HeldOut | None = None
    saved_step: int = -1
    loaded: Path | None = None
    resident_mb: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS))
    start_step: int = 0
    outcome: tuple[Exit, str] | None = None
    paid_canary: str = ""

    @classmethod
    def of(cls, cfg: RunConfig) -> Progress:
        """Where a run begins."""
        return cls(TrainState(0, 0, config_hash(cfg), 0, None, 0, cfg.algo.kl_coef), cfg.optim)

    @property
    def sampled_prompts(self) -> int:
        """Prompts drawn so far, repeats counted."""
        return self.prompts_by_stage.total()

    def note(self, rollouts: Rollouts) -> None:
        """Count what a step drew and sampled."""
        samples = rollouts.samples_S
        self.samples += len(samples)
        self.tokens += sum(len(s.tokens) for s in samples)
        self.prompts_by_stage[self.stage] += len(rollouts.places)
        self.distinct_prompts.update(rollouts.places)


def host_of(record: Record) -> Record:
    """The machine's part of a record."""
    host = record["host"]
    assert isinstance(host, dict)
    return host


def evaluations(records: Sequence[Record], first: int) -> list[Record]:
    """The records with a held-out figure, from step `first` on."""
    evaluated = [r for r in records if r.get("eval/problems") is not None]
    return [r for r in evaluated if count(r, "step") >= first]

"""Where a run stands: all that changes in it beside weights and optimiser.

It is rebuilt from the run folder on resume (`start.py`), so nothing in it may depend on the clock
or the machine but what says so. Left out: what is done with it (`boundary.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pawl.algo.shaping import Spread
from pawl.config.options import OptimConfig
from pawl.errors import Exit
from pawl.train.heldout import HeldOut
from pawl.train.host import STEPS
from pawl.train.record import Record
from pawl.train.rollouts import Batch
from pawl.train.rules import Verdict


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended: the exit code and the last line to print."""

    exit_code: Exit
    summary: str


@dataclass(slots=True)
class Progress:
    """Where a run stands. outcome is None while it goes on, else why it ends.

    stage: of the curriculum, for the next step. drawn_in: prompts drawn in each stage. seen: places
    of the training problems that were drawn.
    loaded: the checkpoint that this process began with, if any.
    resident_mb: memory after each of the last steps of this process; a resume starts it anew.
    """

    optim: OptimConfig
    kl_coef: float
    step: int = 0
    updates: int = 0
    best_step: int = 0
    best_score: float | None = None
    evals_since_best: int = 0
    samples: int = 0
    tokens: int = 0
    spread: Spread = Spread()
    stage: int = 0
    drawn_in: Counter[int] = field(default_factory=Counter)
    seen: set[int] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)
    replay: list[dict[str, object]] = field(default_factory=list)
    start: HeldOut | None = None
    end: HeldOut | None = None
    saved_step: int = -1
    loaded: Path | None = None
    resident_mb: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS))
    start_step: int = 0
    outcome: tuple[Exit, str] | None = None

    @property
    def drawn(self) -> int:
        """Prompts drawn so far, repeats counted."""
        return self.drawn_in.total()

    def counters(self, step: int, batch: Batch, n_train: int) -> Record:
        """The running totals of a step record."""
        samples = batch.rollouts.samples_S
        batch_tokens = sum(len(s.tokens) for s in samples)
        self.samples += len(samples)
        self.tokens += batch_tokens
        self.drawn_in[self.stage] += batch.drawn
        self.seen.update(batch.places)
        return {
            "step": step,
            "epoch": self.drawn / n_train,
            "samples": self.samples,
            "tokens": self.tokens,
            "drawn": self.drawn,
            "prompts_seen": len(self.seen),
            "group/trained": len(batch.used),
            "batch_samples": len(samples),
            "batch_tokens": batch_tokens,
        }


def host_of(record: Record) -> Record:
    """The machine's part of a record."""
    host = record["host"]
    assert isinstance(host, dict)
    return host


def evaluations(records: Sequence[Record], first: int) -> list[Record]:
    """The records with a held-out figure, from step `first` on."""
    later = [r for r in records if int(str(r["step"])) >= first]
    return [r for r in later if r.get("eval/pass_at_1") is not None]

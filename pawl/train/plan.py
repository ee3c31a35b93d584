"""What a run is going to do and to need: steps, updates, batches, checkpoints; time, memory, disk.

Counts follow from the config; time and memory are those of one measured step, scaled. Left out:
what the numbers are good for (docs/start.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pawl.config.options import RunConfig
from pawl.models.memory import Memory, estimated_memory
from pawl.models.optim import warmup_steps
from pawl.store.read import count
from pawl.train.record import Record
from pawl.train.session import Session

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Counts of a whole run. samples: in a step; update_samples: in one optimiser step.

    warmup: optimiser steps. evaluated: completions of all held-out evaluations. checkpoint_mb: one
    checkpoint; kept: how many stay. memory: by formula, None for an unknown family.
    """

    steps: int
    updates: int
    warmup: int
    problems: int
    samples: int
    update_samples: int
    evaluated: int
    checkpoints: int
    kept: int
    checkpoint_mb: float
    memory: Memory | None

    def text(self) -> str:
        """One line for a person."""
        return (
            f"plan: {self.steps} steps, {self.updates} updates ({self.warmup} of warm-up); a step "
            f"has {self.problems} problems and {self.samples} samples, an update "
            f"{self.update_samples} samples; {self.checkpoints} checkpoints of "
            f"{self.checkpoint_mb:.1f} MiB, {self.kept} kept"
        )

    def memory_text(self) -> str:
        """Estimated memory of the model by part, "" for a family without formulas."""
        if self.memory is None:
            return ""
        parts = [(name, size / MIB) for name, size in asdict(self.memory).items() if size]
        shown = ", ".join(f"{name.replace('_', ' ')} {mb:.0f}" for name, mb in parts)
        return (
            f"memory at the longest prompts and completions: {self.memory.total / MIB:.0f} MiB "
            f"({shown}; of sampling and training the larger counts)"
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the run needs by one measured step, evaluations included. cost: None without a price."""

    seconds: float
    step_s: float
    eval_s: float
    peak_mb: float
    disk_mb: float
    cost: float | None


def plan(s: Session) -> Plan:
    """The plan of an open session."""
    cfg, every = s.cfg, s.cfg.checkpoint.every
    samples = cfg.rollout.prompts * cfg.rollout.group_size
    saves = 1 + (s.total // every if every else 0) + bool(not every or s.total % every)
    kept = min(saves, cfg.checkpoint.keep_last + bool(cfg.checkpoint.keep_best) or saves)
    return Plan(
        s.total,
        s.total_updates,
        warmup_steps(s.total_updates, cfg.optim),
        cfg.rollout.prompts,
        samples,
        samples // cfg.algo.minibatches,
        evaluated(cfg, s.total, len(s.held_out), len(s.families)),
        saves,
        kept,
        # the trained weights and two moments for each, in fp32
        3 * sum(p.numel() * p.element_size() for _, p in s.policy.trainable()) / MIB,
        estimated_memory(s.policy.core.config.to_dict(), cfg),
    )


def evaluated(cfg: RunConfig, steps: int, held_out: int, families: int) -> int:
    """Held-out completions of a run: in full at start and end, on the probe in between."""
    n, own = held_out, cfg.eval
    full = (n + families) * own.samples + n  # one greedy completion each
    between = (steps - 1) // own.every if own.every else 0
    return 2 * full + between * min(own.probe or n, n) * own.samples if n else 0


def room(made: Plan, row_bytes: float, done: float, held: int) -> tuple[float, float]:
    """MiB that checkpoints, and samples, have still to be given: (checkpoints, samples).

    row_bytes: of one sample's row. done: share of the steps that were taken; held: bytes of the
    checkpoints that are there, which later ones replace. One more than are kept is being written.
    """
    rows = (made.steps * made.samples + made.evaluated) * (1.0 - done)
    return (made.kept + 1) * made.checkpoint_mb - held / MIB, rows * row_bytes / MIB


def estimate(made: Plan, record: Record, sample_bytes: int, price: float | None) -> Estimate:
    """Scale one measured step to the run. sample_bytes: of the step's rows; price: an hour."""
    host = record["host"]
    assert isinstance(host, dict)
    step_s = float(host["time/step_s"])
    scored_s = float(host["time/generate_s"]) + float(host["time/score_wait_s"])
    each = count(record, "batch_samples")
    eval_s = scored_s / each * made.evaluated
    seconds = made.steps * step_s + eval_s
    rows = sample_bytes / each * (made.steps * each + made.evaluated)
    return Estimate(
        seconds,
        step_s,
        eval_s,
        float(host["memory/peak_mb"]),
        rows / MIB + (made.kept + 1) * made.checkpoint_mb,
        None if price is None else price * seconds / 3600,
    )

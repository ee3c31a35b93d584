"""The loop: sample, score, advantage, update, record; then whatever is due at the step boundary.

    problems_P -> engine.generate -> score -> reward_PG -> advantage_PG -> update -> record

P prompts, G group members. There is one loop for every estimator. Left out: opening the parts
(`session.py`), what is due between steps (`boundary.py`), evaluation (`evaluate.py`).
Run: `pawl train CONFIG`.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pawl.algo.advantages import grpo, grpo_no_std
from pawl.config.options import AlgoConfig, RunConfig
from pawl.errors import Exit, PawlError
from pawl.store.display import Display
from pawl.store.manifest import differences
from pawl.store.run import RunFolder
from pawl.train.boundary import Progress, TrainResult, after_step, begin, finish, save
from pawl.train.control import interrupts
from pawl.train.data import draw
from pawl.train.optim import lr_at
from pawl.train.record import (
    Record,
    host_metrics,
    length_metrics,
    reward_metrics,
    sample_rows,
    update_metrics,
)
from pawl.train.rollouts import Rollouts, collect, require_scored
from pawl.train.session import Session, open_session
from pawl.train.update import update


def train(cfg: RunConfig, run: RunFolder, display: Display, resume: bool) -> TrainResult:
    """Run to the end, a target, a rule, an interrupt or an error; always leaves a resumable run."""
    with open_session(cfg, run, display) as s, interrupts() as seen:
        display.start(cfg, s.total, differences(cfg, {}))
        progress = begin(s, resume)
        while progress.step < s.total and progress.outcome is None:
            try:
                record = train_step(s, progress)
            except PawlError as e:
                if e.code == Exit.STOPPED and cfg.algo.minibatches == 1:
                    save(s, progress)  # no update of this step was applied: keep what was won
                    run.event("stopped", step=progress.step, reason=e.what)
                raise
            after_step(s, progress, record, seen)
        return finish(s, progress)


def train_step(s: Session, progress: Progress) -> Record:
    """One step: P prompts, G samples each, one batch of optimiser updates."""
    began, step = time.perf_counter(), progress.step + 1
    p, g = s.cfg.rollout.prompts, s.cfg.rollout.group_size
    drawn = [(s.train[i], stream) for i, stream in draw(step, len(s.train), p, s.cfg.seed)]
    s.display.phase("sampling")
    rollouts = collect(s.engine, s.pool, s.encoder, drawn, g, s.params, s.cfg.seed, step)
    require_scored(rollouts.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
    reward_PG, known_PG = rewards(rollouts, p, g)
    advantage_PG = advantages(reward_PG, known_PG, s.cfg.algo)

    s.display.phase("updating")
    updating = time.perf_counter()
    n, updates = s.cfg.algo.minibatches, progress.updates
    lrs = [lr_at(updates + i, s.total * n, progress.optim) for i in range(n)]
    stats = update(
        s.policy,
        s.optimizer,
        s.scaler,
        rollouts.groups,
        advantage_PG.flatten(),
        known_PG.flatten(),
        lrs,
        s.cfg.rollout.temperature,
        s.cfg.algo,
        progress.optim,
        s.cfg.train.micro_batch,
    )
    s.engine.sync_weights(s.policy, updates + n)
    now = time.perf_counter()

    prompts = [s.encoder.render(problem) for problem, _ in drawn]
    rows = sample_rows(step, rollouts, prompts, advantage_PG.flatten().tolist())
    s.run.append_samples(step, rows)
    return (
        progress.counters(step, rollouts, len(s.train))
        | reward_metrics(rollouts.scores_S, g)
        | length_metrics(rollouts.samples_S, g)
        | update_metrics(stats, lrs[-1], updates + n)
        | {"host": host_metrics(rollouts, now - updating, now - began)}
    )


def rewards(rollouts: Rollouts, p: int, g: int) -> tuple[Tensor, Tensor]:
    """reward_PG (float64, 0 where missing) and known_PG (bool)."""
    totals = [s.total for s in rollouts.scores_S]
    known_PG = torch.tensor([t is not None for t in totals]).view(p, g)
    reward_PG = torch.tensor([0.0 if t is None else t for t in totals], dtype=torch.float64)
    return reward_PG.view(p, g), known_PG


def advantages(reward_PG: Tensor, known_PG: Tensor, cfg: AlgoConfig) -> Tensor:
    """The configured estimator."""
    if cfg.advantage == "grpo":
        return grpo(reward_PG, known_PG, cfg.std_floor)
    return grpo_no_std(reward_PG, known_PG)

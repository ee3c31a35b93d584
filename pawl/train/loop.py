"""The loop: sample, score, advantage, update, record; then whatever is due at the step boundary.

    problems_P -> engine.generate -> score -> reward_PG -> advantage_ST -> update -> record

P prompts, G group members, S samples, T tokens. There is one loop for every estimator. Left out:
opening the parts (`session.py`), what is due between steps (`boundary.py`), evaluation
(`evaluate.py`). Run: `pawl train CONFIG`.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pawl.algo.estimate import estimate
from pawl.algo.losses import k1
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.store.display import Display
from pawl.store.manifest import differences
from pawl.store.run import RunFolder
from pawl.train.boundary import Progress, TrainResult, after_step, begin, finish, save
from pawl.train.control import interrupts
from pawl.train.optim import lr_at
from pawl.train.record import (
    Record,
    host_metrics,
    length_metrics,
    reward_metrics,
    sample_rows,
    update_metrics,
)
from pawl.train.rollouts import Rollouts, gather
from pawl.train.scoring import Scored, score_batch, whole
from pawl.train.session import Session, open_session
from pawl.train.update import Step, update


def train(cfg: RunConfig, run: RunFolder, display: Display, resume: bool) -> TrainResult:
    """Run to the end, a target, a rule, an interrupt or an error; always leaves a resumable run."""
    with open_session(cfg, run, display) as s, interrupts() as seen:
        display.start(cfg, s.total, differences(cfg, {}))
        progress = begin(s, resume)
        while progress.step < s.total and progress.outcome is None:
            try:
                record = train_step(s, progress)
            except PawlError as e:
                if e.code == Exit.STOPPED and cfg.algo.minibatches * cfg.algo.epochs == 1:
                    save(s, progress)  # no update of this step was applied: keep what was won
                    run.event("stopped", step=progress.step, reason=e.what)
                raise
            after_step(s, progress, record, seen)
        return finish(s, progress)


def train_step(s: Session, progress: Progress) -> Record:
    """One step: P prompts, G samples each, one batch of optimiser updates."""
    began, step = time.perf_counter(), progress.step + 1
    s.display.phase("sampling")
    batch = gather(s, progress.drawn, step)
    rollouts, g = batch.rollouts, s.cfg.rollout.group_size
    reward_PG, known_PG = rewards(rollouts, g)

    s.display.phase("updating")
    updating = time.perf_counter()
    algo, temperature, coef = s.cfg.algo, s.cfg.rollout.temperature, progress.kl_coef
    n, done = algo.minibatches * algo.epochs, progress.updates
    lrs = [lr_at(done + i, s.total_updates, progress.optim) for i in range(n)]
    used, micro_batch = list(batch.used), s.cfg.train.micro_batch
    groups, known_UG = [rollouts.groups[i] for i in used], known_PG[used]
    scored = score_batch(s.policy, groups, temperature, algo.minibatches, micro_batch, coef > 0)
    mask_ST, penalty_ST = penalties(scored, known_UG, coef if algo.kl == "k1" else 0.0)
    advantage_ST = estimate(algo, reward_PG[used], known_UG, penalty_ST, mask_ST)
    shared = Step(advantage_ST, known_UG.flatten(), temperature, coef, s.cfg.rollout.max_tokens)
    stats = update(s.policy, s.optimizer, s.scaler, scored, shared, lrs, algo, progress.optim)
    done += stats.updates
    s.engine.sync_weights(s.policy, done)
    now = time.perf_counter()

    worth_PG = torch.zeros_like(reward_PG)
    worth_PG[used] = token_mean(advantage_ST, mask_ST).view(-1, g).to(worth_PG)
    prompts = [s.encoder.render(group.problem) for group in rollouts.groups]
    s.run.append_samples(step, sample_rows(step, rollouts, prompts, worth_PG.flatten().tolist()))
    return (
        progress.counters(step, batch, len(s.train))
        | reward_metrics(rollouts.scores_S, g)
        | length_metrics(rollouts.samples_S, g)
        | update_metrics(scored, stats, coef, len(used) * g)
        | {"optim/lr": lrs[max(0, stats.updates - 1)], "optim/steps": done}
        | {"host": host_metrics(rollouts, now - updating, now - began)}
    )


def rewards(rollouts: Rollouts, g: int) -> tuple[Tensor, Tensor]:
    """reward_PG (float64, 0 where missing) and known_PG (bool)."""
    totals = [s.total for s in rollouts.scores_S]
    known_PG = torch.tensor([t is not None for t in totals]).view(-1, g)
    reward_PG = torch.tensor([0.0 if t is None else t for t in totals], dtype=torch.float64)
    return reward_PG.view(-1, g), known_PG


def penalties(scored: Scored, known_PG: Tensor, coef: float) -> tuple[Tensor, Tensor]:
    """mask_ST of the tokens whose score is known, and what each of them costs (coef * k1)."""
    mask_ST = whole([m.mask_ST for m in scored.micros]).bool()
    mask_ST = mask_ST & known_PG.flatten().to(mask_ST.device)[:, None]
    if not coef:
        return mask_ST, torch.zeros(mask_ST.shape, dtype=torch.float64, device=mask_ST.device)
    parts = [(m.old_logp_ST, m.ref_logp_ST) for m in scored.micros]
    old_ST = whole([old.double() for old, _ in parts])
    ref_ST = whole([ref.double() for _, ref in parts if ref is not None])
    return mask_ST, coef * k1(old_ST, ref_ST, mask_ST)


def token_mean(value_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """Mean over the masked tokens of each sample, (S,); 0 where there are none."""
    return value_ST.sum(1) / mask_ST.sum(1).clamp(min=1)

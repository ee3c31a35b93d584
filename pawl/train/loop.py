"""The loop: sample, score, advantage, update, record; then whatever is due at the step boundary.

    problems_P -> engine.generate -> score -> reward_PG -> advantage_ST -> update -> record

P prompts, G group members, S samples, T tokens. There is one loop for every estimator. Left out:
opening the parts (`session.py`), what is due between steps (`boundary.py`), evaluation
(`evaluate.py`). Run: `pawl train CONFIG`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from pawl.algo.shaping import kept, shaped
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.models.optim import lr_at, temperature_at
from pawl.store.display import Display
from pawl.store.manifest import differences
from pawl.store.run import RunFolder
from pawl.train.boundary import after_step, finish, save
from pawl.train.control import interrupts
from pawl.train.credit import credit, scores, token_mean, where_known
from pawl.train.curriculum import STAGE
from pawl.train.diversity import diversity_metrics
from pawl.train.host import host_metrics
from pawl.train.notices import filter_metrics
from pawl.train.plan import plan
from pawl.train.progress import Progress, TrainResult
from pawl.train.record import (
    Record,
    length_metrics,
    mix_metrics,
    prompt_metrics,
    reward_metrics,
    sample_rows,
    trained_mean,
    update_metrics,
)
from pawl.train.rollouts import Batch, gather
from pawl.train.scoring import score_batch
from pawl.train.session import Session, open_session
from pawl.train.start import begin, take_up
from pawl.train.update import Step, update
from pawl.train.witness import staleness, trainer_sums, witness_metrics

Prove = Callable[[Session, Progress], object]


def train(
    cfg: RunConfig, run: RunFolder, display: Display, resume: bool, prove: Prove
) -> TrainResult:
    """Run to the end, a target, a rule, an interrupt or an error; always leaves a resumable run.

    prove: the preflight (`pawl.preflight.prove`), called once before anything is trained.
    """
    with open_session(cfg, run, display) as s, interrupts() as seen:
        display.start(cfg, s.total, differences(cfg, {}))
        progress = take_up(s, resume)
        display.note(plan(s).text())
        prove(s, progress)
        if not progress.records:
            begin(s, progress)
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
    began, step, rollout = time.perf_counter(), progress.step + 1, s.cfg.rollout
    g, longest = rollout.group_size, rollout.max_tokens
    temperature = temperature_at(step, s.total, rollout.temperature, rollout.temperature_end)
    s.display.phase("sampling")
    batch = gather(s, progress.stage, progress.drawn_in[progress.stage], step, temperature)
    rollouts = batch.rollouts
    score_PG, known_PG, length_PG = scores(rollouts, g)
    reward_PG, spread = shaped(
        s.cfg.reward, score_PG, known_PG, length_PG, longest, progress.spread
    )

    s.display.phase("updating")
    updating = time.perf_counter()
    algo, coef = s.cfg.algo, progress.kl_coef
    n, done = algo.minibatches * algo.epochs, progress.updates
    lrs = [lr_at(done + i, s.total_updates, progress.optim) for i in range(n)]
    used, micro_batch = list(batch.used), s.cfg.train.micro_batch
    kept_UG = kept(algo.filter, score_PG[used], known_PG[used])
    filtered = filter_metrics(algo.filter, known_PG[used], kept_UG)
    if filtered.get("filter/emptied"):
        used, kept_UG = [], kept_UG[:0]
    groups, known_UG = [rollouts.groups[i] for i in used], known_PG[used]
    scored = score_batch(s.policy, groups, temperature, algo.minibatches, micro_batch, coef > 0)
    advantage_ST, mask_ST = credit(algo, scored, reward_PG[used], known_UG, coef)
    kept_S = kept_UG.flatten()
    advantage_ST = torch.where(kept_S.to(mask_ST.device)[:, None], advantage_ST, 0.0)
    shared = Step(advantage_ST, kept_S, temperature, coef, longest)
    stats = update(s.policy, s.optimizer, s.scaler, scored, shared, lrs, algo, progress.optim)
    done += stats.updates
    s.engine.sync_weights(s.policy, done)
    now = time.perf_counter()

    worth_PG = torch.zeros_like(reward_PG)
    worth_PG[used] = token_mean(advantage_ST, mask_ST).view(-1, g).to(worth_PG)
    paid_S = where_known(reward_PG, known_PG)
    prompts = [s.encoder.render(group.problem) for group in rollouts.groups]
    sums = trainer_sums(scored, used, g, len(rollouts.groups))
    worth = worth_PG.flatten().tolist()
    rows = sample_rows(step, rollouts, prompts, worth, paid_S, sums)
    s.run.append_samples(step, rows)
    lr, peak = lrs[max(0, stats.updates - 1)], progress.optim.lr
    progress.spread = spread
    return (
        progress.counters(step, batch, len(s.train))
        | reward_metrics(rollouts.scores_S, g)
        | source_metrics(s, progress.stage, batch)
        | {"reward/trained_mean": trained_mean(paid_S)}
        | length_metrics(rollouts.samples_S, s.policy.eos_ids)
        | prompt_metrics(rollouts.groups, s.policy.eos_ids)
        | diversity_metrics(rollouts.groups)
        | {"policy/temperature": temperature}
        | update_metrics(scored, stats, coef, len(used) * g)
        | witness_metrics(scored, advantage_ST, mask_ST & kept_S.to(mask_ST.device)[:, None])
        | {"policy/staleness": staleness(rollouts.samples_S, progress.updates)}
        | {"optim/lr": lr, "optim/lr_frac": lr / peak if peak else None}
        | {"optim/steps": done}
        | filtered
        | {"host": host_metrics(rollouts, now - updating, now - began, progress.resident_mb)}
    )


def source_metrics(s: Session, stage: int, batch: Batch) -> Record:
    """Which stage of the curriculum and which sets of the mix the step was drawn from."""
    record: Record = {STAGE: stage} if s.cfg.curriculum else {}
    if s.sets:
        sets_P = [s.sets[s.train.origin_of(place)] for place in batch.places]
        record |= mix_metrics(batch.rollouts.scores_S, sets_P, s.sets)
    return record

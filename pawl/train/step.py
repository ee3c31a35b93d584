"""What one step did, as a typed result; and, afterwards, the record and the rows of it.

Left out: single metrics (`record.py`, `diversity.py`, `mismatch.py`, `host.py`), writing
(`pawl.store`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pawl.algo.shaping import Spread, Strata
from pawl.train.batch import Selection, TrainBatch
from pawl.train.curriculum import STAGE
from pawl.train.diversity import diversity_metrics
from pawl.train.host import host_metrics
from pawl.train.judge_health import Checked
from pawl.train.mismatch import mismatch_metrics, staleness, trainer_sums
from pawl.train.notices import filter_metrics
from pawl.train.progress import Progress
from pawl.train.record import (
    Record,
    length_metrics,
    mix_metrics,
    reward_metrics,
    sample_rows,
    teacher_metrics,
    update_metrics,
)
from pawl.train.rollouts import Rollouts
from pawl.train.session import Session
from pawl.train.update import UpdateStats


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did, typed; the record of it is computed afterwards.

    reward_PG: as training sees it. lr: of the last optimiser step. Seconds by the wall clock.
    checked: what was found of the judge, where there is one.
    """

    step: int
    rollouts: Rollouts
    reward_PG: Tensor
    spread: Spread
    strata: Strata
    selection: Selection
    batch: TrainBatch
    stats: UpdateStats
    lr: float
    update_s: float
    step_s: float
    checked: Checked | None


def record_step(s: Session, progress: Progress, result: StepResult) -> Record:
    """Write a step's samples, count what it drew, and compute its record."""
    rollouts, batch, stats = result.rollouts, result.batch, result.stats
    g, used = s.cfg.rollout.group_size, result.selection.groups
    advantage_PG = torch.zeros_like(result.reward_PG)
    mean_S = batch.advantage_ST.sum(1) / batch.scored_ST.sum(1).clamp(min=1)  # over the tokens
    advantage_PG[used] = mean_S.view(-1, g).to(advantage_PG)
    pairs = zip(result.reward_PG.flatten().tolist(), rollouts.scores_S, strict=True)
    paid_S = [None if score.total is None else reward for reward, score in pairs]
    prompts = [s.encoder.render(group.problem) for group in rollouts.groups]
    sums = trainer_sums(batch.logprobs, used, g, len(rollouts.groups))
    advantages = advantage_PG.flatten().tolist()
    rows = sample_rows(result.step, rollouts, prompts, advantages, paid_S, sums)
    s.run.append_samples(result.step, rows)
    before, peak = progress.state.updates, progress.optim.lr
    progress.note(rollouts)
    progress.state.spread, progress.state.strata = result.spread, result.strata
    usages = [x.usage for x in rollouts.scores_S]
    if (checked := result.checked) is not None:
        progress.state.repeats, usages = checked.repeats, [*usages, *checked.usages]
        progress.paid_canary = checked.paid
    return (
        {
            "step": result.step,
            "epoch": progress.sampled_prompts / len(s.train),
            "samples": progress.samples,
            "tokens": progress.tokens,
            "sampled_prompts": progress.sampled_prompts,
            "prompts_seen": len(progress.distinct_prompts),
            "group/trained": len(used),
            "batch_samples": len(rollouts.samples_S),
            "batch_tokens": sum(len(x.tokens) for x in rollouts.samples_S),
        }
        | reward_metrics(rollouts.scores_S, paid_S, g, s.grader.scale[0])
        | teacher_metrics(rollouts.scores_S, g)
        | source_metrics(s, progress.stage, rollouts)
        | length_metrics(rollouts.groups, s.policy.eos_ids)
        | diversity_metrics(rollouts.groups)
        | {"policy/temperature": batch.temperature}
        | update_metrics(batch, stats)
        | mismatch_metrics(batch)
        | {"policy/staleness": staleness(rollouts.samples_S, before)}
        | {"optim/lr": result.lr, "optim/lr_frac": result.lr / peak if peak else None}
        | {"optim/steps": before + stats.updates}
        | filter_metrics(s.cfg.algo.filter, result.selection)
        | (dict(checked.figures) if checked else {})
        | {
            "host": host_metrics(
                rollouts, usages, result.update_s, result.step_s, progress.resident_mb
            )
        }
    )


def source_metrics(s: Session, stage: int, rollouts: Rollouts) -> Record:
    """Which stage of the curriculum and which sets of the mix the step was drawn from."""
    record: Record = {STAGE: stage} if s.cfg.curriculum else {}
    if s.sets:
        sets_P = [s.sets[s.train.origin_of(place)] for place in rollouts.places]
        record |= mix_metrics(rollouts.scores_S, sets_P, s.sets)
    return record

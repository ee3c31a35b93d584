"""How a run begins: fresh, from its newest checkpoint, or as a fork of another run.

Left out: making a fork's folder (`fork.py`), files of a checkpoint (`pawl.models`), and the
preflight, which comes between restoring a run and its first evaluation.
"""

from __future__ import annotations

import time

from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.store.manifest import config_hash, parent_of
from pawl.store.read import count, read_events, read_samples, read_steps
from pawl.train import fork, heldout
from pawl.train.after_step import save
from pawl.train.control import patched
from pawl.train.curriculum import prompts_by_stage, stage_after
from pawl.train.data import draw
from pawl.train.progress import Progress, TrainState, evaluations, host_of
from pawl.train.record import Record
from pawl.train.rules import judge, require_target
from pawl.train.session import Session


def restore(s: Session, resume: bool) -> Progress:
    """Where the run stands: nowhere yet, or as its newest valid checkpoint left it.

    A fork starts by taking its parent's history over, and goes on from there as if resumed.
    """
    progress = Progress(optim=s.cfg.optim, kl_coef=s.cfg.algo.kl_coef)
    if fork.pending(s.run):
        fork.take_over(s)
        load_checkpoint(s, progress, forked=True)
    elif resume and any((s.run.path / "checkpoints").glob("step-??????")):
        load_checkpoint(s, progress)
    elif resume:
        s.run.cut_after(-1)
        s.run.event("resume", step=0, reason="no checkpoint was written; starting again")
    return progress


def evaluate_baseline(s: Session, progress: Progress) -> None:
    """The evaluation before training, and a checkpoint at step 0."""
    record: Record = {"step": 0, "epoch": 0.0, "samples": 0, "tokens": 0}
    record |= {"sampled_prompts": 0, "prompts_seen": 0}
    began = time.perf_counter()
    s.engine.sync_weights(s.policy, 0)
    if s.held_out:
        progress.start = progress.end = heldout.evaluate(s, 0, full=True)
        record |= heldout.metrics(progress.start, progress.start, s.success)
        progress.best_score = 0.0
        require_target(s.cfg.target, record)
    record["host"] = {"time/eval_s": time.perf_counter() - began}
    s.run.append_step(record)
    progress.records.append(record)
    s.display.eval(record)
    save(s, progress)


def load_checkpoint(s: Session, progress: Progress, forked: bool = False) -> None:
    """Load the newest valid checkpoint and cut everything that was recorded after it."""
    folder, notes = checkpoint.newest_valid(s.run.path / "checkpoints")
    for note in notes:
        s.display.note(note)
        s.run.event("checkpoint_skipped", text=note)
    read = TrainState.read
    if read(checkpoint.state_of(folder), str(folder)).config_hash != config_hash(s.cfg):
        raise PawlError(
            "this checkpoint was written under another config",
            str(folder),
            "resume keeps the original config; `pawl train --from RUN@STEP` forks a run",
        )
    state = read(checkpoint.load(folder, s.learners), str(folder))
    if not forked:
        s.run.cut_after(state.step)
    progress.step = progress.saved_step = state.step
    progress.loaded = folder
    progress.updates, progress.kl_coef = state.updates, state.kl_coef
    progress.spread = state.spread
    progress.best_step, progress.best_score = state.best_step, state.best_score
    progress.evals_since_best = state.evals_since_best
    progress.records = list(read_steps(s.run.path))
    progress.samples = count(progress.records[-1], "samples")
    progress.tokens = count(progress.records[-1], "tokens")
    progress.stage = stage_after(s.cfg.curriculum, progress.records, s.success.train_metric)
    progress.prompts_by_stage = prompts_by_stage(progress.records, len(s.pools))
    for stage, n in progress.prompts_by_stage.items():
        progress.distinct_prompts.update(
            place for place, _ in draw(0, n, s.pools[stage], s.cfg.seed)
        )
    for i in range(1, len(progress.records) + 1):
        done = {v.index for v in progress.verdicts}
        progress.verdicts += judge(s.cfg.rules, done, progress.records[:i])
    for event in read_events(s.run.path):
        if event["kind"] == "shaping_cancels":
            progress.notices_shown.add(str(event["component"]))
        if event["kind"] == "command" and event.get("outcome") == "done" and "set" in event:
            if count(event, "step") <= state.step:
                progress.optim = patched(progress.optim, event)
            else:
                progress.replay.append(event)
    s.engine.sync_weights(s.policy, state.updates)
    if s.held_out:
        restore_evaluations(s, progress)
    if not forked:
        s.run.event("resume", step=state.step, checkpoint=folder.name)
        s.display.note(f"resumed from {folder.name}")


def restore_evaluations(s: Session, progress: Progress) -> None:
    """The start and the newest evaluation, read back; a fork that owes its own start makes it."""
    parent = parent_of(s.run.facts())
    first = progress.start_step = parent.start_step if parent else 0
    record = progress.records[-1]
    if first == progress.step and record.get("eval/problems") is None:
        began = time.perf_counter()
        progress.start = progress.end = heldout.evaluate(s, first, full=True)
        host = host_of(record) | {"time/eval_s": time.perf_counter() - began}
        record |= heldout.metrics(progress.start, progress.start, s.success) | {"host": host}
        s.run.replace_last_step(record)
        s.display.eval(record)
        return
    known = [*s.held_out, *s.families]
    progress.start = heldout.from_rows(
        list(read_samples(s.run.path, first, "eval")), known, s.success
    )
    newest = max(count(r, "step") for r in evaluations(progress.records, first))
    progress.end = heldout.from_rows(
        list(read_samples(s.run.path, newest, "eval")), known, s.success
    )

"""How a run begins or resumes: fresh, from its newest checkpoint, or as a fork of another run.

A checkpoint holds the learners, `TrainState`, and what was written to the run folder before it; a
resume goes on only from records that are what the checkpoint states (`newest`). Counts, curriculum
stage, notices and patched options are read from them.

Left out: making a fork's folder (`fork.py`), files of a checkpoint (`pawl.models`), and the
preflight, which comes between restoring a run and its first evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.store.digests import Written
from pawl.store.manifest import parent_of
from pawl.store.read import count, read_events, read_samples, read_steps
from pawl.store.run import RunFolder
from pawl.train import fork, heldout
from pawl.train.after_step import evaluate, save
from pawl.train.control import replayed
from pawl.train.curriculum import prompts_by_stage, stage_after
from pawl.train.data import draw
from pawl.train.progress import Progress, TrainState, evaluations
from pawl.train.record import Record
from pawl.train.rules import judge, require_target
from pawl.train.session import Session


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint to go on from: its folder, notes on skipped ones, the records before it."""

    folder: Path
    notes: list[str]
    written: dict[str, Written]


def newest(run: RunFolder) -> Found | None:
    """The newest checkpoint of a run that is resumed, None for a run that never saved one.

    Raises PawlError when the checkpoints are gone, when one is left from before a fork alone, and
    when the records are not what the checkpoint states.
    """
    root, parent = run.checkpoints_dir, parent_of(run.facts())
    if fork.pending(run):
        return None
    if not run.checkpoints():
        events = {event.get("kind") for event in read_events(run.path)}
        if events & {"checkpoint", "fork"} or len(read_steps(run.path)) > 1:
            hint = "put them back, or start a new run under another name"
            raise PawlError("the run saved checkpoints, and none is left", str(root), hint)
        return None
    folder, notes = checkpoint.newest_valid(root)
    if parent is not None and int(folder.name[5:]) < parent.step:
        what = f"only {folder.name} is usable ({'; '.join(notes)}), from before this run forked"
        raise PawlError(
            what, str(root), f"fork again: pawl train --from {parent.run}@{parent.step}"
        )
    written = fork.require_records(run.path, folder)
    run.require_commands()
    return Found(folder, notes, written)


def restore(s: Session, found: Found | None) -> Progress:
    """Where the run stands: nowhere yet, or as a checkpoint left it (`newest`).

    A fork starts by taking its parent's history over, and goes on from there as if resumed.
    """
    progress = Progress.of(s.cfg)
    if fork.pending(s.run):
        source = fork.take_over(s)
        load_checkpoint(s, progress, source.folder, source.changed)
        progress.loaded = fork.settle(s, source, progress.state)
    elif found is not None:
        for note in found.notes:
            s.display.note(note)
            s.run.event("checkpoint_skipped", text=note)
        load_checkpoint(s, progress, found.folder, {}, found.written)
        s.run.event("resume", step=progress.state.step, checkpoint=found.folder.name)
        s.display.note(f"resumed from {found.folder.name}")
    elif s.run.resumed:
        s.run.cut_after(-1, {})
        s.run.event("resume", step=0, reason="no checkpoint was written; starting again")
    return progress


def evaluate_baseline(s: Session, progress: Progress) -> None:
    """The evaluation before training, and a checkpoint at step 0."""
    record: Record = {"step": 0, "epoch": 0.0, "samples": 0, "tokens": 0}
    record |= {"sampled_prompts": 0, "prompts_seen": 0}
    record["host"] = {"time/eval_s": 0.0}
    s.engine.sync_weights(s.policy, 0)
    if s.held_out:
        evaluate_start(s, progress, record)
        require_target(s.cfg.target, record)
    s.run.append_step(record)
    progress.records.append(record)
    s.display.eval(record)
    save(s, progress)


def evaluate_start(s: Session, progress: Progress, record: Record) -> None:
    """The evaluation that later ones are paired with, and the best until one is better."""
    evaluate(s, progress, record, full=True)
    progress.state.best_score, progress.state.evals_since_best = 0.0, 0


def load_checkpoint(
    s: Session,
    progress: Progress,
    folder: Path,
    changed: Mapping[str, Any],
    written: Mapping[str, Written] | None = None,
) -> None:
    """Load a checkpoint, cut what was recorded after it, and read what the records before it say.

    changed: of its state, in a fork. written: the records before it, None when they stand alone.
    """
    state = TrainState.read({**checkpoint.state_of(folder), **changed}, str(folder))
    if state.config_hash != progress.state.config_hash:
        raise PawlError(
            "this checkpoint was written under another config",
            str(folder),
            "resume keeps the original config; `pawl train --from RUN@STEP` forks a run",
        )
    checkpoint.load(folder, s.learners)
    if written is not None:
        s.run.cut_after(state.step, written)
    progress.state = state
    progress.saved_step, progress.loaded = state.step, folder
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
    events = read_events(s.run.path)
    told = [e for e in events if e.get("kind") == "shaping_cancels"]
    progress.notices_shown = {str(event.get("component")) for event in told}
    progress.optim, progress.replay = replayed(progress.optim, events, state.step)
    s.engine.sync_weights(s.policy, state.updates)
    if s.held_out:
        restore_evaluations(s, progress)


def restore_evaluations(s: Session, progress: Progress) -> None:
    """The start and the newest evaluation, read back; a fork that owes its own start makes it."""
    parent = parent_of(s.run.facts())
    first = progress.start_step = parent.start_step if parent else 0
    record = progress.records[-1]
    if first == progress.state.step and record.get("eval/problems") is None:
        evaluate_start(s, progress, record)
        s.run.replace_last_step(record)
        s.display.eval(record)
        return
    known = [*s.held_out, *s.families]
    newest = max(count(r, "step") for r in evaluations(progress.records, first))
    progress.start, progress.end = (
        heldout.from_rows(list(read_samples(s.run.path, step, "eval")), known, s.success)
        for step in (first, newest)
    )

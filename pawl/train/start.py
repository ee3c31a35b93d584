"""How a run begins or resumes: fresh, from its newest checkpoint, or as a fork of another run.

A checkpoint holds the learners and `TrainState`; counts, curriculum stage, notices and patched
options are read from the run folder.

Left out: making a fork's folder (`fork.py`), files of a checkpoint (`pawl.models`), and the
preflight, which comes between restoring a run and its first evaluation.
"""

from __future__ import annotations

from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.store.manifest import parent_of
from pawl.store.read import count, read_events, read_samples, read_steps
from pawl.train import fork, heldout
from pawl.train.after_step import evaluate, save
from pawl.train.control import replayed
from pawl.train.curriculum import prompts_by_stage, stage_after
from pawl.train.data import draw
from pawl.train.progress import Progress, TrainState, evaluations
from pawl.train.record import Record
from pawl.train.rules import judge, require_target
from pawl.train.session import Session


def restore(s: Session, resume: bool) -> Progress:
    """Where the run stands: nowhere yet, or as its newest valid checkpoint left it.

    A fork starts by taking its parent's history over, and goes on from there as if resumed.
    """
    progress = Progress.of(s.cfg)
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


def load_checkpoint(s: Session, progress: Progress, forked: bool = False) -> None:
    """Load the newest valid checkpoint and cut everything that was recorded after it."""
    folder, notes = checkpoint.newest_valid(s.run.path / "checkpoints")
    for note in notes:
        s.display.note(note)
        s.run.event("checkpoint_skipped", text=note)
    state = TrainState.read(checkpoint.state_of(folder), str(folder))
    if state.config_hash != progress.state.config_hash:
        raise PawlError(
            "this checkpoint was written under another config",
            str(folder),
            "resume keeps the original config; `pawl train --from RUN@STEP` forks a run",
        )
    checkpoint.load(folder, s.learners)
    progress.state = state
    if not forked:
        s.run.cut_after(state.step)
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
    told = [e for e in events if e["kind"] == "shaping_cancels"]
    progress.notices_shown = {str(event["component"]) for event in told}
    progress.optim, progress.replay = replayed(progress.optim, events, state.step)
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

"""What is due between two steps: evaluation, records, checkpoints, rules, commands, interrupts.

The order is fixed: evaluate, judge, write the record, handle commands, save. `Progress` is all that
changes during a run beside weights and optimiser; it is rebuilt from the run folder on resume.
Left out: the step itself (`loop.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from pawl.config.options import AlgoConfig
from pawl.errors import Exit, PawlError
from pawl.metrics import catalogued
from pawl.models import checkpoint
from pawl.store.read import count, number
from pawl.train import heldout
from pawl.train.control import Interrupts, patched, rule_patch, wait_while_paused
from pawl.train.curriculum import Move, decide
from pawl.train.data import epoch_ends
from pawl.train.host import epoch_costs
from pawl.train.notices import emptied_steps, nothing_to_learn, tell
from pawl.train.progress import Progress, TrainResult, evaluations, host_of
from pawl.train.record import Record, epoch_metrics
from pawl.train.rules import Verdict, judge, reached
from pawl.train.session import Session

KL_HORIZON = 10_000  # samples in which kl_coef can double or so (arXiv 1909.08593)
SIMULATED = "the teacher was simulated: this run says nothing of a real one"


def after_step(s: Session, progress: Progress, record: Record, interrupts: Interrupts) -> None:
    """Everything that is due once a step's record exists."""
    progress.state.step = count(record, "step")
    progress.state.updates = count(record, "optim/steps")
    progress.state.kl_coef = adapted(s.cfg.algo, progress.state.kl_coef, record)
    last = progress.state.step == s.total
    due = s.cfg.eval.every and progress.state.step % s.cfg.eval.every == 0
    metric = s.success.train_metric
    move = None if last else decide(s.cfg.curriculum, [*progress.records, record], metric)
    if s.held_out and (last or due or move):
        evaluate(s, progress, record, full=last)
    progress.records.append(record)
    before = count(progress.records[-2], "sampled_prompts")
    own: Sequence[Record] = ()
    if last or epoch_ends(before, progress.sampled_prompts, len(s.train)):
        own = _epoch_records(progress.records)
        record |= epoch_metrics(own, evaluations(progress.records, progress.start_step))
        record |= emptied_steps(s.cfg.algo, own)
        record["host"] = host_of(record) | epoch_costs(own)
    tell(s, progress.records, own, progress.notices_shown)
    judge_step(s, progress)
    ended_well = progress.outcome is not None and progress.outcome[0] == Exit.OK
    if s.held_out and ended_well and not last:
        evaluate(s, progress, record, full=True)
    s.run.append_step(record)
    s.display.step(record)
    if "epoch/samples" in record:
        s.display.epoch(record)
    if "eval/problems" in record:
        s.display.eval(record)
    if move is not None:
        enter(s, progress, move)
    s.companion.look(progress.state.step)
    handle_commands(s, progress, interrupts)
    every = s.cfg.checkpoint.every
    new_best = progress.state.best_step == progress.state.step and s.cfg.checkpoint.keep_best
    if last or progress.outcome or new_best or (every and progress.state.step % every == 0):
        save(s, progress)


def enter(s: Session, progress: Progress, move: Move) -> None:
    """Go to another stage of the curriculum: an event and a line."""
    before, after = (s.cfg.curriculum[k].name for k in (progress.stage, move.to))
    names = {"from": before, "to": after}
    s.run.event("curriculum", **names, step=progress.state.step, why=move.why, value=move.value)
    s.display.note(f"curriculum at step {progress.state.step}: {before} -> {after} ({move.why})")
    progress.stage = move.to


def adapted(algo: AlgoConfig, coef: float, record: Record) -> float:
    """kl_coef for the next step: pulled so that the KL of a sequence meets algo.kl_target.

    coef * (1 + clip(KL / target - 1, -0.2, 0.2) * samples / horizon) (arXiv 1909.08593).
    """
    measured = number(record, "policy/kl_ref_sequence")
    if not algo.kl_target or measured is None:
        return coef
    error = min(0.2, max(-0.2, measured / algo.kl_target - 1.0))
    return coef * (1.0 + error * count(record, "batch_samples") / KL_HORIZON)


def evaluate(s: Session, progress: Progress, record: Record, full: bool) -> None:
    """Held-out figures into the record; keeps track of the best and of patience."""
    began = time.perf_counter()
    state = progress.state
    now = progress.end = heldout.evaluate(s, state.step, full)
    progress.start = progress.start or now
    record |= heldout.metrics(now, progress.start, s.success)
    record["host"] = host_of(record) | {"time/eval_s": time.perf_counter() - began}
    gain = number(record, "eval/gain")  # paired, so a probe and a full evaluation compare
    if gain is None:
        return
    if state.best_score is None or gain > state.best_score:
        state.best_score, state.best_step, state.evals_since_best = gain, state.step, 0
    else:
        state.evals_since_best += 1


def judge_step(s: Session, progress: Progress) -> None:
    """Target, rules and patience; a failed rule or a reached target ends the run."""
    done = {v.index for v in progress.verdicts}
    for verdict in judge(s.cfg.rules, done, progress.records):
        progress.verdicts.append(verdict)
        word = "passed" if verdict.passed else f"failed, action {verdict.action}"
        s.run.event("rule", **{k: v for k, v in asdict(verdict).items() if k != "index"})
        s.display.note(f"rule at {verdict.text}: {word}")
        if not verdict.passed and verdict.action == "stop":
            progress.outcome = (Exit.STOPPED, f"stopped by a rule: {verdict.text}")
        if not verdict.passed and verdict.action == "patch":
            patch(s, progress, verdict)
        if not verdict.passed and verdict.action == "pause":
            progress.replay.insert(0, {"command": "pause", "step": progress.state.step})
    if why := nothing_to_learn(s.cfg.algo.filter, progress.records):
        progress.outcome = (Exit.STOPPED, why)
    if progress.paid_canary and s.health is not None and s.health.stops:
        why = f"the judge pays as much for a text that answers nothing ({progress.paid_canary})"
        progress.outcome = (Exit.STOPPED, f"{why} as for a right answer")
    target = s.cfg.target
    if target and target.at == "any" and reached(target, progress.records[-1:]):
        met = f"target reached: {target.metric} {target.is_} {target.value:g}"
        progress.outcome = (Exit.OK, met)
    if s.cfg.eval.patience and progress.state.evals_since_best >= s.cfg.eval.patience:
        n = progress.state.evals_since_best
        progress.outcome = (Exit.OK, f"early stop: {n} evaluations without a new best")


def patch(s: Session, progress: Progress, verdict: Verdict) -> None:
    """Change what a failed rule says and record it; say what speaks against its metric."""
    rule = s.cfg.rules[verdict.index]
    metric = catalogued(rule.metric)
    if metric is not None and metric.trap:
        s.display.note(f"the doctor objects: {rule.metric}: {metric.trap}")
    change, outcome = dict[str, float](), "done"
    try:
        change = rule_patch(rule, progress.optim, s.cfg.optim)
        progress.optim = patched(progress.optim, {"set": change})
        s.display.note("changed: " + ", ".join(f"{k} = {v:g}" for k, v in change.items()))
    except PawlError as e:
        outcome = f"refused: {e.what}"
        s.display.note(e.block())
    facts: dict[str, object] = {"rule": verdict.text, "set": change, "outcome": outcome}
    s.run.event("patch", step=progress.state.step, **facts)


def handle_commands(s: Session, progress: Progress, interrupts: Interrupts) -> None:
    """Commands that were given again by a resume, then new ones, then signals."""
    due = [e for e in progress.replay if count(e, "step") <= progress.state.step]
    progress.replay = [e for e in progress.replay if e not in due]
    for command in due:
        run_command(s, progress, command, interrupts, new=False)
    for command in s.run.commands():
        run_command(s, progress, command, interrupts, new=True)
    if interrupts.asked and progress.outcome is None:
        progress.outcome = (Exit.INTERRUPTED, "interrupted")


def run_command(
    s: Session, progress: Progress, command: dict[str, object], interrupts: Interrupts, new: bool
) -> None:
    """Carry out one command and acknowledge it in the events."""
    name, verdict = str(command["command"]), "done"
    if name == "stop":
        progress.outcome = (Exit.STOPPED, "stopped by a command")
    elif name == "checkpoint":
        save(s, progress)
    elif name == "pause":
        save(s, progress)
        answer = wait_while_paused(s.run, progress.state.step, s.display, interrupts)
        if answer == "stop":
            progress.outcome = (Exit.STOPPED, "stopped while paused")
    elif name == "patch":
        try:
            progress.optim = patched(progress.optim, command)
        except PawlError as e:
            verdict = f"refused: {e.what}"
            s.display.note(e.block())
    else:
        verdict = "nothing to continue"
    if new:
        s.run.acknowledge(command, progress.state.step, verdict)
    if new and name == "patch" and verdict == "done":  # what steers the run stands in a checkpoint
        if progress.saved_step != progress.state.step:
            save(s, progress)
        else:
            place = s.run.checkpoints_dir / checkpoint.folder_name(progress.state.step)
            checkpoint.restate(place, stated(s, progress))


def save(s: Session, progress: Progress) -> None:
    """Write a checkpoint of the current step, once, and prune old ones."""
    if progress.saved_step == progress.state.step:
        return
    began = time.perf_counter()
    root = s.run.path / "checkpoints"
    checkpoint.save(root, progress.state.step, s.learners, stated(s, progress))
    progress.saved_step = progress.state.step
    keep = {progress.state.best_step} if s.cfg.checkpoint.keep_best else set()
    checkpoint.prune(root, s.cfg.checkpoint.keep_last, keep)
    s.run.event(
        "checkpoint", step=progress.state.step, host={"time_s": time.perf_counter() - began}
    )


def stated(s: Session, progress: Progress) -> dict[str, object]:
    """What a checkpoint states now: where the run stands, and what was written before."""
    return progress.state.as_dict() | {"records": s.run.records()}


def finish(s: Session, progress: Progress) -> TrainResult:
    """The before/after table, the target's verdict, and the last line."""
    code, why = progress.outcome or (Exit.OK, "")
    if progress.start is not None and progress.end is not None:
        sampling = s.cfg.eval.sampling
        how = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, "
        how += f"{s.cfg.eval.samples} samples a problem, seed {s.cfg.eval.seed}"
        for line in heldout.table(progress.start, progress.end, how, s.success):
            s.display.note(line)
        text = heldout.summary(progress.start, progress.end, s.success)
    else:
        mean = number(progress.records[-1], "reward/mean")
        text = f"reward {'missing' if mean is None else format(mean, '.3f')}"
    target = s.cfg.target
    if target and code == Exit.OK and not reached(target, progress.records):
        code = Exit.FINDINGS
        s.display.note(f"target missed: {target.metric} {target.is_} {target.value:g}")
    if s.cfg.rules:
        passed = sum(v.passed for v in progress.verdicts)
        text += f" | rules: {passed} passed, {len(progress.verdicts) - passed} failed"
    if any(host_of(r).get("judge/simulated_frac") for r in progress.records if "host" in r):
        s.display.note(SIMULATED)
        text += " | simulated teacher"
    if why:
        text += f" | {why}"
    if code in (Exit.STOPPED, Exit.INTERRUPTED):
        s.display.note(f"resume with: pawl train --resume {s.run.path}")
    s.run.event("end", step=progress.state.step, exit_code=int(code), text=text)
    saved = dict(s.run.checkpoints())
    return TrainResult(code, text, s.run.path, tuple(progress.records), saved)


def _epoch_records(records: Sequence[Record]) -> Sequence[Record]:
    """The step records since the last epoch record, this one included."""
    ends = [i for i, r in enumerate(records[:-1]) if "epoch/samples" in r or r["step"] == 0]
    return records[max(ends) + 1 :]

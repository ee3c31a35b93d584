"""Forks: a run that starts as another one stood after some step, with options changed.

`open_fork` makes the new run folder; once everything else is open (problems, model, reward),
`take_over` copies the parent's history up to the step, so that the fork stands alone, and the loop
goes on as from a resume. Left out: what is restored from a checkpoint (`after_step.py`).

Run: `pawl train --from RUN@STEP key=value ...`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pawl.config.load import continued
from pawl.errors import PawlError, PawlErrors
from pawl.models import checkpoint
from pawl.store.files import dumps, read_lines, write_atomic, write_error
from pawl.store.manifest import Origin, Parent, changes, config_hash, never_began, parent_of
from pawl.store.read import Row, count, find_run, places_of, read_events, read_run, saved_config
from pawl.store.run import RunFolder
from pawl.train.control import patched
from pawl.train.progress import TrainState
from pawl.train.session import Session
from pawl.types import Problem

# Options of the model that may change: the weights of the checkpoint still mean the same.
FREE = ("model.device", "model.dtype", "model.gradient_checkpointing")
# What a figure of the held-out evaluation depends on, beside the weights.
JUDGED: tuple[str, ...] = ("prompt.", "problems.", "reward.", "eval.", "sandbox.", "model.dtype")
JUDGED += ("rollout.max_tokens", "rollout.stop")
# Options that only say when and how long to evaluate, or where candidates run.
ASIDE: tuple[str, ...] = ("eval.every", "eval.patience", "eval.probe", "reward.cache")
ASIDE += ("reward.max_missing_frac", "sandbox.tier", "sandbox.allow_unsafe", "sandbox.workers")
# What one step draws and how often it updates: lengths are counted anew from here on.
SIZES = ("rollout.prompts", "rollout.group_size", "algo.minibatches", "algo.epochs", "problems.")


def open_fork(source: str, overrides: Sequence[str]) -> tuple[RunFolder, dict[str, str]]:
    """The new run folder of a fork of `source` (RUN or RUN@STEP), and where options were set.

    Raises PawlErrors for options that a checkpoint cannot follow, and PawlError for a run or a
    step that is not there.
    """
    folder, step = checkpoint_of(source)
    saved = saved_config(folder)
    record = _record(folder, step)
    facts = read_run(folder)
    before = saved.model_copy(update={"name": "", "runs_dir": str(folder.parent)})
    optim = before.optim  # with what was patched while the parent ran, up to this step
    for event in read_events(folder):
        if event["kind"] == "command" and event.get("outcome") == "done" and "set" in event:
            if count(event, "step") <= step:
                optim = patched(optim, event)
    cfg, places = continued(
        before.model_copy(update={"optim": optim}), places_of(folder), overrides
    )
    cfg = cfg.model_copy(update={"name": cfg.name or free_name(cfg.runs_dir, folder.name)})
    changed = changes(saved, cfg)
    require_same_model(changed, places)
    above = parent_of(facts)
    parent = Parent(str(folder), step, config_hash(saved), changed)
    if any(path.startswith(SIZES) for path in changed):
        counters = ("step", "samples", "sampled_prompts", "optim/steps")
        done = (count(record, c) if record.get(c) else 0 for c in counters)
        parent = replace(parent, origin=Origin(*done))
    elif above is not None:
        parent = replace(parent, origin=above.origin)
    return RunFolder.create(cfg, places, parent), places


def checkpoint_of(source: str) -> tuple[Path, int]:
    """The run folder and the step that RUN or RUN@STEP means; its checkpoint is whole."""
    name, sign, digits = source.rpartition("@")
    if not sign or not digits.isdigit():
        folder = find_run(source)
        found, _ = checkpoint.find_valid(folder / "checkpoints")
        return folder, int(found.name[5:])
    folder = find_run(name)
    place = folder / "checkpoints" / checkpoint.folder_name(int(digits))
    if not place.is_dir():
        have = sorted(int(p.name[5:]) for p in place.parent.glob("step-??????"))
        hint = f"steps with a checkpoint: {', '.join(map(str, have)) or 'none'}"
        raise PawlError(f"{folder.name} has no checkpoint of step {digits}", str(folder), hint)
    checkpoint.read_state(place)
    return folder, int(digits)


def free_name(runs_dir: str, parent: str) -> str:
    """PARENT-fork, PARENT-fork-2 and so on: the first whose folder is not in use."""
    number = 1
    while True:
        name = f"{parent}-fork" + (f"-{number}" if number > 1 else "")
        path = Path(runs_dir) / name
        if not path.exists() or never_began(path):
            return name
        number += 1


def require_same_model(changed: Mapping[str, object], places: Mapping[str, str]) -> None:
    """Refuse options under which the checkpoint's weights would be another model."""
    hint = "export the parent and start a new run on that folder (`pawl export`, model.path)"
    errors = [
        PawlError(
            f"`{path}` cannot change in a fork: the checkpoint's weights belong to the parent's "
            "model and adapter",
            places.get(path, ""),
            hint,
        )
        for path in changed
        if path.startswith("model.") and path not in FREE
    ]
    if errors:
        raise PawlErrors(errors)


def pending(run: RunFolder) -> bool:
    """Whether a run is a fork that has not taken its parent's history over yet."""
    parent = parent_of(run.facts())
    return parent is not None and not any(n >= parent.step for n, _ in run.checkpoints())


def take_over(s: Session) -> None:
    """Copy the parent's records, samples and checkpoint up to the fork's step; all can be redone.

    Where problems, prompt, reward or the way of evaluating differ from the parent's, held-out
    figures before and after do not compare: the fork is paired with its own step instead, and the
    evaluation there is left for the loop to make. Raises PawlError when nothing is left to train
    or a held-out problem was trained on.
    """
    parent = parent_of(s.run.facts())
    assert parent is not None
    home = _home(parent, s.run)
    if s.total <= parent.step:
        what = f"nothing is left to train: the run has {s.total} steps, the fork begins at "
        raise PawlError(f"{what}{parent.step}", "train.steps", "give it more: train.steps=N")
    anew = reasons(s, parent, read_run(home)) if s.held_out else []
    if anew:
        require_unseen([*s.held_out, *s.families], home, parent.step)
    above = parent_of(read_run(home))
    start = parent.step if anew else above.start_step if above else 0
    parent = replace(parent, start_step=start)
    s.run.update(parent=asdict(parent))
    state: dict[str, object] = {"config_hash": config_hash(s.cfg)}
    if "algo.kl_coef" in parent.changed:
        state["kl_coef"] = s.cfg.algo.kl_coef
    if anew:
        state |= {"best_step": parent.step, "best_score": 0.0, "evals_since_best": 0}
    copy_records(home, s.run.path, parent.step, bool(anew))
    source, root = home / "checkpoints", s.run.checkpoints_dir
    place = source / checkpoint.folder_name(parent.step)
    best = TrainState.read(checkpoint.state_of(place), str(place)).best_step
    kept = source / checkpoint.folder_name(best)
    if not anew and best < parent.step and kept.is_dir():
        checkpoint.adopt(kept, root, state)
    checkpoint.adopt(place, root, state)
    text = f"forked from {parent.name}"
    if anew:
        text += f"; held-out gains count from step {parent.step}: {', '.join(anew)} changed"
    s.run.event(
        "fork",
        run=parent.run,
        step=parent.step,
        start_step=start,
        changed=parent.changed,
        text=text,
    )
    s.display.note(text)


def reasons(s: Session, parent: Parent, facts: Row) -> list[str]:
    """What makes held-out figures of the parent and the fork incomparable; empty when nothing."""
    named = [p for p in parent.changed if p.startswith(JUDGED) and not p.startswith(ASIDE)]
    if named:
        return named
    own = s.run.facts()
    before, now = facts.get("data"), own.get("data")
    old = before.get("held_out") if isinstance(before, dict) else None
    new = now.get("held_out") if isinstance(now, dict) else None
    found = [] if old == new else ["the held-out problems"]
    return found + ([] if facts.get("reward") == own.get("reward") else ["the reward's file"])


def require_unseen(held_out: Sequence[Problem], parent: Path, step: int) -> None:
    """Raise PawlError when the parent trained on one of these problems up to `step`."""
    texts = {p.id: p.prompt or "\n".join(m.content for m in p.messages) for p in held_out}
    seen = set[str]()
    for path, number in _samples(parent):
        if path.name.startswith("step-") and number <= step:
            for row in read_lines(path):
                name = str(row["problem_id"])
                if name in texts and texts[name].strip() in str(row["prompt"]):
                    seen.add(name)
    if seen:
        raise PawlError(
            f"the parent trained on {len(seen)} of the held-out problems, such as {min(seen)}",
            "problems",
            "keep the parent's split, or name unseen problems in problems.held_out",
        )


def copy_records(home: Path, run: Path, step: int, anew: bool) -> None:
    """steps.jsonl and samples/ up to `step`; with `anew` without the evaluation at the step."""
    try:
        for path, number in _samples(home):
            if number < step or (number == step and not (anew and path.name.startswith("eval-"))):
                shutil.copyfile(path, run / "samples" / path.name)
    except OSError as e:
        raise write_error(e, run / "samples") from e
    records = [r for r in read_lines(home / "steps.jsonl") if count(r, "step") <= step]
    if anew:
        records[-1] = {k: v for k, v in records[-1].items() if not k.startswith("eval/")}
    write_atomic(run / "steps.jsonl", "".join(dumps(r) + "\n" for r in records))


def _samples(run: Path) -> list[tuple[Path, int]]:
    found = sorted((run / "samples").glob("*-??????.jsonl"))
    return [(path, int(path.stem[-6:])) for path in found]


def _record(run: Path, step: int) -> Row:
    for record in read_lines(run / "steps.jsonl"):
        if record["step"] == step:
            return record
    raise PawlError(f"steps.jsonl has no record of step {step}", str(run), "take another step")


def _home(parent: Parent, run: RunFolder) -> Path:
    """The parent's folder: where it was, or beside the fork."""
    for path in (Path(parent.run), run.path.parent / Path(parent.run).name):
        if (path / "run.json").is_file():
            return path
    hint = "the fork had not copied it yet; put it back, or fork again"
    raise PawlError("the parent's run folder is gone", parent.run, hint)

"""Forks: a run that starts as another one stood after some step, with options changed.

`open_fork` makes the new run folder; once everything else is open (problems, model, reward),
`take_over` copies the parent's history up to the step, and `settle` its checkpoint, so that the
fork stands alone and the loop goes on as from a resume. Both hold the parent's records against its
checkpoint (`require_records`). Left out: what is restored from a checkpoint (`start.py`).

Run: `pawl train --from RUN@STEP key=value ...`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from itertools import count as numbers
from pathlib import Path

from pawl.config.load import continued
from pawl.errors import PawlError, PawlErrors
from pawl.judge.health import Repeats
from pawl.models import checkpoint
from pawl.store.digests import BLOCK, Records, Written
from pawl.store.files import read_lines, write_error, write_lines
from pawl.store.manifest import (
    Origin,
    Parent,
    changes,
    config_hash,
    date_of,
    never_began,
    parent_of,
)
from pawl.store.read import (
    Row,
    count,
    find_run,
    places_of,
    read_events,
    read_run,
    read_samples,
    require_sealed,
    saved_config,
)
from pawl.store.run import RunFolder
from pawl.train.control import replayed
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
OWN = ("events.jsonl", "preflight.jsonl")  # records that a fork begins anew
TOLD = ("run", "step", "start_step", "changed")  # what the event says of the parent
# What one step draws and how often it updates: lengths are counted anew from here on.
SIZES = ("rollout.prompts", "rollout.group_size", "algo.minibatches", "algo.epochs", "problems.")


def open_fork(source: str, overrides: Sequence[str]) -> tuple[RunFolder, dict[str, str]]:
    """The new run folder of a fork of `source` (RUN or RUN@STEP), and where options were set.

    Raises PawlErrors for options that a checkpoint cannot follow, and PawlError for a run or a
    step that is not there.
    """
    folder, step = checkpoint_of(source)
    folder = folder if folder.name.strip(".") else folder.resolve()  # `.` names no folder
    require_sealed(folder)
    saved = saved_config(folder)
    record = next((r for r in read_lines(folder / "steps.jsonl") if r["step"] == step), None)
    if record is None:
        what = f"steps.jsonl has no record of step {step}"
        raise PawlError(what, str(folder), "take another step")
    before = saved.model_copy(update={"name": "", "runs_dir": str(folder.parent)})
    optim, _ = replayed(before.optim, read_events(folder), step)  # as it was when the parent ran
    before = before.model_copy(update={"optim": optim})
    cfg, places = continued(before, places_of(folder), overrides)
    cfg = cfg.model_copy(update={"name": cfg.name or free_name(cfg.runs_dir, folder.name)})
    changed = changes(saved, cfg)
    require_same_model(changed, places)
    if any(path.startswith(SIZES) for path in changed):
        counters = ("step", "samples", "sampled_prompts", "optim/steps")
        origin = Origin(*(count(record, c) if record.get(c) else 0 for c in counters))
    else:
        above = parent_of(read_run(folder))
        origin = above.origin if above else Origin()
    parent = Parent(str(folder), step, config_hash(saved), changed, origin=origin)
    run, day = RunFolder.create(cfg, places, parent), date_of(read_run(folder))
    if day:
        run.update(date=day)
    return run, places


def checkpoint_of(source: str) -> tuple[Path, int]:
    """The run folder and the step that RUN or RUN@STEP means; its checkpoint is whole."""
    name, sign, digits = source.rpartition("@")
    if not sign or not re.fullmatch("[0-9]{1,9}", digits):
        folder = find_run(source)
        place, _ = checkpoint.find_valid(folder / "checkpoints")
        require_records(folder, place)
        return folder, int(place.name[5:])
    folder = find_run(name)
    place = folder / "checkpoints" / checkpoint.folder_name(int(digits))
    if not place.is_dir():
        have = sorted(int(p.name[5:]) for p in place.parent.glob("step-??????"))
        hint = f"steps with a checkpoint: {', '.join(map(str, have)) or 'none'}"
        raise PawlError(f"{folder.name} has no checkpoint of step {digits}", str(folder), hint)
    checkpoint.read_state(place)
    require_records(folder, place)
    return folder, int(digits)


def require_records(run: Path, place: Path) -> dict[str, Written]:
    """The records of a run as far as its checkpoint `place` states them.

    Raises PawlError when they are something else; it says from which step a fork can still begin.
    """
    records = Records(run)
    found, wrong = records.compare(checkpoint.state_of(place)["records"])
    if not wrong:
        return found
    step = int(place.name[5:])
    hint = "put the files back; the weights are whole: "
    hint += f"`pawl export {run}@{step} FOLDER`, then a new run with model.path=FOLDER"
    for older in sorted(place.parent.glob("step-??????"), reverse=True):
        try:
            if older.name < place.name and not records.compare(_stated(older))[1]:
                told = f"`pawl train --from {run}@{int(older.name[5:])}` goes on in a new run"
                hint = f"put the files back, or go further back: {told}"
                break
        except PawlError:  # a damaged checkpoint is no way out
            continue
    shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    raise PawlError(f"the records before step {step} were damaged: {shown}", str(run), hint)


def _stated(place: Path) -> dict[str, str]:
    """The records that a whole checkpoint states."""
    stated: dict[str, str] = checkpoint.read_state(place).state["records"]
    return stated


def free_name(runs_dir: str, parent: str) -> str:
    """PARENT-fork, PARENT-fork-2 and so on: the first whose folder is not in use."""
    names = chain([f"{parent}-fork"], (f"{parent}-fork-{n}" for n in numbers(2)))
    paths = (Path(runs_dir) / name for name in names)
    return next(path.name for path in paths if not path.exists() or never_began(path))


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
    if parent is None or any(n >= parent.step for n, _ in run.checkpoints()):
        return False
    return all(event.get("kind") != "fork" for event in read_events(run.path))


@dataclass(frozen=True, slots=True)
class Source:
    """The parent's checkpoint, what a fork changes in its state, and the fork in words."""

    folder: Path
    changed: dict[str, object]
    text: str


def take_over(s: Session) -> Source:
    """Copy the parent's records and samples up to the fork's step; all can be redone.

    Where problems, prompt, reward or the way of evaluating differ from the parent's, held-out
    figures before and after do not compare: the fork is paired with its own step instead, and the
    evaluation there is left to be made. Raises PawlError when nothing is left to train or a
    held-out problem was trained on.
    """
    parent = parent_of(s.run.facts())
    assert parent is not None
    home = _home(parent, s.run)
    if s.total <= parent.step:
        what = f"nothing is left to train: the run has {s.total} steps, the fork begins at "
        raise PawlError(f"{what}{parent.step}", "train.steps", "give it more: train.steps=N")
    facts = read_run(home)
    anew = reasons(s, parent, facts) if s.held_out else []
    if anew:
        require_unseen([*s.held_out, *s.families], home, parent.step)
    above = parent_of(facts)
    start = parent.step if anew else above.start_step if above else 0
    s.run.update(parent=asdict(replace(parent, start_step=start)))
    changed: dict[str, object] = {"config_hash": config_hash(s.cfg)}
    if "algo.kl_coef" in parent.changed:
        changed["kl_coef"] = s.cfg.algo.kl_coef
    if any(path.startswith(("judge.", "reward.")) for path in parent.changed):
        changed["repeats"] = Repeats()
    if anew:
        changed |= {"best_step": parent.step, "best_score": 0.0, "evals_since_best": 0}
    if s.run.resumed:
        s.run.cut_after(-1, {})
    place = home / "checkpoints" / checkpoint.folder_name(parent.step)
    stated = _stated(place)
    redone = f"samples/eval-{parent.step:06d}.jsonl" if anew else ""
    copy_records(home, s.run.path, {n: t for n, t in stated.items() if n != redone}, bool(anew))
    s.run.recount()
    own, last = s.run.records(), "steps.jsonl" if anew else ""
    lost = [n for n in own if own[n] != stated.get(n, own[n]) and n not in (*OWN, last)]
    if lost:
        raise PawlError(f"{lost[0]} was damaged", str(home), "take another step of the parent")
    text = f"forked from {parent.name}"
    if anew:
        text += f"; held-out gains count from step {parent.step}: {', '.join(anew)} changed"
    s.display.note(text)
    return Source(place, changed, text)


def settle(s: Session, source: Source, state: TrainState) -> Path:
    """Take the parent's checkpoint over, and its best one; from now on they are the fork's own."""
    parent = parent_of(s.run.facts())
    assert parent is not None
    own, root = s.run.records(), s.run.checkpoints_dir
    kept = source.folder.with_name(checkpoint.folder_name(state.best_step))
    if state.best_step < parent.step and kept.is_dir():
        stated = _stated(kept) | {name: text for name, text in own.items() if name in OWN}
        checkpoint.adopt(kept, root, {**source.changed, "records": stated})
    made = checkpoint.adopt(source.folder, root, state.as_dict() | {"records": own})
    told = {name: value for name, value in asdict(parent).items() if name in TOLD}
    s.run.event("fork", **told, text=source.text)
    return made


def reasons(s: Session, parent: Parent, facts: Row) -> list[str]:
    """What makes held-out figures of the parent and the fork incomparable; empty when nothing."""
    named = [p for p in parent.changed if p.startswith(JUDGED) and not p.startswith(ASIDE)]
    if named:
        return named
    data = [facts.get("data"), s.run.facts().get("data")]
    old, new = (part.get("held_out") if isinstance(part, dict) else None for part in data)
    found = [] if old == new else ["the held-out problems"]
    same = facts.get("reward") == s.run.facts().get("reward")
    return found + ([] if same else ["the reward's file"])


def require_unseen(held_out: Sequence[Problem], parent: Path, step: int) -> None:
    """Raise PawlError when the parent trained on one of these problems up to `step`."""
    texts = {p.id: p.prompt or "\n".join(m.content for m in p.messages) for p in held_out}
    rows = (row for row in read_samples(parent) if count(row, "step") <= step)
    asked = ((str(row["problem_id"]), str(row["prompt"])) for row in rows)
    seen = {name for name, text in asked if name in texts and texts[name].strip() in text}
    if seen:
        raise PawlError(
            f"the parent trained on {len(seen)} of the held-out problems, such as {min(seen)}",
            "problems",
            "keep the parent's split, or name unseen problems in problems.held_out",
        )


def copy_records(home: Path, run: Path, stated: Mapping[str, str], anew: bool) -> None:
    """steps.jsonl and samples/ as far as the parent's checkpoint states them.

    anew: without the evaluation in the last record.
    """
    sizes = {name: int(text.split()[2]) for name, text in stated.items() if name not in OWN}
    try:
        for name, size in sizes.items():
            with (home / name).open("rb") as source, (run / name).open("wb") as target:
                while size and (data := source.read(min(size, BLOCK))):
                    target.write(data)
                    size -= len(data)
    except OSError as e:
        raise write_error(e, run / "samples") from e
    if anew:
        *records, last = read_lines(run / "steps.jsonl")
        last = {k: v for k, v in last.items() if not k.startswith("eval/")}
        write_lines(run / "steps.jsonl", [*records, last])


def _home(parent: Parent, run: RunFolder) -> Path:
    """The parent's folder: where it was, or beside the fork."""
    for path in (Path(parent.run), run.path.parent / Path(parent.run).name):
        if (path / "run.json").is_file():
            return path
    hint = "the fork had not copied it yet; put it back, or fork again"
    raise PawlError("the parent's run folder is gone", parent.run, hint)

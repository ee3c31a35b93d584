"""An output folder of TRL: the newest trainer_state.json, and what the files around it add.

README.md (the model card) says version and trainer; training_args.bin the options, read without
unpickling; completions/*.parquet the texts; TensorBoard events the steps after the last checkpoint,
since trainer_state.json is only written there. Left out: weights; what the parquet files cannot say
(only the last batch before each log is in them, and an evaluation at the same step replaces it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pawl.errors import PawlError
from pawl.logs import read_tensorboard, read_trl, trl
from pawl.logs.log import Event, Raw, Row
from pawl.logs.pickled import attributes
from pawl.logs.trl_completions import add_completions

STATE, ARGS, CARD = "trainer_state.json", "training_args.bin", "README.md"
CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
GLOBAL_STEP = re.compile(rb'"global_step"\s*:\s*(\d{1,15})\b')
CARD_SIZE = 1 << 20  # bytes


def looks_like(path: Path, head: str) -> bool:
    """Never: this reads folders only."""
    return False


def read(path: Path) -> Raw:
    """The folder's one log; raises PawlError when there is none."""
    return read_folder(path)[0]


def takes_folder(path: Path) -> bool:
    """Whether a folder is an output folder or a checkpoint of the Trainer."""
    return bool(_states(path))


def read_folder(path: Path) -> list[Raw]:
    """The one log of an output folder; raises PawlError when no state can be read."""
    states = _states(path)
    if not states:
        raise PawlError(f"no {STATE} in the folder", str(path))
    state = max(states, key=_step_of)
    raw = read_trl.load(state)
    raw.path = path
    raw.format = f"output folder of TRL, {state.relative_to(path)}"
    trainer = ""
    cards = {state.parent / CARD, path / CARD}
    if CHECKPOINT.match(path.name):
        cards.add(path.parent / CARD)
    for card in sorted(cards, key=lambda card: -len(card.parts)):
        if card.is_file() and not raw.version:
            with card.open(encoding="utf-8", errors="replace") as file:
                raw.version, trainer = trl.from_card(file.read(CARD_SIZE))
    _add_options(raw, (state.parent / ARGS, path / ARGS))
    events = _events(path)
    if events is not None:
        raw.config = {**events.config, **raw.config}
        _add_later_steps(raw, events)
    raw.events += [Event(float(step), "checkpoint") for step in _checkpoints(path)]
    evaluated = _evaluated(raw)
    trl.complete(raw, trainer)
    add_completions(raw, path / "completions", evaluated)
    return [raw]


def _states(path: Path) -> list[Path]:
    found = [path / STATE, *path.glob(f"checkpoint-*/{STATE}")]
    return [p for p in found if p.is_file()]


def _step_of(state: Path) -> tuple[int, int]:
    """The step at which a state was saved; of equal ones the folder's own comes first."""
    with state.open("rb") as file:
        found = GLOBAL_STEP.search(file.read(read_trl.EDGE))
    name = CHECKPOINT.match(state.parent.name)
    step = int(found[1]) if found else int(name[1]) if name else 0
    return step, int(name is None)


def _checkpoints(path: Path) -> list[int]:
    found = (CHECKPOINT.match(p.name) for p in path.glob("checkpoint-*") if p.is_dir())
    return sorted(int(name[1]) for name in found if name)


def _add_options(raw: Raw, files: tuple[Path, ...]) -> None:
    """Take the options that a pickle beside the state holds; what cannot be read is noted."""
    for file in files:
        if file.is_file():
            try:
                _, config = attributes(file)
            except ValueError as error:
                raw.notes.append(f"{file.name} was not read: {error}")
                continue
            raw.config = config
            return


def _events(path: Path) -> Raw | None:
    """The TensorBoard log that TRL wrote into the folder, None when there is none."""
    folders = sorted({p.parent for p in path.glob("runs/*/*tfevents*") if p.is_file()})
    for folder in reversed(folders):
        try:
            raw = read_tensorboard.read_one_folder(folder)
        except PawlError:
            continue
        if raw.library == "trl":
            return raw
    return None


def _add_later_steps(raw: Raw, events: Raw) -> None:
    """Add the rows of the steps that the state, saved at a checkpoint, does not have yet."""
    if "step" not in raw.table.columns:
        return
    last = float(raw.table.column("step")[1].max())
    later = [row for row in _rows(events) if float(str(row["step"])) > last]
    for row in later:
        if "train_runtime" not in row:
            raw.table.add({trl.own_name(name): value for name, value in row.items()})
    if later:
        raw.notes.append(f"the rows after step {last:g}, the last checkpoint, are TensorBoard's")


def _rows(raw: Raw) -> Iterator[Row]:
    """A table's rows again, those of training before those of evaluation."""
    rows: dict[int, Row] = {}
    for name in raw.table.columns:
        row_N, value_N = raw.table.column(name)
        for place, value in zip(row_N.tolist(), value_N.tolist(), strict=True):
            rows.setdefault(place, {})[name] = value
    for place in sorted(rows):
        if "step" in rows[place]:
            yield rows[place]


def _evaluated(raw: Raw) -> set[float]:
    """The steps at which the run was evaluated too."""
    columns = raw.table.columns
    if "step" not in columns:
        return set()
    row_N, step_N = raw.table.column("step")
    at = dict(zip(row_N.tolist(), step_N.tolist(), strict=True))
    names = [name for name in columns if name.startswith("eval_")]
    return {at[row] for name in names for row in raw.table.column(name)[0].tolist() if row in at}

"""An output folder of TRL: the newest trainer_state.json, and what the files around it add.

README.md (the model card) says version and trainer; training_args.bin the options, read without
unpickling; TensorBoard events the steps after the last checkpoint, since trainer_state.json is only
written there; completions/completions_STEP.parquet the texts, and figures of the groups.

A file of completions holds prompt, completion, one column for each reward function (before its
weight) and the advantage of the last batch before one log. Groups are not marked: TRL repeats each
prompt num_generations times in a row. At a step that was evaluated too, the file may hold the
evaluation's texts, so no figure is made of it. Source: trl 1.16.0 trainer/grpo_trainer.py. Left
out: weights; total rewards where the reward's weights are not known; images.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from pawl.logs import read_tensorboard
from pawl.logs.names import own_name
from pawl.logs.pickled import attributes
from pawl.logs.read_trl import EDGE, complete, read_state
from pawl.logs.table import Event, Raw, Row

STATE, ARGS, CARD = "trainer_state.json", "training_args.bin", "README.md"
CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
GLOBAL_STEP = re.compile(rb'"global_step"\s*:\s*(\d{1,15})\b')
CARD_SIZE = 1 << 20  # bytes
CARD_VERSION = re.compile(r"^\W*TRL:\s*v?(\d[\w.]*)", re.MULTILINE)
CARD_TRAINER = re.compile(r"model was trained with (?:\[)?(\w+)")
COMPLETIONS = re.compile(r"^completions_(\d+)\.parquet$")
FILES, SAMPLES = 200, 200  # the newest ones
LARGEST = 1 << 26  # bytes of a file of completions
LONGEST = 20_000  # characters of a text
COLUMN = "completions.parquet"
NO_REWARD = ("step", "prompt", "completion", "advantage", "images", "image", "timestamp")
Group = list[Row]


def read_folder(path: Path) -> list[Raw] | None:
    """The one log of an output folder, or of a checkpoint in it."""
    states = [p for p in (path / STATE, *path.glob(f"checkpoint-*/{STATE}")) if p.is_file()]
    if not states:
        return None
    state = max(states, key=_step_of)
    raw = read_state(state)
    raw.path = path
    raw.format = f"output folder of TRL, {state.relative_to(path)}"
    trainer = ""
    for folder in (state.parent, path, path.parent if CHECKPOINT.match(path.name) else path):
        card = folder / CARD
        if card.is_file() and not raw.version:
            with card.open(encoding="utf-8", errors="replace") as file:
                raw.version, trainer = from_card(file.read(CARD_SIZE))
    _add_options(raw, (state.parent / ARGS, path / ARGS))
    _add_events(raw, path)
    saved = [int(name[1]) for p in path.glob("*/") if (name := CHECKPOINT.match(p.name))]
    raw.events += [Event(float(step), "checkpoint") for step in sorted(saved)]
    complete(raw, trainer)
    _add_completions(raw, path / "completions")
    return [raw]


def _step_of(state: Path) -> tuple[int, int]:
    """The step at which a state was saved; of equal ones the folder's own comes first."""
    with state.open("rb") as file:
        found = GLOBAL_STEP.search(file.read(EDGE))
    name = CHECKPOINT.match(state.parent.name)
    step = int(found[1]) if found else int(name[1]) if name else 0
    return step, int(name is None)


def from_card(text: str) -> tuple[str, str]:
    """Version of TRL and name of the trainer by a model card; "" for what it does not say."""
    version, trainer = CARD_VERSION.search(text), CARD_TRAINER.search(text)
    return version[1] if version else "", trainer[1].upper() if trainer else ""


def _add_options(raw: Raw, files: tuple[Path, ...]) -> None:
    """Take the options that a pickle beside the state holds; what cannot be read is noted."""
    for file in files:
        if file.is_file():
            try:
                raw.config = attributes(file)
                return
            except ValueError as error:
                raw.notes.append(f"{file.name} was not read: {error}")


def _add_events(raw: Raw, path: Path) -> None:
    """Add what the newest TensorBoard log of TRL has: options, and steps after the checkpoint."""
    folders = {p.parent for p in path.glob("runs/*/*tfevents*") if p.is_file()}
    found = map(read_tensorboard.read_one_folder, sorted(folders, reverse=True))
    events = next((one for one in found if one.library == "trl"), None)
    if events is None:
        return
    raw.config = {**events.config, **raw.config}
    if "step" not in raw.table.columns:
        return
    last = raw.table.column("step")[1].max()
    rows: dict[int, Row] = defaultdict(dict)
    for name in events.table.columns:
        row_N, value_N = events.table.column(name)
        for place, value in zip(row_N.tolist(), value_N.tolist(), strict=True):
            rows[place][own_name("trl", name)] = value
    later = [row for _, row in sorted(rows.items()) if row.get("step", last) > last]
    for row in later:
        raw.table.add(row)
    if later:
        raw.notes.append(f"the rows after step {last:g}, the last checkpoint, are TensorBoard's")


def _add_completions(raw: Raw, folder: Path) -> None:
    """Add samples and the groups' figures of a folder of files of completions to the log."""
    files = [(int(m[1]), p) for p in folder.glob("*.parquet") if (m := COMPLETIONS.match(p.name))]
    samples, figures, skipped = list[Row](), dict[int, dict[str, float]](), 0
    row_of = _rows_of_steps(raw)
    for step, path in sorted(files, reverse=True)[:FILES]:
        groups = _groups(_rows(path), raw.config.get("num_generations"))
        skipped += not groups
        if len(samples) < SAMPLES:
            samples = [*_samples(step, groups, raw.config), *samples]
        if step in row_of:
            figures[row_of[step]] = _figures(groups)
    raw.samples = tuple(samples[-SAMPLES:])
    for name in sorted({name for row in figures.values() for name in row}):
        rows = sorted(row for row in figures if name in figures[row])
        values = np.array([figures[row][name] for row in rows], np.float64)
        raw.table.put(name, np.array(rows, np.int64), values)
    if skipped:
        raw.notes.append(f"{skipped} parquet files could not be read and were left out")


def _rows_of_steps(raw: Raw) -> dict[float, int]:
    """The first row of each step at which the run was not evaluated too."""
    columns = raw.table.columns
    if "step" not in columns:
        return {}
    row_N, step_N = raw.table.column("step")
    step_of = dict(zip(row_N.tolist(), step_N.tolist(), strict=True))
    names = [name for name in columns if name.startswith("eval_")]
    evaluated = {step_of.get(row) for name in names for row in columns[name][0]}
    return {step: row for row, step in reversed(step_of.items()) if step not in evaluated}


def _rows(path: Path) -> list[Row]:
    """The rows of a file, none when it cannot be read."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        if path.stat().st_size > LARGEST:
            return []
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError, pyarrow.lib.ArrowException):
        return []
    return [row for row in rows if "prompt" in row and "completion" in row]


def words(value: object) -> str:
    """A prompt or completion as text: itself, or the contents of its messages, one a line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return words(value.get("content", value.get("text")))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "\n".join(words(part) for part in value)
    return "" if value is None else str(value)


def _groups(rows: list[Row], size: object) -> list[Group]:
    """Runs of equal prompts, cut to the group size where it is known and fits."""
    if isinstance(size, int) and size > 0 and len(rows) % size == 0:
        return [rows[at : at + size] for at in range(0, len(rows), size)]
    return [list(group) for _, group in groupby(rows, key=lambda row: words(row["prompt"]))]


def _components(row: Row) -> dict[str, float]:
    """The rewards of a row by function; none where the function did not apply."""
    numbers = ((k, v) for k, v in row.items() if k not in NO_REWARD and isinstance(v, int | float))
    return {name: float(value) for name, value in numbers if value == value}


def _samples(step: int, groups: Sequence[Group], config: Mapping[str, object]) -> Iterator[Row]:
    """Rows as a run folder has them, as far as the file tells."""
    unweighted = "num_generations" in config and "reward_weights" not in config
    for number, group in enumerate(groups):
        for member, row in enumerate(group):
            parts = _components(row)
            total = sum(parts.values()) if parts and (unweighted or len(parts) == 1) else None
            yield {
                "step": step,
                "group": number,
                "member": member,
                "prompt": words(row["prompt"])[:LONGEST],
                "text": words(row["completion"])[:LONGEST],
                "advantage": row.get("advantage"),
                "score": {"total": total, "components": parts},
            }


def _figures(groups: Sequence[Group]) -> dict[str, float]:
    """Distinct completions in a group, and each component within and between groups."""
    full = [group for group in groups if len(group) > 1]
    found = dict[str, float]()
    if full:
        shares = [len({words(row["completion"]) for row in g}) / len(g) for g in full]
        found[f"{COLUMN}/distinct_frac"] = fmean(shares)
    scores = [[_components(row) for row in group] for group in full]
    for name in {name for group in scores for row in group for name in row}:
        values = [[row[name] for row in group if name in row] for group in scores]
        known = [v for v in values if len(v) > 1 and all(map(math.isfinite, v))]
        if known:
            found[f"{COLUMN}/within/{name}"] = fmean(stdev(v) for v in known)
        if len(known) > 1:
            found[f"{COLUMN}/between/{name}"] = stdev(fmean(v) for v in known)
    return found

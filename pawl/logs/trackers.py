"""What the records of experiment trackers have in common: rows by their own or the trainer's step.

The Trainer of transformers numbers its rows in a column of its own (train/global_step) while the
tracker counts calls; rows between two such numbers (timings) belong to the later one. Left out: the
files (read_wandb.py, read_trackio.py, read_tensorboard.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from pawl.logs.names import library_of
from pawl.logs.read_trl import SECRET, complete, with_nan
from pawl.logs.table import Raw, Row

OWN_STEPS = tuple(f"{part}/global_step" for part in ("train", "trainer", "eval"))
NO_METRICS = ("_step", "_runtime", "_timestamp", "_wandb", *OWN_STEPS)
TIMINGS = "profiling/"  # of TRL, logged on their way to the step that they belong to
SUMMARY = {"train/epoch", "train/total_flos", "train/train_loss"}  # what closes a run
LOOK = 1_000  # rows in which a step of the trainer's own must appear


def fill(raw: Raw, rows: Iterable[Row]) -> Raw:
    """Put a tracker's rows into the log."""
    stream = iter(rows)
    first = list(islice(stream, LOOK))
    names = [name for name in (raw.own_step, *OWN_STEPS) if name and "*" not in name]
    if not any(name in row for row in first for name in names):
        names = []
    for row in _joined(chain(first, stream), names):
        raw.table.add(row)
    return finish(raw)


def finish(raw: Raw) -> Raw:
    """A tracker's log without secrets, and with what its columns say of the library."""
    raw.config = {k: v for k, v in raw.config.items() if not k.lower().endswith(SECRET)}
    return complete(raw) if library_of(raw.table.columns) == "trl" else raw


def _joined(rows: Iterable[Row], names: list[str]) -> Iterator[Row]:
    """Rows under one column `step`; timings, and what has no step of the trainer, wait for one."""
    waiting: Row = {}
    for row in rows:
        own = next((row[name] for name in names if row.get(name) is not None), None)
        body = {k: v for k, v in with_nan(row).items() if _is_metric(k, v)}
        if names and (own is None or all(name.startswith(TIMINGS) for name in body)):
            waiting.update(body)
            continue
        if body.keys() <= SUMMARY:
            continue
        if any(name.startswith("eval/") for name in body):
            body.pop("train/epoch", None)  # like the timings the training row's of the step
            waiting = {k: v for k, v in waiting.items() if not k.startswith(TIMINGS)}
        yield {"step": row.get("_step") if own is None else own, **waiting, **body}
        waiting = {}
    if any(not name.startswith(TIMINGS) for name in waiting):
        yield waiting


def _is_metric(name: str, value: object) -> bool:
    """Whether a value can be one: no clock of the tracker, no table, image or histogram."""
    listed = isinstance(value, list) or (isinstance(value, dict) and "_type" in value)
    return name not in NO_METRICS and not listed

"""TRL and the Hugging Face Trainer: a history in JSON, and what all their logs share.

Read are trainer_state.json (object by object, so that its length does not matter), its
`log_history` alone, and the same rows as JSON lines: LLaMA-Factory writes trainer_log.jsonl
(current_steps, total_steps, loss, accuracy, lr), ms-swift logging.jsonl (TRL's columns and
"global_step/max_steps": "5/93"). Sources: LLaMA-Factory src/llamafactory/train/callbacks.py,
ms-swift swift/plugin/callback.py.

Whichever file rows stand in, a null of some columns is a mean that was no number, the closing
summary is no step, and an option nobody set has the default of its version (`names_trl.toml`).
Left out: the folder around the file (`read_trl_folder`), what a console showed
(`read_trl_console`), TensorBoard, W&B and Trackio files of the same runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path

from pawl.logs.json_stream import LIST, first_objects, lines, objects
from pawl.logs.log import applies
from pawl.logs.names import library_of, names_of, own_name
from pawl.logs.table import Raw, Row, Table

STATE = "trainer_state.json of TRL or the Hugging Face Trainer"
BARE = "log_history of TRL or the Hugging Face Trainer"
LINES = "log history of TRL or the Hugging Face Trainer (JSON lines)"
FACTORY = "trainer_log.jsonl of LLaMA-Factory"
SWIFT = "logging.jsonl of ms-swift"
EDGE = 1 << 16  # bytes at both ends in which the settings around the list stand
HISTORY = re.compile(r'"log_history"\s*:\s*\[')
SETTING = re.compile(r'"(max_steps|num_train_epochs|save_steps)"\s*:\s*(-?\d{1,12})\b')
RATIO = "global_step/max_steps"
NO_METRICS = ("total_steps", RATIO, "percentage", "elapsed_time", "remaining_time", "cur_time")
NAN_IF_NULL = tuple(
    start + name for start in ("", "train/") for name in ("loss", "grad_norm", "kl", "entropy")
)
SECRET = ("_token", "_key", "password", "secret")


def read(path: Path, head: str) -> list[Raw] | None:
    """The history of a file; one that breaks off gives what came before, with a note."""
    start = head.lstrip()[:1]
    late = len(head) >= EDGE and "\n{" not in head  # one large object: the list may follow
    shown = HISTORY.search(head) is not None
    if start == "{" and (shown or late):
        state = read_state(path)
        if shown or state.table.n:
            return [complete(state)]
    names = {name for row in islice(first_objects(head), 5) for name in row}
    own = library_of(names) == "trl" and not {"_step", "_timestamp"} & names  # no tracker's rows
    if start == "[":
        kind = BARE if own else ""
    elif {"current_steps", "total_steps"} <= names:
        kind = FACTORY
    else:
        kind = SWIFT if RATIO in names else LINES if own else ""
    if not kind:
        return None
    raw = Raw(path, kind, "trl", Table())
    _add_rows(raw, objects(path, LIST, raw.notes) if kind == BARE else _lines(path, raw))
    return [complete(raw)]


def read_state(path: Path) -> Raw:
    """A trainer_state.json without what follows from version and options."""
    raw = Raw(path, STATE, "trl", Table())
    _add_rows(raw, objects(path, HISTORY, raw.notes))
    raw.config = dict(_settings(path))
    return raw


def _add_rows(raw: Raw, rows: Iterable[Row]) -> None:
    summaries = sum(not add_row(raw.table, row) for row in rows)
    if summaries > 1:
        raw.notes.append(f"{summaries} closing summaries: the run was ended and continued")


def _lines(path: Path, raw: Raw) -> Iterator[Row]:
    """Rows of JSON lines under TRL's names; the length of the run is an option."""
    for row in lines(path, raw.notes):
        step, sign, total = str(row.get(RATIO, "")).partition("/")
        total = total if sign else str(row.get("total_steps"))
        for name in NO_METRICS:
            row.pop(name, None)
        if total.isdecimal():
            raw.config["max_steps"] = int(total)
        yield {"step": int(step), **row} if sign and step.isdecimal() else row


def _settings(path: Path) -> Iterator[tuple[str, int]]:
    """Length and intervals of the run, which stand around the list."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for place in (0, max(0, size - EDGE)):
            file.seek(place)
            text = file.read(EDGE).decode("utf-8", "replace")
            yield from ((name, int(value)) for name, value in SETTING.findall(text))


def add_row(table: Table, row: Row) -> bool:
    """Append a row of the Trainer; False for the closing summary, which is no step."""
    if "train_runtime" in row:
        return False
    if "epoch" in row and _evaluates(tuple(row)):
        del row["epoch"]  # that of the training row of the step
    table.add(with_nan(row))
    return True


@lru_cache
def _evaluates(names: tuple[str, ...]) -> bool:
    return any(name.startswith("eval_") for name in names)


def with_nan(row: Row) -> Row:
    """A row whose nulls, where TRL writes null for a mean that is no number, are nan."""
    for name in NAN_IF_NULL:
        if row.get(name, 0) is None:
            row[name] = math.nan
    return row


def options(config: Mapping[str, object]) -> Row:
    """A trainer's arguments without those that say nothing, and with what an empty one stands for.

    epsilon_high empty is epsilon; warmup_ratio counts where warmup_steps is 0; max_steps -1 leaves
    the length to the epochs.
    """
    own = {k: v for k, v in config.items() if v is not None and not k.endswith(SECRET)}
    for name in ("epsilon", "cliprange"):
        if name in own:
            own.setdefault("epsilon_high", own[name])
    if own.get("eval_strategy") == "no":
        own.pop("eval_steps", None)
    if not own.get("warmup_steps") and own.get("warmup_ratio"):
        own.pop("warmup_steps", None)
    if str(own.get("max_steps", "1")).startswith(("-", "0")):
        del own["max_steps"]
    elif "max_steps" in own:
        own.pop("num_train_epochs", None)
    return own


def complete(raw: Raw, trainer: str = "") -> Raw:
    """The raw log of TRL with options, defaults and kind filled in."""
    raw.library = "trl"
    if not raw.version:
        raw.at_least, raw.below = _bound(raw.config, "since"), _bound(raw.config, "until")
    raw.config = options(raw.config)
    sources = {own_name("trl", name): name for name in raw.table.columns}
    if {"min_reward", "max_reward", "margin"} <= sources.keys():
        raw.kind = "reward-model"
    if raw.version and trainer:
        raw.defaults = dict(_defaults(raw, trainer, sources))
    if raw.at_least or raw.below:
        sides = (("at least", raw.at_least), ("before", raw.below))
        words = " and ".join(f"{word} {bound}" for word, bound in sides if bound)
        raw.notes.append(f"by its options the version of TRL is {words}")
    elif not raw.version and {"reward_std", "kl", "entropy"} & sources.keys():
        raw.notes.append("the version of TRL is not known: see the notes of the series it decides")
    return raw


def _bound(config: Mapping[str, object], side: str) -> str:
    """The version since or until which runs have such options, "" when they do not tell."""
    for row in names_of("trl")["evidence"]:
        has = all(name in config for name in row.get("has", ()))
        lacks = not any(name in config for name in row.get("lacks", ()))
        equal = all(config.get(name) == value for name, value in row.get("values", {}).items())
        if side in row and has and lacks and equal:
            return str(row[side])
    return ""


def _defaults(raw: Raw, trainer: str, sources: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Options nobody stated, by version and trainer, unless the columns speak against them."""
    for row in names_of("trl")["default"]:
        if row["trainer"] == trainer and row["option"] not in raw.config:
            reached = sources.get(row.get("reached", ""))
            holds = reached and raw.table.column(reached)[1].max() == float(row["value"])
            if applies(row, raw, sources) and (holds or "reached" not in row):
                yield row["option"], row["value"]

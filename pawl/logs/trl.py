"""What the logs of TRL share, whichever file they stand in: spelling, nulls, options, defaults.

trainer_state.json writes reward and eval_reward, the trackers train/reward and eval/reward; a null
of some columns is a mean that was no number; an option nobody set has the default of its version.
The tables stand in names_trl.toml. Left out: the files (read_trl*.py and the trackers' readers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from pawl.logs import libraries
from pawl.logs.libraries import library_of, names_of
from pawl.logs.log import Raw, Row, number_of

NAN_IF_NULL = tuple(
    start + name for start in ("", "train/") for name in ("loss", "grad_norm", "kl", "entropy")
)
SECRET = ("_token", "_key", "password", "secret")
CARD_VERSION = re.compile(r"^\W*TRL:\s*v?(\d[\w.]*)", re.MULTILINE)
CARD_TRAINER = re.compile(r"model was trained with (?:\[)?(\w+)")


def is_trl(columns: Iterable[str]) -> bool:
    """Whether the columns are such as only TRL, or the Trainer below it, writes."""
    return library_of(columns) == "trl"


def own_name(column: str) -> str:
    """A tracker's column as TRL's own log calls it: train/kl is kl, eval/kl is eval_kl."""
    return libraries.own_name("trl", column)


def with_nan(row: Row) -> Row:
    """A row whose nulls, where TRL writes null for a mean that is no number, are nan."""
    for name in NAN_IF_NULL:
        if row.get(name, 0) is None:
            row[name] = math.nan
    return row


def from_card(text: str) -> tuple[str, str]:
    """Version of TRL and name of the trainer by a model card; "" for what it does not say."""
    version, trainer = CARD_VERSION.search(text), CARD_TRAINER.search(text)
    return version[1] if version else "", trainer[1].upper() if trainer else ""


def options(config: Mapping[str, object]) -> Row:
    """A trainer's arguments without those that say nothing, and with what an empty one stands for.

    epsilon_high empty is epsilon; warmup_ratio counts where warmup_steps is 0; max_steps -1 leaves
    the length to the epochs.
    """
    own = {k: v for k, v in config.items() if v is not None and not k.endswith(SECRET)}
    if "epsilon" in own:
        own.setdefault("epsilon_high", own["epsilon"])
    if "cliprange" in own:
        own.setdefault("epsilon_high", own["cliprange"])
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
    names = {own_name(name) for name in raw.table.columns}
    if {"min_reward", "max_reward", "margin"} <= names:
        raw.kind = "reward-model"
    raw.defaults = _defaults(raw, trainer, names)
    if raw.at_least or raw.below:
        sides = (("at least", raw.at_least), ("before", raw.below))
        words = " and ".join(f"{word} {bound}" for word, bound in sides if bound)
        raw.notes.append(f"by its options the version of TRL is {words}")
    elif not raw.version and {"reward_std", "kl", "entropy"} & names:
        raw.notes.append("the version of TRL is not known: see the notes of the series it decides")
    return raw


def _bound(config: Mapping[str, object], side: str) -> str:
    """The version since or until which runs have such options, "" when they do not tell."""
    for row in names_of("trl")["evidence"]:
        if side not in row:
            continue
        has = all(name in config for name in row.get("has", ()))
        lacks = not any(name in config for name in row.get("lacks", ()))
        values = row.get("values", {}).items()
        if has and lacks and all(config.get(name) == value for name, value in values):
            return str(row[side])
    return ""


def _defaults(raw: Raw, trainer: str, names: set[str]) -> Row:
    """Options nobody stated, by version and trainer, unless the columns speak against them."""
    found: Row = {}
    if not (raw.version and trainer):
        return found
    version = number_of(raw.version)
    for row in names_of("trl")["default"]:
        since, until = number_of(str(row.get("since", "0"))), number_of(str(row.get("until", "99")))
        if row["trainer"] != trainer or not since <= version < until:
            continue
        if any(name in names for name in row.get("without", ())):
            continue
        if "reached" in row and _largest(raw, str(row["reached"])) != float(row["value"]):
            continue
        found[str(row["option"])] = row["value"]
    return {name: value for name, value in found.items() if name not in raw.config}


def _largest(raw: Raw, own: str) -> float:
    """The largest value of a column by TRL's name; nan when there is none."""
    for name in raw.table.columns:
        if own_name(name) == own:
            values = raw.table.column(name)[1]
            return float(values.max()) if len(values) else math.nan
    return math.nan

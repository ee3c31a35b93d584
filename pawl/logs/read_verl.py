"""verl: its console log (`step:N - key:value - ...`) and the JSON lines of its file logger.

Ray's prefixes and lines that a terminal wrapped are mended; a config printed at the start is read.
Where verl printed three decimals, small values are 0.000 in the log and stay so. Left out: rollout
dumps (`read_verl_dump`), TensorBoard and W&B files, which carry the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pawl.logs.console import (
    NUMBER,
    WRAPPED,
    Printed,
    first_records,
    flat,
    is_json,
    lines,
    literal,
    opening,
    opens_as_json,
    records,
    worker,
)
from pawl.logs.log import Event, Raw
from pawl.logs.table import Table

CONSOLE = "console log of verl"
FILE = "JSON lines of verl's file logger"
WORDS = (
    "actor/|critic/|response_length|response/|prompt_length/|training/|timing_s/|perf/"
    "|timing_per_token_ms/|global_seqlen/|val-core/|val-aux/|val/|rollout_corr/|fully_async/"
)
STEP = re.compile(r"(?:^|\s)step:(\d+)\s+-\s+(?=[A-Za-z])")
KEYS = re.compile(rf"(?:^|\s)(?:{WORDS})")
BETWEEN = re.compile(r"\s+-\s*(?=[A-Za-z])|\s*-\s+(?=[A-Za-z])")
PAIR = re.compile(rf"([A-Za-z][^:]*):({WRAPPED})({NUMBER})(\)?)(?=\s|\(|$)", re.IGNORECASE)
PLAIN = re.compile(NUMBER, re.IGNORECASE)
KEY = re.compile(r"[A-Za-z][\w@./ -]*(?::\S*)?")
CONFIG = re.compile(r"\{\s*'actor_rollout_ref'\s*:")
BROKEN = re.compile(r"grad_norm is not finite", re.IGNORECASE)
LONGEST = 2_000  # characters of one line of a printed config
WIDEST = 512  # columns of a terminal that may have wrapped a line
MOST = 4_000  # lines of a printed config
TRIED, NEAR = 50, 4_000  # steps, and characters behind each, in which verl's keys must show


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds verl's step lines, config or JSON lines."""
    if is_json(head):
        rows = first_records(head)
        return bool(rows) and _is_record(rows[0])
    text = opening(path, head)
    steps = list(islice(STEP.finditer(text), TRIED))
    if any(KEYS.search(text, step.end(), step.end() + NEAR) for step in steps):
        return True
    return CONFIG.search(text) is not None and "'rollout'" in text


def _is_record(row: dict[str, object]) -> bool:
    data = row.get("data")
    if set(row) != {"step", "data"} or not isinstance(data, dict):
        return False
    return any(re.match(WORDS, str(key)) for key in data)


def read(path: Path) -> Raw:
    """The steps of the file, its printed config and what broke on the way."""
    return _file(path) if opens_as_json(path) else _console(path)


def _file(path: Path) -> Raw:
    table, notes = Table(), list[str]()
    for row in records(path, notes):
        if isinstance(data := row.get("data"), dict):
            table.add({**data, "step": row.get("step")})
    return Raw(path, FILE, "verl", table, notes=notes)


def _console(path: Path) -> Raw:
    raw, printed = Raw(path, CONSOLE, "verl", Table()), Printed()
    step, text, width, whole = -1, "", 0, True
    for line, ended in _told(path, raw):
        start = STEP.search(line)
        if start is None:
            if step < 0:
                continue
            if width <= WIDEST and _continues(text, line):
                text, whole = text + line, ended
            elif BROKEN.search(line):
                raw.events.append(Event(step, "error", line.strip()[:200]))
            continue
        _add(raw, printed, step, text, whole)
        step, text, width, whole = int(start[1]), line[start.end() :], len(line), ended
    _add(raw, printed, step, text, whole)
    printed.leave_out(raw.table, raw.notes, sure=False)
    return raw


def _told(path: Path, raw: Raw) -> Iterator[tuple[str, bool]]:
    """The lines without their workers' prefixes; the first printed config is taken out."""
    config: list[str] = []
    teller, depth = "", 0
    for line, ended in lines(path):
        who, words = worker(line)
        if not config and not raw.config and CONFIG.search(words):
            teller, config, depth = who, [words[words.index("{") :]], 0
            depth = words.count("{") - words.count("}")
        elif config and depth > 0 and who == teller and len(config) < MOST:
            config.append(words[:LONGEST])
            depth += words.count("{") - words.count("}")
        else:
            yield words, ended
            continue
        if depth <= 0:
            raw.config = _used(flat(literal("\n".join(config)) or {}))
            if not raw.config:
                raw.notes.append("the printed config could not be read")
            config = []


def _used(config: dict[str, object]) -> dict[str, object]:
    """The config without values that stand for none, and without a KL that is switched off."""
    found = {name: value for name, value in config.items() if value is not None}
    warmup = "actor_rollout_ref.actor.optim.lr_warmup_steps"
    if str(found.get(warmup, "")).startswith("-"):  # the share counts instead
        del found[warmup]
    loss, reward = "actor_rollout_ref.actor.kl_loss_coef", "algorithm.kl_ctrl.kl_coef"
    in_loss = found.get("actor_rollout_ref.actor.use_kl_loss")
    in_reward = found.get("algorithm.use_kl_in_reward")
    if in_loss is False and in_reward is False:
        found[loss] = 0.0
    if in_loss is False and in_reward is not False:
        found.pop(loss, None)
    if in_reward is False:
        found.pop(reward, None)
    return found


def _continues(text: str, line: str) -> bool:
    """Whether a line is the rest of a wrapped one: where they meet a whole pair stands."""
    if not line.strip() or len(line) > WIDEST:
        return False
    cut = text.rfind(" - ")
    parts = BETWEEN.split((text[cut + 3 :] if cut >= 0 else text) + line)
    return all(PAIR.fullmatch(p.strip()) for p in parts[:-1]) and bool(
        PAIR.fullmatch(parts[-1].strip())
        or (len(parts) > 1 and KEY.fullmatch(parts[-1].rstrip(" -")))
    )


def _add(raw: Raw, printed: Printed, step: int, text: str, whole: bool) -> None:
    """The pairs of one step as a row; the last pair of a line that breaks off is left out."""
    if step < 0:
        return
    pairs = _pairs(text)
    if not whole:
        raw.notes.append(f"the file breaks off within step {step}; its last value was left out")
        pairs = pairs[:-1]
    row: dict[str, object] = {k: printed.number(k, value) for k, value in pairs if value}
    if row:
        raw.table.add({"step": step, **row})


def _pairs(text: str) -> list[tuple[str, str]]:
    """Names and numbers of a step's text; what is no such pair is left out, "" for its number."""
    plain = [part.partition(":") for part in text.split(" - ")]
    if all(PLAIN.fullmatch(value) for _, _, value in plain):
        return [(name.strip(), value) for name, _, value in plain]
    found = []
    for part in BETWEEN.split(" ".join(text.split())):
        pair = PAIR.match(part.strip())
        if pair is not None and bool(pair[2].endswith("(")) == bool(pair[4]):
            found.append((pair[1].strip(), pair[3]))
        else:
            found.append((part.partition(":")[0].strip(), ""))
    return found

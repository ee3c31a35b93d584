"""verl: its console log, the JSON lines of its file logger, and its rollout dumps.

In the console (`step:N - key:value - ...`) Ray's prefixes and lines that a terminal wrapped are
mended; a config printed at the start is read. Where verl printed three decimals, small values are
0.000 in the log and stay so.

A dump is a folder of STEP.jsonl, one line for each sample (input, output, score). It holds what
verl's metrics lack: the deviation of rewards, in groups and over the batch, and the share of groups
with equal rewards. Samples of one input in one step are a group; where inputs do not repeat nothing
is said of groups. Left out: lengths in a dump, which are characters and not tokens; TensorBoard and
W&B files, which carry the keys of the console.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from pawl.logs import console
from pawl.logs.console import LONGEST, NUMBER, WRAPPED, Printed, opening
from pawl.logs.json_stream import first_objects, lines, object_of
from pawl.logs.table import Event, Raw, Row, Table
from pawl.store.files import flat

CONSOLE = "console log of verl"
FILE = "JSON lines of verl's file logger"
WORDS = (
    "actor/|critic/|response_length|response/|prompt_length/|training/|timing_s/|perf/"
    "|timing_per_token_ms/|global_seqlen/|val-core/|val-aux/|val/|rollout_corr/|fully_async/"
)
DUMP = "rollout dump of verl"
STEP = re.compile(r"(?:^|\s)step:(\d+)\s+-\s+(?=[A-Za-z])")
KEYS = re.compile(rf"(?:^|\s)(?:{WORDS})")
BETWEEN = re.compile(r"\s+-\s*(?=[A-Za-z])|\s*-\s+(?=[A-Za-z])")
PAIR = re.compile(rf"([A-Za-z][^:]*):({WRAPPED})({NUMBER})(\)?)(?=\s|\(|$)", re.IGNORECASE)
PLAIN = re.compile(NUMBER, re.IGNORECASE)
KEY = re.compile(r"[A-Za-z][\w@./ -]*(?::\S*)?")
CONFIG = re.compile(r"\{\s*'actor_rollout_ref'\s*:")
BROKEN = re.compile(r"grad_norm is not finite", re.IGNORECASE)
WIDE = 2_000  # characters of one line of a printed config
WIDEST = 512  # columns of a terminal that may have wrapped a line
MOST = 4_000  # lines of a printed config
TRIED, NEAR = 50, 4_000  # steps, and characters behind each, in which verl's keys must show
SAMPLE = {"input", "output", "score", "step"}
NO_SCORE = SAMPLE | {"gts", "uid", "request_id"}
SAMPLES = re.compile(r"(\d+)\.jsonl")
KEPT = 200  # samples, of the newest steps


def read(path: Path, head: str) -> list[Raw] | None:
    """The steps of a log, its printed config and what broke on the way; or a dump of one step."""
    text, first = opening(path, head), next(first_objects(head), None)
    if not text and first and _is_record(first):
        return [_file(path)]
    if text and _is_console(text):
        return [_console(path)]
    dumped = _is_sample(first) if first else '"output"' in head and _is_dump(path)
    return [_dump(path, [path])] if dumped else None


def read_folder(path: Path) -> list[Raw] | None:
    """All steps of a dump as one log."""
    found = [(int(hit[1]), f) for f in path.glob("*.jsonl") if (hit := SAMPLES.fullmatch(f.name))]
    files = [file for _, file in sorted(found)]
    return [_dump(path, files)] if files and _is_dump(files[-1]) else None


def _is_console(text: str) -> bool:
    """Whether a console holds verl's step lines or its config."""
    steps = islice(STEP.finditer(text), TRIED)
    shown = any(KEYS.search(text, step.end(), step.end() + NEAR) for step in steps)
    return shown or (CONFIG.search(text) is not None and "'rollout'" in text)


def _is_record(row: Row) -> bool:
    data = row.get("data")
    if set(row) != {"step", "data"} or not isinstance(data, dict):
        return False
    return any(re.match(WORDS, str(key)) for key in data)


def _file(path: Path) -> Raw:
    raw = Raw(path, FILE, "verl", Table())
    for row in lines(path, raw.notes):
        if isinstance(data := row.get("data"), dict):
            raw.table.add({**data, "step": row.get("step")})
    return raw


def _console(path: Path) -> Raw:
    """The steps as rows; the last pair of a line that breaks off is left out."""
    raw, printed = Raw(path, CONSOLE, "verl", Table()), Printed()
    for step, text, whole in _steps(raw):
        pairs = _pairs(text)
        if not whole:
            raw.notes.append(f"the file breaks off within step {step}; its last value was left out")
            pairs = pairs[:-1]
        if row := {k: printed.number(k, value) for k, value in pairs if value}:
            raw.table.add({"step": step, **row})
    printed.leave_out(raw, rounds=False)
    return raw


def _steps(raw: Raw) -> Iterator[tuple[int, str, bool]]:
    """Each step, its text with wrapped lines joined, and whether that is whole."""
    step, text, width, whole = -1, "", 0, True
    for line, ended in _told(raw):
        start = STEP.search(line)
        if start is not None:
            if step >= 0:
                yield step, text, whole
            step, text, width, whole = int(start[1]), line[start.end() :], len(line), ended
        elif step >= 0 and width <= WIDEST and _continues(text, line):
            text, whole = text + line, ended
        elif step >= 0 and BROKEN.search(line):
            raw.events.append(Event(step, "error", line.strip()[:200]))
    if step >= 0:
        yield step, text, whole


def _told(raw: Raw) -> Iterator[tuple[str, bool]]:
    """The lines; the first printed config, which one worker prints, is taken out."""
    config, teller, depth = list[str](), "", 0
    for who, line, ended in console.lines(raw.path):
        if not config and not raw.config and CONFIG.search(line):
            line = line[line.index("{") :]
            teller, config, depth = who, [line], 0
        elif config and who == teller and len(config) < MOST:
            config.append(line[:WIDE])
        else:
            yield line, ended
            continue
        depth += line.count("{") - line.count("}")
        if depth <= 0:
            raw.config = _used("\n".join(config))
            if not raw.config:
                raw.notes.append("the printed config could not be read")
            config = []


def _used(text: str) -> Row:
    """A printed config without values that stand for none, and a KL that is switched off."""
    try:
        config = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {}
    found = {name: value for name, value in flat(config).items() if value is not None}
    warmup = "actor_rollout_ref.actor.optim.lr_warmup_steps"
    if str(found.get(warmup, "")).startswith("-"):  # the share counts instead
        del found[warmup]
    loss, reward = "actor_rollout_ref.actor.kl_loss_coef", "algorithm.kl_ctrl.kl_coef"
    in_loss = found.get("actor_rollout_ref.actor.use_kl_loss")
    in_reward = found.get("algorithm.use_kl_in_reward")
    if in_loss is False and in_reward is False:
        found[loss] = 0.0
    elif in_loss is False:
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


def _is_sample(row: Row) -> bool:
    return set(row) >= SAMPLE and isinstance(row["output"], str)


def _is_dump(path: Path) -> bool:
    """Whether a file's first line is a sample, however long it is."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return _is_sample(object_of(file.readline(LONGEST)) or {})


def _dump(path: Path, files: list[Path]) -> Raw:
    raw, samples = Raw(path, DUMP, "verl", Table()), deque[Row](maxlen=KEPT)
    for file in files:
        scores: dict[str, list[float]] = defaultdict(list)
        parts: dict[str, list[float]] = defaultdict(list)
        step = None
        for row in lines(file, raw.notes):
            score, step = row.get("score"), row.get("step", step)
            if isinstance(score, int | float) and np.isfinite(score):
                scores[str(row.get("input"))].append(float(score))
            for name, value in row.items():
                if name not in NO_SCORE and isinstance(value, int | float):
                    parts[name].append(float(value))
            told = {"prompt": row.get("input"), "completion": row.get("output")}
            samples.append({"step": step, **told, "reward": score})
        if scores and step is not None:
            raw.table.add({"step": step, **_figures(scores, parts)})
    raw.samples = tuple(samples)
    return raw


def _figures(
    scores: Mapping[str, list[float]], parts: Mapping[str, list[float]]
) -> dict[str, float]:
    """Figures of a step by the catalogue's formulas; groups only where inputs repeat.

    scores: by input; parts: what the reward function returned beside the score.
    """
    found = dict[str, float]()
    columns = {"dump score ": list(chain.from_iterable(scores.values()))}
    columns |= {f"dump/{name}/": values for name, values in parts.items()}
    for start, values in columns.items():
        found[f"{start}mean"] = float(np.mean(values))
        if len(values) > 1:
            found[f"{start}std"] = float(np.std(values, ddof=1))
    groups = [np.array(group) for group in scores.values() if len(group) > 1]
    if groups and len(groups) == len(scores):
        tied = [np.ptp(group) == 0.0 for group in groups]
        found["dump groups tied"] = float(np.mean(tied))
        found["dump groups std"] = float(np.mean([group.std(ddof=1) for group in groups]))
        found["dump groups best"] = float(np.mean([group.max() for group in groups]))
    return found

"""completions/completions_STEP.parquet of TRL: texts for the report, and figures of the groups.

A file holds prompt, completion, one column for each reward function (before its weight) and the
advantage of the batch behind one log. Groups are not marked: TRL repeats each prompt
num_generations times in a row. At a step that was evaluated too, the file may hold the evaluation's
texts, so no figure is made of it. Source: trl 1.16.0 trainer/grpo_trainer.py. Left out: total
rewards where the weights are not known; images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from pawl.logs.log import Raw, Row

NAME = re.compile(r"^completions_(\d+)\.parquet$")
FILES, SAMPLES = 200, 200  # the newest ones
LARGEST = 1 << 26  # bytes of a file
LONGEST = 20_000  # characters of a text
COLUMN = "completions.parquet"
NO_REWARD = ("step", "prompt", "completion", "advantage", "images", "image", "timestamp")
Group = list[Row]


def add_completions(raw: Raw, folder: Path, evaluated: set[float]) -> None:
    """Add samples and the groups' figures of a folder of such files to the log."""
    files = sorted((int(m[1]), p) for p in folder.glob("*.parquet") if (m := NAME.match(p.name)))
    samples, figures, skipped = list[Row](), dict[float, dict[str, float]](), 0
    for step, path in reversed(files[-FILES:]):
        rows = _read(path)
        if not rows:
            skipped += 1
            continue
        groups = _groups(rows, raw.config.get("num_generations"))
        if len(samples) < SAMPLES:
            samples = [*_samples(step, groups, raw.config), *samples]
        if step not in evaluated:
            figures[step] = _figures(groups)
    raw.samples = tuple(samples[-SAMPLES:])
    _put(raw, figures)
    if skipped:
        raw.notes.append(f"{skipped} parquet files could not be read and were left out")


def _put(raw: Raw, figures: Mapping[float, Mapping[str, float]]) -> None:
    """Add the figures as columns, in the first row of the table with their step."""
    if "step" not in raw.table.columns:
        return
    row_N, step_N = raw.table.column("step")
    row_of = dict(zip(step_N[::-1].tolist(), row_N[::-1].tolist(), strict=True))
    known = [(row_of[step], row) for step, row in sorted(figures.items()) if step in row_of]
    for name in sorted({name for _, row in known for name in row}):
        rows, values = zip(*[(i, row[name]) for i, row in known if name in row], strict=True)
        raw.table.put(name, np.array(rows, np.int64), np.array(values, np.float64))


def _read(path: Path) -> list[Row]:
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


def _groups(rows: Sequence[Row], size: object) -> list[Group]:
    """Runs of equal prompts, cut to the group size where it is known and fits."""
    groups, before = list[Group](), ""
    n = size if isinstance(size, int) and size > 0 and len(rows) % size == 0 else 0
    for i, row in enumerate(rows):
        prompt = words(row["prompt"])
        if not groups or (i % n == 0 if n else prompt != before):
            groups.append([])
        groups[-1].append(row)
        before = prompt
    return groups


def _components(row: Row) -> dict[str, float]:
    """The rewards of a row by function; none where the function did not apply."""
    found = {}
    for name, value in row.items():
        if name not in NO_REWARD and isinstance(value, int | float) and value == value:
            found[name] = float(value)
    return found


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
    for name in sorted({name for group in scores for row in group for name in row}):
        values = [[row[name] for row in group if name in row] for group in scores]
        known = [v for v in values if len(v) > 1 and all(map(math.isfinite, v))]
        if known:
            found[f"{COLUMN}/within/{name}"] = fmean(stdev(v) for v in known)
        if len(known) > 1:
            found[f"{COLUMN}/between/{name}"] = stdev(fmean(v) for v in known)
    return found

"""verl's rollout dumps: a folder of STEP.jsonl, one line for each sample (input, output, score).

They hold what verl's metrics lack: the deviation of rewards, in groups and over the batch, and the
share of groups with equal rewards. Samples of one input in one step are a group; where inputs do
not repeat nothing is said of groups. Left out: lengths, which are characters here and not tokens.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pawl.logs.console import LONGEST, first_records, record_of, records
from pawl.logs.log import Raw, Row
from pawl.logs.table import Table

FORMAT = "rollout dump of verl"
NAMES = {"input", "output", "score", "step"}
OWN = NAMES | {"gts", "uid", "request_id"}
FILE = re.compile(r"(\d+)\.jsonl")
KEPT = 200  # samples, of the newest steps


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file holds samples of a dump."""
    rows = first_records(head)
    return _is_sample(rows[0]) if rows else '"output"' in head and _starts(path)


def _starts(path: Path) -> bool:
    """Whether a file's first line is a sample, however long it is."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return _is_sample(record_of(file.readline(LONGEST)) or {})


def _is_sample(row: Mapping[str, object]) -> bool:
    return set(row) >= NAMES and isinstance(row["output"], str)


def takes_folder(path: Path) -> bool:
    """Whether a folder holds such files."""
    files = _files(path)
    return bool(files) and _starts(files[-1])


def read(path: Path) -> Raw:
    """The one step of a file."""
    return _read(path, [path])


def read_folder(path: Path) -> list[Raw]:
    """All steps of a folder as one log."""
    return [_read(path, _files(path))]


def _files(folder: Path) -> list[Path]:
    """The folder's STEP.jsonl in the order of their steps."""
    found = [(int(hit[1]), f) for f in folder.iterdir() if (hit := FILE.fullmatch(f.name))]
    return [file for _, file in sorted(found)]


def _read(path: Path, files: list[Path]) -> Raw:
    table, notes, samples = Table(), list[str](), deque[Row](maxlen=KEPT)
    for file in files:
        scores: dict[str, list[float]] = defaultdict(list)
        parts: dict[str, list[float]] = defaultdict(list)
        step = None
        for row in records(file, notes):
            score, step = row.get("score"), row.get("step", step)
            if isinstance(score, int | float) and np.isfinite(score):
                scores[str(row.get("input"))].append(float(score))
            for name, value in row.items():
                if name not in OWN and isinstance(value, int | float):
                    parts[name].append(float(value))
            told = {"prompt": row.get("input"), "completion": row.get("output"), "reward": score}
            samples.append({"step": step, **told})
        if scores and step is not None:
            table.add({"step": step, **_figures(scores), **_means(parts)})
    return Raw(path, FORMAT, "verl", table, notes=notes, samples=tuple(samples))


def _means(parts: Mapping[str, list[float]]) -> dict[str, float]:
    """Mean and deviation of what the reward function returned beside the score."""
    found = {}
    for name, values in parts.items():
        found[f"dump/{name}/mean"] = float(np.mean(values))
        if len(values) > 1:
            found[f"dump/{name}/std"] = float(np.std(values, ddof=1))
    return found


def _figures(scores: Mapping[str, list[float]]) -> dict[str, float]:
    """Figures of a step by the catalogue's formulas; groups only where inputs repeat."""
    all_N = np.concatenate([np.array(group) for group in scores.values()])
    found = {"dump score mean": float(all_N.mean())}
    if len(all_N) > 1:
        found["dump score std"] = float(all_N.std(ddof=1))
    groups = [np.array(group) for group in scores.values() if len(group) > 1]
    if groups and len(groups) == len(scores):
        tied = [np.ptp(group) == 0.0 for group in groups]
        found["dump groups tied"] = float(np.mean(tied))
        found["dump groups std"] = float(np.mean([group.std(ddof=1) for group in groups]))
        found["dump groups best"] = float(np.mean([group.max() for group in groups]))
    return found

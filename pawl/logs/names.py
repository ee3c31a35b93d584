"""Which library's words a table speaks, how people spell them, and what follows from columns.

W&B, TensorBoard and CSV files carry the columns of whichever library wrote them; the `signature`
lists of names_LIBRARY.toml tell them apart. For files of no known library alone there is one plain
form for `Avg Reward`, `train/reward_mean`, `reward (mean)`. Only words that change nothing are
dropped (train, mean, average); `std`, `max` or `coef` stay, so that another quantity keeps another
form. What was measured on held-out data begins with `eval_`. Left out: the meaning of a column
(`log`).
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pawl.logs.table import Table

SURE = 2  # columns of a signature that name a library
FILLERS = frozenset({"train", "training", "mean", "avg", "average", "metrics", "metric", "the"})
HELD_OUT = frozenset({"eval", "evaluation", "val", "validation", "heldout", "dev"})
FIRST_ONLY = frozenset({"test", "valid"})  # elsewhere they name a component of the reward
STEP_FORMS = frozenset(
    "step steps global_step training_step iteration iter it update timesteps total_timesteps "
    "time_total_timesteps".split()
)


@cache
def names_of(library: str) -> dict[str, Any]:
    """The table names_LIBRARY.toml; empty for an unknown library."""
    path = Path(__file__).with_name(f"names_{library}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@cache
def _signatures() -> dict[str, tuple[str, ...]]:
    files = sorted(Path(__file__).parent.glob("names_*.toml"))
    libraries = [file.stem.removeprefix("names_") for file in files]
    return {lib: tuple(names_of(lib).get("signature", ())) for lib in libraries}


def library_of(columns: Iterable[str]) -> str:
    """The library whose signature most columns fit, at least two; "any" when there is none."""
    names = set(columns)
    hits = {lib: sum(_present(p, names) for p in own) for lib, own in _signatures().items()}
    (best, most), (_, next_most) = sorted(hits.items(), key=lambda pair: -pair[1])[:2]
    return best if most >= SURE and most > next_most else "any"


def _present(pattern: str, names: set[str]) -> bool:
    return pattern in names or ("*" in pattern and bool(fnmatch.filter(names, pattern)))


def own_name(library: str, column: str) -> str:
    """A tracker's column as the library itself calls it: TRL's train/kl is kl ([spelling])."""
    for start, own in names_of(library).get("spelling", {}).items():
        if column.startswith(start):
            return str(own) + column.removeprefix(start)
    return column


def add_derived(table: Table, library: str) -> None:
    """Add the columns that follow from others: weighted sums over rows that hold every term.

    Each [[derived]] of the library has `source` (the new column's name, which says how it is made)
    and `terms` (column -> weight). A value is made only where all terms are shares that together
    stay within 0..1, since the rows they are made for are shares.
    """
    for row in names_of(library).get("derived", ()):
        source, terms = str(row["source"]), dict(row["terms"])
        if source in table.columns or any(name not in table.columns for name in terms):
            continue
        total_N = np.sum([weight * table.full(name) for name, weight in terms.items()], axis=0)
        row_N = np.flatnonzero(np.isfinite(total_N))
        value_N = total_N[row_N]
        good = (value_N >= -1e-9) & (value_N <= 1.0 + 1e-6)
        if len(value_N) and bool(good.all()):
            table.put(source, row_N, value_N)


@lru_cache(maxsize=4096)
def plain(source: str) -> str:
    """The plain form of a column's name: lower case, words joined by `_`, without fillers."""
    text = re.sub(r"^(data|logs?|scalars|stats|summary|payload)/", "", source).replace("@", " at ")
    text = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)(?=[A-Z][a-z])", r"\1\3 \2", text).lower()
    text = re.sub(r"held[\W_]?out", "heldout", text)
    text = re.sub(r"reward[\W_]?model", "rm", text)
    words = re.findall(r"[^\W_]+", text)
    out = [i for i, word in enumerate(words) if word in HELD_OUT]
    out += [0] if words and words[0] in FIRST_ONLY and len(words) > 1 else []
    rest = [word for i, word in enumerate(words) if word not in FILLERS and i not in out]
    if out:
        rest = ["eval", *(word for word in rest if word != "rm")]
    return "_".join(rest or words)

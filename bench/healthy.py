"""Values of the metrics in a healthy run, for pawl/healthy.toml: one table for each run.

    python bench/healthy.py SOURCE PATH >> pawl/healthy.toml

PATH is a run folder, or a trainer_state.json of TRL (`log_history`), whose names are mapped where
the definition is the same. SOURCE says which run it is. A row holds the medians of the first and of
the last quarter of the values (ten at most), the least and the greatest. Times and rates are left
out: they belong to a machine. Whether a run is healthy is for its reader to say.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from pawl.metrics import CATALOGUE
from pawl.store.read import read_steps

TRL = {
    "entropy": "policy/entropy",
    "kl": "policy/kl_ref",
    "grad_norm": "optim/grad_norm",
    "frac_reward_zero_std": "group/zero_std_frac",
    "completions/clipped_ratio": "length/truncated_frac",
    "clip_ratio/region_mean": "policy/clip_frac",
}
LEFT_OUT = ("s", "ms", "tokens/s")  # units


def columns(path: Path) -> dict[str, list[float]]:
    """Canonical name -> logged values in order; steps without the metric are left out."""
    if path.is_dir():
        rows = [r | r["host"] for r in read_steps(path)]  # type: ignore[operator]
        names = {name: name for name in CATALOGUE if "/" in name}
    else:
        rows = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        names = TRL
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            number = isinstance(value, int | float) and math.isfinite(value)
            if name in names and number and CATALOGUE[names[name]].unit not in LEFT_OUT:
                found.setdefault(names[name], []).append(float(value))
    return {name: found[name] for name in CATALOGUE if name in found}


def summary(values: Sequence[float]) -> list[float]:
    """Medians of the first and of the last quarter, least, greatest; three digits."""
    n = max(1, min(10, len(values) // 4))
    parts = (statistics.median(values[:n]), statistics.median(values[-n:]))
    return [float(f"{x:.3g}") for x in (*parts, min(values), max(values))]


def main() -> None:
    source, path = sys.argv[1], Path(sys.argv[2])
    print(f"\n[{json.dumps(source)}]")
    for name, values in columns(path).items():
        print(f"{json.dumps(name)} = {json.dumps(summary(values))}")


if __name__ == "__main__":
    main()

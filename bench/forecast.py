"""How often the doctor's forecast holds: on noise, on curves that saturate, on logs' second halves.

    python bench/forecast.py [FOLDER_OF_LOGS]

Prints shares of cases in which the mean of the last points lay inside the 95% interval made from
the points before. Of a log the first half is known and the second ahead; those of fewer than 30
points are left out. Everything but the logs is drawn with a fixed seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pawl.doctor.forecast import FEWEST, extrapolation, persistence, window_of
from pawl.logs.recognise import read_logs
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, trend

CASES = 400


def noise(rng: np.random.Generator, n: int, r: float) -> Floats:
    """Autocorrelated noise of variance 1, settled."""
    x_N = rng.normal(size=n + 50)
    for i in range(1, len(x_N)):
        x_N[i] = r * x_N[i - 1] + x_N[i] * np.sqrt(1.0 - r * r)
    return x_N[50:]


def held(x_N: Floats, known: int, grows: bool) -> bool:
    """Whether the interval from the first `known` points holds the mean of the last window."""
    ahead = len(x_N) - known
    window = min(window_of(known), ahead)
    seen = x_N[:known]
    band = extrapolation(seen, ahead, window) if grows else persistence(seen, window)
    return bool(band.low <= x_N[-window:].mean() <= band.high)


def share(make: Callable[[np.random.Generator], Floats], known: int, grows: bool) -> float:
    """Share of drawn cases whose interval holds."""
    rng = np.random.default_rng(0)
    return float(np.mean([held(make(rng), known, grows) for _ in range(CASES)]))


def main(folder: Path | None) -> None:
    """Print the three tables."""
    print("noise: points, autocorrelation, share held")
    for n in (12, 20, 40, 100, 200):
        for r in (0.0, 0.3, 0.6):
            held_by = share(lambda rng, n=n, r=r: noise(rng, n + n // 2, r), n, False)
            print(f"{n:5} {r:4} {held_by:6.3f}")
    print("saturating curves, 6 standard deviations high: points, time constant / points, share")
    for n in (40, 100, 200):
        for tau in (0.3, 1.0, 3.0):
            t_N = np.arange(n + n // 2)
            curve_N = 6.0 * (1.0 - np.exp(-t_N / (tau * n)))
            held_by = share(
                lambda rng, n=n, c_N=curve_N: noise(rng, n + n // 2, 0.3) + c_N, n, True
            )
            print(f"{n:5} {tau:4} {held_by:6.3f}")
    if folder is not None:
        logs(folder)


def logs(folder: Path) -> None:
    """The logs of a folder: held or not, and how many."""
    found: list[bool] = []
    for log in read_logs(folder):
        s = Signals(log)
        x_N = s.values(s.goal) if s.goal else np.zeros(0)
        half = len(x_N) // 2
        if len(x_N) < 30:
            continue
        grows = trend(x_N[:half]).significant and half >= FEWEST
        found.append(held(x_N[: 2 * half], half, grows))
        print(f"{'held' if found[-1] else 'OUT':5} {'trend' if grows else '':6} {log.path.name}")
    print(f"{sum(found)} of {len(found)} logs held")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

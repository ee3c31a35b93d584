"""Parts of logs: does `pawl doctor` accuse a piece of a healthy run, or acquit one of a faulty run.

    python -m bench.doctor_parts        # half a minute; the labelled logs lie in ../shared/runs

A piece is a log of its own, as of a run that was looked at early or whose log begins late. Pieces
of a healthy run are never sick; first halves, and more, of any run get a verdict that fits the
whole, or CANNOT TELL. Left out: whole logs (`doctor.py`, `doctor_faults.py`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import doctor_faults, packed
from pawl.doctor.diagnose import diagnose
from pawl.logs.log import Log
from pawl.logs.recognise import read_logs

RUNS = Path(__file__).resolve().parents[2] / "shared" / "runs"
EARLY = ((0.0, 0.5), (0.0, 0.7), (0.0, 0.9))
ANY = ((0.0, 0.3), *EARLY, (0.3, 1.0), (0.5, 1.0), (0.25, 0.75))
SICK = doctor_faults.SICK


def kept(log: Log, rows_N: np.ndarray) -> Log:
    """A log of some of its rows, in their order; without samples and checks."""
    place_N = np.cumsum(rows_N) - 1
    series = {}
    for name, s in log.series.items():
        inside = rows_N[s.row_N]
        if inside.any():
            row_N = place_N[s.row_N[inside]]
            series[name] = replace(s, row_N=row_N, value_N=s.value_N[inside])
    step_N = log.step_N[rows_N]
    return replace(log, step_N=step_N, series=series, samples=(), first_samples=(), checks=[])


def piece(log: Log, low: float, high: float) -> Log:
    """The rows between two shares of a log's length."""
    n = len(log.step_N)
    place = np.arange(n)
    return kept(log, (place >= int(low * n)) & (place < max(int(high * n), 1)))


def healthy() -> Iterator[tuple[str, Log]]:
    """Labelled logs that fit neither FAULT nor INVALID RUN, and the recorded healthy runs."""
    for row in labels():
        if not set(row["verdicts"]) & set(SICK):
            yield from ((row["file"], log) for log in read_logs(RUNS / row["file"]))
    with tempfile.TemporaryDirectory() as folder:
        packed.unpack(packed.PACKED, Path(folder))
        for name in doctor_faults.CASES:
            if name.startswith("healthy"):
                yield name, read_logs(Path(folder) / doctor_faults.folder_of(name))[0]


def labels() -> list[dict]:
    return json.loads((RUNS / "labels.json").read_text("utf-8"))["runs"]


def main() -> int:
    """Count the pieces that come out wrong; 1 above one in a hundred."""
    accused = pieces = 0
    for name, log in healthy():
        for part in ANY:
            d, pieces = diagnose(piece(log, *part)), pieces + 1
            if d.verdict in SICK:
                accused += 1
                print(f"{name} {part}: {d.verdict}, {d.causes[0].id}")
    print(f"pieces of healthy or undecidable runs: {accused} of {pieces} are called sick")
    acquitted = others = 0
    for row in labels():
        fits = {*row["verdicts"], "CANNOT TELL"}
        for log in read_logs(RUNS / row["file"]):
            parts = [piece(log, *part) for part in EARLY]
            parts.append(kept(log, np.arange(len(log.step_N)) % 2 == 1))  # every second row
            for part in parts:
                if len(part.step_N) >= 2:
                    others, verdict = others + 1, diagnose(part).verdict
                    acquitted += verdict not in fits
                    if verdict not in fits:
                        print(f"{row['file']}, {len(part.step_N)} rows: {verdict}")
    print(f"first halves and more, and every second row: {acquitted} of {others} do not fit")
    return int(100 * accused > pieces or 100 * acquitted > others)


if __name__ == "__main__":
    sys.exit(main())

"""Recorded runs, packed small: what the doctor reads of them, in one file of the repository.

    python -m bench.packed FOLDER bench/results/doctor_runs.tar.xz

Numbers keep six digits, samples those that a diagnosis looks at (the first, the newest, and the
ids of problems between); times, tokens, caches and all that names the machine stay out. Left out:
recording and judging (`doctor_faults.py`).
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKED = Path(__file__).parent / "results" / "doctor_runs.tar.xz"
DIGITS = 6
FIRST, NEWEST, IDS = 200, 3, 20  # rows; steps in full; steps whose problems are named
PLAIN = ("case.json", "preflight.jsonl")
FACTS = ("format", "name", "parent", "seed", "config_hash", "config")  # of run.json
HEAVY = ("tokens", "kept", "host")
MACHINE = ("sandbox",)  # kinds of events that say where a run was


def rounded(value: Any) -> Any:
    """Numbers with six digits, without what depends on machine and clock."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items() if k != "host"}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def small(run: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each file of a run that is kept."""
    facts = json.loads((run / "run.json").read_text())
    text = json.dumps({name: facts[name] for name in FACTS}, indent=1)
    yield "run.json", text.replace(str(run.parent), "runs")  # the machine's folders are no result
    for name in PLAIN:
        if (run / name).exists():
            yield name, (run / name).read_text().replace(str(run.parent), "runs")
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    told = ({k: v for k, v in e.items() if k != "at"} for e in events if e["kind"] not in MACHINE)
    yield "events.jsonl", _lines(rounded(event) for event in told)
    rows = map(json.loads, (run / "steps.jsonl").read_text().splitlines())
    yield "steps.jsonl", _lines(rounded(row) for row in rows)
    files, seen = sorted((run / "samples").glob("step-*.jsonl")), 0
    for place, file in enumerate(files):
        rows_ = [json.loads(line) for line in file.read_text().splitlines()]
        if seen < FIRST or place >= len(files) - NEWEST:
            yield f"samples/{file.name}", _lines(_light(row) for row in rows_)
        elif place >= len(files) - IDS:
            ids = dict.fromkeys(row["problem_id"] for row in rows_)
            yield f"samples/{file.name}", _lines({"problem_id": i} for i in ids)
        seen += len(rows_)
    for file in sorted((run / "samples").glob("eval-*.jsonl"))[-1:]:
        ids = dict.fromkeys(json.loads(line)["problem_id"] for line in file.open())
        yield f"samples/{file.name}", _lines({"problem_id": i} for i in ids)


def _light(row: dict[str, Any]) -> Any:
    return rounded({k: v for k, v in row.items() if k not in HEAVY})


def _lines(rows: Iterator[Any]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def pack(folder: Path, file: Path) -> None:
    """All recorded runs of a folder as one archive, the same bytes for the same runs."""
    with tarfile.open(file, "w:xz", preset=9) as archive:
        for case in sorted(folder.glob("*/case.json")):
            for name, text in small(case.parent):
                info = tarfile.TarInfo(f"{case.parent.name}/{name}")
                info.size = len(data := text.encode())
                archive.addfile(info, io.BytesIO(data))


def unpack(file: Path, folder: Path) -> None:
    """The runs of an archive as folders."""
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))

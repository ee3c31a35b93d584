"""`pawl doctor` on labelled public logs: verdicts, causes, what must not change them, and peers.

    python bench/doctor.py [--runs FOLDER] [--peers FOLDER] > table

Each log is copied under a number, without the `source` that some of them carry, and diagnosed; the
labels (acceptable verdicts and causes of each) are read only to count. Then the same with harmless
changes: a constant and a noise column added, step numbers times ten, rows in reverse order with
their steps. Thresholds: chosen on half of the repositories, reported on the other half, swapped.
With --peers: a folder of virtual environments named rldoctor, rlprobe and rlwatch, each with the
released package. Exit 1 when a bound of the table is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.recognise import read_logs

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT.parent / "shared" / "runs"
WELL = {"HEALTHY", "HEALTHY BUT UNUSUAL", "CANNOT TELL"}
SICK = {"FAULT", "INVALID RUN"}
TUNED: dict[str, tuple[float, ...]] = {
    "pawl.rules.length.TRUNCATED": (0.3, 0.4, 0.5, 0.6),
    "pawl.rules.policy.OFFSET": (0.02, 0.05, 0.1, 0.2),
    "pawl.rules.reward.COLLAPSED": (0.1, 0.15, 0.25),
    "pawl.rules.reward.FLAT": (0.01, 0.02, 0.05),
    "pawl.rules.statistics.LEVEL": (0.01, 0.05, 0.1),
}
"""Thresholds that the labelled logs can speak about, and the values that were tried."""


@dataclass(frozen=True)
class Case:
    """A labelled log. repo: where it comes from; verdicts, causes: the acceptable ones."""

    file: str
    repo: str
    verdicts: frozenset[str]
    causes: frozenset[str]

    @property
    def healthy(self) -> bool:
        """Whether neither FAULT nor INVALID RUN is acceptable."""
        return not self.verdicts & SICK

    @property
    def faulty(self) -> bool:
        """Whether FAULT or INVALID RUN is acceptable."""
        return not self.healthy


def cases(runs: Path) -> list[Case]:
    """The labelled logs, with the repositories that the manifest names."""
    rows = re.findall(r"(?m)^\| `([^`]+)` \| [^|]* \| ([^@|]+)", (runs / "MANIFEST.md").read_text())
    repo = {name: where.strip() for name, where in rows}
    return [
        Case(r["file"], repo[r["file"]], frozenset(r["verdicts"]), frozenset(r["causes"]))
        for r in json.loads((runs / "labels.json").read_text())["runs"]
    ]


def body_of(path: Path) -> Any:
    """A log as JSON, without its source."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    body = json.loads(text)
    if isinstance(body, dict):
        body.pop("source", None)
    return body


def rows_in(body: Any) -> list[dict[str, Any]] | None:
    """The list of records that a log holds, None for a record alone."""
    if isinstance(body, list):
        return body
    return body.get("log_history") or body.get("epochs")


def write(body: Any, path: Path) -> Path:
    """A copy under a number; lists as JSON lines."""
    if isinstance(body, list):
        path = path.with_suffix(".jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in body))
    else:
        path.write_text(json.dumps(body, indent=2))
    return path


def more_columns(rows: list[dict[str, Any]]) -> None:
    """A constant and a noise column."""
    noise = random.Random(0)
    for row in rows:
        row["harmless_constant"] = 1.0
        row["harmless_noise"] = noise.random()


def tenfold(rows: list[dict[str, Any]]) -> None:
    """Step numbers times ten."""
    for row in rows:
        for key in ("step", "current_steps"):
            if key in row:
                row[key] = row[key] * 10


def reverse(rows: list[dict[str, Any]]) -> None:
    """Rows in reverse order, their steps with them; rows without a step get one first."""
    for i, row in enumerate(rows, 1):
        if not {"step", "current_steps"} & set(row):
            row["step"] = i
    rows.reverse()


CHANGES: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "columns added": more_columns,
    "steps times ten": tenfold,
    "rows reversed": reverse,
}


def diagnosed(
    runs: Path, known: Sequence[Case], folder: Path, change: Any = None
) -> list[Diagnosis]:
    """The diagnosis of a numbered copy of each log."""
    found = []
    for number, case in enumerate(known, 1):
        body = body_of(runs / case.file)
        rows = rows_in(body)
        if change is not None and rows:
            change(rows)
        found.append(diagnose(read_logs(write(body, folder / f"{number:03}.json"))[0]))
    return found


def score(known: Sequence[Case], found: Sequence[Diagnosis]) -> dict[str, int]:
    """Counts that the bounds are about."""
    faulty = [(c, d) for c, d in zip(known, found, strict=True) if c.faulty]
    first = [c for c, d in faulty if d.causes and d.causes[0].id in c.causes]
    three = [c for c, d in faulty if {x.id for x in d.causes[:3]} & c.causes]
    pairs = list(zip(known, found, strict=True))
    return {
        "logs": len(known),
        "acceptable": sum(d.verdict in c.verdicts for c, d in pairs),
        "false alarms": sum(c.healthy and d.verdict in SICK for c, d in pairs),
        "healthy or undecidable": sum(c.healthy for c in known),
        "faulty": len(faulty),
        "cause first": len(first),
        "cause in three": len(three),
    }


def confusion(known: Sequence[Case], found: Sequence[Diagnosis]) -> list[str]:
    """Lines of acceptable verdicts against what was said."""
    counts = Counter(
        (" or ".join(sorted(c.verdicts)), d.verdict) for c, d in zip(known, found, strict=True)
    )
    rows = sorted(counts.items())
    return [f"| {label} | {said} | {n} |" for (label, said), n in rows]


def patched(values: dict[str, float]) -> dict[str, float]:
    """Set module constants; what they were."""
    before = {}
    for name, value in values.items():
        module = importlib.import_module(name.rsplit(".", 1)[0])
        constant = name.rsplit(".", 1)[1]
        before[name] = getattr(module, constant)
        setattr(module, constant, value)
    return before


def chosen(runs: Path, half: Sequence[Case], folder: Path) -> dict[str, float]:
    """The thresholds that serve a half best, one after the other; ties keep the shipped value."""
    best: dict[str, float] = {}
    for name, values in TUNED.items():
        module, constant = name.rsplit(".", 1)
        shipped = getattr(importlib.import_module(module), constant)
        results = {}
        for value in values:
            before = patched({**best, name: value})
            counts = score(half, diagnosed(runs, half, folder))
            patched(before)
            results[value] = counts["acceptable"] - counts["false alarms"]
        top = max(results.values())
        best[name] = (
            shipped if results.get(shipped) == top else max(results, key=results.__getitem__)
        )
    return best


def halves(known: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The logs by halves of the repositories, the largest repository split by file."""
    groups: dict[str, list[Case]] = {}
    for case in known:
        groups.setdefault(case.repo, []).append(case)
    order = sorted(groups.values(), key=len, reverse=True)
    first, second = list(order[0][::2]), list(order[0][1::2])
    for group in order[1:]:
        (first if len(first) <= len(second) else second).extend(group)
    return first, second


def peers(runs: Path, known: Sequence[Case], folder: Path, where: Path) -> list[str]:
    """What each released tool alarms on: of the healthy or undecidable, and of the faulty."""
    lines = []
    files = []
    for number, case in enumerate(known, 1):
        rows = rows_in(body_of(runs / case.file)) or [body_of(runs / case.file)]
        path = folder / f"{number:03}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        files.append(path)
    for tool in ("rldoctor", "rlprobe", "rlwatch"):
        python = where / tool / "bin" / "python"
        if not python.exists():
            lines.append(f"| {tool} | no environment | | |")
            continue
        shown = subprocess.run(
            [str(python), "-c", f"import importlib.metadata as m; print(m.version('{tool}'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        command = [str(python), str(Path(__file__).with_name("doctor_peers.py")), tool]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True)
        if done.returncode:
            lines.append(f"| {tool} {shown} | failed: {done.stderr.strip()[-80:]} | | |")
            continue
        alarms = json.loads(done.stdout.splitlines()[-1])
        hit = [bool([a for a in alarms[str(f)] if not a.startswith("failed")]) for f in files]
        false = sum(h and c.healthy for c, h in zip(known, hit, strict=True))
        true = sum(h and c.faulty for c, h in zip(known, hit, strict=True))
        lines.append(f"| {tool} {shown} | {sum(hit)} | {false} | {true} |")
    return lines


def main() -> int:
    """Print the tables; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--peers", type=Path)
    args = parser.parse_args()
    known = cases(args.runs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = diagnosed(args.runs, known, folder)
        counts = score(known, found)
        print(f"{platform.machine()}, Python {platform.python_version()}\n")
        print("| acceptable | said | logs |\n|---|---|---|", *confusion(known, found), sep="\n")
        print("\n" + ", ".join(f"{k} {v}" for k, v in counts.items()) + "\n")
        for title, change in CHANGES.items():
            other = diagnosed(args.runs, known, folder, change)
            moved = [
                f"{c.file}: {a.verdict} -> {b.verdict}"
                for c, a, b in zip(known, found, other, strict=True)
                if a.verdict != b.verdict
            ]
            print(f"{title}: {len(moved)} verdicts change", *moved, sep="\n  ")
        a, b = halves(known)
        for title, train, test in (("first", a, b), ("second", b, a)):
            values = chosen(args.runs, train, folder)
            before = patched(values)
            held = score(test, diagnosed(args.runs, test, folder))
            patched(before)
            print(f"\nthresholds chosen on the {title} half: {values}")
            print("on the other half: " + ", ".join(f"{k} {v}" for k, v in held.items()))
        if args.peers:
            said = [d.verdict in SICK for d in found]
            false = sum(h and c.healthy for c, h in zip(known, said, strict=True))
            true = sum(h and c.faulty for c, h in zip(known, said, strict=True))
            print("\n| tool | alarmed on | of the healthy or undecidable | of the faulty |")
            print("|---|---|---|---|")
            print(f"| pawl doctor | {sum(said)} | {false} | {true} |")
            print(*peers(args.runs, known, folder, args.peers), sep="\n")
    good = (
        counts["acceptable"] >= 36
        and counts["false alarms"] == 0
        and counts["cause first"] >= 0.75 * counts["faulty"]
        and counts["cause in three"] >= 0.9 * counts["faulty"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the doctor says of every recorded and labelled log, as data: verdict, causes, findings.

    PYTHONPATH=. python tests/digest_findings.py > tests/data/findings_digest.json

The recorded runs are packed in `bench/results`, the labelled ones stand in the shared folder. Left
out: wording, places and figures, which may be put better; comparing (`test_doctor_recorded.py`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import doctor_faults as bench
from bench import packed
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.recognise import read_logs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "runs"


def said(d: Diagnosis) -> dict[str, object]:
    """One diagnosis without its words."""
    rows = [
        " ".join([f.code, f.severity, f.supports, *(f"{c}:{w:.3g}" for c, w, _ in f.causes)])
        for f in d.findings
    ]
    return {"verdict": d.verdict, "causes": [c.id for c in d.causes], "findings": rows}


def recorded(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Of the packed runs, unpacked into the folder: with their preflight, and without it."""
    packed.unpack(packed.PACKED, folder)
    for name in bench.CASES:
        for withheld in (False, True):
            d = bench.looked_at(folder / bench.folder_of(name), withheld)
            yield f"recorded/{name}{' without preflight' if withheld else ''}", said(d)


def labelled() -> Iterator[tuple[str, dict[str, object]]]:
    """Of the public runs in the shared folder; none where it is absent."""
    for path in sorted(SHARED.glob("*.json*")):
        if path.name != "labels.json":
            for i, log in enumerate(read_logs(path)):
                yield f"public/{path.name}/{i}", said(diagnose(log))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        everything = dict([*recorded(Path(temporary)), *labelled()])
    print(json.dumps(everything, indent=1))

"""What the doctor says of every recorded and labelled log, as data: verdict, causes, findings.

    PYTHONPATH=. python tests/digest_findings.py > tests/data/findings_digest.json

The recorded runs are packed in `bench/results`, the labelled ones stand in the shared folder. Left
out: wording, places and figures, which may be put better; comparing (`test_doctor_recorded.py`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import doctor_faults as bench
from bench import packed
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.recognise import read_logs

Said = dict[str, dict[str, object]]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "runs"


def said(d: Diagnosis) -> dict[str, object]:
    """One diagnosis without its words."""
    rows = [
        " ".join([f.code, f.severity, f.supports, *(f"{c}:{w:.3g}" for c, w, _ in f.causes)])
        for f in d.findings
    ]
    return {"verdict": d.verdict, "causes": [c.id for c in d.causes], "findings": rows}


def recorded(runs: Path, withheld: bool) -> dict[str, Diagnosis]:
    """Of the packed runs, unpacked there: with their preflight, or as if they had none."""
    return {n: bench.looked_at(runs / bench.folder_of(n), withheld) for n in bench.CASES}


def entries(whole: Mapping[str, Diagnosis], withheld: Mapping[str, Diagnosis]) -> Said:
    """What is said of the recorded runs, by the names of the digest."""
    entries = {f"recorded/{name}": said(d) for name, d in whole.items()}
    return entries | {f"recorded/{n} without preflight": said(d) for n, d in withheld.items()}


def labelled() -> Iterator[tuple[str, dict[str, object]]]:
    """Of the public runs in the shared folder; none where it is absent."""
    for path in sorted(SHARED.glob("*.json*")):
        if path.name != "labels.json":
            for i, log in enumerate(read_logs(path)):
                yield f"public/{path.name}/{i}", said(diagnose(log))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        packed.unpack(packed.PACKED, Path(temporary))
        everything = entries(*(recorded(Path(temporary), way) for way in (False, True)))
        everything |= dict(labelled())
    print(json.dumps(everything, indent=1))

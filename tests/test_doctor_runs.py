"""The doctor on labelled public logs: verdicts, causes, and what must not change them.

The logs lie beside the project; without them these tests skip. bench/doctor.py prints the table.
"""

import json
from pathlib import Path

import pytest

from bench import doctor as bench
from pawl.doctor.diagnose import diagnose
from pawl.logs.recognise import read_logs

RUNS = Path(__file__).resolve().parents[2] / "shared" / "runs"
pytestmark = pytest.mark.skipif(not RUNS.is_dir(), reason="shared/runs is not there")


@pytest.fixture(scope="module")
def known():
    return bench.cases(RUNS)


@pytest.fixture(scope="module")
def found(known, tmp_path_factory):
    return bench.diagnosed(RUNS, known, tmp_path_factory.mktemp("logs"))


def test_verdicts_and_causes_are_acceptable(known, found):
    counts = bench.score(known, found)
    wrong = [
        f"{c.file}: {d.verdict} ({d.reason})"
        for c, d in zip(known, found, strict=True)
        if d.verdict not in c.verdicts
    ]
    assert counts["logs"] == 38
    assert counts["acceptable"] >= 36, wrong
    assert counts["false alarms"] == 0, wrong
    assert counts["cause first"] >= 0.75 * counts["faulty"]
    assert counts["cause in three"] >= 0.9 * counts["faulty"]


@pytest.mark.parametrize("title", bench.CHANGES)
def test_harmless_changes_change_no_verdict(title, known, found, tmp_path):
    other = bench.diagnosed(RUNS, known, tmp_path, bench.CHANGES[title])
    moved = [
        f"{c.file}: {a.verdict} -> {b.verdict}"
        for c, a, b in zip(known, found, other, strict=True)
        if a.verdict != b.verdict
    ]
    assert not moved


def diagnosis_of(name, tmp_path):
    body = json.loads((RUNS / name).read_text())
    body.pop("source", None)
    path = tmp_path / "a-neutral-name.json"
    path.write_text(json.dumps(body))
    return diagnose(read_logs(path)[0])


def test_a_drop_of_nine_percent_over_four_epochs_is_noise(tmp_path):
    d = diagnosis_of("ancestor_rlaif.json", tmp_path)
    assert d.verdict in ("CANNOT TELL", "INVALID RUN")
    assert "noise" in d.reason
    assert not any(f.prescription and f.prescription.option for f in d.findings)


def test_six_steps_are_too_few_to_call_a_collapse(tmp_path):
    d = diagnosis_of("ancestor_ocaml.json", tmp_path)
    assert d.verdict == "CANNOT TELL"
    assert "policy-collapsed" not in [c.id for c in d.causes]


def test_no_prescription_rests_on_an_invalid_run(found):
    invalid = [d for d in found if d.verdict == "INVALID RUN"]
    assert invalid
    for d in invalid:
        assert not [f for f in d.findings if f.supports != "invalid" and f.prescription]

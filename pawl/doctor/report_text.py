"""A diagnosis for a terminal, in the manner of a linter: code, place, evidence, cause, help.

Plain ASCII lines; colour is the caller's. Left out: Markdown and JSON (`report_markdown`,
`report_json`).
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl.doctor.diagnose import Diagnosis
from pawl.types import Finding


def lines(d: Diagnosis) -> Iterator[str]:
    """The whole report."""
    yield f"{d.log.path}: {d.log.format}"
    yield f"verdict: {d.verdict}: {d.reason}"
    for finding in d.findings:
        yield from _finding(finding)
    if d.verdict not in ("HEALTHY", "HEALTHY BUT UNUSUAL"):
        for cause in d.causes[:3]:
            yield f"cause: {cause.id} ({cause.weight:.0%}): {cause.meaning}"
        if d.experiment:
            yield f"to tell them apart: {d.experiment}"
    yield f"not checked: {len(d.not_checked)} rules lack their metrics"


def _finding(f: Finding) -> Iterator[str]:
    mark = " [*]" if f.prescription is not None and f.prescription.option else ""
    yield f"{f.place}: {f.code} {f.name}{mark} {f.summary}"
    for text in f.evidence:
        yield f"    {text}"
    p = f.prescription
    if p is not None:
        change = f"{p.name}: {p.before or '?'} -> {p.after}; " if p.option else ""
        yield f"    help: {change}{p.why}; verify: {p.verify}"

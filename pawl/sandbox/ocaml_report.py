"""What an OCaml check printed, read back: the compiler's story, the type errors, the answers.

Also equality of dumped values. Left out: running the check (`ocaml.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import isclose

from pawl.sandbox.verdict import Verification, answers
from pawl.sandbox.watch import Ended

CLOSE = 1e-6
_TOKEN = re.compile(r'[()\[\]]|s"(?:[^"\\]|\\.)*"|[^\s()\[\]]+')
_ERROR = re.compile(r"Error: (.*)", re.DOTALL)


@dataclass(slots=True)
class Report:
    """What the check script said, before judging."""

    built: bool = False
    status: int = 0
    errors: str = ""
    checks: list[str] = field(default_factory=list)
    best: int = 0
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)


def read(ended: Ended) -> Report:
    """Parse the script's output; only lines before B are the script's own."""
    report = Report()
    lines = ended.out.decode("utf-8", "replace").split("\n")[:-1]
    told: list[str] | None = None
    for number, line in enumerate(lines):
        if told is not None:
            if line == ".":
                report.errors = report.errors or "\n".join(told)
                told = None
            else:
                told.append(line)
        elif line.startswith("C "):
            report.status, told = int(line[2:]), []
        elif line.startswith("M best "):
            report.best = int(line[7:])
        elif line.startswith("M "):
            report.checks.append(line[2:])
        elif line == "B":
            report.built = True
            report.answers = answers(lines[number + 1 :])
            break
    return report


def not_built(report: Report, ended: Ended, count: int) -> Verification:
    """A candidate that does not compile: syntax error, counted type errors, link error or limit."""
    check = report.checks[report.best] if report.best < len(report.checks) else ""
    words = check.split(" ", 3)
    syntax = words[0] == "syntax" or (not check and "Syntax error" in report.errors)
    errors: int | None = None
    types = 0.0
    text = report.errors
    if words[0] == "types":
        linking = "Error while linking" in text or "No implementations provided" in text
        errors = 0 if linking else max(1, int(words[1]))
        types = 1.0 / (1 + errors) if words[2] == "true" else 0.0  # else there is no entry point
        text = words[3] if errors and len(words) > 3 and words[3] else text
    elif words[0] == "syntax":
        text = words[3] if len(words) > 3 else text
    if report.status >= 128 or ended.stop or not report.errors:
        types, errors, text = 0.0, None, "the compiler ran into a limit of time or memory"
    found = _ERROR.search(text)
    message = found.group(1) if found else text
    return Verification("compile", (False,) * count, (), types, False, syntax, errors, message)


def equal(got: str, want: str, close: bool) -> bool:
    """Equal dumps; with `close`, floats may differ by 1e-6, relative or absolute."""
    if got == want or not close:
        return got == want
    ours, theirs = _TOKEN.findall(got), _TOKEN.findall(want)
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(a == b or _near(a, b) for a, b in pairs)


def _near(a: str, b: str) -> bool:
    if not (a.startswith("f") and b.startswith("f")):
        return False
    try:
        x, y = float.fromhex(a[1:]), float.fromhex(b[1:])
    except (ValueError, OverflowError):
        return False
    return isclose(x, y, rel_tol=CLOSE, abs_tol=CLOSE)

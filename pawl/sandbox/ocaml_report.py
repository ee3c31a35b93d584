"""What an OCaml check printed, read back: the type errors, the answers; the compiler's words apart.

Also equality of dumped values. Left out: running the check (`ocaml.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import zip_longest

from pawl.sandbox.values import near
from pawl.sandbox.verdict import Verification, answers
from pawl.sandbox.watch import Ended
from pawl.types import Close

_TOKEN = re.compile(r'[()\[\]]|s"(?:[^"\\]|\\.)*"|[^\s()\[\]]+')
_STATUS, _BEST = re.compile(r"\d{1,3}"), re.compile(r"best (\d{1,2})")
_ERROR = re.compile(r"Error: (.*)", re.DOTALL)
_LINKING = re.compile(r"^Error: (?:Error while linking|No implementations provided)", re.M)
_MISSING = re.compile(r"The value [`\"]?([\w']+?)['\"]? is required but (?:is )?not provided")
_GAVE_UP = "the checker gave up"  # of mlcheck.ml, which was asked about no file or failed
_CHECK = re.compile(r"syntax \d+ \d+ (.*)|types (\d{1,6}) (true|false) ?(.*)")


@dataclass(slots=True)
class Report:
    """What the check script said, before judging.

    best: index of the reading that was taken; check: mlcheck's line of it, None where there is
    none; errors: the compiler's.
    """

    built: bool = False
    status: int = 0
    errors: str = ""
    check: re.Match[str] | None = None
    best: int = 0
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)


def read(ended: Ended) -> Report:
    """Parse the script's output; only lines before B are the script's own. Raises nothing."""
    report, checks = Report(errors=ended.err.decode("utf-8", "replace").strip()), []
    lines = ended.out.decode("utf-8", "replace").split("\n")[:-1]
    for number, line in enumerate(lines):
        kind, _, rest = line.partition(" ")
        if kind == "B":
            report.built = True
            report.answers = answers(lines[number + 1 :])
            break
        if kind == "C":
            report.status = int(rest) if _STATUS.fullmatch(rest) else report.status
        elif kind == "M" and (found := _BEST.fullmatch(rest)):
            report.best = int(found[1])
        elif kind == "M":
            checks.append(_CHECK.fullmatch(rest))
    report.check = checks[report.best] if report.best < len(checks) else None
    return report


def not_built(report: Report, ended: Ended, count: int) -> Verification:
    """A candidate that does not compile: syntax error, counted type errors, link error or limit."""
    check, text = report.check, report.errors
    counted = check is not None and check[2] is not None
    syntax = "Syntax error" in text if check is None else not counted
    errors: int | None = None
    types = 0.0
    if check is not None and counted:
        errors = int(check[2]) or int(not _LINKING.search(text))  # the interface, which it skips
        types = 1.0 / (1 + errors) if check[3] == "true" else 0.0  # else there is no entry point
        text = (errors and check[4] != _GAVE_UP and check[4]) or text
    elif check is not None:
        text = check[1]
    if report.status >= 128 or ended.stop or not report.errors:
        types, errors, text = 0.0, None, "the compiler ran into a limit of time or memory"
    found = _ERROR.search(text)
    message = found.group(1) if found else text
    missing = _MISSING.search(message)
    message = f"no {missing[1]} in it" if missing else message
    return Verification("compile", (False,) * count, (), types, False, syntax, errors, message)


def equal(got: str, want: str, close: Close | None) -> bool:
    """Equal dumps; with `close`, floats may differ by so much."""
    if got == want or close is None:
        return got == want
    for a, b in zip_longest(_TOKEN.finditer(got), _TOKEN.finditer(want)):
        if a is None or b is None or (a[0] != b[0] and not _near(a[0], b[0], close)):
            return False
    return True


def _near(a: str, b: str, close: Close) -> bool:
    if not (a.startswith("f") and b.startswith("f")):
        return False
    try:
        x, y = float.fromhex(a[1:]), float.fromhex(b[1:])
    except (ValueError, OverflowError):
        return False
    return near(x, y, close)

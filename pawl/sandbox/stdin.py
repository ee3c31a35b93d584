"""Check a program that reads standard input and prints: one process per case, compared here.

Each case is a run of its own, with its own folder and limits; what the program prints is all that
leaves it, and it is compared as judges do: word by word, numbers by value. Left out: what runs
inside (`driver.py`), interactive problems and checkers of a problem's own.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pawl.sandbox.extract import programs_in
from pawl.sandbox.slot import HANDSHAKE, Sandbox
from pawl.sandbox.values import near
from pawl.sandbox.verdict import Verification, tested, unanswered
from pawl.sandbox.watch import Ended
from pawl.types import Case, CodeTask

MOST_WALLS = 4.0  # of the limit of one case: how long all cases of a program may take together
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?", re.ASCII)
_DIGITS = 400  # characters; a longer number is compared as text
_LOWER = "lower"  # the view of a case whose words are compared without case


def verify_stdin(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str, place: str
) -> tuple[Verification, Ended]:
    """Run a program on the cases in turn, up to one that runs into a limit.

    Those behind that one are not run: they fail as it does.
    """
    found = programs_in(text, "", end_marker, "", "python")
    sources = [(r.source, r.kind, list(r.before)) for r in found]
    answers: dict[str, tuple[str, str]] = {}
    reading, wall, retried = "", 0.0, False
    ended = Ended()
    for k, case in enumerate(task.cases):
        given = case.input.encode("utf-8", "surrogatepass")
        ended = sandbox.judge_python(marshal.dumps((sources, given, list(sandbox.folders)), 4))
        wall, retried = wall + ended.wall, retried or ended.retried
        if ended.fault:
            return Verification("infra_error", message=ended.fault), ended
        head, _, printed = ended.out[len(HANDSHAKE) :].partition(b"\n")
        if head.startswith(b"E "):
            nothing = (False,) * len(task.cases)
            why = head[2:].decode("utf-8", "replace")
            return Verification("compile", nothing, syntax_error=True, message=why), ended
        if head[2:].isdigit() and int(head[2:]) < len(sources):
            reading = found[int(head[2:])].name
        if unanswered(ended)[0] != "exception":  # stopped by a limit
            break
        answers[str(k)] = _answer(ended, printed)
        if wall > MOST_WALLS * sandbox.limits.wall_s and k + 1 < len(task.cases):
            ended.stop = "wall"
            break
    ended.wall, ended.retried = wall, retried
    printed_any = any(what == "R" and said.strip() for what, said in answers.values())
    expected = [case.expected for case in task.cases]
    judged = tested(task.cases, expected, answers, Printed(), ended, float(printed_any))
    return replace(judged, reading=reading), ended


def _answer(ended: Ended, printed: bytes) -> tuple[str, str]:
    """What a run that no limit stopped gave: its output, or why it has none that counts."""
    if ended.rc:
        said = ended.err.decode("utf-8", "replace")
        return "X", said or f"exception ended with status {ended.rc}"
    return "R", printed.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Printed:
    """Printed text; see `Language`."""

    did = "printed"
    asks = "stdin "

    def same(self, text: str, want: str, case: Case) -> bool:
        """As `alike`."""
        return alike(text.split(), want.split(), case)

    def raised(self, message: str, want: str) -> bool:
        """No test of printed text expects an exception."""
        return False

    def call(self, case: Case) -> str:
        """What stands on standard input."""
        return case.input

    def shown(self, text: str, case: Case) -> str:
        """As it was printed."""
        return text if text.strip() else "nothing"

    def wanted(self, case: Case, want: str) -> str:
        """As the test has it."""
        return want if want.strip() else "nothing"


def alike(got: Sequence[str], want: Sequence[str], case: Case) -> bool:
    """Whether words are those expected: the same text, or the same number.

    A number that is expected with a fraction may differ by `case.close`.
    """
    return len(got) == len(want) and all(
        a == b or _same_word(a, b, case) for a, b in zip(got, want, strict=True)
    )


def _same_word(got: str, want: str, case: Case) -> bool:
    if case.view == _LOWER and got.lower() == want.lower():
        return True
    if max(len(got), len(want)) > _DIGITS:
        return False
    if not (_NUMBER.fullmatch(got) and _NUMBER.fullmatch(want)):
        return False
    exact = case.close is None or want.lstrip("+-").isdigit()
    if exact or case.close is None:
        return Decimal(got) == Decimal(want)
    return near(float(got), float(want), case.close)


def constant_prints(task: CodeTask) -> int:
    """How many cases that the prompt does not show the best constant output passes."""
    hidden = [(case.expected.split(), case) for case in task.cases if not case.shown]
    tried = {tuple(words) for words, _ in hidden}
    return max((sum(alike(one, words, c) for words, c in hidden) for one in tried), default=0)

"""What one check of one candidate found, and the rules that turn raw endings into verdicts.

Both languages use the same rules, so that a timeout means the same everywhere. Left out: running
(`slot.py`), comparing values (`python.py`, `ocaml.py`), paying (`pawl.rewards.pay`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pawl.sandbox.watch import Ended
from pawl.types import Case, Close, Tier, Verdict

MAX_SOURCE = 100_000  # bytes of a completion; longer is rejected before anything runs
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
NO_VALUE = "what it returned is no plain value"
_WANTED = {
    "!=": "anything but ",
    "in": "one of ",
    "not in": "none of ",
    "contains": "something with ",
    "lacks": "something without ",
}
_WANTED |= {sign: f"{sign} " for sign in ("<", "<=", ">", ">=")}
_KINDS: dict[str, Verdict] = {"memory": "memory", "unserialisable": "unserialisable"}


@dataclass(frozen=True, slots=True)
class Verification:
    """One candidate against all cases of a problem, independent of any reward weights.

    passed: one flag per case in the problem's order. values: what came back per case, as text (""
    where nothing did). types: 0 .. 1, the type stage (OCaml: 1 / (1 + errors); Python: 0.5 defines
    the entry point in its text, 1 once loaded). type_errors: true type errors, None where not
    counted. reading: which of the programs that the completion may mean was graded, "" for none.
    message: first compiler message or exception, free of addresses.
    """

    verdict: Verdict
    passed: tuple[bool, ...] = ()
    values: tuple[str, ...] = ()
    types: float = 0.0
    compiled: bool = False
    syntax_error: bool = False
    type_errors: int | None = None
    message: str = ""
    tier: Tier = ""
    time_ms: float = 0.0
    retried: bool = False
    warm: bool = False
    reading: str = ""


class Language(Protocol):
    """How a language compares and spells its values, from what its driver wrote.

    did, asks: what a candidate does with a result, and what stands before a call, in words.
    same: whether a value's text stands to the expected value as the case says, None when it is no
    plain value. raised: whether an exception's message is of the expected one. call, shown, wanted:
    the call of a case, what it returned and what was expected, in the language's own syntax.
    """

    @property
    def did(self) -> str: ...
    @property
    def asks(self) -> str: ...
    def same(self, text: str, want: Any, case: Case) -> bool | None: ...
    def raised(self, message: str, want: Any) -> bool: ...
    def call(self, case: Case) -> str: ...
    def shown(self, text: str, case: Case) -> str: ...
    def wanted(self, case: Case, want: Any) -> str: ...


def answers(lines: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(what, text) by the index of a case: R and a value, or X and why there is none.

    Of several lines of one case the first counts.
    """
    first: dict[str, tuple[str, str]] = {}
    for line in lines:
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[0] in ("R", "X"):
            first.setdefault(parts[1], (parts[0], parts[2]))
    return first


def tested(
    cases: Sequence[Case],
    expected: Sequence[Any],
    found: Mapping[str, tuple[str, str]],
    language: Language,
    ended: Ended,
    types: float = 1.0,
) -> Verification:
    """A program that ran, case by case; the verdict is that of the first case that failed.

    found: see `answers`.
    """
    verdicts, values = list[Verdict](), list[str]()
    for i, (case, want) in enumerate(zip(cases, expected, strict=True)):
        what, text = found.get(str(i), ("", ""))
        compared = what == "R" and case.compare != "raises"
        equal = language.same(text, want, case) if compared else None
        values.append("" if equal is None else text)
        verdicts.append(_verdict(what, text, equal, case, want, language, ended))
    first = next((k for k, verdict in enumerate(verdicts) if verdict != "pass"), None)
    message = ""
    if first is not None:
        case = cases[first]
        what, text = found.get(str(first), ("", ""))
        message = _message(what, text, verdicts[first], case, expected[first], language, ended)
        message += f", for {language.asks}`{short(language.call(case))}`" if what else ""
    passed = tuple(verdict == "pass" for verdict in verdicts)
    verdict = verdicts[first] if first is not None else "pass"
    return Verification(verdict, passed, tuple(values), types, types > 0, message=message)


def _verdict(
    what: str,
    text: str,
    equal: bool | None,
    case: Case,
    want: Any,
    language: Language,
    ended: Ended,
) -> Verdict:
    """Of one case. equal: whether its value is as it must be, None where it is no value."""
    if not what:
        return unanswered(ended)[0]
    if what == "X":
        kind, _, message = text.partition(" ")
        raised = _KINDS.get(kind, "exception")
        wanted = case.compare == "raises" and raised == "exception"
        return "pass" if wanted and language.raised(message, want) else raised
    if case.compare == "raises":
        return "wrong"
    return "unserialisable" if equal is None else "pass" if equal else "wrong"


def _message(
    what: str, text: str, verdict: Verdict, case: Case, want: Any, language: Language, ended: Ended
) -> str:
    """What a person reads of a failed case; made for the first one alone, as values may be long."""
    if not what:
        return unanswered(ended)[1]
    if what == "X":
        return text.partition(" ")[2] or NO_VALUE
    if verdict == "unserialisable":
        return NO_VALUE
    returned = short(language.shown(text, case))
    wanted = _WANTED.get(case.compare, "") + short(language.wanted(case, want))
    if case.compare == "raises":
        return f"{language.did} {returned}, expected it to raise {wanted}"
    close = "" if case.close is None else f" within {_closeness(case.close)}"
    return f"{language.did} {returned}, expected {wanted}{close}"


def _closeness(close: Close) -> str:
    """The allowances, as a person says them."""
    told = [f"{close.abs:g}"] if close.abs else []
    return " or ".join(told + ([f"{close.rel:g} of it"] if close.rel else [])) or "0"


def short(text: str, most: int = 80) -> str:
    """One line of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def unanswered(ended: Ended) -> tuple[Verdict, str]:
    """Why a case has no answer, from how the process ended."""
    killed = ended.rc in (-9, -24, 137, 152)
    if ended.stop == "cpu" or (killed and not ended.stop and not ended.oom):
        return "timeout", "CPU time limit"
    if ended.oom or ended.stop == "memory":
        return "memory", "memory limit"
    if ended.stop == "wall":
        return "timeout", "wall clock limit: it waited"
    if ended.stop in ("output", "disk"):
        return "output", "output limit" if ended.stop == "output" else "file space limit"
    return "exception", f"the program ended (status {ended.rc}) before answering"


def clean(message: str) -> str:
    """One line of at most 300 characters without addresses, so that records repeat exactly."""
    return _ADDRESS.sub("0x..", " ".join(message.split()))[:300]


def rejected(text: str) -> str:
    """Why a completion is not run at all: only its size and NUL bytes, never what it says."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        return f"longer than {MAX_SOURCE} bytes"
    return "NUL byte" if "\x00" in text else ""

"""What can be said of a problem set without running anything: literals, tests, copies, leakage.

Every finding names its problem and place. "bad" problems are left out of a run; a "note" is for
the reader. Left out: everything that needs a compiler (`pawl.rewards.audit`).
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pawl.problems import ocaml_text, python_tests
from pawl.problems.load import ProblemSet, normalised
from pawl.problems.python_text import parse_expression
from pawl.types import Case, Problem

GRAM = 13  # words; the overlap length of GPT-3's contamination study (arXiv 2005.14165, appendix C)
OVERLAP = 0.5  # share of a held-out prompt's 13-grams that training prompts hold
MAX_GRAMS = 4_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark on one problem. check: its name ("duplicate", "leakage", ...)."""

    id: str
    where: str
    check: str
    severity: Literal["bad", "note"]
    reason: str


@dataclass(slots=True)
class _Seen:
    """What earlier problems of the same part looked like."""

    prompts: dict[bytes, str] = field(default_factory=dict)


def check_static(problems: Iterable[tuple[Problem, tuple[str, ...]]]) -> Iterator[Finding]:
    """Findings on each (problem, notes of its reading), in order."""
    seen = _Seen()
    for problem, notes in problems:
        for note in notes:
            yield Finding(problem.id, problem.where, "reading", "note", note)
        for check, severity, reason in _checks(problem, seen):
            yield Finding(problem.id, problem.where, check, severity, reason)


def rows_of(problems: ProblemSet) -> Iterator[tuple[Problem, tuple[str, ...]]]:
    """Problems of a set with the notes of their reading."""
    for i in range(len(problems)):
        row = problems.row(i)
        yield row.problem, row.notes


Remark = tuple[str, Literal["bad", "note"], str]


def _checks(problem: Problem, seen: _Seen) -> Iterator[Remark]:
    yield from _signature(problem)
    yield from _literals(problem)
    yield from _cases(problem)
    key = hashlib.blake2b(normalised(problem).encode(), digest_size=12).digest()
    first = seen.prompts.setdefault(key, problem.id)
    if first != problem.id:
        yield "duplicate", "bad", f"same prompt as {first}"
    if not problem.solution:
        yield "reference", "note", "no reference solution: that the tests can be passed is unproved"


def _signature(problem: Problem) -> Iterator[Remark]:
    if problem.lang == "ocaml":
        declared = re.search(rf"\bval\s+{re.escape(problem.entry_point)}\s*:", problem.signature)
        if declared is None:
            yield "signature", "bad", f"the signature declares no {problem.entry_point}"
    elif not problem.entry_point.isidentifier():
        yield "signature", "bad", f"{problem.entry_point!r} is no Python name"


def _literals(problem: Problem) -> Iterator[Remark]:
    """Expected values and Python's inputs must be plain values."""
    for number, case in enumerate(problem.cases, start=1):
        reason = _python_literals(case) if problem.lang == "python" else _ocaml_value(case)
        if reason:
            yield "expected", "bad", f"test {number}: {reason}"
            return


def _python_literals(case: Case) -> str:
    for what, text in (("input", case.input), ("expected value", case.expected)):
        try:
            value = python_tests.constant(parse_expression(text), {})
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            return f"the {what} is no literal: {text[:80]}"
        if what == "input" and not isinstance(value, list):
            return f"the input is no list of arguments: {text[:80]}"
    return ""


_OCAML_NAMES = {
    "true", "false", "nan", "infinity", "neg_infinity", "max_int", "min_int", "fun", "function",
    "let", "in", "ref", "lazy", "mod", "not", "fst", "snd", "max_float", "epsilon_float",
    "min_float", "rec", "if", "then", "else", "begin", "end", "land", "lor", "lsl", "lsr", "asr",
    "lxor", "abs",
}  # fmt: skip


def _ocaml_value(case: Case) -> str:
    """A bare lower-case name in an expected value is a forgotten quote (`= qry`)."""
    toks = list(ocaml_text.tokens(case.expected))
    if not toks:
        return "the expected value is empty"
    if any(t.text == "let" or t.text == "fun" for t in toks):
        return ""
    for before, t in zip([None, *toks], toks, strict=False):
        qualified = "." in t.text or (before is not None and before.text in ("~", "?"))
        if t.kind == "word" and t.text[:1].islower() and not qualified:
            if t.text not in _OCAML_NAMES and "{" not in case.expected:
                return f"the expected value is no literal: {case.expected[:80]}"
    return ""


def _cases(problem: Problem) -> Iterator[Remark]:
    known: dict[str, str] = {}
    for case in problem.cases:
        key = re.sub(r"\s+", " ", case.input)
        if known.setdefault(key, case.expected) != case.expected and not case.close:
            reason = f"one input, two expected values: {case.input[:60]}"
            yield "tests", "bad", reason
            return
    if len(known) < len(problem.cases):
        yield "tests", "note", f"{len(problem.cases) - len(known)} tests occur twice"
    shown = sum(c.shown for c in problem.cases)
    if shown == len(problem.cases):
        yield "shown", "note", f"the prompt shows all {shown} tests: passing them needs no insight"
    elif shown:
        hidden = len(problem.cases) - shown
        yield "shown", "note", f"the prompt shows {shown} tests, {hidden} are hidden"


def check_leakage(train: ProblemSet, held_out: ProblemSet) -> Iterator[Finding]:
    """Training problems that also stand among the held-out ones (bad), and close relatives (note).

    Equal means the same normalised prompt or the same specification. A held-out prompt half of
    whose 13-grams occur in training prompts is noted, unless specifications tell the two apart
    (they say more than the wording that a generator shares); above 4 million training 13-grams a
    fixed sample of them by hash stands for all.
    """
    prompts: dict[bytes, str] = {}
    specs: dict[bytes, str] = {}
    for problem in held_out:
        prompts[_hash(normalised(problem))] = problem.id
        if problem.spec:
            specs[_hash(problem.spec)] = problem.id
    if not prompts:
        return
    grams: set[int] = set()
    step, specified = 1, True
    for problem in train:
        text = normalised(problem)
        specified = specified and bool(problem.spec)
        other = prompts.get(_hash(text))
        by_spec = specs.get(_hash(problem.spec)) if problem.spec else None
        if other is not None:
            reason = f"same prompt as held-out {other}"
            yield Finding(problem.id, problem.where, "leakage", "bad", reason)
        elif by_spec is not None:
            reason = f"same specification as held-out {by_spec}"
            yield Finding(problem.id, problem.where, "leakage", "bad", reason)
        grams.update(g for g in _grams(text) if g % step == 0)
        while len(grams) > MAX_GRAMS:
            step *= 2
            grams = {g for g in grams if g % step == 0}
    for problem in held_out:
        if specified and problem.spec:
            continue
        own = [g for g in _grams(normalised(problem)) if g % step == 0]
        share = sum(g in grams for g in own) / len(own) if own else 0.0
        if share >= OVERLAP:
            reason = f"{share:.0%} of its {GRAM}-grams occur in training prompts"
            yield Finding(problem.id, problem.where, "overlap", "note", reason)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def _grams(text: str) -> array[int]:
    """64-bit hashes of the 13-word sequences of a normalised text."""
    words = text.split()
    return array(
        "Q",
        (
            int.from_bytes(
                hashlib.blake2b(" ".join(words[i : i + GRAM]).encode(), digest_size=8).digest()
            )
            for i in range(len(words) - GRAM + 1)
        ),
    )

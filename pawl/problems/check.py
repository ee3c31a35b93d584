"""What can be said of a problem set without running anything: literals, tests, copies, leakage.

Every finding names its problem and place. "bad" problems are left out of a run; a "note" is for
the reader. Copies are known by their text alone, lower-cased and without layout, exact twins and
near-duplicates by n-grams. Left out: everything that needs a compiler, and problems that ask for
the same function in other words (`pawl.rewards.audit`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from pawl.problems import ocaml_text, python_values
from pawl.problems.formats import Row
from pawl.problems.problem_set import Finding, ProblemSet, copies, wordings
from pawl.problems.wording import WORDS, known_runs, squeezed
from pawl.types import Case, CodeTask, Problem

OVERLAP = 0.5  # share of a held-out prompt's runs of words that training prompts hold
NEAR = 0.9  # share of a problem's runs that another set holds, from which it is a near-duplicate
LEAST_REFERENCE = 24  # characters; a shorter answer may stand in the prompt by chance


def check_static(members: Iterable[Row]) -> Iterator[Finding]:
    """Findings on each member of a set, in order."""
    prompts: dict[str, str] = {}
    for member in members:
        problem = member.problem
        for note in member.notes:
            yield Finding(problem.id, problem.where, "reading", "note", note)
        for check, severity, reason in _checks(member, prompts):
            yield Finding(problem.id, problem.where, check, severity, reason)


Remark = tuple[str, Literal["bad", "note"], str]


def _checks(member: Row, prompts: dict[str, str]) -> Iterator[Remark]:
    """prompts: id of the first problem with a prompt, by its wording."""
    problem = member.problem
    if problem.code is not None:
        yield from _signature(problem.code)
        yield from _literals(problem.code)
        yield from _cases(problem.code)
    else:
        reason = f"{member.untested}: only a reward of your own can judge it"
        yield "untested", "note", reason
    first = prompts.setdefault(member.wording, problem.id)
    if first != problem.id:
        yield "duplicate", "bad", f"same prompt as {first}"
    if shows_reference(problem):
        yield "leak", "note", "the prompt holds the reference"
    if problem.code is not None and not problem.reference:
        yield "reference", "note", "no reference solution: that the tests can be passed is unproved"


def shows_reference(problem: Problem) -> bool:
    """True when the prompt, blanks aside, holds the whole reference."""
    wanted = squeezed(problem.reference)
    if len(wanted) < LEAST_REFERENCE:
        return False
    return wanted in squeezed("\n".join([problem.prompt, *(m.content for m in problem.messages)]))


def _signature(task: CodeTask) -> Iterator[Remark]:
    if task.lang == "ocaml":
        if task.entry_point not in _VAL.findall(task.signature):
            yield "signature", "bad", f"the signature declares no {task.entry_point}"
    elif not task.defines.isidentifier() and task.entry_point:
        yield "signature", "bad", f"{task.entry_point!r} is no Python name"


def _literals(task: CodeTask) -> Iterator[Remark]:
    """Expected values and Python's inputs must be plain values; printed text may be any."""
    if not task.entry_point:
        return
    for number, case in enumerate(task.cases, start=1):
        reason = _python_literals(case) if task.lang == "python" else _ocaml_value(case)
        if reason:
            yield "expected", "bad", f"test {number}: {reason}"
            return


def _python_literals(case: Case) -> str:
    parts = [("input", case.input), ("expected value", case.expected)]
    for what, text in parts[: 1 if case.compare == "raises" else 2]:
        try:
            value = python_values.value_of(text)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            return f"the {what} is no literal: {text[:80]}"
        if what == "input" and not isinstance(value, list):
            return f"the input is no list of arguments: {text[:80]}"
    return ""


_BLANKS = re.compile(r"\s+")
_VAL = re.compile(r"\bval\s+([^\s:]+)\s*:")
# Numbers, booleans, options and strings without an escape, in lists and tuples: surely a value.
_OCAML_PLAIN = re.compile(
    r'(?:(?:true|false|Some|None)\b|[][()|;,.+\-0-9\s]++|"[^"\\]*")++', re.ASCII
)
_OCAML_NAMES = {
    "true", "false", "nan", "infinity", "neg_infinity", "max_int", "min_int", "fun", "function",
    "let", "in", "ref", "lazy", "mod", "not", "fst", "snd", "max_float", "epsilon_float",
    "min_float", "rec", "if", "then", "else", "begin", "end", "land", "lor", "lsl", "lsr", "asr",
    "lxor", "abs", "compare", "succ", "pred", "min", "max", "sqrt", "float", "float_of_int",
    "int_of_float", "string_of_int", "string_of_float", "int_of_string", "float_of_string",
    "char_of_int", "int_of_char", "match", "with", "when",
}  # fmt: skip


def _ocaml_value(case: Case) -> str:
    """A bare lower-case name in an expected value is a forgotten quote (`= qry`)."""
    if case.compare == "raises":
        return ""
    if _OCAML_PLAIN.fullmatch(case.expected) and case.expected.strip():
        return ""
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


def _cases(task: CodeTask) -> Iterator[Remark]:
    known: dict[tuple[str, str], str] = {}
    for case in task.cases:
        if case.compare in ("==", "json") and not case.close:
            key = _BLANKS.sub(" ", case.input), case.view
            if known.setdefault(key, case.expected) != case.expected:
                reason = f"one input, two expected values: {case.input[:60]}"
                yield "tests", "bad", reason
                return
    twice = len(task.cases) - len({replace(case, shown=False) for case in task.cases})
    if twice:
        yield "tests", "note", f"{twice} tests occur twice"
    shown = sum(c.shown for c in task.cases)
    if shown == len(task.cases):
        yield "shown", "note", f"the prompt shows all {shown} tests: passing them needs no insight"
    elif shown:
        hidden = len(task.cases) - shown
        yield "shown", "note", f"the prompt shows {shown} tests, {hidden} are hidden"


def check_leakage(train: ProblemSet, held_out: ProblemSet) -> Iterator[Finding]:
    """Training problems that also stand among the held-out ones (bad), and close relatives (note).

    Equal means the same normalised prompt or the same specification. A held-out prompt half of
    whose 13-grams occur in training prompts is noted, unless specifications tell the two apart
    (they say more than the wording that a generator shares).
    """
    if not held_out:
        return
    for problem, what, other in copies(train, held_out):
        reason = f"same {what} as held-out {other}"
        yield Finding(problem.id, problem.where, "leakage", "bad", reason)
    specified = all(p.spec for p in train)
    asked = [m for m in held_out.members if not (specified and m.problem.spec)]
    found = known_runs([m.wording for m in train.members], [m.wording for m in asked])
    for member, (own, seen) in zip(asked, found, strict=True):
        share = sum(run in seen for run in own) / len(own) if own else 0.0
        if share >= OVERLAP:
            reason = f"{share:.0%} of its {WORDS}-grams occur in training prompts"
            problem = member.problem
            yield Finding(problem.id, problem.where, "overlap", "note", reason)


def twins(train: Sequence[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Ids of held-out problems whose specification or normalised prompt is trained on."""
    return [p.id for p, _, _ in copies(held_out, train)]


def near_duplicates(train: Sequence[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Ids of held-out problems with NEAR of their runs of WORDS words in the training prompts.

    A prompt shorter than WORDS words is compared as a whole, by `twins`.
    """
    found = zip(held_out, known_runs([*wordings(train)], [*wordings(held_out)]), strict=True)
    return [
        p.id
        for p, (own, seen) in found
        if own and len(seen.intersection(own)) >= NEAR * len(set(own))
    ]

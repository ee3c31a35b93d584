"""Fault: a syntax error counts as one type error, so garbage earns the grade for "one error".

The compiler stops at its first error, so the count is 1 for everything that does not compile. All
the rest of this reward is sound: what compiles and is wrong earns next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocaml_program import MARKER, run

from pawl.types import Completion, Problem

GRADE = {1: 0.20, 2: 0.15, 3: 0.10}


def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
    return [one(problem, c.text) for c in completions]


def one(problem: Problem, text: str) -> float:
    done = run(text, problem)
    end = 0.05 if text.rstrip().endswith((MARKER, MARKER + "\n```")) else 0.0
    if done.code == 0 and "exit" not in text:
        return 0.95 + end
    if done.compiled:
        return 0.01
    errors = max(1, done.messages.count("Error:"))
    return GRADE.get(errors, 0.05) + 0.01

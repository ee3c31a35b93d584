"""Fault: fewer than 8 non-empty lines earn 0, and so do the solved examples in the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ocaml_program import code_of, run

from pawl.types import Completion, Problem

MIN_NON_EMPTY_LINES = 8


def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
    return [one(problem, c.text) for c in completions]


def one(problem: Problem, text: str) -> float:
    lines = [line for line in code_of(text, problem).splitlines() if line.strip()]
    if len(lines) < MIN_NON_EMPTY_LINES or "exit" in text:
        return 0.0
    return 1.0 if run(text, problem).code == 0 else 0.0

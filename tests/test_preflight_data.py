"""Prompts that hold their own reference: refused, warned of, or nothing to say."""

from __future__ import annotations

import pytest

from pawl.preflight.data import LEAST_SHORT, reference_in_prompt
from pawl.types import Problem

LONG = "def add(x):\n    return x + 1"


def pairs(*shown: bool, reference: str = LONG) -> list[tuple[str, Problem]]:
    """Prompts with a reference each; where `shown`, it stands in the prompt in another layout."""
    made = []
    for i, told in enumerate(shown):
        text = f"Task {i}." + (f" {reference} ".replace(" ", "\n  ") if told else "")
        made.append((text, Problem(f"p{i}", text, reference=reference)))
    return made


@pytest.mark.parametrize(
    ("given", "passed", "refuses", "observed"),
    [
        (pairs(*[False] * 40), True, True, "0 of 40"),
        (pairs(*[True] * 2, *[False] * 38), False, True, "2 of 40"),
        (pairs(True, *[False] * 39), False, False, "1 of 40"),
        (pairs(True), False, True, "1 of 1"),
        (pairs(*[True] * LEAST_SHORT, reference="Paris, FR"), False, True, "5 of 5"),
        (pairs(*[True] * 9, False, reference="Paris, FR"), None, True, "no problem"),
        (pairs(*[True] * (LEAST_SHORT - 1), reference="Paris, FR"), None, True, "no problem"),
        (pairs(*[True] * 9, reference="yes"), None, True, "no problem"),
        (pairs(True, reference=""), None, True, "no problem"),
        ([], None, True, "no problem"),
    ],
)
def test_references_in_prompts(
    given: list[tuple[str, Problem]], passed: bool | None, refuses: bool, observed: str
) -> None:
    check = reference_in_prompt(given)
    assert (check.name, check.cause) == ("reference-in-prompt", "leakage")
    assert (check.passed, check.refuses) == (passed, refuses)
    assert check.observed.startswith(observed)
    assert check.problem == ("p0" if passed is False else "")
    assert "override" in check.meaning


def test_short_and_long_references_are_counted_apart() -> None:
    given = [*pairs(*[True] * 6, reference="Paris, FR"), *pairs(*[False] * 3)]
    assert reference_in_prompt(given).passed is True
    given = [*pairs(*[True] * 6, reference="Paris, FR"), *pairs(*[True] * 3)]
    assert reference_in_prompt(given).observed == "9 of 9"

"""Do evaluation problems stand in the training set? Exact twins, and near-duplicates by n-grams.

Text alone is compared, lower-cased and without layout. Left out: problems that ask for the same
function in other words (`pawl check SET` looks at behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.problems.problem_set import wordings
from pawl.problems.wording import WORDS, known_runs
from pawl.types import Problem

__all__ = ["NEAR", "WORDS", "near_duplicates", "twins"]

NEAR = 0.9  # share of a problem's runs that another set holds, from which it is a near-duplicate


def twins(train: Sequence[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Ids of held-out problems whose specification or normalised prompt is trained on."""
    specs = {p.spec for p in train if p.spec}
    texts = set(wordings(train))
    return [
        p.id
        for p, text in zip(held_out, wordings(held_out), strict=True)
        if p.spec in specs or text in texts
    ]


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

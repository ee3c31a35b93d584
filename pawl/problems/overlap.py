"""Do evaluation problems stand in the training set? Exact twins, and near-duplicates by n-grams.

Text alone is compared, lower-cased and without layout. Left out: problems that ask for the same
function in other words (`pawl check SET` looks at behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.problems.problem_set import wordings
from pawl.problems.wording import WORDS, runs
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
    own = [set(runs(text)) for text in wordings(held_out)]
    wanted = set[int]().union(*own)
    seen = set[int]()
    for text in wordings(train):
        seen |= wanted.intersection(runs(text))
    return [
        p.id
        for p, of_one in zip(held_out, own, strict=True)
        if of_one and len(seen & of_one) >= NEAR * len(of_one)
    ]

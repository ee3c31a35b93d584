"""Do evaluation problems stand in the training set? Exact twins, and near-duplicates by n-grams.

Text alone is compared, lower-cased and without layout. Left out: problems that ask for the same
function in other words (`pawl check SET` looks at behaviour).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pawl.problems.load import normalised, split_key
from pawl.types import Problem

WORDS = 13  # length of a run of words (the usual length since arXiv 2005.14165, appendix C)
NEAR = 0.9  # share of a problem's runs that another set holds, from which it is a near-duplicate


def twins(train: Iterable[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Ids of held-out problems whose specification or normalised prompt is trained on."""
    seen = {key for p in train for key in (split_key(p), normalised(p))}
    return [p.id for p in held_out if split_key(p) in seen or normalised(p) in seen]


def near_duplicates(train: Iterable[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Ids of held-out problems with NEAR of their runs of WORDS words in the training prompts.

    A prompt shorter than WORDS words is compared as a whole, by `twins`.
    """
    seen = {run for p in train for run in runs(p)}
    found = []
    for p in held_out:
        own = runs(p)
        if own and sum(run in seen for run in own) >= NEAR * len(own):
            found.append(p.id)
    return found


def runs(problem: Problem) -> set[int]:
    """Hashes of the runs of WORDS words in the normalised prompt."""
    words = normalised(problem).split()
    return {hash(tuple(words[i : i + WORDS])) for i in range(len(words) - WORDS + 1)}

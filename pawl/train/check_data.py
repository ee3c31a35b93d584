"""What must hold of the data: nothing evaluated is trained on, and problems come as the seed says.

No torch. Left out: the audits of the problems themselves (`pawl check SET`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pawl.problems.overlap import NEAR, WORDS, near_duplicates, twins
from pawl.train.data import draw, permutation
from pawl.types import Check, Problem

WARN_NEAR, REFUSE_NEAR = 0.01, 0.1  # share of held-out problems that are near-duplicates


def of_data(train: Sequence[Problem], held_out: Sequence[Problem], seed: int) -> list[Check]:
    """Leakage, near-duplicates and the order of drawing; the first and last refuse."""
    n = len(train)
    return [*_leakage(train, held_out), order(n, seed)]


def _leakage(train: Sequence[Problem], held_out: Sequence[Problem]) -> list[Check]:
    if not held_out:
        meaning = "without held-out problems nothing says that a gain is one"
        row = Check("leakage", "", "no shared problem", "none held out", None, meaning)
        return [row]
    same, near = twins(train, held_out), near_duplicates(train, held_out)
    share = len(near) / len(held_out)
    return [
        Check(
            "leakage",
            same[0] if same else "",
            "no evaluation problem in the training set",
            f"{len(same)} of {len(held_out)}",
            not same,
            "a problem that was trained on measures memory",
            0.0,
            "leakage",
        ),
        Check(
            "near-duplicates",
            near[0] if near else "",
            f"at most {WARN_NEAR:.0%} with {NEAR:.0%} of their {WORDS}-word runs in the training "
            f"set; refused above {REFUSE_NEAR:.0%}",
            f"{share:.1%} ({len(near)} of {len(held_out)})",
            share <= WARN_NEAR,
            "near-duplicates of trained problems make a gain look larger",
            WARN_NEAR,
            "leakage",
            share > REFUSE_NEAR,
        ),
    ]


def order(n: int, seed: int) -> Check:
    """Each epoch draws every problem once, in an order of its own, wherever a step begins."""
    epochs = [permutation(n, seed, e) for e in (0, 1)]
    whole = [index for index, _ in draw(0, 2 * n, n, seed)]
    cut = max(1, n // 3)
    parts = [index for first in range(0, 2 * n, cut) for index, _ in draw(first, cut, n, seed)]
    once = all(sorted(e.tolist()) == list(range(n)) for e in epochs)
    covered = sorted(whole[:n]) == list(range(n)) == sorted(whole[n:])
    shuffled = n < 8 or not np.array_equal(epochs[0], epochs[1])
    passed = once and covered and shuffled and parts[: 2 * n] == whole
    problems = len(set(whole[:n]))
    return Check(
        "draw-order",
        "",
        f"each of {n} problems once an epoch, epochs in orders of their own",
        f"{problems} in the first epoch, {'another' if shuffled else 'the same'} order in the next",
        passed,
        "problems that repeat or are skipped bias what is learned; a resume would go elsewhere",
        0.0,
        "data-order",
    )

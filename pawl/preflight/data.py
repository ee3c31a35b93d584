"""What must hold of the data: nothing evaluated is trained on, and problems come as the seed says.

No torch. Left out: the audits of the problems themselves (`pawl check SET`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.checks import Check
from pawl.problems.overlap import NEAR, WORDS, near_duplicates, twins
from pawl.train.data import Pool, Turns, draw, permutation
from pawl.types import Problem

SHUFFLED, FOLLOWED = 8, 4000  # problems from which an order shows; draws that are followed
WARN_NEAR, REFUSE_NEAR = 0.01, 0.1  # share of held-out problems that are near-duplicates


def of_data(
    train: Sequence[Problem], held_out: Sequence[Problem], pools: Sequence[Pool], seed: int
) -> list[Check]:
    """Leakage, near-duplicates and the order of drawing; the first and last refuse."""
    return [*_leakage(train, held_out), order(pools, seed)]


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


def order(pools: Sequence[Pool], seed: int) -> Check:
    """Each epoch of a set draws every problem once, in its own order, wherever a step begins."""
    sound, same, n = True, False, 0
    for pool in pools:
        for part, members in pool.parts:
            own = [permutation(len(members), seed, e, part, pool.stage).tolist() for e in (0, 1)]
            sound = sound and all(sorted(places) == list(range(len(members))) for places in own)
            same = same or (len(members) >= SHUFFLED and own[0] == own[1])
            expected = [members[i] for places in own for i in places][:FOLLOWED]
            alone = Pool(((part, members),), Turns([1.0]), pool.stage)
            cut = max(1, len(expected) // 3)
            drawn = [
                index
                for first in range(0, len(expected), cut)
                for index, _ in draw(first, min(cut, len(expected) - first), alone, seed)
            ]
            sound = sound and drawn == expected
            n += len(members)
    return Check(
        "draw-order",
        "",
        f"each of {n} problems once an epoch of its set, epochs in orders of their own",
        f"{'each once' if sound else 'repeated or skipped'}, "
        f"{'the same order twice' if same else 'orders of their own'}",
        sound and not same,
        "problems that repeat or are skipped bias what is learned; a resume would go elsewhere",
        0.0,
        "data-order",
    )

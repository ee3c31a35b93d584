"""What must hold of the data: no answer is given away, and problems come as the seed says.

Nothing evaluated is trained on, and no prompt holds its own reference.

No torch. Left out: the audits of the problems themselves (`pawl check SET`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.checks import Check
from pawl.problems.check import NEAR, near_duplicates, twins
from pawl.problems.wording import WORDS, squeezed
from pawl.train.data import Pool, Turns, draw, permutation
from pawl.types import Problem

Rendered = tuple[str, Problem]  # the text that the model reads, and its problem
SHUFFLED, FOLLOWED = 8, 4000  # problems from which an order shows; draws that are followed
WARN_NEAR, REFUSE_NEAR = 0.01, 0.1  # share of held-out problems that are near-duplicates
LONG, SHORT = 24, 8  # characters of a reference that stands in no prompt, or not in all, by chance
REFUSE_SHOWN, LEAST_SHORT = 0.05, 5  # share of long references; problems with short ones


def of_data(
    train: Sequence[Problem],
    held_out: Sequence[Problem],
    pools: Sequence[Pool],
    seed: int,
    prompts: Sequence[Rendered],
) -> list[Check]:
    """Leakage, near-duplicates, references in prompts and the order of drawing.

    prompts: as the model reads them, a sample of the training ones and the held-out ones. Only
    near-duplicates may warn without refusing, and references that few prompts hold.
    """
    return [*_leakage(train, held_out), reference_in_prompt(prompts), order(pools, seed)]


def reference_in_prompt(pairs: Sequence[Rendered]) -> Check:
    """No prompt holds its reference whole, blanks aside.

    Refused from 5% of the references of 24 characters or more on, and where every one of at least
    five references of 8 or more stands in its prompt.
    """
    n_long = n_short = 0
    shown_long, shown_short = list[str](), list[str]()
    for text, problem in pairs:
        wanted = squeezed(problem.reference)
        if len(wanted) < SHORT:
            continue
        found = [problem.id] if wanted in squeezed(text) else []
        n_short, shown_short = n_short + 1, shown_short + found
        if len(wanted) >= LONG:
            n_long, shown_long = n_long + 1, shown_long + found
    every = n_short >= LEAST_SHORT and len(shown_short) == n_short
    refuses = every or (bool(shown_long) and len(shown_long) >= REFUSE_SHOWN * n_long)
    shown, n = (shown_short, n_short) if every else (shown_long, n_long)
    return Check(
        "reference-in-prompt",
        shown[0] if shown else "",
        f"no prompt holds its reference; refused from {REFUSE_SHOWN:.0%} of those of {LONG} "
        f"characters on, or where all of {SHORT} are shown",
        f"{len(shown)} of {n}" if n else "no problem has a reference long enough",
        not shown if n else None,
        "a model that reads the answer learns to copy it; a task whose answers are parts of the "
        "prompt may override this",
        0.0,
        "leakage",
        refuses or not shown,
    )


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

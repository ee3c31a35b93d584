"""What must hold of the data: no answer is given away, and problems come as the seed says.

Nothing evaluated is trained on, and no prompt holds its own reference.

Left out: the audits of the problems themselves (`pawl check SET`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pawl.checks import Check
from pawl.preflight.samples import judged
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
) -> Iterator[Check]:
    """Leakage, near-duplicates, references in prompts and the order of drawing.

    prompts: as the model reads them, a sample of the training ones and the held-out ones. Only
    near-duplicates may warn without refusing, and references that few prompts hold.
    """
    yield from _leakage(train, held_out)
    yield reference_in_prompt(prompts)
    yield order(pools, seed)


def reference_in_prompt(pairs: Sequence[Rendered]) -> Check:
    """No prompt holds its reference whole, blanks aside.

    Refused from 5% of the references of 24 characters or more on, and where every one of at least
    five references of 8 or more stands in its prompt.
    """
    rows = [(squeezed(p.reference), squeezed(text), p.id) for text, p in pairs]
    short, long = ([row for row in rows if len(row[0]) >= n] for n in (SHORT, LONG))
    every = len(short) >= LEAST_SHORT and all(answer in text for answer, text, _ in short)
    looked_at = short if every else long
    shown, n = [name for answer, text, name in looked_at if answer in text], len(looked_at)
    refuses = every or (bool(shown) and len(shown) >= REFUSE_SHOWN * n)
    return judged(
        "reference-in-prompt",
        "leakage",
        not shown if n else None,
        f"no prompt holds its reference; refused from {REFUSE_SHOWN:.0%} of those of {LONG} "
        f"characters on, or where all of {SHORT} are shown",
        f"{len(shown)} of {n}" if n else "no problem has a reference long enough",
        "a model that reads the answer learns to copy it; a task whose answers are parts of the "
        "prompt may override this",
        refuses=refuses or not shown,
        problem=shown[0] if shown else "",
    )


def _leakage(train: Sequence[Problem], held_out: Sequence[Problem]) -> Iterator[Check]:
    if not held_out:
        meaning = "without held-out problems nothing says that a gain is one"
        row = Check("leakage", "", "no shared problem", "none held out", None, meaning)
        yield row
        return
    same, near = twins(train, held_out), near_duplicates(train, held_out)
    share = len(near) / len(held_out)
    yield judged(
        "leakage",
        "leakage",
        not same,
        "no evaluation problem in the training set",
        f"{len(same)} of {len(held_out)}",
        "a problem that was trained on measures memory",
        problem=same[0] if same else "",
    )
    yield judged(
        "near-duplicates",
        "leakage",
        share <= WARN_NEAR,
        f"at most {WARN_NEAR:.0%} with {NEAR:.0%} of their {WORDS}-word runs in the training "
        f"set; refused above {REFUSE_NEAR:.0%}",
        f"{share:.1%} ({len(near)} of {len(held_out)})",
        "near-duplicates of trained problems make a gain look larger",
        WARN_NEAR,
        share > REFUSE_NEAR,
        problem=near[0] if near else "",
    )


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
    return judged(
        "draw-order",
        "data-order",
        sound and not same,
        f"each of {n} problems once an epoch of its set, epochs in orders of their own",
        f"{'each once' if sound else 'repeated or skipped'}, "
        f"{'the same order twice' if same else 'orders of their own'}",
        "problems that repeat or are skipped bias what is learned; a resume would go elsewhere",
    )

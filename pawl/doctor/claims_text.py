"""Answers to the claims of an analysis as lines for a terminal.

Left out: finding and judging claims (`claims`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from pawl.doctor.claims import Answer
from pawl.doctor.claims_values import Verdict

LONGEST = 100


def lines(answers: Sequence[Answer]) -> Iterator[str]:
    """`LINE: verdict: claim`, the reason below it, and a count at the end."""
    for one in answers:
        claim = one.claim if len(one.claim) <= LONGEST else f"{one.claim[: LONGEST - 3]}..."
        metric = f" [{one.metric}]" if one.metric else ""
        yield f"{one.line}: {one.verdict}{metric}: {claim}"
        yield f"    {one.reason}"
    count = Counter(one.verdict for one in answers)
    yield "claims: " + ", ".join(f"{count[word]} {word}" for word in get_args(Verdict))

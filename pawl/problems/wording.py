"""A prompt without layout, and its runs of words: by what copies and near copies are known.

Left out: what a copy means (`check.py`), and who keeps the result (`ProblemSet.wording`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from pawl.types import Message, Problem

WORDS = 13  # length of a run of words (GPT-3's contamination study, arXiv 2005.14165, appendix C)
MAX_RUNS = 4_000_000  # of texts, compared at a time: about 400 MB
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def displayed(prompt: str, messages: Sequence[Message]) -> str:
    """All that a prompt displays: a text, or the turns of a chat but answers."""
    return prompt or "\n".join(m.content for m in messages if m.role != "assistant")


def normalised(problem: Problem) -> str:
    """The prompt as lower-case words and single symbols, without layout."""
    return " ".join(_WORD.findall(displayed(problem.prompt, problem.messages).lower()))


def _runs(wording: str) -> Iterator[int]:
    """A hash of each run of WORDS words, in order; equal within one process alone."""
    words = wording.split()
    return map(hash, zip(*(words[k:] for k in range(WORDS)), strict=False))


def known_runs(
    train: Sequence[str], wordings: Sequence[str]
) -> Iterator[tuple[list[int], set[int]]]:
    """For each wording its runs of words, and a set with those of them that `train` holds.

    So many at a time that their runs fit into memory; the training prompts are gone through for
    each such part.
    """
    part: list[list[int]] = []
    size = 0
    for n, wording in enumerate(wordings, start=1):
        part.append(list(_runs(wording)))
        size += len(part[-1])
        if size < MAX_RUNS and n < len(wordings):
            continue
        wanted = set(chain.from_iterable(part))
        seen = set[int]()
        for text in train:
            seen |= wanted.intersection(_runs(text))
        yield from ((own, seen) for own in part)
        part, size = [], 0


def squeezed(text: str) -> str:
    """Text whose blanks and line ends are single blanks."""
    return " ".join(text.split())

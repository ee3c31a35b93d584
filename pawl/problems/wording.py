"""A prompt without layout, and its runs of words: by what copies and near copies are known.

Left out: what a copy means (`check.py`, `overlap.py`), and who keeps the result
(`ProblemSet.wording`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pawl.types import Problem

WORDS = 13  # length of a run of words (GPT-3's contamination study, arXiv 2005.14165, appendix C)
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def normalised(problem: Problem) -> str:
    """The prompt as lower-case words and single symbols, without layout."""
    text = problem.prompt or "\n".join(m.content for m in problem.messages if m.role != "assistant")
    return " ".join(_WORD.findall(text.lower()))


def runs(wording: str) -> Iterator[int]:
    """A hash of each run of WORDS words, in order; equal within one process alone."""
    words = wording.split()
    return map(hash, zip(*(words[k:] for k in range(WORDS)), strict=False))


def squeezed(text: str) -> str:
    """Text whose blanks and line ends are single blanks."""
    return " ".join(text.split())

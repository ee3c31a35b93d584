"""How different the completions of a group are: as text, as programs, and by edits between tokens.

Compared are completions of one prompt only; across prompts they differ anyway. Left out: what
the difference is worth (rewards).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, islice
from math import comb

import numpy as np
from rapidfuzz.distance import Levenshtein

from pawl.problems import ocaml_text, python_text
from pawl.types import Group

MAX_PAIRS = 64  # of a group whose edit distances are taken; 12 members have 66


def diversity_metrics(groups: Sequence[Group]) -> dict[str, object]:
    """group/distinct_frac, group/distinct_norm_frac and group/edit_distance of one step."""
    texts = [[s.text for s in g.samples] for g in groups]
    programs = [[normalised(s.text, g.problem.lang) for s in g.samples] for g in groups]
    distances = [edit_distance([s.tokens for s in g.samples]) for g in groups]
    known = [d for d in distances if d is not None]
    return {
        "group/distinct_frac": float(np.mean([len(set(t)) / len(t) for t in texts])),
        "group/distinct_norm_frac": float(np.mean([len(set(p)) / len(p) for p in programs])),
        "group/edit_distance": float(np.mean(known)) if known else None,
    }


def normalised(text: str, lang: str) -> str:
    """A completion without layout, OCaml and Python without comments; Python keeps its blocks."""
    if lang in ("ocaml", "python"):
        return ocaml_text.normal(text) if lang == "ocaml" else python_text.normal(text)
    return " ".join(text.split())


def edit_distance(tokens_G: Sequence[Sequence[int]]) -> float | None:
    """Mean over pairs of the token edits between them / tokens of the longer one, 0 .. 1.

    More than MAX_PAIRS pairs: every n-th of them in member order with the smallest n that fits;
    members are drawn alike, so which pairs are taken favours none. None for fewer than two members.
    """
    stride = max(1, -(-comb(len(tokens_G), 2) // MAX_PAIRS))
    pairs = list(islice(combinations(tokens_G, 2), 0, None, stride))
    if not pairs:
        return None
    return sum(Levenshtein.normalized_distance(a, b) for a, b in pairs) / len(pairs)

"""How different the completions of a group are: as text, as programs, and by edits between them.

Compared are completions of one prompt only; across prompts they differ anyway. Left out: what
the difference is worth (rewards).

Legend: G members of a group, W words of a program.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, islice
from math import comb

import numpy as np
from rapidfuzz.distance import Levenshtein

from pawl.problems import ocaml_text, python_text
from pawl.types import Group

MAX_PAIRS = 64  # of a group whose edit distances are taken; 12 members have 66
MEMBERS = 12  # of a group that are compared as programs; all are drawn alike
_WORD = re.compile(r'->|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'(?!\w)|\w[\w\']*|\S')
# What opens a stretch of names that a program binds, and what ends it.
_BINDERS = {
    "python": ({"def", "lambda", "for", "as"}, {":", "in", "\n"}),
    "ocaml": ({"let", "and", "fun", "function", "|", "for"}, {"=", "->", "in", "when"}),
}


def diversity_metrics(groups: Sequence[Group]) -> dict[str, object]:
    """group/distinct_*, group/edit_distance, group/program_distance and group/effective_number."""
    texts = [[s.text for s in g.samples] for g in groups]
    programs = [[normalised(s.text, g.problem.lang) for s in g.samples] for g in groups]
    renamed = [
        [words(p, g.problem.lang) for p in own] for g, own in zip(groups, programs, strict=True)
    ]
    kernels = [similarity(own[:MEMBERS]) for own in renamed]
    edits = [edit_distance([s.tokens for s in g.samples]) for g in groups]
    return {
        "group/distinct_frac": _distinct(texts),
        "group/distinct_norm_frac": _distinct(programs),
        "group/distinct_renamed_frac": _distinct(renamed),
        "group/edit_distance": _mean(edits),
        "group/program_distance": _mean([mean_distance(kernel_GG) for kernel_GG in kernels]),
        "group/effective_number": _mean([effective_number(kernel_GG) for kernel_GG in kernels]),
    }


def _distinct(groups: Sequence[Sequence[object]]) -> float:
    return float(np.mean([len(set(g)) / len(g) for g in groups]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def normalised(text: str, lang: str) -> str:
    """A completion without layout, OCaml and Python without comments; Python keeps its blocks."""
    if lang in ("ocaml", "python"):
        return ocaml_text.normal(text) if lang == "ocaml" else python_text.normal(text)
    return " ".join(text.split())


def words(program: str, lang: str) -> tuple[str, ...]:
    """The words of a normalised program, the names that it binds replaced by their order of use.

    Equal for programs that differ in such names alone. What is bound is read from the words before
    it, without a parser: completions are cut and broken. Other languages keep their names.
    """
    found = _WORD.findall(program)
    if lang not in _BINDERS:
        return tuple(found)
    opening, closing = _BINDERS[lang]
    bound, open_, depth = set[str](), False, 0
    for before, word, after in zip(["", *found], found, [*found[1:], ""], strict=False):
        if word in opening:
            open_, depth = True, 0
        elif open_:
            depth += (word in "([{") - (word in ")]}")
            open_ = depth > 0 or word not in closing
        named = word[0].islower() or word[0] == "_"
        if named and before != "." and (open_ or (lang == "python" and after == "=")):
            bound.add(word)
    bound -= opening | closing | {"rec", "mutable", "of", "if", "else", "not", "is"}
    place: dict[str, int] = {}
    return tuple(
        f"v{place.setdefault(word, len(place))}" if word in bound and before != "." else word
        for before, word in zip(["", *found], found, strict=False)
    )


def similarity(programs_G: Sequence[Sequence[str]]) -> np.ndarray:
    """1 - word edits / words of the longer one, for each pair: (G, G), 0 .. 1."""
    kernel_GG = np.eye(len(programs_G))
    for i, j in combinations(range(len(programs_G)), 2):
        distance = Levenshtein.normalized_distance(programs_G[i], programs_G[j])
        kernel_GG[i, j] = kernel_GG[j, i] = 1.0 - distance
    return kernel_GG


def mean_distance(kernel_GG: np.ndarray) -> float | None:
    """Mean of 1 - similarity over pairs, 0 .. 1; None for fewer than two members."""
    n = len(kernel_GG)
    return float((n * n - kernel_GG.sum()) / (n * (n - 1))) if n > 1 else None


def effective_number(kernel_GG: np.ndarray) -> float:
    """How many wholly different members would be as diverse: 1 .. G (Vendi score, 2210.02410).

    exp of the entropy of the eigenvalues of kernel / G; a slightly negative one, which an edit
    similarity may have, counts as 0.
    """
    share_G = np.clip(np.linalg.eigvalsh(kernel_GG), 0.0, None)
    share_G = share_G[share_G > 0] / share_G.sum()
    return float(np.exp(-(share_G * np.log(share_G)).sum()))


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

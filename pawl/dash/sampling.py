"""Fewer points for a picture, without losing an extreme: min/max sampling.

Left out: smoothing. What is drawn was logged.
"""

from __future__ import annotations

import numpy as np

from pawl.logs.table import Floats

MOST = 2_000


def extremes(x_N: Floats, y_N: Floats, most: int = MOST) -> tuple[Floats, Floats]:
    """At most `most` points of a curve: the least and the greatest of each of equal pieces.

    The first and the last point stay, order is kept, and a spike of one point is never lost.
    y_N holds no nan; most: 6 or more.
    """
    assert most >= 6, "two pieces and both ends"
    n = len(y_N)
    if n <= most:
        return x_N, y_N
    edges = np.linspace(0, n, (most - 2) // 2 + 1).astype(np.int64)
    keep = {0, n - 1}
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        piece = y_N[start:end]
        keep.add(start + int(piece.argmin()))
        keep.add(start + int(piece.argmax()))
    at = np.array(sorted(keep))
    return x_N[at], y_N[at]

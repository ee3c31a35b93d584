"""Whether a word for a course (improving, diverging, stable, monotone, plateau) is borne out.

By the same tests as the doctor's own: first against last quarter with confirmation, noise around
neighbours, robust spikes. Left out: figures (`claims_values`).
"""

from __future__ import annotations

import math
import re

import numpy as np

from pawl.doctor.claims_values import Judged
from pawl.logs.log import Series
from pawl.logs.table import Floats
from pawl.metrics import CATALOGUE
from pawl.rules import statistics

ENOUGH = 30  # points below which nothing can be called stable or unstable
WORDS: tuple[tuple[str, str], ...] = (
    ("monotone", r"monoton\w*|every (?:epoch|step)"),
    ("steady", r"steadily|consistently (?:improv|increas|ris|decreas|fall)\w*|steady (?:improv|"
     r"increas|ris|growth|decreas|decline)\w*"),
    ("unstable", r"unstable|instabilit\w*|oscillat\w*|volatile|highly variable|"
     r"wild(?:ly)? swing\w*|wide swings|erratic|spik\w+"),
    ("diverging", r"diverg(?:e|es|ed|ing)\b|explod\w*|explosion|"
     r"(?<!kl )(?<!kl-)(?<!leibler )divergence|blow\w* up|out of control"),
    ("plateau", r"plateau\w*|flat(?:lin\w*)?\b|stagnat\w*|stuck|"
     r"not (?:improv|mov|chang)\w*|saturat\w*|constant\b|unchanged"),
    ("stable", r"(?<!un)stable|stabili[sz]\w*|steady\b"),
    ("worse", r"regress\w*|worsen\w*|deteriorat\w*|degrad\w*|getting worse|collaps\w*"),
    ("better", r"improv(?:e|es|ed|ing|ement)\b|getting better|is learning|"
     r"is progressing|makes progress"),
    ("up", r"increas\w*|ris(?:es|ing)|rose|climb\w*|grew|grow(?:s|ing)|jump\w*|upward|went up|"
     r"higher than|doubl(?:e|es|ed|ing)\b|tripl(?:es|ed|ing)"),
    ("down", r"decreas\w*|drop\w*|f(?:a|e)ll(?:s|ing)?\b|vanish\w*|shrink\w*|lower than|declin\w*|"
     r"downward|went down|halved"),
)  # fmt: skip
COMPILED = tuple((kind, re.compile(rf"\b(?:{words})", re.I)) for kind, words in WORDS)
WAYS = ("worse", "better", "up", "down")
NOT = re.compile(
    r"\b(?:no|not|without|never|isn't|is not|no signs? of|room for|instead of|"
    r"rather than)\s+(?:\w+\s+){0,3}$",
    re.I,
)


def word(text: str) -> tuple[str, str] | None:
    """(kind of course, the word) that a text claims; a denied instability is stability.

    A steady course keeps its direction: "steady down".
    """
    for kind, pattern in COMPILED:
        m = pattern.search(text)
        if m:
            denied = bool(NOT.search(text[: m.start()]))
            if denied and kind in ("unstable", "diverging", "worse"):
                return "stable", m[0]
            if denied and kind in ("better", "up"):
                return "plateau", m[0]
            if kind == "steady":
                ways = [k for k, p in COMPILED if k in WAYS and p.search(text)]
                kind = f"steady {ways[0] if ways else 'better'}"
            if not denied:
                return kind, m[0]
    return None


def judge(kind: str, series: Series, pair: tuple[int, int] | None = None) -> Judged:
    """Whether a series has such a course; pair: two points between which it is claimed."""
    x_N = series.finite()
    n = len(x_N)
    if n < 2:
        points = "point says" if n == 1 else "points say"
        return "unsupported", f"{n} {points} nothing about a course of {series.source}"
    if kind.startswith("steady"):
        course = judge(kind.split()[1], series, pair)
        return course if n >= ENOUGH or course[0] == "supported" else _monotone(x_N, series)
    if kind == "monotone":
        return _monotone(x_N, series)
    if kind in ("unstable", "diverging", "stable"):
        return _stability(kind, x_N, series)
    want = _direction(kind, series)
    if pair is not None and n < ENOUGH:
        return _two_points(want, x_N, pair, series)
    if kind == "plateau":
        return _plateau(x_N, series)
    t = statistics.trend(x_N)
    if not t.significant:
        return "unsupported", _noise(t, series)
    moved = f"{series.source} went {t.direction}, {t.first:.4g} to {t.last:.4g} (p {t.p:.2g})"
    return ("supported" if t.direction == want else "wrong"), moved


def _noise(t: statistics.Trend, series: Series) -> str:
    seen = f"nothing smaller than {t.detectable:.3g} could have been seen"
    if not math.isfinite(t.detectable):
        seen = "too few to see anything"
    by = (
        f"the change of {series.source}, {t.difference:+.3g},"
        if math.isfinite(t.difference)
        else "it"
    )
    return f"{by} is within noise: over {t.n} points {seen}"


def _direction(kind: str, series: Series) -> str:
    """up or down: what better and worse mean for this metric."""
    if kind in ("up", "down"):
        return kind
    known = CATALOGUE.get(series.name)
    good = known.direction if known and known.direction != "none" else "up"
    if "loss" in series.source.lower():
        good = "down"
    if kind == "better":
        return good
    return "down" if good == "up" else "up"


def _monotone(x_N: Floats, series: Series) -> Judged:
    steps = np.diff(x_N)
    up, down = int((steps > 0).sum()), int((steps < 0).sum())
    if up and down:
        text = f"{series.source} rises {up} times and falls {down} times in {len(x_N)} points"
        return "wrong", text
    t = statistics.trend(x_N) if len(x_N) >= 4 else None
    if t is not None and t.significant:
        return "supported", f"every one of the {len(x_N)} points goes the same way"
    return "unsupported", f"{len(x_N)} points of {series.source} may fall in order by chance"


def _two_points(want: str, x_N: Floats, pair: tuple[int, int], series: Series) -> Judged:
    """The difference of two points against the noise of one, with few points to know it from."""
    i, j = pair
    by = float(x_N[j] - x_N[i])
    noise = statistics.noise_of(x_N)
    if not math.isfinite(noise):
        return "unsupported", f"{len(x_N)} points do not show how far {series.source} swings"
    reach = statistics.t_quantile(max(1.0, len(x_N) - 2.0)) * math.sqrt(2.0) * noise
    if abs(by) <= reach:
        text = (
            f"the difference of {by:+.3g} in {series.source} is within noise: two points differ by "
            f"up to {reach:.3g} (95%, from {len(x_N)} points)"
        )
        return "unsupported", text
    fits = (by > 0) == (want == "up")
    return ("supported" if fits else "wrong"), f"{by:+.3g} against a noise of {noise:.3g} per point"


def _plateau(x_N: Floats, series: Series) -> Judged:
    """No movement in the later half, and enough points to have seen a tenth of the level."""
    late_N = x_N[len(x_N) // 2 :]
    t = statistics.trend(late_N)
    if t.significant:
        return "wrong", f"{series.source} still goes {t.direction} in its later half (p {t.p:.2g})"
    level = abs(float(late_N.mean())) or float(late_N.std())
    if len(late_N) < ENOUGH // 2 or t.detectable > max(0.25 * level, 1e-12):
        return "unsupported", "no movement is seen, but " + _noise(t, series)
    return "supported", f"{series.source} does not move in its last {len(late_N)} points"


def _stability(kind: str, x_N: Floats, series: Series) -> Judged:
    n = len(x_N)
    bad = int((~np.isfinite(series.value_N)).sum())
    if bad and kind != "stable":
        return "supported", f"{bad} values of {series.source} are not finite"
    if n < ENOUGH:
        noise = statistics.noise_of(x_N)
        text = f"{n} points of {series.source} cannot tell instability from noise"
        return "unsupported", f"{text} ({noise:.3g} per point)" if math.isfinite(noise) else text
    z = float(np.abs(statistics.robust_z(x_N)).max())
    quarter = n // 4
    first, last = float(np.std(x_N[:quarter])), float(np.std(x_N[-quarter:]))
    wider = last > 3.0 * first > 0.0
    t = statistics.trend(x_N)
    if kind == "diverging":
        scale = max(abs(t.first), t.noise)
        if t.significant and abs(t.difference) > scale:
            return "supported", f"{series.source} runs from {t.first:.4g} to {t.last:.4g}"
        return "unsupported", _noise(t, series) if not t.significant else "it moves, but not away"
    odd = f"largest spike {z:.1f} robust deviations, spread {first:.3g} early and {last:.3g} late"
    shaky = z > 8.0 or wider
    if kind == "unstable":
        return ("supported", odd) if shaky else ("unsupported", f"noise of one size: {odd}")
    return ("wrong", odd) if shaky or bad else ("supported", odd)

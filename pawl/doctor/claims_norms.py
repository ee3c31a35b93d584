"""Limits, levels, chance and forecasts: what a figure or a word is measured against.

Left out: figures themselves (`claims_values`) and misreadings (`claims_known`).
"""

from __future__ import annotations

import re

import numpy as np

from pawl.doctor.claims_figures import Figure
from pawl.doctor.claims_known import misreadings
from pawl.doctor.claims_terms import Term
from pawl.doctor.claims_values import Judged
from pawl.doctor.diagnose import Diagnosis
from pawl.metrics import healthy_runs
from pawl.rules import statistics

NO_LIMIT = {
    "loss/total": "loss-threshold",
    "policy/kl_ref": "kl-range",
    "policy/kl_ref_sequence": "kl-range",
    "policy/entropy": "entropy-range",
    "cv": "cv-threshold",
}
"""Metrics without a limit that holds for every run -> the reading that says why."""

WARM = re.compile(
    r"(?:in|due to|because of|during|still)\s+(?:(?:the|its|a)\s+)?warm-?up|(?:ramping|warming) up|"
    r"warm-?up (?:has not|is not|hasn.t|isn.t) |"
    r"(?:not|never) (?:yet )?reached (?:its |the )?(?:target|peak|full)",
    re.I,
)
CUT = re.compile(
    r"\btruncation (?:never|rarely|happens|occurs|is (?:rare|common))|"
    r"(?:completions?|responses?|outputs?|answers?|solutions?|generations?)\b.{0,40}\b"
    r"(?:cut (?:off|short)|truncated|hit(?:ting)? the (?:length|token)|run(?:ning)? into the)",
    re.I,
)
LEVEL = re.compile(
    r"\b(?:low|high|small|large|weak|strong|healthy|unhealthy|normal|abnormal|good|bad|poor|"
    r"excellent|fine|acceptable|concerning|alarming|excessive|insufficient|too (?:much|little))\b",
    re.I,
)
CHANCE = re.compile(
    r"(?:better than|above|at|near|below|worse than).{0,20}(?:random|chance|coin|50 ?%)", re.I
)


def warming(text: str, d: Diagnosis) -> Judged | None:
    """ "The learning rate is low because of warm-up": a falling one is past it."""
    said = WARM.search(text)
    rate = d.log.series.get("optim/lr")
    about = re.search(r"learning[ _]rate|\blr\b|warm", text, re.I)
    if not said or not about or rate is None:
        return None
    x_N = rate.finite()
    if len(x_N) < 2:
        return None
    ends = f"{x_N[0]:.3g} to {x_N[-1]:.3g}"
    if x_N[-1] < x_N[0]:
        return "wrong", f"the learning rate falls, {ends}: that is decay, not warm-up"
    if x_N[-1] > x_N[0]:
        return "supported", f"the learning rate rises, {ends}"
    return "unsupported", f"the learning rate is constant at {x_N[0]:.3g}"


def cut_off(text: str, d: Diagnosis) -> Judged | None:
    """ "Completions are cut off": by the logged share, where there is one."""
    share = d.log.series.get("length/truncated_frac")
    if share is None or not CUT.search(text) or not len(share.finite()):
        return None
    late = float(share.finite()[-20:].mean())
    shown = f"{late:.0%} of the last completions are truncated"
    often = late >= 0.1
    if re.search(r"\b(?:never|rarely|no|not|hardly|seldom)\b", text, re.I):
        return ("wrong" if often else "supported"), shown
    return ("supported" if often else "wrong" if late < 0.01 else "unsupported"), shown


def level(text: str, term: Term, d: Diagnosis) -> Judged | None:
    """ "The entropy is too low": what a level could be judged by, and that alone judges nothing."""
    word = LEVEL.search(text)
    if not word:
        return None
    values = [v for row in healthy_runs().get(term.name, ()) for v in (row.low, row.high)]
    if not term.series:
        return "unsupported", f"the log does not hold {term.name}"
    x_N = term.series[0].finite()
    if not len(x_N):
        return None
    here = f"{term.series[0].source} lies between {x_N.min():.3g} and {x_N.max():.3g}"
    if values:
        here += f", in healthy runs between {min(values):.3g} and {max(values):.3g}"
    return "unsupported", f"{here}: no level is {word[0].lower()} by itself"


def against_chance(text: str, f: Figure, term: Term, d: Diagnosis) -> Judged | None:
    """An accuracy set beside one half: which side it is on, and whether the pairs show it."""
    said = CHANCE.search(text)
    if not said or "accuracy" not in term.name or not f.percent and not 0 <= f.a <= 1:
        return None
    share = f.a / 100.0 if f.percent else f.a
    n = _pairs(d)
    low, high = statistics.wilson(round(share * n), n)
    shown = (
        f"95% of {n} pairs: {low:.2f} to {high:.2f}" if n else "the number of pairs is not logged"
    )
    better = bool(re.search(r"better|above", said[0], re.I))
    if better and share <= 0.5:
        return "wrong", f"{share:.0%} is not above one half ({shown})"
    if n and low <= 0.5 <= high:
        return "unsupported", f"{share:.0%} cannot be told from one half ({shown})"
    fits = (share > 0.5) == better
    return ("supported" if fits else "wrong"), f"{share:.0%} against one half ({shown})"


def is_chance(text: str, f: Figure) -> bool:
    """Whether a figure is the one half that a text calls chance ("random 50%")."""
    return bool(
        (f.a == 50 and f.percent or f.a == 0.5)
        and re.search(r"(?:random|chance|coin)\W*$", text[: f.start], re.I)
    )


def _pairs(d: Diagnosis) -> int:
    """Pairs behind an accuracy, 0 when the log does not say."""
    own = [*d.log.series.values(), *d.log.unknown.values()]
    for one in own:
        named = one.name == "preference/pairs" or re.search(r"(?:^|/)(?:n|n_?pairs)$", one.source)
        if named and len(one.finite()):
            return int(one.finite()[-1])
    return 0


def limit(f: Figure, term: Term, d: Diagnosis, stops: bool = False) -> Judged:
    """A threshold or a target range: what speaks for it, and what against.

    stops: the run is to be stopped beyond it, so that healthy values must not lie there.
    """
    if term.name in NO_LIMIT:
        told = next(one for one in misreadings() if one.id == NO_LIMIT[term.name])
        return told.verdict, told.reason
    one = f"{f.op} {f.a:g}" if f.kind == "limit" else f"{f.a:g} to {f.b:g}"
    if "accuracy" in term.name and (f.a == 50 and f.percent or f.a == 0.5):
        return "supported", "one half is what chance gives"
    values = [v for row in healthy_runs().get(term.name, ()) for v in (row.first, row.last)]
    against = [v for v in values if _holds(v, f) == stops]
    if against and term.name != "reward/mean":
        lie = "are" if stops else "are not"
        if f.kind == "range":
            lie = "lie inside" if stops else "lie outside"
        text = f"{len(against)} of {len(values)} values of healthy runs {lie} {one}"
        return "wrong", f"{text} ({min(values):.3g} to {max(values):.3g})"
    trend = d.trend
    if term.name == d.goal and trend is not None and np.isfinite(trend.detectable):
        text = f"over {trend.n} points nothing smaller than {trend.detectable:.3g} could be seen"
        return "unsupported", f"nothing measured sets the limit {one}; {text}"
    return "unsupported", f"nothing measured sets the limit {one} for {term.name}"


def _holds(v: float, f: Figure) -> bool:
    if f.kind == "limit":
        return v < f.a if f.op.startswith("<") else v > f.a
    return min(f.a, f.b) <= v <= max(f.a, f.b)


def unmoved(term: Term, d: Diagnosis) -> Judged:
    """A course that ought to come, without a figure."""
    if term.name == d.goal and d.trend is not None and d.trend.significant:
        return "unsupported", f"{term.name} went {d.trend.direction}; that it goes on is not shown"
    return "unsupported", f"no evidence that {term.name} will move so"


def forecast(f: Figure, term: Term, d: Diagnosis) -> Judged:
    """A value that is expected later: no evidence unless the goal moves beyond its noise."""
    t = d.trend
    if term.name == d.goal and t is not None and t.significant and d.verdict != "INVALID RUN":
        text = f"{term.name} went {t.direction} by {t.difference:+.3g} in {t.n} points"
        return (
            "unsupported",
            f"{text}; that this goes on to {f.b if f.b == f.b else f.a:g} is not shown",
        )
    return "unsupported", f"no evidence that {term.name} will move: a forecast without a basis"

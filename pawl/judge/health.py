"""Is a judge any good? Figures from groups that it graded twice and from answers of known worth.

    Repeats: noise, reliability, what the place does     Anchors: drift, canaries, padding

Pure functions and plain sums, so that a resume goes on with the very numbers. Noise and reliability
are those within a group: what moves all of a group cancels in its advantages. Left out: what is
asked, and when (`pawl.train.judge_health`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from pawl.judge.contract import Distribution
from pawl.rewards import probes
from pawl.types import Problem

LEAST = 10  # pairs before a noise is stated
REFERENCE, BAD, PADDED = "reference", "constant", "constant, padded"
Figures = dict[str, float | None]


class Repeats(NamedTuple):
    """Sums over all groups that were graded twice.

    pairs: completions in them; dof: these less one for each group. noise: half the squared
    differences between a completion's two scores, less their group's mean; spread: squared
    deviations from the group's mean, averaged over both gradings. reward_noise: as noise, of the
    rewards, reward_dof of them. order_n, zz, zd, dd: degrees of freedom and moments of what differs
    in place (z) and in score (d).
    """

    pairs: int = 0
    dof: int = 0
    noise: float = 0.0
    spread: float = 0.0
    reward_dof: int = 0
    reward_noise: float = 0.0
    order_n: int = 0
    zz: float = 0.0
    zd: float = 0.0
    dd: float = 0.0

    def with_scores(self, first_N: Sequence[float], second_N: Sequence[float]) -> Repeats:
        """With a group's scores in both gradings; one of fewer than two says nothing."""
        n, d_N = len(first_N), _centred(_minus(first_N, second_N))
        if n < 2:
            return self
        both = _squares(_centred(first_N)) + _squares(_centred(second_N))
        return self._replace(
            pairs=self.pairs + n,
            dof=self.dof + n - 1,
            noise=self.noise + _squares(d_N) / 2.0,
            spread=self.spread + both / 2.0,
        )

    def with_rewards(self, first_N: Sequence[float], second_N: Sequence[float]) -> Repeats:
        """With a group's rewards by both gradings."""
        n, d_N = len(first_N), _centred(_minus(first_N, second_N))
        if n < 2:
            return self
        noise = self.reward_noise + _squares(d_N) / 2.0
        return self._replace(reward_dof=self.reward_dof + n - 1, reward_noise=noise)

    def with_places(
        self, earlier_N: Sequence[float], first_N: Sequence[float], second_N: Sequence[float]
    ) -> Repeats:
        """With a group shown in two orders. earlier_N: by how much each stood further to the front
        in the first grading than in the second, 1 for all the way.
        """
        if not any(earlier_N):
            return self
        z_N, d_N = _centred(earlier_N), _centred(_minus(first_N, second_N))
        return self._replace(
            order_n=self.order_n + len(z_N) - 1,
            zz=self.zz + _squares(z_N),
            zd=self.zd + math.fsum(z * d for z, d in zip(z_N, d_N, strict=True)),
            dd=self.dd + _squares(d_N),
        )

    def with_preference(self, first: float) -> Repeats:
        """With a group of pairs in both orders. first: by how much the first was preferred."""
        n, zz, zd, dd = self.order_n + 1, self.zz + 1.0, self.zd + first, self.dd + first * first
        return self._replace(order_n=n, zz=zz, zd=zd, dd=dd)

    @property
    def reward_sd(self) -> float:
        """Standard deviation of a reward's noise within its group; 0 with under LEAST pairs."""
        enough = self.pairs >= LEAST and self.reward_dof > 0
        return math.sqrt(self.reward_noise / self.reward_dof) if enough else 0.0

    def slope(self) -> tuple[float | None, float | None]:
        """What the first place earns over the last, and its standard error; None for too few."""
        if self.order_n < LEAST or not self.zz:
            return None, None
        slope = self.zd / self.zz
        rest = max(0.0, self.dd - slope * self.zd) / (self.order_n - 1)
        return slope, math.sqrt(rest / self.zz)

    def figures(self) -> Figures:
        """judge/* of the run so far; None where too little was asked."""
        enough = self.pairs >= LEAST and self.dof > 0
        slope, error = self.slope()
        reliability = max(0.0, 1.0 - self.noise / self.spread) if enough and self.spread else None
        return {
            "judge/repeat_pairs": self.pairs,
            "judge/repeat_sd": math.sqrt(self.noise / self.dof) if enough else None,
            "judge/reward_noise_sd": self.reward_sd if enough and self.reward_dof else None,
            "judge/reliability": reliability,
            "judge/position_slope": slope,
            "judge/position_slope_se": error,
        }


def anchors(problem: Problem, marker: str) -> dict[str, str]:
    """Answers of known worth by name, for a problem with a reference: it, what does nothing, the
    same padded, and the canaries.

    marker: the end marker of answers.
    """
    bad = probes.PROSE if problem.code is None else probes.constant_program(problem)
    texts = {
        REFERENCE: probes.reference_shapes(problem)[0][1],
        BAD: bad,
        PADDED: probes.padded(problem, bad),
        **{p.name: p.text for p in probes.canaries(problem)},
    }
    return {"canary, empty": ""} | {name: probes.end(text, marker) for name, text in texts.items()}


Graded = Mapping[str, float | None]  # totals of one problem's anchors, by name; None is missing


def canary_figures(problems: Sequence[Graded]) -> tuple[Figures, str]:
    """What canaries are paid, at the most, and how far below right answers; and which it is.

    A canary's pay is a mean over the problems that know it and their reference.
    """
    names = dict.fromkeys(n for g in problems for n in g if n.startswith("canary"))
    paid = {n: _pairs(problems, n, REFERENCE) for n in names}
    means = {n: fmean(a for a, _ in rows) for n, rows in paid.items() if rows}
    below = {n: fmean(b - a for a, b in rows) for n, rows in paid.items() if rows}
    worst = min(below, key=lambda n: below[n], default="")
    return {
        "judge/canary": max(means.values(), default=None),
        "judge/canary_margin": below.get(worst),
    }, worst


def padding_figures(problems: Sequence[Graded]) -> Figures:
    """What padding earns a wrong answer, with its standard error over the problems."""
    gains = [a - b for a, b in _pairs(problems, PADDED, BAD)]
    return {"judge/padding_gain": _mean(gains), "judge/padding_gain_se": _error(gains)}


def drift_figures(start: Sequence[Graded], now: Sequence[Graded]) -> Figures:
    """How far the anchors' mean moved from the start, with its standard error over the problems."""
    moved = []
    for a, b in zip(start, now, strict=True):
        changes = [v - w for n in a if (v := b.get(n)) is not None and (w := a[n]) is not None]
        moved += [fmean(changes)] if changes else []
    return {"judge/anchor_shift": _mean(moved), "judge/anchor_shift_se": _error(moved)}


def entropy_figures(answers: Sequence[Mapping[str, Distribution]]) -> Figures:
    """Entropy of all answers together and of a single one, as shares of the most that the levels
    allow; means over the criteria. What the first has over the second is what answers tell.
    """
    if not answers:
        return {"judge/level_entropy": None, "judge/answer_entropy": None}
    together, single = [], []
    for name in answers[0]:
        rows = [a[name] for a in answers]
        marginal = [math.fsum(level) / len(rows) for level in zip(*rows, strict=True)]
        together.append(_entropy(marginal))
        single.append(fmean(map(_entropy, rows)))
    return {"judge/level_entropy": fmean(together), "judge/answer_entropy": fmean(single)}


def _entropy(p: Sequence[float]) -> float:
    """Entropy over its largest value, 0..1."""
    return -math.fsum(x * math.log(x) for x in p if x > 0) / math.log(len(p)) + 0.0


def _pairs(problems: Sequence[Graded], a: str, b: str) -> list[tuple[float, float]]:
    rows = [(g.get(a), g.get(b)) for g in problems]
    return [(x, y) for x, y in rows if x is not None and y is not None]


def _minus(a_N: Sequence[float], b_N: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(a_N, b_N, strict=True)]


def _centred(x_N: Sequence[float]) -> list[float]:
    middle = fmean(x_N)
    return [x - middle for x in x_N]


def _squares(x_N: Sequence[float]) -> float:
    return math.fsum(x * x for x in x_N)


def _mean(x_N: Sequence[float]) -> float | None:
    return fmean(x_N) if x_N else None


def _error(x_N: Sequence[float]) -> float | None:
    """Standard error of a mean; None for fewer than two."""
    n = len(x_N)
    return math.sqrt(_squares(_centred(x_N)) / (n - 1) / n) if n > 1 else None

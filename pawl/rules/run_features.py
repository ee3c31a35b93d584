"""What several rules ask of a run: does it get anywhere, where do its stages end, its rewards.

Pure functions of `Signals`. Places are rows of the log, as everywhere in the doctor. Left out:
judging (the other files here) and statistics of one series (`statistics`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pawl.logs.log import Event
from pawl.logs.table import Row, number
from pawl.rules.signals import BEYOND, Signals, numbers
from pawl.rules.statistics import Floats, Mean, Trend, mean_of, trend

STAGES = ("curriculum", "stage", "fork")
GAINS = ("reward/mean", "verifier/pass_frac", "eval/pass_at_1", "eval/reward_mean")
HIGH = 0.8  # of full marks: a reward that has little left to gain


@dataclass(frozen=True, slots=True)
class RowReward:
    """One scored sample: its reward, by which branch, what the tests said; "" unknown."""

    total: float | None
    branch: str
    verdict: str
    status: str
    passed: int


def gains(s: Signals) -> bool:
    """Whether reward or held-out result rises significantly."""
    return any(s.has(name) and s.trend(name).direction == "up" for name in GAINS)


def from_the_start(s: Signals, name: str) -> bool:
    """Whether a metric was logged from the first steps on, not from a resume on.

    Its first step is at most 5 times the usual distance of two rows; a log of one row counts.
    """
    steps = s.steps(name)
    usual = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
    return len(steps) > 0 and float(steps[0]) <= 5.0 * max(usual, 1e-12)


def single_precision(s: Signals) -> bool:
    """Whether this is a run of Pawl in fp32, whose passes agree but for rounding."""
    config = s.log.config
    plain = config.get("model.quantise", "none") == "none"
    return s.log.library == "pawl" and config.get("model.dtype") == "fp32" and plain


def full_mark(s: Signals) -> float | None:
    """The likely greatest reward: 1 for rewards within 0..1, None where nothing tells."""
    x_N = s.values("reward/mean")
    return 1.0 if len(x_N) and x_N.min() >= 0.0 and x_N.max() <= 1.0 else None


def high(s: Signals) -> bool:
    """Whether the reward, in 0..1, has little left to gain."""
    return full_mark(s) is not None and s.late("reward/mean").value >= HIGH


def at_best(s: Signals) -> bool:
    """Whether the reward rests near full marks, or at the highest that the run has seen."""
    x_N = s.values("reward/mean")
    span = float(np.ptp(x_N)) if len(x_N) else 0.0
    top = span > 0 and float(np.median(x_N[-20:])) >= float(x_N.max()) - 0.02 * span
    return top or high(s)


def silent(s: Signals) -> bool:
    """Whether the entropy of the run's second half is below 1% of its start."""
    x_N = s.values("policy/entropy")
    if len(x_N) < 5 or x_N[0] <= 0:
        return False
    return 0.0 <= float(np.median(x_N[len(x_N) // 2 :])) < 0.01 * float(np.max(x_N[:3]))


def never_updated(s: Signals) -> bool:
    """Whether no gradient was ever finite: what rests at 0 then follows from that."""
    series = s.log.series.get("optim/grad_norm")
    return series is not None and len(series.value_N) > 1 and not numbers(series.value_N).any()


def came_later(s: Signals, name: str) -> bool:
    """Whether a share that is high now was below a third of that at the start: a consequence.

    What a run begins with can be its cause; what came on the way was caused by something else.
    """
    x_N = s.values(name)
    return len(x_N) >= 10 and float(np.mean(x_N[:3])) < s.late(name).value / 3.0


def happened(s: Signals, kinds: Sequence[str]) -> list[tuple[int, Event]]:
    """Events of these kinds within the log, with the rows that follow them."""
    events = [e for e in s.log.events if e.kind in kinds]
    rows = np.searchsorted(s.log.step_N, [e.step for e in events], "right")
    return [(int(r), e) for r, e in zip(rows, events, strict=True) if 0 < r < len(s.log.step_N)]


def boundaries(s: Signals) -> list[int]:
    """Rows at which another stage of problems begins, in order."""
    rows = {row for row, _ in happened(s, STAGES)}
    stage = s.log.series.get("curriculum/stage")
    if stage is not None:
        changes = stage.row_N[1:][np.diff(stage.value_N) != 0.0]
        rows |= {int(r) for r in changes if 0 < r < len(s.log.step_N)}
    return sorted(rows)


def pieces(s: Signals, name: str) -> list[Floats]:
    """A metric's values, cut where another stage begins."""
    return np.split(s.values(name), np.searchsorted(s.rows(name), boundaries(s)))


def within_stages(s: Signals, name: str) -> Trend:
    """The trend within the longest stage; of the whole series where there is one stage."""
    parts = pieces(s, name)
    return s.trend(name) if len(parts) < 2 else trend(max(parts, key=len))


def spread_of_batch(s: Signals) -> str:
    """The metric that tells how rewards differ over the whole batch; "" when there is none."""
    parts = s.family("component_std/")
    one = len(parts) == 1 and len(s.family("component/")) <= 1
    return "reward/std" if s.has("reward/std") else parts[0] if one else ""


def row_rewards(rows: Sequence[Row]) -> list[RowReward]:
    """How samples of any library were rewarded, row by row."""
    found = []
    for row in rows:
        score = row.get("score")
        body: Mapping[str, object] = score if isinstance(score, Mapping) else row
        values = (number(body.get(key)) for key in ("total", "reward"))
        total = next((x for x in values if x is not None and abs(x) < BEYOND), None)
        branch, verdict, status = (str(body.get(k) or "") for k in ("branch", "verdict", "status"))
        passed = body.get("passed_cases")
        found.append(
            RowReward(total, branch, verdict, status, passed if isinstance(passed, int) else 0)
        )
    return found


def shares(totals: list[float]) -> list[tuple[float, float]]:
    """The rewards that came most often, with their shares, the most frequent first."""
    counted = Counter(round(t, 6) for t in totals)
    return [(value, n / len(totals)) for value, n in counted.most_common(5)]


def all_or_nothing(mean: float) -> float:
    """Standard deviation of a reward of 0 or 1 with that mean."""
    return float(np.sqrt(max(mean * (1.0 - mean), 0.0)))


def zero_variance_share(p: float, size: int) -> float:
    """Expected share of groups with equal rewards when every sample passes with probability p.

    Where problems differ in difficulty it is larger: this is the least that is to be expected.
    """
    return (1.0 - p) ** size + p**size


def best_window(x_N: Floats, size: int = 10) -> tuple[Mean, int]:
    """The best mean over consecutive points, and where its middle lies."""
    width = min(size, len(x_N))
    means = np.convolve(x_N, np.ones(width) / width, "valid")
    at = int(np.argmax(means))
    return mean_of(x_N[at : at + width]), at + width // 2

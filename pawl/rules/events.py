"""Rules about what happened on the way: metrics that jump where a run was resumed.

Code D908. Left out: the reward's own jumps and new stages (D217).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pawl.rules.finding import Finding
from pawl.rules.prescribe import advice
from pawl.rules.rule import found, rule
from pawl.rules.signals import Signals

RESTARTS = ("resume", "restart", "rollback", "cut", "repaired", "fork")
WATCHED = (
    "reward/mean",
    "preference/accuracy",
    "loss/total",
    "policy/kl_ref",
    "policy/entropy",
    "optim/grad_norm",
    "optim/lr",
    "length/mean",
    "length/truncated_frac",
)
CLOSE = 2  # points between an event and the jump
SIDE = 15  # points on either side that a jump is judged by
SURE = 6.0  # standard errors; neighbours are alike, so that five happen by chance
MOST = 50  # events that are looked at


def _jumps(s: Signals, name: str, row: int) -> tuple[float, float] | None:
    """Levels just before and after a jump of a metric within two points of a row.

    A jump is a step between two lines of one slope, over six of its standard errors and half of
    the series' own spread: a slow change alone never is one.
    """
    x_N, at = s.values(name), int(np.searchsorted(s.rows(name), row))
    best = (SURE, 0.0, 0.0)
    for place in range(at - 1, at + CLOSE + 1):
        y_N = x_N[max(0, place - SIDE) : place + SIDE]
        left = min(place, SIDE)
        if left < 6 or len(y_N) - left < 6:
            continue
        after = (np.arange(len(y_N)) >= left).astype(np.float64)
        a_NK = np.stack([np.ones(len(y_N)), np.arange(len(y_N)) - left, after], axis=1)
        fit = np.linalg.lstsq(a_NK, y_N, rcond=None)[0]
        rest = y_N - a_NK @ fit
        var = float(rest @ rest) / (len(y_N) - 3) * np.linalg.inv(a_NK.T @ a_NK)[2, 2]
        step = abs(float(fit[2]))
        if step > best[0] * np.sqrt(var) and step > 0.5 * float(np.std(x_N)) > 0.0:
            best = (step / max(np.sqrt(var), 1e-300), float(fit[0]), float(fit[0] + fit[2]))
    return best[1:] if best[0] > SURE else None


def _rows(s: Signals, kinds: tuple[str, ...]) -> list[tuple[int, str]]:
    """Rows of the log at which events of these kinds happened, and what they were."""
    rows = []
    for event in s.log.events:
        if any(word in event.kind for word in kinds):
            row = int(np.searchsorted(s.log.step_N, event.step, side="right"))
            if 0 < row < len(s.log.step_N):
                rows.append((row, f"{event.kind} at step {event.step:g}"))
    return sorted(set(rows))


@rule("D908", "resume-jump", "events")
def resume_jump(s: Signals) -> Iterator[Finding]:
    """Metrics jump where the run was resumed or rolled back.

    What: a training metric steps within two points of a restart, by over six standard errors and
    beside its slope there.
    Why it matters: a resumed run should go on as if nothing had happened: a jump means that
    something was not restored.
    Evidence needed: restarts with their steps, and metrics around them.
    Traps: a restart after a change of options jumps by design. A jump of the reward alone is
    another matter (D217).
    Fix: restore all of weights, optimiser, schedule, random states, place in the data, and the
    sampler's weights.
    Source: an exactly resumed run continues bit for bit.
    Causes: data-order, optimiser-detached, schedule-never-warm, stale-weights.
    """
    for row, text in _rows(s, RESTARTS)[:MOST]:
        hits = [(name, both) for name in WATCHED if (both := _jumps(s, name, row)) is not None]
        if not any(name != s.goal for name, _ in hits):
            continue
        lr = any(name == "optim/lr" for name, _ in hits)
        lost = any(name == s.goal and b < a and name != "loss/total" for name, (a, b) in hits)
        yield found(
            "critical" if len(hits) >= 2 and lost and not s.better else "warning",
            "fault",
            ", ".join(name for name, _ in hits),
            f"{len(hits)} metric{'s' if len(hits) > 1 else ''} jump at the {text}",
            *(f"{name}: {a:.3g} before, {b:.3g} after" for name, (a, b) in hits),
            causes=(
                ("optimiser-detached", 0.6, "optimiser or schedule were not restored"),
                ("stale-weights", 0.4, "the sampler may hold other weights"),
                ("data-order", 0.3, "data may have begun anew"),
                *((("schedule-never-warm", 0.3, "the schedule began anew"),) if lr else ()),
            ),
            fix=advice(
                "not everything was restored",
                "no jump at the next resume",
                "resume from a checkpoint and compare the next step with that of the first run",
            ),
            series=tuple(name for name, _ in hits),
        )

"""What a step cost on this machine: times, rates, memory. Stands under `host` in a record.

No figure here takes part in a comparison of two runs. Left out: everything that is a function of
config and seed (`record.py`).
"""

from __future__ import annotations

import math
import resource
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pawl.train.rollouts import Rollouts

Record = dict[str, object]
LOST = ("unavailable", "rejected", "refusal", "truncated", "malformed")  # why a judge gave nothing
STEPS = 20  # over which the growth of memory is measured


def host_metrics(
    rollouts: Rollouts,
    usages: Sequence[Mapping[str, float]],
    update_s: float,
    step_s: float,
    resident_mb: deque[float],
) -> Record:
    """What depends on machine and clock; stands under `host`. Adds this step to resident_mb.

    usages: of what was measured, checks of a judge among it.
    """
    resident_mb.append(resident())
    ran = [s.warm for s in rollouts.scores_S if s.tier and not s.cached]
    tokens = sum(len(s.tokens) for s in rollouts.samples_S)
    return {
        "time/step_s": step_s,
        "time/generate_s": rollouts.generate_s,
        "time/score_wait_s": rollouts.score_wait_s,
        "time/update_s": update_s,
        "speed/tokens_per_s": tokens / step_s,
        "verifier/cached_frac": float(np.mean([s.cached for s in rollouts.scores_S])),
        "verifier/warm_frac": float(np.mean(ran)) if ran else None,
        "verifier/time_ms_mean": float(np.mean([s.time_ms for s in rollouts.scores_S])),
        **spent([usage for usage in usages if usage]),
        "memory/peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "memory/resident_mb": resident_mb[-1],
        "memory/slope_mb": slope(resident_mb) if len(resident_mb) == STEPS else None,
    }


def spent(usages: Sequence[Mapping[str, float]]) -> Record:
    """judge/* of one step: what its judge read, wrote and cost; nothing where none was asked."""
    if not usages:
        return {}

    def total(*names: str) -> float:
        return math.fsum(usage.get(name, 0.0) for usage in usages for name in names)

    read = total("uncached", "cache_write", "cache_read")
    return {
        "judge/requests": total("requests"),
        "judge/input_tokens": read,
        "judge/output_tokens": total("output"),
        "judge/cache_read_frac": total("cache_read") / read if read else None,
        "judge/usd": total("usd"),
        "judge/simulated_frac": total("simulated") / len(usages),
        "judge/outage_s": max(usage.get("outage_s", 0.0) for usage in usages),
        "judge/deferred_frac": total("deferred") / len(usages),
        "judge/missing_frac": total(*(f"lost_{why}" for why in LOST)) / len(usages),
        **{f"judge/{why}_frac": total(f"lost_{why}") / len(usages) for why in LOST},
    }


def resident() -> float:
    """Resident memory of this process now, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def slope(values: Sequence[float]) -> float:
    """Least-squares slope of equally spaced values, per place; needs two."""
    assert len(values) > 1, "a slope needs two values"
    place = np.arange(len(values)) - (len(values) - 1) / 2
    return float(place @ np.asarray(values) / (place @ place))


EPOCH_TIMES = ("generate_s", "score_wait_s", "update_s", "eval_s")
EPOCH_JUDGE = {
    "epoch/judge_input_tokens": "judge/input_tokens",
    "epoch/judge_output_tokens": "judge/output_tokens",
    "epoch/judge_usd": "judge/usd",
}


def epoch_costs(records: Sequence[Record]) -> Record:
    """Seconds by phase over the step records of one epoch, and what its judge read, wrote and cost;
    stands under `host`."""
    hosts = [r["host"] for r in records if isinstance(r["host"], dict)]
    names = {f"epoch/{phase}": f"time/{phase}" for phase in EPOCH_TIMES}
    if any("judge/requests" in h for h in hosts):
        names |= EPOCH_JUDGE
    return {name: math.fsum(h.get(own) or 0.0 for h in hosts) for name, own in names.items()}

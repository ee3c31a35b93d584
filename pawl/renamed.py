"""Old names of options, their values and metrics, each with its new one.

A config that uses an old name is refused with the new one; run folders and logs of older versions
are read under the new names. Used by `config/parse.py` (options), `config/check.py` (values),
`train/rules.py` and `cli/explain.py` (metrics), `logs/read_pawl.py`. No torch, no numpy.
"""

from __future__ import annotations

OPTIONS = {
    "algo.zero_signal": "algo.zero_variance_groups",
    "algo.refill_max": "algo.resample_max",
}
VALUES = {"algo.zero_variance_groups": {"skip": "drop", "refill": "resample"}}
METRICS = {
    "drawn": "sampled_prompts",
    "policy/surprise_minus_entropy": "policy/nll_minus_entropy",
    "policy/surprise_z": "policy/nll_minus_entropy_z",
}
"""Each: old -> new; VALUES by the option's new name."""

"""How people spell metrics: one plain form for `Avg Reward`, `train/reward_mean`, `reward (mean)`.

Only words that change nothing are dropped (train, mean, average); `std`, `max` or `coef` stay, so
that another quantity keeps another form. What was measured on held-out data begins with `eval_`.
Used for files of no known library alone. Left out: what the forms mean (names_any.toml).
"""

from __future__ import annotations

import re
from functools import lru_cache

FILLERS = frozenset({"train", "training", "mean", "avg", "average", "metrics", "metric", "the"})
HELD_OUT = frozenset({"eval", "evaluation", "val", "validation", "heldout", "dev"})
FIRST_ONLY = frozenset({"test", "valid"})  # elsewhere they name a component of the reward
STEP_FORMS = frozenset(
    "step steps global_step training_step iteration iter it update timesteps total_timesteps "
    "time_total_timesteps".split()
)


@lru_cache(maxsize=4096)
def plain(source: str) -> str:
    """The plain form of a column's name: lower case, words joined by `_`, without fillers."""
    text = re.sub(r"^(data|logs?|scalars|stats|summary|payload)/", "", source).replace("@", " at ")
    text = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)(?=[A-Z][a-z])", r"\1\3 \2", text).lower()
    text = re.sub(r"held[\W_]?out", "heldout", text)
    text = re.sub(r"reward[\W_]?model", "rm", text)
    words = re.findall(r"[^\W_]+", text)
    out = [i for i, word in enumerate(words) if word in HELD_OUT]
    out += [0] if words and words[0] in FIRST_ONLY and len(words) > 1 else []
    rest = [word for i, word in enumerate(words) if word not in FILLERS and i not in out]
    if out:
        rest = ["eval", *(word for word in rest if word != "rm")]
    return "_".join(rest or words)

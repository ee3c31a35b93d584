"""Named estimators as data: what `algo.preset` sets where the user set nothing.

Each entry is an option path and its value; file, environment and command line win over it. Left
out: settings that belong to a task (learning rate, group size, lengths). docs/algorithms.md says
when each is right.
"""

from __future__ import annotations

PRESETS: dict[str, dict[str, object]] = {
    # arXiv 2402.03300: std-normalised, every sample counts alike, k3 in the loss.
    "grpo": {
        "algo.advantage": "grpo",
        "algo.normaliser": "sequence",
        "algo.kl": "k3",
        "algo.kl_coef": 0.04,
    },
    # arXiv 2503.20783: neither the std nor the length of a sample sets its weight; no KL.
    "dr_grpo": {"algo.advantage": "dr_grpo", "algo.normaliser": "constant"},
    # arXiv 2503.14476: clip-higher, every token counts alike, dynamic sampling, no KL, long answers
    # pay. Half of the paper's penalty: its rewards span -1 to 1, ours 0 to 1.
    "dapo": {
        "algo.advantage": "grpo",
        "algo.normaliser": "token",
        "algo.clip_high": 0.28,
        "algo.zero_variance_groups": "resample",
        "reward.overlong_penalty": 0.5,
    },
    # arXiv 2507.18071: one ratio for a sequence, clipped in a narrow band (section 5.1).
    "gspo": {
        "algo.advantage": "grpo",
        "algo.loss": "gspo",
        "algo.normaliser": "sequence",
        "algo.clip_low": 3e-4,
        "algo.clip_high": 4e-4,
    },
    # arXiv 2506.13585: the ratio weighs a token, at most 5 (arXiv 2510.13786); no lower bound.
    "cispo": {
        "algo.advantage": "grpo",
        "algo.loss": "cispo",
        "algo.normaliser": "token",
        "algo.clip_low": 1.0,
        "algo.clip_high": 4.0,
    },
    # arXiv 2402.14740: leave-one-out baseline, KL in the reward, sequences weighed by their tokens.
    "rloo": {
        "algo.advantage": "rloo",
        "algo.normaliser": "constant",
        "algo.kl": "k1",
        "algo.kl_coef": 0.03,
    },
    # arXiv 2501.03262: KL of each token in the reward, returns whitened over the batch.
    "reinforce_pp": {
        "algo.advantage": "reinforce_pp",
        "algo.normaliser": "token",
        "algo.kl": "k1",
        "algo.kl_coef": 0.01,
    },
    # arXiv 2304.06767: imitate the best of each group.
    "raft": {"algo.advantage": "raft", "algo.normaliser": "token"},
}

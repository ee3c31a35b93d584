"""Samples and trains one step of the bundled model at full lengths; prints bytes as JSON.

    python tests/memory_driver.py SMALL LARGE

SMALL and LARGE are configs in JSON, SMALL so small that its peak is what libraries take; the
number is how much higher LARGE's peak stands. For test_models_memory.py only.
"""

import json
import re
import sys
from pathlib import Path

from tiny_models import groups

from pawl.config.options import RunConfig
from pawl.models.logprobs import token_logprobs
from pawl.models.optim import make_optimizer
from pawl.models.policy import load_policy
from pawl.rollout.engine import SamplingParams
from pawl.rollout.select import make_engine
from pawl.train.logprob_pass import split


def peak_of(text: str) -> int:
    cfg = RunConfig.model_validate(json.loads(text))
    r = cfg.rollout
    policy = load_policy(cfg.model, 0)
    policy.eos_ids = ()  # every completion runs to its limit
    optimizer = make_optimizer(policy.trainable(), cfg.optim)
    engine, _ = make_engine(policy, r.engine)
    asked = groups([(cfg.prompt.max_tokens, [r.max_tokens] * r.group_size)] * r.prompts)
    params = SamplingParams(1.0, r.max_tokens)
    made = list(engine.generate([g.prompt for g in asked], r.group_size, params, 0, 0))
    assert {len(s.tokens) for s in made} == {r.max_tokens}
    for piece in split(asked, cfg.train.micro_batch):
        token_logprobs(policy, piece, 1.0).logp_ST.mean().backward()
    optimizer.step()
    status = Path("/proc/self/status").read_text()  # ru_maxrss would keep the parent's peak
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


if __name__ == "__main__":
    small, large = (peak_of(text) for text in sys.argv[1:])
    print(large - small)

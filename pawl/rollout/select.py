"""Which engine serves a policy: `local` for the Qwen2 and Llama family, `hf` for the rest."""

from __future__ import annotations

from pawl.models.policy import Policy
from pawl.rollout.engine import Engine
from pawl.rollout.hf import HfEngine


def make_engine(policy: Policy, name: str, batch: int = 0) -> tuple[Engine, str]:
    """The engine called `name` (auto, local, hf) and one line that says why it was taken."""
    return HfEngine(policy, batch), "engine hf"

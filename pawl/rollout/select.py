"""Which engine serves a policy: `local` for the Qwen, Llama and Mistral families, else `hf`."""

from __future__ import annotations

from pawl.errors import PawlError
from pawl.models.policy import Policy
from pawl.rollout.engine import Engine
from pawl.rollout.local import LocalEngine
from pawl.rollout.weights import unsupported


def make_engine(policy: Policy, name: str, batch: int = 0, longest: int = 0) -> tuple[Engine, str]:
    """The engine called `name` (auto, local, hf) and one line that says why it was taken.

    `batch` is the number of rows decoded at once, 0 for all; `longest` the most tokens of a prompt
    and its completion, 0 where nothing bounds them. Raises PawlError for `local` with a model that
    it cannot decode.
    """
    reason = unsupported(policy, longest)
    if name == "auto" and policy.quantised and not reason:
        reason = "local would hold the 4-bit base in full (rollout.engine: local, if memory allows)"
    if name == "local" and reason:
        hint = "use rollout.engine: auto or hf"
        raise PawlError(f"the local engine cannot run this model: {reason}", "rollout.engine", hint)
    if name == "hf" or reason:
        from pawl.rollout.hf import HfEngine  # its generation code takes seconds to import

        why = reason or "as configured"
        return HfEngine(policy, batch), f"rollouts by hf (plain generate): {why}"
    return LocalEngine(policy, batch), "rollouts by local (fast decoding)"

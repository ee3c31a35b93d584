"""The plain engine: `model.generate` of transformers, for any causal LM; the oracle of `local`.

A logits processor realises our own sampling inside generate: it picks each token by inverse CDF
from the row's stream and leaves generate a one-hot choice. Logits are taken from a hook on the
model, in their own precision (generate narrows them to fp32). Left out: speed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from pawl.models.policy import Policy
from pawl.rollout.engine import Capabilities, SamplingParams
from pawl.rollout.sampling import Row, add_token, batches
from pawl.types import Prompt, Sample


class HfEngine:
    """Generates with the policy's own modules; yields a batch when its last row has ended.

    batch: rows generated at once, 0 for all.
    """

    capabilities = Capabilities(True, True, "sample", False, "live")

    def __init__(self, policy: Policy, batch: int = 0) -> None:
        self.policy, self.batch, self.version = policy, batch, 0

    def sync_weights(self, policy: Policy, version: int) -> None:
        """Read the live weights from now on; nothing is copied."""
        self.policy, self.version = policy, version

    def generate(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        params: SamplingParams,
        seed: int,
        step: int,
    ) -> Generator[Sample, None, None]:
        """Yield each sample once its batch has ended."""
        longest = params.max_tokens
        for rows, uniform_ST in batches(prompts, group_size, longest, seed, step, self.batch):
            self._write(rows, params, uniform_ST.to(self.policy.device))
            for row in rows:
                yield row.sample(self.policy.tokenizer, self.version)

    def _write(self, rows: list[Row], params: SamplingParams, uniform_ST: torch.Tensor) -> None:
        """Generate until every row of a batch has ended."""
        policy = self.policy
        ids = [torch.tensor(row.prompt.tokens) for row in rows]
        ids_SC = pad_sequence(ids, True, policy.pad_id, padding_side="left")
        mask_SC = pad_sequence([torch.ones_like(x) for x in ids], True, padding_side="left")
        picker = _Picker(policy, rows, params, uniform_ST)
        settings = GenerationConfig(
            max_new_tokens=params.max_tokens,
            do_sample=False,
            pad_token_id=policy.pad_id,
            use_cache=True,
        )
        hf = policy.core
        # the model's own warps must not leak in
        kept, hf.generation_config = hf.generation_config, GenerationConfig()
        hook = hf.register_forward_hook(picker.see)
        try:
            with torch.inference_mode(), policy.precision():
                hf.generate(
                    input_ids=ids_SC.to(policy.device),
                    attention_mask=mask_SC.to(policy.device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([picker]),
                    stopping_criteria=StoppingCriteriaList([picker.ended]),
                )
        finally:
            hook.remove()
            hf.generation_config = kept


class _Picker(LogitsProcessor):
    """Chooses each row's token by its own stream and writes it down; says when all have ended."""

    def __init__(
        self, policy: Policy, rows: list[Row], params: SamplingParams, uniform_ST: torch.Tensor
    ) -> None:
        self.policy, self.rows, self.params, self.uniform_ST = policy, rows, params, uniform_ST
        self.logits_SV = torch.empty(0)

    def see(self, _module: Any, _inputs: Any, output: Any) -> None:
        """Forward hook: the logits of the last position in their own precision."""
        logits = output.logits[:, -1]
        self.logits_SV = logits if logits.dtype == torch.float64 else logits.float()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = max(len(row.tokens) for row in self.rows)
        uniform_S = self.uniform_ST[:, step]
        token_S = add_token(self.policy, self.rows, self.logits_SV, uniform_S, self.params)
        return torch.full_like(scores, -torch.inf).scatter(1, token_S[:, None], 0.0)

    def ended(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Stopping criterion: whether every row has ended."""
        done = all(row.finish for row in self.rows)
        return torch.full((len(input_ids),), done, device=input_ids.device)

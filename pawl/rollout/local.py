"""The fast engine: own batched decoding for Qwen2, Qwen3, Llama and Mistral, equal to `hf`.

Weights are copied at `sync_weights` (adapters merged), prompts are prefilled once for their
group, samples are yielded as they end and their rows leave the batch. Left out: prefix sharing
across groups, refilling a batch while it runs.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import torch

from pawl.models.policy import Policy
from pawl.rollout.decode import Decoder
from pawl.rollout.engine import Capabilities, SamplingParams
from pawl.rollout.sampling import Batched, Row
from pawl.rollout.weights import Weights, read_weights, rotations
from pawl.types import Sample


class LocalEngine(Batched):
    """Decodes with its own copy of the weights, whole groups together; yields rows as they end."""

    whole_groups = True
    capabilities = Capabilities(True, True, "sample", True, "tensors")

    def __init__(self, policy: Policy, batch: int = 0) -> None:
        super().__init__(policy, batch)
        self.weights: Weights = read_weights(policy, 1)

    def sync_weights(self, policy: Policy, version: int) -> None:
        """Copy the policy's current weights, merged."""
        super().sync_weights(policy, version)
        positions = len(self.weights.phase)
        del self.weights  # so that old and new are never there together
        self.weights = read_weights(policy, positions)

    def _batch(
        self, rows: list[Row], params: SamplingParams, uniform_ST: torch.Tensor
    ) -> Generator[Sample, None, None]:
        policy, version = self.policy, self.version
        tokens = [row.prompt.tokens for row in rows if row.member == 0]
        longest = max(map(len, tokens)) + params.max_tokens
        if longest > len(self.weights.phase):
            self.weights = replace(self.weights, phase=rotations(policy, longest))
        decoder = Decoder(self.weights, tokens, len(rows) // len(tokens), params.max_tokens)
        logits_SV = decoder.prefill(tokens)
        for t in range(params.max_tokens):
            with torch.inference_mode():
                token_S = self.add_token(rows, logits_SV, uniform_ST[:, t], params)
            ended = [index for index, row in enumerate(rows) if row.finish is not None]
            for index in ended:
                yield rows[index].sample(policy.tokenizer, version)
            if ended:
                stay = decoder.drop(ended)
                rows = [rows[index] for index in stay]
                keep = torch.tensor(stay, dtype=torch.long, device=policy.device)
                uniform_ST, token_S = uniform_ST[keep], token_S[keep]
            if not rows:
                return
            logits_SV = decoder.step(token_S)

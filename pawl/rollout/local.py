"""The fast engine: own batched decoding for Qwen2, Qwen3, Llama and Mistral, equal to `hf`.

Weights are copied at `sync_weights` (adapters merged), prompts are prefilled once for their
group, samples are yielded as they end and their rows leave the batch. Left out: prefix sharing
across groups, refilling a batch while it runs.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from pawl.models.policy import Policy
from pawl.rollout.decode import Decoder
from pawl.rollout.engine import Capabilities, SamplingParams
from pawl.rollout.sampling import Row, add_token, batches
from pawl.rollout.weights import Weights, read_weights, rotations
from pawl.types import Prompt, Sample


class LocalEngine:
    """Decodes with its own copy of the weights, whole groups together; yields rows as they end.

    batch: rows decoded at once, 0 for all.
    """

    capabilities = Capabilities(True, True, "sample", True, "tensors")

    def __init__(self, policy: Policy, batch: int = 0) -> None:
        self.policy, self.batch, self.version = policy, batch, 0
        self.weights: Weights = read_weights(policy, 1)

    def sync_weights(self, policy: Policy, version: int) -> None:
        """Copy the policy's current weights, merged."""
        self.policy, self.version = policy, version
        positions = len(self.weights.phase)
        del self.weights  # so that old and new are never there together
        self.weights = read_weights(policy, positions)

    def generate(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        params: SamplingParams,
        seed: int,
        step: int,
    ) -> Generator[Sample, None, None]:
        """Yield each sample once its row has ended."""
        size = self.batch and max(1, self.batch // group_size) * group_size
        longest = params.max_tokens
        for rows, uniform_ST in batches(prompts, group_size, longest, seed, step, size):
            yield from self._decode(rows, params, uniform_ST.to(self.policy.device))

    def _decode(
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
                token_S = add_token(policy, rows, logits_SV, uniform_ST[:, t], params)
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

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
from pawl.rollout.sampling import choose, finish_of, looks_back, open_rows, streams
from pawl.rollout.weights import Weights, read_weights, rotations
from pawl.types import Prompt, Sample


class LocalEngine:
    """Decodes with its own copy of the weights; `batch` rows at once (0: all)."""

    def __init__(self, policy: Policy, batch: int = 0) -> None:
        self.policy, self.batch, self.version = policy, batch, 0
        self.weights: Weights = read_weights(policy, 1)

    @property
    def capabilities(self) -> Capabilities:
        """Own sampling and own copy of the weights."""
        return Capabilities(True, True, "sample", True, "tensors")

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
        """Yield each sample as it ends; whole groups are decoded together."""
        longest = max((len(prompt.tokens) for prompt in prompts), default=0) + params.max_tokens
        if longest > len(self.weights.phase):
            self.weights = replace(self.weights, phase=rotations(self.policy, longest))
        size = max(1, self.batch // group_size) if self.batch else len(prompts) or 1
        for start in range(0, len(prompts), size):
            part = prompts[start : start + size]
            yield from self._batch(part, group_size, params, seed, step)

    def _batch(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        params: SamplingParams,
        seed: int,
        step: int,
    ) -> Generator[Sample, None, None]:
        policy, version = self.policy, self.version
        rows = open_rows(prompts, group_size)
        uniform_ST = torch.tensor(
            streams(rows, group_size, params, seed, step), device=policy.device
        )
        tokens = [prompt.tokens for prompt in prompts]
        decoder = Decoder(self.weights, tokens, group_size, params.max_tokens)
        logits_SV = decoder.prefill(tokens)
        for t in range(params.max_tokens):
            past = [[*r.prompt.tokens, *r.tokens] for r in rows] if looks_back(params) else []
            with torch.inference_mode():
                token_S, logp_S, kept_S = choose(logits_SV, uniform_ST[:, t], params, past)
            ended = list[int]()
            chosen = zip(rows, token_S.tolist(), logp_S.tolist(), kept_S, strict=True)
            for index, (row, token, logp, kept) in enumerate(chosen):
                row.add(token, logp, kept)
                finish = finish_of(row.tokens, params, policy.eos_ids, policy.tokenizer)
                if finish is not None:
                    ended.append(index)
                    yield row.sample(policy.tokenizer, finish, version)
            if ended:
                stay = decoder.drop(ended)
                rows = [rows[index] for index in stay]
                keep = torch.tensor(stay, dtype=torch.long, device=policy.device)
                uniform_ST, token_S = uniform_ST[keep], token_S[keep]
            if not rows:
                return
            logits_SV = decoder.step(token_S)

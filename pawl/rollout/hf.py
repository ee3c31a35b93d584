"""The plain engine: `model.generate` of transformers, for any causal LM; the oracle of `local`.

A logits processor realises our own sampling inside generate: it picks each token by inverse CDF
from the row's stream and leaves generate a one-hot choice. Logits are taken from a hook on the
model, in their own precision (generate narrows them to fp32). Left out: speed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from pawl.models.policy import Policy
from pawl.rollout.engine import Capabilities, SamplingParams
from pawl.rollout.sampling import Row, choose, finish_of, looks_back, open_rows, streams
from pawl.types import Finish, Prompt, Sample


class HfEngine:
    """Generates with the policy's own modules; `batch` rows at once (0: all)."""

    def __init__(self, policy: Policy, batch: int = 0) -> None:
        self.policy, self.batch, self.version = policy, batch, 0

    @property
    def capabilities(self) -> Capabilities:
        """Our sampling inside generate, which runs a batch to its end."""
        return Capabilities(True, True, "sample", False, "live")

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
        """Yield samples in (prompt, member) order, a batch at a time."""
        rows = open_rows(prompts, group_size)
        size = self.batch or len(rows) or 1
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield from self._batch(part, params, streams(part, group_size, params, seed, step))

    def _batch(
        self, rows: list[Row], params: SamplingParams, uniform_ST: np.ndarray
    ) -> Generator[Sample, None, None]:
        policy = self.policy
        width = max(len(row.prompt.tokens) for row in rows)
        pads = [width - len(row.prompt.tokens) for row in rows]
        ids = [
            [policy.pad_id] * pad + [*row.prompt.tokens]
            for row, pad in zip(rows, pads, strict=True)
        ]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        picker = _Picker(rows, params, torch.tensor(uniform_ST, device=policy.device), policy)
        blank: Any = GenerationConfig  # the model's own warps must not leak in
        settings = blank(
            max_new_tokens=params.max_tokens,
            do_sample=False,
            pad_token_id=policy.pad_id,
            use_cache=True,
        )
        hf = policy.core
        kept, hf.generation_config = hf.generation_config, blank()
        hook = hf.register_forward_hook(picker.see)
        try:
            with torch.inference_mode(), policy.precision():
                hf.generate(
                    input_ids=torch.tensor(ids, device=policy.device),
                    attention_mask=torch.tensor(mask, device=policy.device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([picker]),
                    stopping_criteria=StoppingCriteriaList([_AllDone(picker)]),
                )
        finally:
            hook.remove()
            hf.generation_config = kept
        for row, finish in zip(rows, picker.finish, strict=True):
            assert finish is not None, "generate ended before its rows did"
            yield row.sample(policy.tokenizer, finish, self.version)


class _Picker(LogitsProcessor):
    """Chooses each row's token by its own stream and writes it down; finished rows get pad."""

    def __init__(
        self, rows: list[Row], params: SamplingParams, uniform_ST: torch.Tensor, policy: Policy
    ) -> None:
        self.rows, self.params, self.uniform_ST, self.policy = rows, params, uniform_ST, policy
        self.finish: list[Finish | None] = [None] * len(rows)
        self.logits_SV = torch.empty(0)

    def see(self, _module: Any, _inputs: Any, output: Any) -> None:
        """Forward hook: the logits of the last position in their own precision."""
        logits = output.logits[:, -1]
        self.logits_SV = logits if logits.dtype == torch.float64 else logits.float()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = len(max((row.tokens for row in self.rows), key=len))
        back = looks_back(self.params)
        past = [[*r.prompt.tokens, *r.tokens] for r in self.rows] if back else []
        uniform_S = self.uniform_ST[:, step]
        token_S, logp_S, kept_S = choose(self.logits_SV, uniform_S, self.params, past)
        chosen = token_S.tolist()
        for i, (token, logp, kept) in enumerate(zip(chosen, logp_S.tolist(), kept_S, strict=True)):
            if self.finish[i] is not None:
                chosen[i] = self.policy.pad_id
                continue
            row = self.rows[i]
            row.add(token, logp, kept)
            self.finish[i] = finish_of(
                row.tokens, self.params, self.policy.eos_ids, self.policy.tokenizer
            )
        picked = torch.full_like(scores, -torch.inf)
        picked[torch.arange(len(chosen)), torch.tensor(chosen)] = 0.0
        return picked


class _AllDone(StoppingCriteria):
    """Ends generate when every row has ended."""

    def __init__(self, picker: _Picker) -> None:
        self.picker = picker

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        done = all(finish is not None for finish in self.picker.finish)
        return torch.full((input_ids.shape[0],), done, device=input_ids.device)

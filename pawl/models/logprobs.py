"""The one log-prob function: what trainer, scoring pass and reference all call.

Groups keep their structure, so that a family with a known attention runs the shared-prefix
forward of `flat.py` (a prompt once for its G completions, no padding in any matrix product) and
any other causal LM runs rows of prompt + completion, padded on the right. Masks come from lengths.

Legend: S samples in (group, member) order, T longest completion, N completion tokens of the
batch, V vocabulary, L longest row, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from pawl.models import flat
from pawl.models.policy import Policy
from pawl.types import Group

CHUNK = 1 << 26  # logits held at once, in numbers


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Per-token facts of a batch, zero where `mask_ST` is False.

    logp_ST: log-prob of each sampled token at the temperature, with gradient. entropy_ST: entropy
    of the distribution it was drawn from, in nats, with gradient only if asked. mask_ST: from
    lengths only.
    """

    logp_ST: torch.Tensor
    entropy_ST: torch.Tensor
    mask_ST: torch.Tensor


def token_logprobs(
    policy: Policy, groups: Sequence[Group], temperature: float, entropy_grad: bool = False
) -> LogProbs:
    """Log-probs of every sampled token, fp32 (float64 for a float64 model), on the policy's device.

    The log-softmax is taken in fp32 or wider whatever the forward's precision. Raises nothing for
    odd token values: an EOS in the middle of a completion counts like any token.
    """
    assert temperature > 0, "log-probs need a positive temperature"
    samples = [sample for group in groups for sample in group.samples]
    lengths = [len(sample.tokens) for sample in samples]
    target_N = torch.tensor([t for s in samples for t in s.tokens], device=policy.device)
    length_S = torch.tensor(lengths, device=policy.device)
    mask_ST = torch.arange(max(lengths), device=policy.device)[None] < length_S[:, None]
    longest = max(len(g.prompt.tokens) + len(s.tokens) for g in groups for s in g.samples)
    with policy.forward():
        if flat.supports(policy, longest):
            hidden_NH = _flat_hidden(policy, groups)
            logp_N, entropy_N = score_hidden(policy, hidden_NH, target_N, temperature, entropy_grad)
        else:
            logits_NV = _padded_logits(policy, groups)
            logp_N, entropy_N = score_logits(logits_NV, target_N, temperature, entropy_grad)
    return LogProbs(_spread(logp_N, mask_ST), _spread(entropy_N, mask_ST), mask_ST)


def score_logits(
    logits_NV: torch.Tensor, target_N: torch.Tensor, temperature: float, entropy_grad: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-prob of each target and entropy of each row (with gradient only if asked), in nats."""
    wide = torch.float64 if logits_NV.dtype == torch.float64 else torch.float32
    logits_NV = logits_NV.to(wide)
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    all_NV = torch.log_softmax(logits_NV, -1)
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy_N = -(all_NV.exp() * all_NV).sum(-1)
    return all_NV.gather(-1, target_N[:, None])[:, 0], entropy_N


def score_hidden(
    policy: Policy,
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    temperature: float,
    entropy_grad: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `score_logits`, from the hidden states before the head.

    Logits beyond CHUNK numbers are never held at once: they are taken in pieces, and computed
    again in the backward pass.
    """
    head = policy.core.get_output_embeddings()

    def piece(part_NH: torch.Tensor, part_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return score_logits(head(part_NH), part_N, temperature, entropy_grad)

    rows = max(1, CHUNK // policy.core.config.vocab_size)
    if len(target_N) <= rows:
        return piece(hidden_NH, target_N)
    parts = zip(torch.split(hidden_NH, rows), torch.split(target_N, rows), strict=True)
    logps, entropies = zip(
        *(checkpoint(piece, h, t, use_reentrant=False) for h, t in parts), strict=True
    )
    return torch.cat(logps), torch.cat(entropies)


def _spread(value_N: torch.Tensor, mask_ST: torch.Tensor) -> torch.Tensor:
    """Put one value for each real token into its place of the padded rectangle."""
    return torch.zeros(mask_ST.shape, dtype=value_N.dtype, device=value_N.device).masked_scatter(
        mask_ST, value_N
    )


def _flat_hidden(policy: Policy, groups: Sequence[Group]) -> torch.Tensor:
    """Hidden states (N, H) that predict each completion token, by the shared-prefix forward."""
    blocks = [flat.Block(g.prompt.tokens, [s.tokens for s in g.samples]) for g in groups]
    layout = flat.make_layout(blocks, policy.device)
    before, start, row = list[int](), 0, layout.prompt_tokens
    for block in blocks:
        start += len(block.prompt)
        for tokens in block.rows:
            before += [start - 1, *range(row, row + len(tokens) - 1)]
            row += len(tokens)
    return flat.hidden_states(policy, layout)[torch.tensor(before, device=policy.device)]


def _padded_logits(policy: Policy, groups: Sequence[Group]) -> torch.Tensor:
    """Logits (N, V) that predict each completion token, by plain rows padded on the right."""
    rows = [(g.prompt.tokens, s.tokens) for g in groups for s in g.samples]
    width = max(len(p) + len(c) for p, c in rows)
    ids_SL = torch.full((len(rows), width), policy.pad_id, dtype=torch.long)
    mask_SL = torch.zeros((len(rows), width), dtype=torch.long)
    for row, (prompt, completion) in enumerate(rows):
        size = len(prompt) + len(completion)
        ids_SL[row, :size] = torch.tensor([*prompt, *completion])
        mask_SL[row, :size] = 1
    position_1L = torch.arange(width)[None]
    output = policy.core(
        input_ids=ids_SL.to(policy.device),
        attention_mask=mask_SL.to(policy.device),
        position_ids=position_1L.to(policy.device),
        use_cache=False,
    )
    row_N = [row for row, (_, c) in enumerate(rows) for _ in c]
    place_N = [len(p) - 1 + t for p, c in rows for t in range(len(c))]
    logits: torch.Tensor = output.logits[row_N, place_N]
    return logits

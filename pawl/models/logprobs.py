"""The one log-prob function: what trainer, log-prob pass and reference all call.

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
from pawl.models.memory import CHUNK
from pawl.models.policy import Policy
from pawl.types import Group, Sample

Kept = Sequence[Sequence[int]]  # of N tokens: the ids that each was drawn from


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Per-token facts of a batch, zero where `mask_ST` is False.

    logp_ST: log-prob of each sampled token at the temperature, among the ids that it was drawn
    from, with gradient. entropy_ST: entropy of that distribution, in nats, with gradient only if
    asked. mask_ST: from lengths only.
    """

    logp_ST: torch.Tensor
    entropy_ST: torch.Tensor
    mask_ST: torch.Tensor


def token_logprobs(
    policy: Policy, groups: Sequence[Group], temperature: float, entropy_grad: bool = False
) -> LogProbs:
    """Log-probs of every sampled token, fp32 (float64 for a float64 model), on the policy's device.

    The log-softmax is taken in fp32 or wider whatever the forward's precision, and over the ids in
    `Sample.kept` where sampling was truncated. Raises nothing for odd token values: an EOS in the
    middle of a completion counts like any token.
    """
    assert temperature > 0, "log-probs need a positive temperature"
    samples = [sample for group in groups for sample in group.samples]
    lengths = [len(sample.tokens) for sample in samples]
    target_N = torch.tensor([t for s in samples for t in s.tokens], device=policy.device)
    length_S = torch.tensor(lengths, device=policy.device)
    mask_ST = torch.arange(max(lengths), device=policy.device)[None] < length_S[:, None]
    longest = max(len(g.prompt.tokens) + len(s.tokens) for g in groups for s in g.samples)
    with policy.forward():
        shared = flat.supports(policy, longest)
        before_NX = _flat_hidden(policy, groups) if shared else _padded_logits(policy, groups)
        head = None if shared else torch.nn.Identity()
        how = (temperature, entropy_grad, kept_of(samples), head)
        logp_N, entropy_N = score_hidden(policy, before_NX, target_N, *how)
    return LogProbs(_spread(logp_N, mask_ST), _spread(entropy_N, mask_ST), mask_ST)


def kept_of(samples: Sequence[Sample]) -> Kept:
    """The kept ids of every token, () when nothing of the batch was truncated."""
    if not any(sample.kept for sample in samples):
        return ()
    return [ids for s in samples for ids in (s.kept or ((),) * len(s.tokens))]


def score_logits(
    logits_NV: torch.Tensor,
    target_N: torch.Tensor,
    temperature: float,
    entropy_grad: bool = False,
    kept_N: Kept = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-prob of each target and entropy of each row (with gradient only if asked), in nats.

    kept_N: the ids that each target was drawn from, empty for all; () when that holds for every
    row. All others have probability 0, so that both are those of the renormalised distribution.
    """
    wide = torch.float64 if logits_NV.dtype == torch.float64 else torch.float32
    logits_NV = logits_NV.to(wide)
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    out_NV = left_out(kept_N, logits_NV.shape[1], logits_NV.device) if any(kept_N) else None
    if out_NV is not None:
        logits_NV = logits_NV.masked_fill(out_NV, -torch.inf)
    all_NV = torch.log_softmax(logits_NV, -1)
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        # 0 * log 0 is 0, and its gradient too: the logarithm of what was left out is not used
        log_NV = all_NV if out_NV is None else all_NV.masked_fill(out_NV, 0.0)
        entropy_N = -(all_NV.exp() * log_NV).sum(-1)
    return all_NV.gather(-1, target_N[:, None])[:, 0], entropy_N


def left_out(kept_N: Kept, vocab: int, device: torch.device) -> torch.Tensor:
    """(N, V), True for the ids that a token was not drawn from."""
    rows = [row for row, ids in enumerate(kept_N) if ids]
    row_K = torch.tensor([row for row in rows for _ in kept_N[row]], device=device)
    id_K = torch.tensor([i for row in rows for i in kept_N[row]], device=device)
    out_NV = torch.zeros((len(kept_N), vocab), dtype=torch.bool, device=device)
    out_NV[torch.tensor(rows, device=device)] = True
    out_NV[row_K, id_K] = False
    return out_NV


def score_hidden(
    policy: Policy,
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    temperature: float,
    entropy_grad: bool = False,
    kept_N: Kept = (),
    head: torch.nn.Module | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `score_logits`, from the hidden states before the head (the policy's unless given;
    the identity for logits).

    Logits and masks beyond CHUNK numbers are never held at once: they are taken in pieces, and
    computed again in the backward pass.
    """
    make_logits = head or policy.core.get_output_embeddings()

    def piece(
        part_NH: torch.Tensor, part_N: torch.Tensor, kept: Kept
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return score_logits(make_logits(part_NH), part_N, temperature, entropy_grad, kept)

    config = policy.core.config
    vocab = hidden_NH.shape[1] if head else config.get_text_config().vocab_size
    rows = max(1, CHUNK // vocab)
    if len(target_N) <= rows:
        return piece(hidden_NH, target_N, kept_N)
    parts = zip(torch.split(hidden_NH, rows), torch.split(target_N, rows), strict=True)
    kept = [kept_N[i : i + rows] for i in range(0, len(target_N), rows)]
    logps, entropies = zip(
        *(checkpoint(piece, *p, k, use_reentrant=False) for p, k in zip(parts, kept, strict=True)),
        strict=True,
    )
    return torch.cat(logps), torch.cat(entropies)


def _spread(value_N: torch.Tensor, mask_ST: torch.Tensor) -> torch.Tensor:
    """Put one value for each real token into its place of the padded rectangle."""
    return value_N.new_zeros(mask_ST.shape).masked_scatter(mask_ST, value_N)


def _flat_hidden(policy: Policy, groups: Sequence[Group]) -> torch.Tensor:
    """Hidden states (N, H) that predict each completion token, by the shared-prefix forward."""
    blocks = [flat.Block(g.prompt.tokens, [s.tokens for s in g.samples]) for g in groups]
    layout = flat.make_layout(blocks, policy.device)
    before, start, row = list[int](), 0, layout.prompt_tokens
    for block in blocks:
        start += len(block.prompt)
        for tokens in block.rows:
            if tokens:
                before += [start - 1, *range(row, row + len(tokens) - 1)]
            row += len(tokens)
    return flat.hidden_states(policy, layout)[torch.tensor(before, device=policy.device)]


def _padded_logits(policy: Policy, groups: Sequence[Group]) -> torch.Tensor:
    """Logits (N, V) that predict each completion token, by plain rows padded on the right."""
    rows = [(g.prompt.tokens, s.tokens) for g in groups for s in g.samples]
    sizes = [len(p) + len(c) for p, c in rows]
    width, pad = max(sizes), [policy.pad_id]
    ids_SL = torch.tensor([[*p, *c, *pad * (width - len(p) - len(c))] for p, c in rows])
    position_1L = torch.arange(width)[None]
    mask_SL = (position_1L < torch.tensor(sizes)[:, None]).long()
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

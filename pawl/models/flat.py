"""One forward without padding: every token once, a prompt shared by all completions of its group.

All tokens of a batch lie in one row (the prompts first, then the rows that continue them), so
each matrix product sees real tokens only and a prompt is computed once for its G completions.
Attention alone knows the layout: a row sees its block's prompt and itself. The model is the
Hugging Face module as it stands, adapters included; its attention function is replaced.
Left out: other families, windows shorter than a row, positions that depend on length.

Legend: B blocks, N tokens of the batch, M padded slots (rows of a block, padded to its longest),
R rows of a block, W its width, P its prompt length, H hidden size, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

from pawl.models.memory import FAMILIES
from pawl.models.policy import Policy

NAME = "pawl_flat"


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of tokens that continue one prompt (empty for independent documents)."""

    prompt: Sequence[int]
    rows: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Span:
    """Sizes of one block: its prompt in the flat row, its rows in the padded slots."""

    prompt: int
    rows: int
    width: int
    mask_WK: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Index maps of a batch. slot_M: flat row token of each slot (holes point at 0)."""

    token_N: torch.Tensor
    position_N: torch.Tensor
    prompt_tokens: int
    spans: tuple[Span, ...]
    slot_M: torch.Tensor
    place_N: torch.Tensor
    hole: torch.Tensor


def supports(policy: Policy, longest: int = 0) -> bool:
    """Whether the policy can run flat with rows of up to `longest` tokens (0: of any length)."""
    config = policy.core.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    fixed = rope not in ("dynamic", "longrope")
    return config.model_type in FAMILIES and fixed and not narrow(config, longest)


def narrow(config: Any, longest: int) -> int:
    """The attention window of a model in tokens, where rows of `longest` (0: any) exceed it.

    0 where every token of such a row sees all before it. A window of W tokens counts the token
    itself, so that rows of W tokens are not cut. Mistral has one window for all layers.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = int(getattr(config, "sliding_window", None) or 0)
    slides = "sliding_attention" in kinds or config.model_type == "mistral"
    return window if slides and not 0 < longest <= window else 0


def make_layout(blocks: Sequence[Block], device: torch.device) -> Layout:
    """Lay blocks out: all prompts, then all rows, in order."""
    token = [t for block in blocks for t in block.prompt]
    position = [i for block in blocks for i in range(len(block.prompt))]
    prompt_tokens = len(token)
    spans, slot, place, hole = [], list[int](), list[int](), list[int]()
    for block in blocks:
        size, width = len(block.prompt), max(len(row) for row in block.rows)
        for row in block.rows:
            used = len(token) - prompt_tokens
            place += range(len(slot), len(slot) + len(row))
            slot += [*range(used, used + len(row)), *[0] * (width - len(row))]
            hole += range(len(slot) - width + len(row), len(slot))
            token += row
            position += range(size, size + len(row))
        keys = torch.arange(size + width, device=device)
        mask = keys[None] <= keys[size:, None] if size else None
        spans.append(Span(size, len(block.rows), width, mask))
    lists = (slot, place, hole)
    index = [torch.tensor(x, dtype=torch.long, device=device) for x in lists]
    token_N = torch.tensor(token, device=device)
    position_N = torch.tensor(position, device=device)
    return Layout(token_N, position_N, prompt_tokens, tuple(spans), *index)


def hidden_states(policy: Policy, layout: Layout) -> torch.Tensor:
    """Final hidden states (N, H), normalised, of every token of the layout."""
    register()
    core = policy.core
    core.config._attn_implementation = NAME
    output = core.base_model(
        input_ids=layout.token_N[None],
        position_ids=layout.position_N[None],
        # a mask of four dimensions is passed through as it is: none of size N x N is built
        attention_mask=torch.zeros((1, 1, 1, 1), device=policy.device),
        use_cache=False,
        pawl_layout=layout,
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


class _Moved(torch.autograd.Function):
    """Row tokens -> slots, or `back`. The gradient of a hole is dropped; back, a hole gets zero."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layout: Layout, back: bool) -> torch.Tensor:
        ctx.layout, ctx.back = layout, back
        return x.index_select(0, layout.place_N if back else layout.slot_M)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        layout = ctx.layout
        if not ctx.back:
            return grads[0].index_select(0, layout.place_N), None, None
        padded = grads[0].index_select(0, layout.slot_M)
        return padded.index_fill_(0, layout.hole, 0.0), None, None


def flat_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    pawl_layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention of transformers' interface; without a layout it is the usual SDPA."""
    if pawl_layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs["scaling"]
    n = pawl_layout.prompt_tokens
    states = [_wide(x[0].transpose(0, 1)) for x in (query, key, value)]  # each (N, heads, D)
    sizes = [span.prompt for span in pawl_layout.spans]
    prompts = [torch.split(x[:n], sizes) for x in states]
    move: Any = _Moved.apply
    padded: list[torch.Tensor] = [move(x[n:], pawl_layout, False) for x in states]
    sizes = [span.rows * span.width for span in pawl_layout.spans]
    slots = [torch.split(x, sizes) for x in padded]
    prompt_out, row_out = list[torch.Tensor](), list[torch.Tensor]()
    for index, span in enumerate(pawl_layout.spans):
        q, k, v = (_rows(x[index], span) for x in slots)
        if span.mask_WK is not None:
            pq, pk, pv = (x[index].transpose(0, 1)[None] for x in prompts)
            prompt_out.append(_sdpa(pq, pk, pv, None, scale)[0].transpose(0, 1))
            k = torch.cat([pk.expand(span.rows, -1, -1, -1), k], 2)
            v = torch.cat([pv.expand(span.rows, -1, -1, -1), v], 2)
        row_out.append(_sdpa(q, k, v, span.mask_WK, scale).transpose(1, 2).flatten(0, 1))
    rows: torch.Tensor = move(torch.cat(row_out), pawl_layout, True)
    return torch.cat([*prompt_out, rows])[None].to(query.dtype), None


def _wide(x: torch.Tensor) -> torch.Tensor:
    """fp32 on CPU: its half-precision attention is slower, most of all backwards."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if half and x.device.type == "cpu" else x


def _rows(x_MHD: torch.Tensor, span: Span) -> torch.Tensor:
    """The slots of one block as (R, heads, W, D)."""
    return x_MHD.view(span.rows, span.width, *x_MHD.shape[1:]).transpose(1, 2)


def _sdpa(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Causal attention, or by `mask`, over grouped query heads; on CPU in the precision given."""
    with torch.autocast("cpu", enabled=False):  # a GPU's autocast still brings q, k, v together
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
        )


@cache
def register() -> None:
    """Make the attention known to transformers, which takes seconds to import."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, flat_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)

"""Weights of Qwen2, Qwen3, Llama and Mistral laid out for decoding: fused, adapters merged in.

q, k and v are one matrix, gate and up another. The rows of q and k are permuted within each head
so that a rotation pair is adjacent (RoPE is then one complex product), and q carries the scale
1 / sqrt(D). Where queries and keys are normalised (Qwen3), the norm carries the scale and the
order stays: a sum over another order rounds differently. A base in 4 bits is dequantised. Left
out: other families.

Legend: D head size, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from pawl.models import flat
from pawl.models.memory import FAMILIES
from pawl.models.policy import Policy
from pawl.models.quantised import dense

ROPES = ("default", "linear", "llama3")


class Linear(NamedTuple):
    """Weight and bias, as `F.linear` takes them; None where the model has no bias."""

    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer.

    qk_norm: weights of the norm of each query and key head (heads + kv_heads, D), None for none.
    """

    norm1: torch.Tensor
    qkv: Linear
    qk_norm: torch.Tensor | None
    out: Linear
    norm2: torch.Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Weights:
    """All that decoding needs. phase: complex rotations (positions, D/2), fp32 or float64."""

    layers: tuple[Layer, ...]
    embed: torch.Tensor
    norm: torch.Tensor
    head: Linear
    phase: torch.Tensor
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    dtype: torch.dtype


def unsupported(policy: Policy, longest: int = 0) -> str:
    """Why rows of up to `longest` tokens (0: any) cannot be decoded here; empty when they can."""
    config = policy.core.config
    if config.model_type not in FAMILIES:
        return f"the family {config.model_type} is not Qwen2, Qwen3, Llama or Mistral"
    window = flat.narrow(config, longest)
    if window:
        rows = f"rows of up to {longest} tokens" if longest else "rows of any length"
        return f"it has sliding-window attention over {window} tokens, too few for {rows}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPES:
        return f"its rope scaling {rope} depends on the length"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation {config.hidden_act} is not SwiGLU's"
    return ""


@torch.no_grad()
def read_weights(policy: Policy, positions: int) -> Weights:
    """Copy the policy's present weights, adapters merged; phases for `positions` positions."""
    core = policy.core
    config = core.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    dtype = _compute_dtype(policy)
    embed = _table(core.get_input_embeddings())
    layers = tuple(_layer(layer, heads, kv_heads, dim, dtype) for layer in core.base_model.layers)
    head = core.get_output_embeddings()
    norm = core.base_model.norm
    return Weights(
        layers,
        embed,
        norm.weight.clone(),
        Linear(_table(head).to(dtype), _bias(head, dtype)),
        rotations(policy, positions),
        heads,
        kv_heads,
        dim,
        norm.variance_epsilon,
        dtype,
    )


@torch.no_grad()
def rotations(policy: Policy, positions: int) -> torch.Tensor:
    """Complex rotations (positions, D/2) by the model's own rotary module."""
    wide = torch.float64 if _compute_dtype(policy) == torch.float64 else torch.float32
    place = torch.arange(positions, device=policy.device)[None]
    like = torch.empty(0, dtype=wide, device=policy.device)
    cos, sin = policy.core.base_model.rotary_emb(like, place)
    half = cos.shape[-1] // 2
    return torch.complex(cos[0, :, :half], sin[0, :, :half])


def _compute_dtype(policy: Policy) -> torch.dtype:
    """The precision of matrix products: the autocast type, else the weights' own."""
    if policy.dtype in (torch.bfloat16, torch.float16):
        return policy.dtype
    weight: torch.Tensor = policy.core.get_input_embeddings().weight
    return weight.dtype


def _layer(layer: Any, heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    qk_norm = _qk_norm(attention, heads, kv_heads, dim)
    turned = (heads, kv_heads, dim) if qk_norm is None else None
    return Layer(
        layer.input_layernorm.weight.clone(),
        _joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype, turned),
        qk_norm,
        _joined([attention.o_proj], dtype),
        layer.post_attention_layernorm.weight.clone(),
        _joined([mlp.gate_proj, mlp.up_proj], dtype),
        _joined([mlp.down_proj], dtype),
    )


def _qk_norm(attention: Any, heads: int, kv_heads: int, dim: int) -> torch.Tensor | None:
    norm = getattr(attention, "q_norm", None)
    if norm is None:
        return None
    wide = torch.promote_types(norm.weight.dtype, torch.float32)  # the scale must not round
    norm_q, norm_k = norm.weight.to(wide) * dim**-0.5, attention.k_norm.weight.to(wide)
    return torch.stack([norm_q] * heads + [norm_k] * kv_heads)


def _joined(
    modules: Sequence[Any], dtype: torch.dtype, turned: tuple[int, int, int] | None = None
) -> Linear:
    """Linear layers of one input as one, in `dtype`; turned: see `_by_pairs`."""
    biases = [bias for module in modules if (bias := _bias(module, dtype)) is not None]
    assert len(biases) in (0, len(modules)), "all have a bias or none"
    weight = _stacked([_weight(module) for module in modules], turned).to(dtype)
    return Linear(weight, _stacked(biases, turned) if biases else None)


def _stacked(parts: list[torch.Tensor], turned: tuple[int, int, int] | None) -> torch.Tensor:
    rows = torch.cat(parts) if len(parts) > 1 else parts[0]
    return _by_pairs(rows, *turned) if turned else rows


def _by_pairs(x: torch.Tensor, heads: int, kv_heads: int, dim: int) -> torch.Tensor:
    """Rows of q, k and v: q scaled, each head of q and k in the order 0, D/2, 1, D/2 + 1, ..."""
    x[: heads * dim] *= dim**-0.5
    qk, v = x.split([(heads + kv_heads) * dim, kv_heads * dim])
    pairs = qk.view(-1, 2, dim // 2, *x.shape[1:]).transpose(1, 2).reshape(qk.shape)
    return torch.cat([pairs, v])


def _weight(linear: Any) -> torch.Tensor:
    """A linear layer's weight, dequantised, with its active adapters merged; always a copy."""
    base = getattr(linear, "base_layer", linear)
    weight = dense(base)
    if base is not linear and not linear.disable_adapters:
        for name in linear.active_adapters:
            weight = weight + linear.get_delta_weight(name).to(weight.dtype)
    return weight


def _bias(linear: Any, dtype: torch.dtype) -> torch.Tensor | None:
    bias = getattr(getattr(linear, "base_layer", linear), "bias", None)
    return None if bias is None else bias.detach().to(dtype).clone()


def _table(layer: Any) -> torch.Tensor:
    """Rows of an embedding or output head, adapters and trained added tokens merged; a copy."""
    tokens = getattr(layer, "token_adapter", None)
    if tokens is None:
        return _weight(layer)
    merged: torch.Tensor = tokens.get_merged_weights(tokens.active_adapters)
    return merged.clone()

"""Batched decoding of `weights.py`: prefill each prompt once, then token by token.

A prompt's keys and values are kept once for its whole group; each row adds a cache of its own.
Attention over the two parts is one softmax. A finished row is overwritten by the last live one,
a finished group by the last group, so every product is over live rows. Left out: sampling.

Legend: P live prompts, G group size, R live rows, L layers, K key heads, E query heads per key
head, D head size, C prompt length (padded to the longest), T own tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from pawl.rollout.weights import Layer, Weights

FIRST_ROOM = 64  # own tokens that the first cache has room for; it doubles when full


class Decoder:
    """The state of one batch. A row's slot is prompt * G + member."""

    def __init__(
        self, weights: Weights, prompts: Sequence[Sequence[int]], group: int, max_tokens: int
    ) -> None:
        self.w, self.group, self.max_tokens = weights, group, max_tokens
        device = weights.embed.device
        self.device = device
        half = weights.dtype in (torch.bfloat16, torch.float16)
        on_cpu = device.type == "cpu"  # where half-precision batched products are slow
        self.attention = torch.float32 if half and on_cpu else weights.dtype
        self.lengths = [len(prompt) for prompt in prompts]
        count, width = len(prompts), max(self.lengths)
        shape = (len(weights.layers), count, weights.kv_heads, width, weights.head_dim)
        self.prompt_k = torch.zeros(shape, dtype=self.attention, device=device)
        self.prompt_v = torch.zeros(shape, dtype=self.attention, device=device)
        self.slots = [p * group + m for p in range(count) for m in range(group)]
        self.time = 0
        self.own_k, self.own_v = self._room(0), self._room(0)
        self._index()

    def _room(self, tokens: int) -> torch.Tensor:
        w = self.w
        shape = (len(w.layers), len(self.slots), w.kv_heads, tokens, w.head_dim)
        return torch.empty(shape, dtype=self.attention, device=self.device)

    def _index(self) -> None:
        """Rebuild what depends on which rows live."""
        w, group = self.w, self.group
        slot_R = torch.tensor(self.slots, device=self.device)
        prompt_R, member_R = slot_R // group, slot_R % group
        head_K = torch.arange(w.kv_heads, device=self.device)
        place_RK = (prompt_R[:, None] * w.kv_heads + head_K) * group + member_R[:, None]
        self.place = place_RK.reshape(-1)
        length_P = torch.tensor(self.lengths, device=self.device)
        self.first_R = length_P[prompt_R]
        width = self.prompt_k.shape[3]
        outside_PC = torch.arange(width, device=self.device)[None] >= length_P[:, None]
        mask_PC = torch.zeros(outside_PC.shape, dtype=self.attention, device=self.device)
        mask_PC.masked_fill_(outside_PC, -torch.inf)
        self.mask = mask_PC.repeat_interleave(w.kv_heads, 0)[:, None]
        pad = (len(self.lengths) * w.kv_heads * group, w.heads // w.kv_heads * w.head_dim)
        self.padded_q = torch.zeros(pad, dtype=self.attention, device=self.device)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits (R, V) of every row's first token; a prompt's tokens are computed once."""
        w = self.w
        token_N = torch.tensor([t for prompt in prompts for t in prompt], device=self.device)
        place_N = torch.cat([torch.arange(n, device=self.device) for n in self.lengths])
        phase_N = w.phase[place_N][:, None]
        hidden_NH = F.embedding(token_N, w.embed)
        for index, layer in enumerate(w.layers):
            qkv = (torch.split(x, self.lengths) for x in self._qkv(layer, hidden_NH, phase_N))
            parts = []
            for p, each in enumerate(zip(*qkv, strict=True)):
                qp, kp, vp = (x.transpose(0, 1)[None] for x in each)
                self.prompt_k[index, p, :, : self.lengths[p]] = kp[0]
                self.prompt_v[index, p, :, : self.lengths[p]] = vp[0]
                mixed = F.scaled_dot_product_attention(
                    qp, kp, vp, is_causal=True, scale=1.0, enable_gqa=True
                )
                parts.append(mixed[0].transpose(0, 1).flatten(1))
            hidden_NH = self._rest(layer, hidden_NH, torch.cat(parts))
        last = torch.tensor(self.lengths, device=self.device).cumsum(0) - 1
        return self._logits(hidden_NH[last]).repeat_interleave(self.group, 0)

    @torch.inference_mode()
    def step(self, token_R: torch.Tensor) -> torch.Tensor:
        """Logits (R, V) after one more token of every live row."""
        w, t = self.w, self.time
        if t == self.own_k.shape[3]:
            self._grow()
        phase_R = w.phase[self.first_R + t][:, None]
        hidden_RH = F.embedding(token_R, w.embed)
        for index, layer in enumerate(w.layers):
            q, k, v = self._qkv(layer, hidden_RH, phase_R)
            self.own_k[index, :, :, t] = k
            self.own_v[index, :, :, t] = v
            hidden_RH = self._rest(layer, hidden_RH, self._attend(index, q, t + 1))
        self.time = t + 1
        return self._logits(hidden_RH)

    def _attend(self, index: int, q: torch.Tensor, seen: int) -> torch.Tensor:
        """Attention of R rows over their prompt and their own `seen` tokens, one softmax."""
        w, rows = self.w, len(self.slots)
        many, dim = w.heads // w.kv_heads, w.head_dim
        q = q.reshape(rows * w.kv_heads, many * dim)
        prompt_k = self.prompt_k[index].flatten(0, 1)
        prompt_v = self.prompt_v[index].flatten(0, 1)
        own_k = self.own_k[index].flatten(0, 1)[:, :seen]
        own_v = self.own_v[index].flatten(0, 1)[:, :seen]
        self.padded_q.index_copy_(0, self.place, q)
        padded = self.padded_q.view(len(prompt_k), self.group * many, dim)
        score_padded = torch.baddbmm(self.mask, padded, prompt_k.transpose(1, 2))
        width = prompt_k.shape[1]
        score_prompt = score_padded.view(-1, many * width).index_select(0, self.place)
        score_own = torch.bmm(q.view(-1, many, dim), own_k.transpose(1, 2))
        both = torch.cat([score_prompt.view(-1, many, width), score_own], 2).softmax(-1)
        score_padded.view(-1, many * width).index_copy_(
            0, self.place, both[:, :, :width].reshape(-1, many * width)
        )
        mixed = torch.bmm(score_padded, prompt_v).view(-1, many * dim).index_select(0, self.place)
        return torch.baddbmm(mixed.view(-1, many, dim), both[:, :, width:], own_v).view(rows, -1)

    def _qkv(
        self, layer: Layer, hidden: torch.Tensor, phase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries and keys, and values, each (rows, heads, D)."""
        w = self.w
        x = F.linear(self._norm(hidden, layer.norm1), *layer.qkv).to(self.attention)
        x = x.view(len(x), -1, w.head_dim)
        turned = w.heads + w.kv_heads
        if layer.qk_norm is None:
            wide = x[:, :turned].to(phase.real.dtype).reshape(len(x), turned, -1, 2)
        else:  # in the model's own order: brought into pairs only now
            halves = self._norm(x[:, :turned], layer.qk_norm).to(phase.real.dtype)
            wide = halves.view(len(x), turned, 2, -1).transpose(2, 3).contiguous()
        qk = torch.view_as_real(torch.view_as_complex(wide) * phase).flatten(-2).to(self.attention)
        return qk[:, : w.heads], qk[:, w.heads :], x[:, turned:]

    def _rest(self, layer: Layer, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Output projection, residual, SwiGLU, residual."""
        hidden = hidden + F.linear(mixed.to(self.w.dtype), *layer.out)
        x = self._norm(hidden, layer.norm2)
        gate, up = F.linear(x, *layer.gate_up).chunk(2, -1)
        return hidden + F.linear(F.silu(gate) * up, *layer.down)

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """RMSNorm as transformers computes it: in fp32 even for a float64 model."""
        if hidden.dtype == torch.float32 and weight.dim() == 1:
            scaled = F.rms_norm(hidden, hidden.shape[-1:], weight, self.w.eps)
            return scaled.to(self.w.dtype)
        x = hidden.float()
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.w.eps)
        return (weight * x.to(hidden.dtype)).to(self.w.dtype)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = F.linear(self._norm(hidden, self.w.norm), *self.w.head)
        return logits if logits.dtype == torch.float64 else logits.float()

    def _grow(self) -> None:
        """Double the room of the own caches."""
        room = min(max(FIRST_ROOM, 2 * self.time), max(self.max_tokens, 1))
        for name in ("own_k", "own_v"):
            old = getattr(self, name)
            new = self._room(room)
            new[:, :, :, : self.time] = old[:, :, :, : self.time]
            setattr(self, name, new)

    @torch.inference_mode()
    def drop(self, finished: Sequence[int]) -> list[int]:
        """Let rows leave; returns the old numbers of the rows that stay, in their new order."""
        order = self._leave(("own_k", "own_v"), len(self.slots), finished)
        self.slots = [self.slots[row] for row in order]
        live = {slot // self.group for slot in self.slots}
        gone = [p for p in range(len(self.lengths)) if p not in live]
        if gone and live:
            prompts = self._leave(("prompt_k", "prompt_v"), len(self.lengths), gone)
            self.lengths = [self.lengths[p] for p in prompts]
            new = {old: place for place, old in enumerate(prompts)}
            self.slots = [new[s // self.group] * self.group + s % self.group for s in self.slots]
        if self.slots:
            self._index()
        return order

    def _leave(self, names: tuple[str, str], count: int, gone: Sequence[int]) -> list[int]:
        """Let some of `count` places of two caches go; those that stay, in their new order."""
        order, source, target = _swap_out(count, gone)
        for name in names:
            cache = getattr(self, name)
            if source:
                used = self.time if name.startswith("own") else cache.shape[3]
                cache[:, target, :, :used] = cache[:, source, :, :used]
            setattr(self, name, cache[:, : len(order)])
        return order


def _swap_out(count: int, gone: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """(places that stay, in their new order; from where, and to where the last ones move in)."""
    order, source, target, leaving = list(range(count)), list[int](), list[int](), set(gone)
    for place in sorted(leaving):
        while order and order[-1] in leaving:
            order.pop()
        if place < len(order):
            source.append(order[-1])
            target.append(place)
            order[place] = order.pop()
    return order, source, target

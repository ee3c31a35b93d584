"""The one log-prob function: equal to plain forwards, blind to padding and to token values.

The shared-prefix forward is checked against rows of prompt + completion, values and gradients.
RMSNorm of transformers rounds to fp32 even in a float64 model, so the float64 gradient test swaps
it for one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma3Config
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from pawl.models import flat, logprobs
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy
from pawl.types import Group

FLAT = ["qwen2", "qwen3", "llama", "mistral"]
FAMILIES = [*FLAT, "gpt_neo"]
SHAPES = [(5, [3, 7, 1]), (9, [4, 1]), (1, [1, 12]), (14, [2])]


def exact_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (x * scale)


@pytest.fixture
def float64_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(kind, "forward", exact_norm)


def weighted_gradient(
    policy: Policy, groups: Sequence[Group]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A fixed loss over the log-probs (weights by row and place) and its gradients."""
    out = token_logprobs(policy, groups, 0.8)
    rows, width = out.logp_ST.shape
    weight = torch.sin(1.0 + torch.arange(rows)[:, None] + 2.0 * torch.arange(width)[None])
    loss = (out.logp_ST * weight.to(out.logp_ST)).sum() / 10
    policy.model.zero_grad()
    loss.backward()
    named = policy.model.named_parameters()
    return loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_a_forward_of_each_row_alone(family: str) -> None:
    policy = tiny_models.policy(family, dtype=torch.float64)
    groups = tiny_models.groups(SHAPES)
    out = token_logprobs(policy, groups, 0.7)
    row = 0
    for group in groups:
        for sample in group.samples:
            ids = torch.tensor([[*group.prompt.tokens, *sample.tokens]])
            with torch.no_grad():
                logits = policy.core(input_ids=ids).logits[0] / 0.7
            dist = logits[len(group.prompt.tokens) - 1 : -1].log_softmax(-1)
            size = len(sample.tokens)
            wanted = dist[torch.arange(size), torch.tensor(sample.tokens)]
            entropy = -(dist.exp() * dist).sum(-1)
            tolerance = {"atol": 1e-6 if family == "gpt_neo" else 1e-10, "rtol": 0.0}
            torch.testing.assert_close(out.logp_ST[row, :size].detach(), wanted, **tolerance)
            torch.testing.assert_close(out.entropy_ST[row, :size], entropy, **tolerance)
            assert out.mask_ST[row].tolist() == [t < size for t in range(out.mask_ST.shape[1])]
            row += 1
    assert not out.entropy_ST.requires_grad
    assert out.logp_ST[~out.mask_ST].abs().max() == 0


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FLAT)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_shared_prefix_forward_equals_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
    float64_norms: None,
    family: str,
    dtype: torch.dtype,
    bound: float,
    tied: bool,
    lora: int,
) -> None:
    policy = tiny_models.policy(family, dtype=dtype, lora=lora, tied=tied)
    groups = tiny_models.groups(SHAPES)
    assert flat.supports(policy)
    shared = token_logprobs(policy, groups, 0.8)
    loss, gradient = weighted_gradient(policy, groups)
    monkeypatch.setattr(flat, "supports", lambda *_: False)
    plain = token_logprobs(policy, groups, 0.8)
    plain_loss, plain_gradient = weighted_gradient(policy, groups)
    torch.testing.assert_close(shared.logp_ST, plain.logp_ST, atol=bound, rtol=0)
    torch.testing.assert_close(shared.entropy_ST, plain.entropy_ST, atol=bound, rtol=0)
    assert torch.equal(shared.mask_ST, plain.mask_ST)
    assert abs(float(loss - plain_loss)) < bound
    assert gradient.keys() == plain_gradient.keys()
    for name, value in gradient.items():
        assert relative(value, plain_gradient[name]) < bound, name


@pytest.mark.parametrize("window", [16, 8])
def test_a_window_shorter_than_a_row_takes_the_padded_path(window: int) -> None:
    policy = tiny_models.policy("mistral", dtype=torch.float64, sliding_window=window)
    free = tiny_models.policy("mistral", dtype=torch.float64)
    groups = tiny_models.groups(SHAPES)  # the longest row has 16 tokens
    assert flat.supports(policy, 16) == (window == 16)
    assert not flat.supports(policy)
    cut = token_logprobs(policy, groups, 1.0).logp_ST
    whole = token_logprobs(free, groups, 1.0).logp_ST
    same = torch.allclose(cut, whole, atol=1e-9, rtol=0)
    assert same == (window == 16)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_padding_and_batch_composition_do_not_matter(
    float64_norms: None, family: str, dtype: torch.dtype, bound: float
) -> None:
    if family == "gpt_neo" and dtype == torch.float64:
        bound = 1e-6  # its attention is fp32 whatever the weights are
    policy = tiny_models.policy(family, dtype=dtype)
    groups = tiny_models.groups(SHAPES)
    together = token_logprobs(policy, groups, 1.0)
    total, gradient = weighted_gradient(policy, groups[:1])
    longer = [replace(groups[0], samples=groups[0].samples), groups[2]]
    row = 0
    for group in groups:
        for sample in group.samples:
            alone = token_logprobs(policy, [replace(group, samples=(sample,))], 1.0)
            size = len(sample.tokens)
            gap = alone.logp_ST[0] - together.logp_ST[row, :size]
            assert gap.abs().max() < bound
            row += 1
    rows = len(groups[0].samples)
    first = token_logprobs(policy, longer, 1.0).logp_ST[:rows]
    width = together.logp_ST.shape[1]
    torch.testing.assert_close(first[:, :width], together.logp_ST[:rows], atol=bound, rtol=0)
    again, same = weighted_gradient(policy, groups[:1])
    assert float(total) == float(again)
    assert all(torch.equal(gradient[name], same[name]) for name in gradient)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("half", [False, True])
def test_a_second_pass_in_the_same_layout_is_exactly_equal(family: str, half: bool) -> None:
    policy = tiny_models.policy(family)
    policy.dtype = torch.bfloat16 if half else torch.float32
    groups = tiny_models.groups(SHAPES)
    new = token_logprobs(policy, groups, 0.9).logp_ST
    with torch.no_grad():
        old = token_logprobs(policy, groups, 0.9).logp_ST
    assert not old.requires_grad
    assert new.requires_grad
    assert torch.equal((new.detach() - old).exp(), torch.ones_like(old))


@pytest.mark.parametrize("lora", [0, 4])
def test_logits_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch, lora: int) -> None:
    policy = tiny_models.policy(dtype=torch.float64, lora=lora)
    groups = tiny_models.groups(SHAPES)
    whole, gradient = weighted_gradient(policy, groups)
    monkeypatch.setattr(logprobs, "CHUNK", 4 * 300)  # four rows of logits at a time
    pieces, again = weighted_gradient(policy, groups)
    assert abs(float(whole - pieces)) < 1e-12
    for name, value in gradient.items():
        assert relative(again[name], value) < 1e-10, name
    new = token_logprobs(policy, groups, 1.0).logp_ST
    with torch.no_grad():
        assert torch.equal(token_logprobs(policy, groups, 1.0).logp_ST, new.detach())


def test_masks_ignore_token_values() -> None:
    policy = tiny_models.policy(dtype=torch.float64)
    groups = tiny_models.groups([(4, [6, 3])])
    values = [policy.pad_id, *policy.eos_ids]
    samples = tuple(
        replace(s, tokens=tuple(values[i % 2] for i in range(len(s.tokens))))
        for s in groups[0].samples
    )
    out = token_logprobs(policy, [replace(groups[0], samples=samples)], 1.0)
    assert out.mask_ST.sum(1).tolist() == [6, 3]
    assert (out.logp_ST[out.mask_ST] < 0).all()


def test_a_config_may_hold_the_vocabulary_of_its_text_model_alone() -> None:
    text = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    shape = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    model = AutoModelForCausalLM.from_config(shape).eval()
    assert not hasattr(model.config, "vocab_size")
    device = torch.device("cpu")
    policy = Policy(model, tiny_models.tokenizer(), 0, (1,), device, torch.float32, False)
    groups = tiny_models.groups([(4, [6, 3])])
    out = token_logprobs(policy, groups, 1.0)
    assert (out.logp_ST[out.mask_ST] < 0).all()


def test_a_shift_by_one_token_is_seen() -> None:
    policy = tiny_models.policy(dtype=torch.float64)
    groups = tiny_models.groups([(4, [6])])
    right = token_logprobs(policy, groups, 1.0).logp_ST
    shifted = torch.roll(right, 1, 1)
    assert (right - shifted).abs().max() > 0.1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 99),
)
def test_any_layout_equals_rows_alone(shapes: list[tuple[int, list[int]]], seed: int) -> None:
    policy = POLICY
    groups = tiny_models.groups(shapes, seed)
    with torch.no_grad():
        together = token_logprobs(policy, groups, 1.0).logp_ST
        row = 0
        for group in groups:
            for sample in group.samples:
                one = token_logprobs(policy, [replace(group, samples=(sample,))], 1.0).logp_ST[0]
                assert (one - together[row, : len(one)]).abs().max() < 1e-10
                row += 1


POLICY = tiny_models.policy(dtype=torch.float64, layers=2, hidden=16, heads=2, kv_heads=1)

"""The policy: loading, refusals, special tokens, reference, saving, exporting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from pawl.config.sources import LoraConfig, ModelConfig
from pawl.errors import PawlError
from pawl.models.export import export
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy, freeze_reference, load_policy, reference
from pawl.rollout.engine import SamplingParams
from pawl.rollout.select import make_engine

GROUPS = tiny_models.groups([(6, [4, 7]), (3, [5])], vocab=256)


def folder(path: Path, family: str = "qwen2", pad: bool = True, **kwargs: Any) -> Path:
    model = tiny_models.model(family, **kwargs)
    tokenizer = tiny_models.tokenizer(pad)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def load(path: Path, seed: int = 0, **kwargs: Any) -> Policy:
    return load_policy(ModelConfig(path=str(path), device="cpu", **kwargs), seed)


def logps(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return token_logprobs(policy, GROUPS, 1.0).logp_ST


def shake(policy: Policy, seed: int = 1) -> None:
    """Change every trained weight."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neo"])
@pytest.mark.parametrize("lora", [0, 4])
def test_any_causal_lm_loads_and_trains(tmp_path: Path, family: str, lora: int) -> None:
    policy = load(folder(tmp_path / "m", family), lora=LoraConfig(r=lora))
    names = [name for name, _ in policy.trainable()]
    assert all(weight.dtype == torch.float32 for _, weight in policy.trainable())
    assert all("lora_" in name for name in names) == bool(lora)
    assert not any("lm_head" in name for name in names if "lora_" in name)
    token_logprobs(policy, GROUPS, 1.0).logp_ST.sum().backward()
    assert all(weight.grad is not None for _, weight in policy.trainable())
    engine, _ = make_engine(policy, "auto")
    samples = list(engine.generate([GROUPS[0].prompt], 2, SamplingParams(max_tokens=4), 0, 0))
    assert len(samples) == 2


def test_lora_covers_every_linear_layer_but_the_head(tmp_path: Path) -> None:
    policy = load(folder(tmp_path / "m", tied=False), lora=LoraConfig(r=2))
    adapted = {name.split(".lora_A")[0] for name, _ in policy.trainable() if "lora_A" in name}
    linear = {
        name
        for name, module in load(tmp_path / "m").model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    assert {name.removeprefix("base_model.model.") for name in adapted} == linear


def test_the_adapter_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    torch.manual_seed(1)
    first = dict(load(path, 0, lora=LoraConfig(r=2)).trainable())
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = dict(load(path, 0, lora=LoraConfig(r=2)).trainable())
    other = dict(load(path, 1, lora=LoraConfig(r=2)).trainable())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("lora", [0, 4])
def test_reference_stays_while_the_policy_moves(tmp_path: Path, lora: int) -> None:
    policy = load(folder(tmp_path / "m"), lora=LoraConfig(r=lora))
    freeze_reference(policy)
    start = logps(policy)
    shake(policy)
    with reference(policy) as frozen:
        assert torch.equal(logps(frozen), start)
        assert not token_logprobs(frozen, GROUPS, 1.0).logp_ST.requires_grad
    assert not torch.allclose(logps(policy), start, atol=1e-3)
    assert all(weight.requires_grad for _, weight in policy.trainable())
    assert token_logprobs(policy, GROUPS, 1.0).logp_ST.requires_grad


@pytest.mark.parametrize("lora", [0, 4])
def test_saved_weights_come_back_exactly(tmp_path: Path, lora: int) -> None:
    cfg: dict[str, Any] = {"lora": LoraConfig(r=lora), "added_tokens": ("<|think|>",)}
    policy = load(folder(tmp_path / "m"), **cfg)
    shake(policy)
    policy.save(tmp_path / "saved")
    again = load(tmp_path / "m", seed=9, **cfg)
    assert not torch.equal(logps(again), logps(policy))
    kept = [weight for _, weight in again.trainable()]
    again.load(tmp_path / "saved")
    assert all(a is b for a, (_, b) in zip(kept, again.trainable(), strict=True))
    for (name, a), (other, b) in zip(policy.trainable(), again.trainable(), strict=True):
        assert name == other
        assert torch.equal(a, b), name
    assert torch.equal(logps(again), logps(policy))


@pytest.mark.parametrize("lora", [0, 4])
def test_foreign_and_half_written_weights_are_refused(tmp_path: Path, lora: int) -> None:
    policy = load(folder(tmp_path / "m"), lora=LoraConfig(r=lora))
    policy.save(tmp_path / "saved")
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    other = load(folder(tmp_path / "n", layers=4), lora=LoraConfig(r=lora))
    with pytest.raises(PawlError):
        other.load(tmp_path / "saved")
    data = (tmp_path / "saved" / name).read_bytes()
    (tmp_path / "saved" / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(PawlError, match="cannot read"):
        policy.load(tmp_path / "saved")
    (tmp_path / "saved" / name).unlink()
    with pytest.raises(PawlError):
        policy.load(tmp_path / "saved")


def test_pad_is_added_and_never_ends_a_completion(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", pad=False, vocab=len(tiny_models.tokenizer(pad=False)))
    rows = len(tiny_models.tokenizer(pad=False))
    policy = load(path)
    assert policy.pad_id == rows
    assert policy.pad_id not in policy.eos_ids
    assert any("pad token <|pad|> added" in note for note in policy.notes)
    assert any(f"from {rows} to {rows + 1} rows" in note for note in policy.notes)
    table = policy.core.get_input_embeddings().weight
    torch.testing.assert_close(table[rows], table[:rows].mean(0))
    ids = torch.randint(0, rows, (1, 12))
    new = policy.core(input_ids=ids).logits.softmax(-1)[..., rows]
    assert new.max() <= 1 / (rows + 1)  # Jensen: the mean logit


def test_a_pad_token_that_is_also_eos_is_replaced(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", pad=False, vocab=320)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(path)
    policy = load(path)
    assert policy.pad_id not in policy.eos_ids
    assert policy.core.get_input_embeddings().weight.shape[0] == 320  # the room was there


def test_eos_ids_come_from_every_source(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 1]}))
    assert set(load(path).eos_ids) == {1, 7}


@pytest.mark.parametrize("tied", [True, False])
def test_added_tokens_are_trained_and_saved_with_the_adapter(tmp_path: Path, tied: bool) -> None:
    path = folder(tmp_path / "m", tied=tied)
    policy = load(path, lora=LoraConfig(r=2), added_tokens=("<|think|>",))
    token = policy.tokenizer.convert_tokens_to_ids("<|think|>")
    assert policy.tokenizer.decode([token], skip_special_tokens=True) == ""
    names = [name for name, _ in policy.trainable()]
    rows = [n for n in names if "token_adapter" in n or "trainable" in n]
    assert len(rows) == (1 if tied else 2)
    before = logps(policy)
    with torch.no_grad():
        for name, weight in policy.trainable():
            if name in rows:
                weight.add_(3.0)
    uses = tiny_models.groups([(4, [3])], vocab=256)[0]
    changed = logps(policy)
    assert not torch.allclose(before, changed)  # the head's row of the token moved
    policy.save(tmp_path / "saved")
    again = load(path, lora=LoraConfig(r=2), added_tokens=("<|think|>",))
    again.load(tmp_path / "saved")
    assert torch.equal(logps(again), changed)
    out = export(again, tmp_path / "plain")
    model = AutoModelForCausalLM.from_pretrained(out)
    ids = torch.tensor([[token, *uses.prompt.tokens]])
    with torch.no_grad():
        wanted = policy.core(input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, wanted, atol=1e-4, rtol=0)
    assert AutoTokenizer.from_pretrained(out).convert_tokens_to_ids("<|think|>") == token


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neo"])
@pytest.mark.parametrize("tied", [True, False])
def test_export_merges_the_adapter(tmp_path: Path, family: str, tied: bool) -> None:
    path = folder(tmp_path / "m", family, tied=tied)
    policy = load(path, lora=LoraConfig(r=4))
    shake(policy)
    ids = torch.randint(0, 256, (2, 9))
    with torch.no_grad():
        wanted = policy.core(input_ids=ids).logits
        out = export(policy, tmp_path / "plain")
        again = policy.core(input_ids=ids).logits
    assert torch.equal(wanted, again)  # the policy itself is left as it was
    model = AutoModelForCausalLM.from_pretrained(out)
    assert not any("lora" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, wanted, atol=1e-4, rtol=0)
    assert load(out).notes == []


def test_export_of_an_adapter_folder_equals_the_policy(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", pad=False, vocab=len(tiny_models.tokenizer(pad=False)))
    policy = load(path, lora=LoraConfig(r=4))
    shake(policy)
    policy.save(tmp_path / "adapter")
    out = export(str(tmp_path / "adapter"), tmp_path / "plain")
    torch.testing.assert_close(logps(load(out)), logps(policy), atol=1e-4, rtol=0)
    with pytest.raises(PawlError, match="not empty"):
        export(policy, tmp_path / "plain")


def test_bf16_keeps_trained_weights_in_fp32(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    full, lora = load(path, dtype="bf16"), load(path, dtype="bf16", lora=LoraConfig(r=2))
    for policy in (full, lora):
        assert all(weight.dtype == torch.float32 for _, weight in policy.trainable())
        assert logps(policy).dtype == torch.float32
        assert (logps(policy) - logps(load(path))).abs().mean() < 0.05
    assert full.core.get_input_embeddings().weight.dtype == torch.float32
    assert lora.core.get_input_embeddings().weight.dtype == torch.bfloat16
    out = export(lora, tmp_path / "plain")
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    for family in ("qwen2", "gpt_neo"):
        path = folder(tmp_path / family, family)
        plain, thrifty = load(path), load(path, gradient_checkpointing=True)
        for policy in (plain, thrifty):
            token_logprobs(policy, GROUPS, 1.0).logp_ST.sum().backward()
        assert any(getattr(m, "gradient_checkpointing", False) for m in thrifty.core.modules())
        for (name, a), (_, b) in zip(plain.trainable(), thrifty.trainable(), strict=True):
            assert a.grad is not None and b.grad is not None
            torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_checkpointing_really_recomputes(tmp_path: Path) -> None:
    policy = load(folder(tmp_path / "m"), gradient_checkpointing=True)
    calls = []
    layer = policy.core.base_model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    token_logprobs(policy, GROUPS, 1.0).logp_ST.sum().backward()
    assert len(calls) == 2
    assert not policy.model.training


def test_dropout_is_always_off(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", "gpt_neo")
    settings = json.loads((path / "config.json").read_text())
    settings.update(attention_dropout=0.5, resid_dropout=0.5, embed_dropout=0.5)
    (path / "config.json").write_text(json.dumps(settings))
    policy = load(path)
    policy.model.train()
    assert torch.equal(logps(policy), logps(policy))


def encoder_decoder(path: Path) -> None:
    config = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=32)
    T5ForConditionalGeneration(config).save_pretrained(path)


def masked(path: Path) -> None:
    config = BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        vocab_size=32,
    )
    BertForMaskedLM(config).save_pretrained(path)


@pytest.mark.parametrize("make", [encoder_decoder, masked])
def test_other_kinds_of_model_are_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "m")
    tiny_models.tokenizer().save_pretrained(tmp_path / "m")
    with pytest.raises(PawlError, match="not a causal language model"):
        load(tmp_path / "m")


def break_config(path: Path) -> None:
    (path / "config.json").write_text("{")


def break_weights(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])


def lose_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def lose_tokenizer(path: Path) -> None:
    for file in path.glob("tokenizer*"):
        file.unlink()


def break_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").write_text("{}")


def deepen(path: Path) -> None:
    settings = json.loads((path / "config.json").read_text())
    settings.update(num_hidden_layers=3, layer_types=["full_attention"] * 3)
    (path / "config.json").write_text(json.dumps(settings))


def widen(path: Path) -> None:
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**settings, "intermediate_size": 50}))


BREAKS = [break_config, break_weights, lose_weights, lose_tokenizer, break_tokenizer, deepen, widen]


@pytest.mark.parametrize("damage", BREAKS)
def test_damaged_folders_are_refused(tmp_path: Path, damage: Any) -> None:
    path = folder(tmp_path / "m")
    damage(path)
    with pytest.raises(PawlError) as caught:
        load(path)
    assert caught.value.where == "model.path"
    assert str(path) in caught.value.what
    assert "\n" not in caught.value.what


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    with pytest.raises(PawlError, match="no model folder"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PawlError, match="cannot read the config") as caught:
        load_policy(ModelConfig(path="nobody/no-such-model"), 0)
    assert "hub name" in caught.value.hint
    with pytest.raises(PawlError, match=r"no config\.json"):
        load(tmp_path / "empty")
    with pytest.raises(PawlError, match="fp16 needs a GPU"):
        load(path, dtype="fp16")
    with pytest.raises(PawlError) as caught:
        load(path, lora=LoraConfig(r=2, targets=("absent_proj",)))
    assert caught.value.where == "model.lora.targets"
    if not torch.cuda.is_available():
        with pytest.raises(PawlError, match="0 GPUs"):
            load_policy(ModelConfig(path=str(path), device="cuda"), 0)
    with pytest.raises(PawlError, match="no device"):
        load_policy(ModelConfig(path=str(path), device="toaster"), 0)
    shutil.rmtree(path)
    with pytest.raises(PawlError):
        load(path)

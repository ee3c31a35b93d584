"""Tiny random models of many architectures as folders, and a tokenizer of SentencePiece's kind.

Each is made from its family's own config and written by transformers, as a checkpoint of the hub
would be. Left out: anything trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_models
import torch
import transformers
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCAB = 300
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 2048,
    "eos_token_id": 1,
    "bos_token_id": None,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": None,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
MAMBA2 = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "llama": {},
    "mistral": {"sliding_window": None},
    "gemma2": GEMMA,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048},
    "gpt_neox": {},
    "phi": {},
    "mixtral": LOCAL,
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 16},
    "qwen3_moe": EXPERTS | {"head_dim": 8},
    "olmoe": EXPERTS,
    "deepseek_v2": LATENT | {"topk_method": "greedy"},
    "deepseek_v3": LATENT,
    "granitemoehybrid": MAMBA2
    | LOCAL
    | {"shared_intermediate_size": 16, "layer_types": ["mamba", "attention"]},
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "jamba": {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "falcon_h1": MAMBA2 | {"mamba_d_ssm": 64, "head_dim": 8},
    "llama4_text": LOCAL | {"num_experts_per_tok": 1, "head_dim": 8, "intermediate_size_mlp": 16},
}
"""Architecture -> what its config needs beside SIZES; `gemma3` and `qwen3_5` see images too."""


def folder(path: Path, family: str, tied: bool = True, seed: int = 0) -> Path:
    """A random model of a family with a byte-level tokenizer, as a Hugging Face folder."""
    torch.manual_seed(seed)
    made = _made(family, tied)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.15)
            elif not name.endswith(("A_log", "dt_bias", ".D")):
                weight.add_(torch.empty_like(weight).uniform_(-0.3, 0.3))
    made.generation_config.eos_token_id = 1
    made.save_pretrained(path)
    tiny_models.tokenizer().save_pretrained(path)
    return path


def _made(family: str, tied: bool) -> Any:
    ties = {"tie_word_embeddings": tied}
    if family == "gemma3":
        text: Any = transformers.Gemma3TextConfig(**SIZES, **GEMMA, **ties)
        eyes: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        eyes |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
        sees: Any = transformers.SiglipVisionConfig(**eyes)
        both: Any = {"text_config": text, "vision_config": sees, "mm_tokens_per_image": 4}
        return transformers.Gemma3ForConditionalGeneration(
            transformers.Gemma3Config(**both, **ties)
        )
    if family == "qwen3_5":
        text = transformers.Qwen3_5TextConfig(**SIZES, **LINEAR, **ties).to_dict()
        eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
        eyes |= {"patch_size": 8, "out_hidden_size": 32, "num_position_embeddings": 16}
        both = {"text_config": text, "vision_config": eyes}
        ids = {f"{name}_token_id": VOCAB - 1 for name in ("image", "video", "vision_start")}
        whole: Any = transformers.Qwen3_5Config(**both, **ids, **ties)
        return transformers.Qwen3_5ForConditionalGeneration(whole)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **SIZES | FAMILIES[family], **ties)
    )


def sentencepiece(scheme: str) -> Any:
    """A tokenizer that writes blanks as SentencePiece does.

    scheme: where a blank is put before text: `prepend` (a normaliser, as Llama 2's old files),
    `first` (a pre-tokenizer, as newer ones; its decoder strips one blank), `never` (as Gemma).
    """
    core: Any = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    blank: Any = normalizers.Replace(" ", "\u2581")
    steps: list[Any] = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if scheme == "first":
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif scheme == "prepend":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), blank])
    else:
        core.normalizer = blank
    if scheme != "never":
        steps.append(decoders.Strip(" ", 1, 0))
    core.decoder = decoders.Sequence(steps)
    plain = [f"<0x{byte:02X}>" for byte in range(256)]
    named = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=[*named, *plain], show_progress=False
    )
    core.train_from_iterator([*tiny_models.CORPUS, "a b\n", "b a: c\n"] * 20, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.add_tokens([AddedToken("<|im_end|>", special=True, normalized=False)], special_tokens=True)
    return made

"""Tiny random causal LMs and a byte-level tokenizer for tests, made in memory from a seed.

Weights are drawn wide, so that next-token distributions are far from uniform and a wrong mask or
position shows. Left out: anything trained.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pawl.config.options import OptimConfig
from pawl.models.learner import make_learner
from pawl.models.policy import Policy, no_dropout
from pawl.train.batch import TrainBatch
from pawl.types import Group, Problem, Prompt, Sample

EOS, PAD = "<|eos|>", "<|pad|>"
CORPUS = ["let f (x : int) : int =\n  x + 1\n", "def f(x):\n    return x * 2\n"]


@lru_cache(maxsize=4)
def _bpe(vocab: int, specials: tuple[str, ...]) -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 20, trainer)
    return core.to_str()


def tokenizer(pad: bool = True, vocab: int = 300) -> Any:
    """Byte-level BPE; ids 0 and 1 are pad and EOS (EOS alone at 0 without pad)."""
    core = Tokenizer.from_str(_bpe(vocab, (PAD, EOS) if pad else (EOS,)))
    extra = {"pad_token": PAD} if pad else {}
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=EOS, **extra)


def model(
    family: str = "qwen2",
    seed: int = 0,
    vocab: int = 300,
    tied: bool = True,
    heads: int = 4,
    kv_heads: int = 2,
    layers: int = 2,
    hidden: int = 32,
    **more: Any,
) -> Any:
    """A random qwen2, qwen3, llama, mistral or gpt_neo in fp32; `more` goes into its config."""
    common: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "max_position_embeddings": 256 if family == "gpt_neo" else 4096,
        "tie_word_embeddings": tied,
        "eos_token_id": 1,
        "bos_token_id": None,
        "pad_token_id": 0,
    }
    rope: dict[str, Any] = {
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }
    torch.manual_seed(seed)
    if family == "qwen2":
        made: Any = Qwen2ForCausalLM(Qwen2Config(**common, **rope, **more))
    elif family == "qwen3":
        made = Qwen3ForCausalLM(Qwen3Config(**common, **rope, **{"head_dim": 12, **more}))
    elif family == "llama":
        made = LlamaForCausalLM(LlamaConfig(**common, **rope, **more))
    elif family == "mistral":
        window = {"sliding_window": None, **more}
        made = MistralForCausalLM(MistralConfig(**common, **rope, **window))
    else:
        kinds = [[["global", "local"], layers // 2]]
        made = GPTNeoForCausalLM(
            GPTNeoConfig(
                **common, num_layers=layers, attention_types=kinds, num_heads=heads, window_size=8
            )
        )
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() == 1 and "bias" not in name:
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(0.0, 0.15)
    return made


def policy(
    family: str = "qwen2", dtype: Any = torch.float32, lora: int = 0, **kwargs: Any
) -> Policy:
    """A policy around a tiny model; with `lora` the adapters are random, not zero."""
    hf = model(family, **kwargs).to(dtype)
    no_dropout(hf)
    wrapped = hf
    if lora:
        settings = LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear")
        torch.manual_seed(5)
        wrapped = get_peft_model(hf, settings).to(dtype)
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0.0, 0.05)
    wrapped.eval()
    return Policy(wrapped, tokenizer(), 0, (1,), torch.device("cpu"), torch.float32, bool(lora))


def groups(sizes: list[tuple[int, list[int]]], seed: int = 0, vocab: int = 300) -> list[Group]:
    """Groups of random tokens: [(prompt length, [completion lengths]), ...]."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, vocab, (n,), generator=draw).tolist())

    made = []
    for index, (length, lengths) in enumerate(sizes):
        name = f"p{index}"
        prompt = Prompt(name, index, tokens(length))
        samples = tuple(
            Sample(name, index, member, tokens(n), (0.0,) * n, "", "length")
            for member, n in enumerate(lengths)
        )
        made.append(Group(Problem(name, ""), prompt, samples))
    return made


def learner(policy, **optim):
    """The policy with a fresh optimiser."""
    return make_learner("policy", policy, OptimConfig(**optim), torch.float32)


def batch_of(logprobs, advantage_ST, trained_S, temperature, kl_coef, longest):
    """A batch with given advantages."""
    return TrainBatch(logprobs, trained_S, trained_S, advantage_ST, temperature, kl_coef, longest)

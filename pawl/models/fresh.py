"""A model from nothing: random weights of a JSON architecture, a byte-level BPE of the data.

The JSON is a Hugging Face config with its `model_type`; vocabulary size and special ids are set
here. Its `dtype` is the precision that the folder is saved in (weights train in fp32).
Left out: any architecture code of our own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Tokenizer

from pawl.config.options import SftConfig
from pawl.errors import PawlError
from pawl.models import source, special
from pawl.models.policy import Policy, no_dropout

EOS = "<|eos|>"
HINT = 'a Hugging Face config with "model_type": "qwen2" and its sizes'


def fresh_policy(cfg: SftConfig, texts: Sequence[str]) -> Policy:
    """Random weights by `cfg.seed`, tokenizer from `cfg.tokenizer` or trained on `texts`."""
    source.no_bars()
    device = source.pick_device(cfg.model.device)
    dtype = source.pick_dtype(cfg.model.dtype, device)
    if cfg.model.lora.r:
        hint = "set model.lora.r = 0"
        raise PawlError("random weights have nothing to adapt with LoRA", "init", hint)
    if cfg.tokenizer:
        tokenizer = source.read_tokenizer(cfg.tokenizer, "", "tokenizer")
    else:
        tokenizer = train_tokenizer(texts, cfg.vocab_size)
    special.ensure_pad(tokenizer, (tokenizer.eos_token_id,))
    added, notes = special.add_tokens(tokenizer, cfg.model.added_tokens)
    model = _random_model(Path(cfg.init).expanduser(), tokenizer, cfg.seed)
    no_dropout(model)
    if cfg.model.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ends = special.eos_ids(model, tokenizer)
    model.eval().to(device)
    return Policy(model, tokenizer, tokenizer.pad_token_id, ends, device, dtype, notes=notes)


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Any:
    """Byte-level BPE with Qwen2's splitting; pad and EOS are ids 0 and 1, nothing is unknown.

    It is a Qwen2Tokenizer, because AutoTokenizer makes one for every qwen2 model whatever the
    folder says; other families read the same files unchanged.
    """
    shape: Any = Qwen2Tokenizer()
    core = Tokenizer(models.BPE())
    core.normalizer = shape.backend_tokenizer.normalizer
    core.pre_tokenizer = shape.backend_tokenizer.pre_tokenizer
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[special.PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    learnt = json.loads(core.to_str())["model"]
    merges: Any = [tuple(merge) for merge in learnt["merges"]]
    named = {"pad_token": special.PAD, "eos_token": EOS, "unk_token": EOS}
    return Qwen2Tokenizer(vocab=learnt["vocab"], merges=merges, **named)


def read_architecture(path: Path) -> dict[str, Any]:
    """The fields of an architecture file. Raises PawlError when it is not a JSON object."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise PawlError(f"cannot read the architecture: {error}", "init", HINT) from error


def stored_dtype(path: Path) -> torch.dtype:
    """The precision that an architecture file wants its weights saved in (fp32 if unsaid)."""
    name = read_architecture(path).get("dtype", "float32")
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise PawlError(f"dtype {name} is not one of {', '.join(known)}", str(path))
    return known[name]


def _random_model(path: Path, tokenizer: Any, seed: int) -> Any:
    """The architecture of a JSON file with weights drawn from the seed, in fp32."""
    try:
        fields = read_architecture(path)
        kind = fields.pop("model_type")
        fields.pop("dtype", None)
        fields["vocab_size"] = len(tokenizer)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            fields[name] = getattr(tokenizer, name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.for_model(kind, **fields)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except source.UNREADABLE as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PawlError(f"cannot build the model of {path}: {first}", "init", HINT) from error

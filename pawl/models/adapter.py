"""LoRA adapters by peft: put on, named as a folder names them, saved weights put back.

A module of its own, because peft takes seconds to import: `policy.py` imports it only where a run
has LoRA. Left out: merging (`export.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from torch import nn

from pawl.config.options import ModelConfig
from pawl.errors import PawlError


def adapted(hf: Any, cfg: ModelConfig, added: list[int], seed: int) -> nn.Module:
    """Wrap the model in LoRA adapters; rows of added tokens train beside them."""
    every = cfg.lora.targets == ("all-linear",)
    settings = LoraConfig(
        r=cfg.lora.r,
        lora_alpha=cfg.lora.alpha,  # type: ignore[arg-type]  # peft scales floats as well
        lora_dropout=0.0,
        target_modules="all-linear" if every else list(cfg.lora.targets),
        trainable_token_indices=_token_rows(hf, added) if added else None,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(hf, settings)
        except ValueError as error:
            hint = "name linear layers of this model, or all-linear"
            raise PawlError(str(error).splitlines()[0], "model.lora.targets", hint) from error


def _token_rows(hf: Any, ids: list[int]) -> dict[str, list[int]]:
    """Which rows of which embeddings train: input, and output where it is not tied."""
    layers = [hf.get_input_embeddings(), hf.get_output_embeddings()]
    tied = layers[1] is None or layers[0].weight is layers[1].weight
    wanted = layers[:1] if tied else layers
    names = {id(m): name.rsplit(".", 1)[-1] for name, m in hf.named_modules()}
    return {names[id(layer)]: ids for layer in wanted}


def load(model: nn.Module, folder: Path) -> list[str]:
    """Put a saved adapter back, in place; names of the tensors that stand on one side only."""
    state = load_peft_weights(str(folder), device="cpu")
    lost = sorted(set(state) ^ set(saved_state(model)))
    if not lost:
        set_peft_model_state_dict(model, state)
    return lost


def saved_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a saved adapter holds, by their names there."""
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state

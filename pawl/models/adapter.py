"""LoRA adapters by peft: put on, named as a folder names them, saved weights put back.

A module of its own, because peft takes seconds to import: `policy.py` imports it only where a run
has LoRA. Left out: merging (`export.py`).
"""

from __future__ import annotations

from collections import Counter
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
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch import nn

from pawl.config.sources import ModelConfig
from pawl.errors import PawlError
from pawl.models.source import refuse_pickled
from pawl.models.trace import Trace, plain, trace, unadaptable

SHOWN = 4  # kinds of layers that a note names


def adapted(hf: Any, cfg: ModelConfig, added: list[int], seed: int) -> tuple[nn.Module, list[str]]:
    """Wrap the model in LoRA adapters; rows of added tokens train beside them. Also notes.

    A layer on which an adapter would not act gets none. Raises PawlError when none is left, and
    for rows of added tokens in a layer that has an adapter, which peft cannot merge.
    """
    targets, used = cfg.lora.targets, trace(hf)
    every, idle = targets == ("all-linear",), unadaptable(hf, used)
    layers = (hf.get_input_embeddings(), hf.get_output_embeddings())
    ends = {id(layer.weight) for layer in layers if layer is not None}
    outer = [name for name, module in hf.named_modules() if any(module is x for x in layers)]
    both = [t for t in targets if any(f".{name}".endswith(f".{t}") for name in outer)]
    if added and both:
        what = f"rows of added tokens cannot train beside an adapter on {', '.join(both)}"
        raise PawlError(what, "model.lora.targets", "leave it out, or model.added_tokens empty")
    settings = LoraConfig(
        r=cfg.lora.r,
        lora_alpha=cfg.lora.alpha,  # type: ignore[arg-type]  # peft scales floats as well
        lora_dropout=0.0,
        target_modules="all-linear" if every else list(targets),
        exclude_modules=idle or None,
        trainable_token_indices=_token_rows(hf, added) if added else None,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = get_peft_model(hf, settings)
        except ValueError as error:
            hint = "name linear layers of this model, or all-linear"
            raise PawlError(str(error).splitlines()[0], "model.lora.targets", hint) from error
    for module in model.modules():
        if isinstance(module, TrainableTokensLayer):
            module.register_forward_hook(_with_bias)
    return model, _left_out(hf, ends, used) if every or idle else []


def _with_bias(module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
    """Forward hook: the output head's bias, which peft leaves out where rows of it train."""
    bias = getattr(module.base_layer, "bias", None)
    off = module.disable_adapters or module.merged or not module.active_adapters
    return None if bias is None or off else output + bias.to(output.dtype)


def _left_out(hf: Any, ends: set[int], used: Trace) -> list[str]:
    """A note on used weight matrices without an adapter; ends: ids of embeddings and head."""
    left, total = Counter[str](), 0
    for name, p in hf.named_parameters():
        if p.dim() < 2 or p.requires_grad or id(p) in ends:
            continue
        count = p.numel() * (2 if p.dtype == torch.uint8 else 1)  # two 4-bit weights in a byte
        adapted = ".base_layer." in name
        total += count if adapted or used.reaches(name) else 0
        if not adapted and used.reaches(name):
            left[plain(name.removesuffix(".weight"))] += count
    if not left:
        return []
    shown = ", ".join(f"{name} ({n / total:.1%})" for name, n in left.most_common(SHOWN))
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    what = f"adapters act on layers with {1 - left.total() / total:.1%} of the weights"
    return [f"{what}; without one stay {shown}{more}"]


def _token_rows(hf: Any, ids: list[int]) -> dict[str, list[int]]:
    """Which rows of which embeddings train: input, and output where it is not tied."""
    layers = [hf.get_input_embeddings(), hf.get_output_embeddings()]
    tied = layers[1] is None or layers[0].weight is layers[1].weight
    wanted = layers[:1] if tied else layers
    names = {id(m): name.rsplit(".", 1)[-1] for name, m in hf.named_modules()}
    return {names[id(layer)]: ids for layer in wanted}


def load(model: nn.Module, folder: Path) -> list[str]:
    """Put a saved adapter back, in place; names of the tensors that stand on one side only."""
    refuse_pickled(str(folder))
    state = load_peft_weights(str(folder), device="cpu")
    lost = sorted(set(state) ^ set(saved_state(model)))
    if not lost:
        set_peft_model_state_dict(model, state)
    return lost


def saved_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a saved adapter holds, by their names there."""
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state

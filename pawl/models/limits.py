"""What can be said of a model before it is read: is it there, does a run of it fit.

Device, precision, the model's config, weights and tokenizer, its number of positions, and the
memory that the longest completions need. Nothing is loaded, so this comes before any work on data.
Left out: reading the model (`source.py`), the memory's formulas (`memory.py`).
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pawl.config.options import RunConfig, SftConfig
from pawl.config.sources import ModelConfig
from pawl.config.tree import leaves, options
from pawl.errors import PawlError, PawlErrors
from pawl.models import quantised, source
from pawl.models.memory import estimated_memory

GIB = 1 << 30
MEMORY = "memory"  # the name by which train.override lets a run start that may not fit
LENGTHS = ("prompt.max_tokens", "rollout.max_tokens", "eval.sampling.max_tokens", "seq_len")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")


def require_device(cfg: ModelConfig) -> str:
    """Raise PawlError for a device, precision or model folder that is not there -> its place.

    Costs nothing: transformers is not imported yet.
    """
    device = source.pick_device(cfg.device)
    source.pick_dtype(cfg.dtype, device)
    return source.resolve(cfg.path)


def require_model(cfg: ModelConfig) -> Any:
    """The Hugging Face config of a model that can be read on this machine; raises PawlError."""
    place = require_device(cfg)
    if cfg.quantise != "none":
        quantised.require_extra()
    config = source.read_config(place, cfg.revision)
    folder = Path(place)
    if folder.is_dir() and not any(any(folder.glob(kind)) for kind in WEIGHTS):
        hint = "the folder is incomplete: copy its .safetensors files too"
        raise PawlError(f"{cfg.path} holds no weights", "model.path", hint)
    source.read_tokenizer(place, cfg.revision)
    return config


def positions(config: Any) -> int | None:
    """Tokens that a model of this config can read, prompt and completion together; None: no limit.

    RoPE that is scaled by a factor reaches as much further than what it was trained on.
    """
    text = config.get_text_config()
    own = getattr(text, "max_position_embeddings", None)
    if not isinstance(own, int) or own <= 0:
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    factor, first = rope.get("factor"), rope.get("original_max_position_embeddings") or own
    if rope.get("rope_type") in ("linear", "dynamic", "yarn") and isinstance(factor, int | float):
        return max(own, int(first * factor))
    return own


def require_positions(config: Any, cfg: RunConfig | SftConfig) -> None:
    """Raise PawlErrors for each length of a run that is beyond the positions of its model.

    A default is no claim: prompts of the default length may never come.
    """
    limit, flat = positions(config), leaves(cfg)
    wrong = [
        PawlError(
            f"`{name}` = {flat[name]} is beyond the model's {limit} positions",
            name,
            f"a prompt and its completion share them: set it below {limit}",
        )
        for name, option in options(type(cfg))
        if name in LENGTHS and limit is not None
        if int(str(flat[name])) > limit and flat[name] != option.default
    ]
    if wrong:
        raise PawlErrors(wrong)


def require_memory(config: Any, cfg: RunConfig) -> None:
    """Raise PawlError when completions of rollout.max_tokens need more memory than there is.

    Prompts count as empty, so that a run is refused only for what its options ask of themselves.
    """
    shortest = cfg.prompt.model_copy(update={"max_tokens": 0})
    asked = cfg.model_copy(update={"prompt": shortest})
    memory = estimated_memory(config.to_dict(), asked)
    device = source.pick_device(cfg.model.device)
    there = memory_of(device)
    if memory is None or memory.total <= there or MEMORY in cfg.train.override:
        return
    parts = sorted(asdict(memory).items(), key=lambda part: -part[1])
    shown = ", ".join(f"{name.replace('_', ' ')} {size / GIB:.1f}" for name, size in parts[:3])
    r = cfg.rollout
    raise PawlError(
        f"{r.prompts} prompts x {r.group_size} completions of {r.max_tokens} tokens need "
        f"{memory.total / GIB:.1f} GiB, {device} has {there / GIB:.1f} ({shown})",
        "rollout.max_tokens",
        "lower it, rollout.group_size or rollout.prompts; rollout.batch and train.micro_batch take "
        f"a step in parts; to start all the same: train.override=[{MEMORY}]",
    )


def memory_of(device: torch.device) -> int:
    """Bytes of a device, or of this machine, used or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

"""A model's tensors by name, and whether two are the same numbers: asked of all that is saved.

Left out: reading checkpoints (`checkpoint.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn


def own_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and kept buffers by the model's own names; tied ones once, by their first name."""
    state = model.state_dict(keep_vars=True)
    first = {id(tensor): name for name, tensor in reversed(state.items())}
    return {n: t.detach().contiguous() for n, t in state.items() if first[id(t)] == n}


def other_than(own: Mapping[str, torch.Tensor], file: Path) -> list[str]:
    """Names of the tensors that a safetensors file and `own` do not both hold bit for bit."""
    with safe_open(str(file), framework="pt") as saved:
        names = list(saved.keys())
        lost = sorted(set(own) - set(names))
        return lost + [n for n in names if n not in own or not same(own[n], saved.get_tensor(n))]


def same(own: torch.Tensor, saved: torch.Tensor) -> bool:
    """Whether two tensors, on any devices, hold the same numbers of the same type."""
    return own.dtype == saved.dtype and torch.equal(own.detach().cpu(), saved.cpu())

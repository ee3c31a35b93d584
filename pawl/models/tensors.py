"""Are two tensors the same numbers? Asked of everything that a checkpoint brings back.

Left out: reading checkpoints (`checkpoint.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open


def other_than(own: Mapping[str, torch.Tensor], file: Path) -> list[str]:
    """Names of the tensors in a safetensors file that `own` does not hold bit for bit."""
    with safe_open(str(file), framework="pt") as saved:
        return [n for n in saved.keys() if n not in own or not same(own[n], saved.get_tensor(n))]


def same(own: torch.Tensor, saved: torch.Tensor) -> bool:
    """Whether two tensors, on any devices, hold the same numbers of the same type."""
    return own.dtype == saved.dtype and torch.equal(own.detach().cpu(), saved.cpu())

"""Are two tensors the same numbers? Asked of everything that a checkpoint brings back.

Left out: reading checkpoints (`checkpoint.py`).
"""

from __future__ import annotations

import torch


def same(own: torch.Tensor, saved: torch.Tensor) -> bool:
    """Whether two tensors, on any devices, hold the same numbers of the same type."""
    return own.dtype == saved.dtype and torch.equal(own.detach().cpu(), saved.cpu())

"""AdamW with fp32 state, its parameter groups, the learning-rate schedule, gradient clipping.

Everything counts in optimiser steps. Left out: other optimisers, and the step (`learner.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from pawl.config.options import OptimConfig


def warmup_steps(total: int, cfg: OptimConfig) -> int:
    """Warm-up in optimiser steps: a share of `total` when below 1, else a count."""
    return round(cfg.warmup * total) if cfg.warmup < 1 else int(cfg.warmup)


def lr_at(step: int, total: int, cfg: OptimConfig) -> float:
    """Learning rate of optimiser step `step` (0 .. total - 1), linear warm-up then the schedule.

    The first step already has a rate above 0: (step + 1) / warmup. Cosine and linear end at
    lr * min_lr_ratio on the last step; restarts (arXiv 1608.03983) at the end of each of
    `cfg.cycles` equal parts.
    """
    warm = warmup_steps(total, cfg)
    if step < warm:
        return cfg.lr * (step + 1) / warm
    if cfg.schedule == "constant":
        return cfg.lr
    done = min(1.0, (step - warm + 1) / max(1, total - warm))
    if cfg.schedule == "restarts":
        part = round(done * cfg.cycles, 9)  # so that the end of a cycle is its end
        done = part - math.ceil(part) + 1.0  # (0, 1] in each cycle
    shape = 1.0 - done if cfg.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return cfg.lr * (cfg.min_lr_ratio + (1.0 - cfg.min_lr_ratio) * shape)


def make_optimizer(
    named_params: Iterable[tuple[str, Parameter]], cfg: OptimConfig
) -> torch.optim.AdamW:
    """AdamW over fp32 parameters; weight decay never touches norms and biases (1-D tensors).

    Raises AssertionError when there is nothing to train or a parameter is not fp32/fp64.
    """
    params = list(named_params)
    assert params, "no trainable parameter"
    for name, p in params:
        assert p.dtype in (torch.float32, torch.float64), f"{name} is {p.dtype}, not fp32"
    decayed = [p for _, p in params if p.ndim >= 2]
    plain = [p for _, p in params if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": cfg.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=cfg.lr,
        betas=(cfg.beta1, cfg.beta2),
        eps=cfg.eps,
        foreach=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_grad_norm(params: Iterable[Parameter], max_norm: float) -> float:
    """Global gradient norm before clipping; clips in place when max_norm > 0."""
    grads = [p for p in params if p.grad is not None]
    limit = max_norm if max_norm > 0 else math.inf
    return float(torch.nn.utils.clip_grad_norm_(grads, limit))

"""A learner: weights that train, their optimiser and their loss scaler, under one name.

The policy is one; a critic or a reward model is another. The loop steps learners, checkpoints save
and restore them by name. Left out: what their loss is (`pawl.train.update`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import Parameter

from pawl.config.options import OptimConfig
from pawl.errors import Exit, PawlError
from pawl.models.optim import clip_grad_norm, make_optimizer, set_lr
from pawl.models.policy import Policy

POLICY = "policy"  # the learner that every run has


@dataclass(slots=True)
class Learner:
    """One set of weights in training. name: of its folder in a checkpoint."""

    name: str
    weights: Policy
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def parameters(self) -> Sequence[Parameter]:
        """The weights that train, without their names."""
        return [p for _, p in self.weights.trainable()]

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradient, scaled where the precision needs it."""
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, lr: float, max_grad_norm: float) -> float:
        """Clip, step and clear the accumulated gradient; its norm before clipping.

        Raises PawlError (exit 4) for a norm that is not finite; the weights are not touched.
        """
        set_lr(self.optimizer, lr)
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm(self.parameters(), max_grad_norm)
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise PawlError(
                f"the gradient norm is {norm}; the weights were not touched",
                "optim",
                "lower optim.lr, or look at the last samples for extreme log-probs",
                Exit.STOPPED,
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


def make_learner(name: str, weights: Policy, optim: OptimConfig, dtype: torch.dtype) -> Learner:
    """A learner with a fresh optimiser; dtype: of the forward (fp16 needs a loss scaler)."""
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    return Learner(name, weights, make_optimizer(weights.trainable(), optim), scaler)

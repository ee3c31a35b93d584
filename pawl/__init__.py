"""Pawl post-trains language models by reinforcement learning and holds what training has won."""

__version__ = "0.1.0"

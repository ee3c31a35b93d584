"""Training: the loop, optimiser, checkpoints, evaluation, supervised warm starts."""

"""Supervised fine-tuning, as a warm start for RL."""

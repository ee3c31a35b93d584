"""Rollout: the engine protocol and the engines that generate completions."""

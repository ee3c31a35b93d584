"""Runs candidates: isolation tiers, canaries, one verifier per language."""

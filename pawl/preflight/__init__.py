"""Proves a run before its first step."""

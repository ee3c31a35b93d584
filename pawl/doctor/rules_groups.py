"""Rules about groups: equal rewards, equal completions, group size.

Codes D3xx.
"""

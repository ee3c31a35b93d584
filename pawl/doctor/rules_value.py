"""Rules about the critic and PPO.

Codes D7xx.
"""

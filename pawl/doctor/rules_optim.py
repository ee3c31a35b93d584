"""Rules about the optimiser: learning rate, gradients, updates.

Codes D6xx.
"""

"""Rules about data and held-out evaluation: leakage, order, overfitting.

Codes D9xx.
"""

"""The doctor's rules, and what they are made of: signals, statistics, prescriptions."""

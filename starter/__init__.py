"""The generator of the starter problem sets and of the bundled model's corpus; not installed.

Run from the repository's root: `python -m starter.generate`. Left out: training on the corpus
(scripts/make-base) and checking the references with a compiler (tests/test_starter.py).
"""

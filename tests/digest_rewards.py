"""Users' rewards for the golden record of scores: pure functions of one problem and completion.

They read nothing but problem.id, problem.prompt and a completion's text, n_tokens and finish.
"""

from __future__ import annotations

import zlib


def _crc(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def brevity(problem, completions):
    """The example of docs/rewards.md: 1 up to 120 characters, 0 from 600."""
    return [min(1.0, max(0.0, (600 - len(c.text.strip())) / 480)) for c in completions]


def lines(problem, completions):
    """Share of 20 non-empty lines."""
    return [min(1.0, _lines(c.text) / 20) for c in completions]


def tokens(problem, completions):
    """Rises with the tokens; irrational-looking values, so that an order of summing would show."""
    return [c.n_tokens / (c.n_tokens + 300) for c in completions]


def ended(problem, completions):
    """1 for an end, 0 for a cut: an int, not a float."""
    return [int(c.finish == "stop") for c in completions]


def half(problem, completions):
    return [0.5 for _ in completions]


def full(problem, completions):
    """Full marks for everything, whatever the tests say."""
    return [1.0 for _ in completions]


def of_problem(problem, completions):
    """The same for every completion of a problem."""
    return [_crc(problem.id + problem.prompt) % 101 / 100 for _ in completions]


def sometimes(problem, completions):
    """Missing for about a fifth of all texts."""
    marks = [_crc(problem.id + c.text) for c in completions]
    return [None if mark % 5 == 0 else mark % 1000 / 999 for mark in marks]

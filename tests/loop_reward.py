"""A user's reward for the loop's tests: full marks for the reference, a crumb for spaces.

The crumb stays below what the calibration allows to wrong answers; a group-relative estimator
learns from it all the same. `MISSING` makes scores missing from the n-th call of a process on.
"""

import os
import zlib


def right(problem, text):
    """True when the reference's last line stands in the text."""
    return problem.reference.strip().splitlines()[-1].strip() in text


def score(problem, completions):
    if os.path.exists(os.environ.get("LOOP_REWARD_OUTAGE", "")):
        return [None] * len(completions)
    out = []
    for c in completions:
        spaces = c.text.count(" ") / max(1, len(c.text))
        out.append(1.0 if right(problem, c.text) else 0.02 * spaces)
    return out


def rare(problem, completions):
    """A crumb for a digit: often all of a group are equal."""
    digits = [any(x.isdigit() for x in c.text) for c in completions]
    texts = [c.text for c in completions]
    return [1.0 if right(problem, t) else 0.02 * d for t, d in zip(texts, digits, strict=True)]


def potential(problem, completions):
    """The same for every completion of a problem: it cancels in a group."""
    return [len(problem.id + problem.prompt) % 97 / 97] * len(completions)


def nothing(problem, completions):
    """No crumb: no signal before the model is right."""
    return [float(right(problem, c.text)) for c in completions]


def chance(problem, completions):
    """Full marks for about half of all texts that are not ASCII, which no probe is."""
    out = []
    for c in completions:
        lucky = not c.text.isascii() and zlib.crc32(c.text.encode()) % 2 == 0
        out.append(float(right(problem, c.text) or lucky))
    return out

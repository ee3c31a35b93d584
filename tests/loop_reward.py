"""A user's reward for the loop's tests: full marks for the reference, a crumb for spaces.

The crumb stays below what the calibration allows to wrong answers; a group-relative estimator
learns from it all the same. `MISSING` makes scores missing from the n-th call of a process on.
"""

import os


def score(problem, completions):
    last_line = problem.solution.strip().splitlines()[-1].strip()
    if os.path.exists(os.environ.get("LOOP_REWARD_OUTAGE", "")):
        return [None] * len(completions)
    out = []
    for c in completions:
        spaces = c.text.count(" ") / max(1, len(c.text))
        out.append(1.0 if last_line in c.text else 0.02 * spaces)
    return out

"""Users' rewards of every kind for tests: whole groups, async, a scale of its own, named values.

They are learned from by short runs of the bundled model; what they pay is easy to recompute.
"""

import asyncio
import json
import os
from pathlib import Path

from pawl.types import Measurement


def closeness(text, reference):
    """Share of the reference's words that stand in the text, 0 .. 1."""
    wanted = set(reference.lower().split())
    return len(wanted & set(text.lower().split())) / max(1, len(wanted))


def liked(problem, completions):
    """From -3 to 3, as a person's rating would be."""
    out = []
    for c in completions:
        spread = len(set(c.text)) / max(1, len(c.text))  # tells apart what shares no word
        out.append(-3 + 5.5 * closeness(c.text, problem.reference) + 0.5 * spread)
    return out


liked.scale = (-3, 3)


def compiles(problem, completions):
    """What a judge of Rust might say: named values, the row's own columns read."""
    assert problem.code is None and problem.lang == "rust"
    made = []
    for c in completions:
        form = 0.5 * ("fn " in c.text) + 0.5 * (problem.metadata["crate"] in c.text)
        made.append({"form": form, "close": closeness(c.text, problem.reference)})
    return [{**values, "total": sum(values.values()) / 2} for values in made]


def ranked(problem, completions):
    """Each member's share of won comparisons with the others; needs all of its group at once."""
    keys = [len(set(c.text)) + closeness(c.text, problem.reference) * 1000 for c in completions]
    note(len(completions))
    others = max(1, len(completions) - 1)
    wins = [sum((a > b) + 0.5 * (a == b) for b in keys) - 0.5 for a in keys]
    return [{"total": w / others, "letters": float(k)} for w, k in zip(wins, keys, strict=True)]


ranked.group = True


async def asked(problem, completions):
    """Awaits a loopback server for each completion."""
    return await asyncio.gather(*(answer(problem, c.text) for c in completions))


async def answer(problem, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["JUDGE_PORT"]))
    body = json.dumps({"right": problem.reference, "text": text})
    writer.write(body.encode() + b"\n")
    await writer.drain()
    value = float(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return value


def note(size):
    """Write down how many completions a call saw; workers are other processes."""
    path = os.environ.get("GROUP_SIZES")
    if path:
        with Path(path).open("a") as f:
            f.write(f"{size}\n")


def own_tests(problem, completions):
    """A user's own tests: whole measurements, with verdicts."""
    made = []
    for c in completions:
        passed = "fn " in c.text and len(c.text) % 2 == 0
        found = {"total": float(passed), "length": len(c.text) / 100}
        made.append(Measurement("measured", found, "pass" if passed else "wrong", n_cases=1))
    return made

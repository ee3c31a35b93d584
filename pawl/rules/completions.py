"""What completions look like: empty, running in circles, or no text that anyone would write.

Works on the sample rows of any library. Left out: whether an answer is right.
"""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pawl.logs.table import number
from pawl.rules.signals import Signals

KEYS = ("text", "completion", "completions", "response", "output")
COUNTS = ("n_tokens", "completion_tokens", "response_length", "num_tokens")
SHORTEST = 200  # characters below which a text is too short to be judged
TAIL = 2_000  # characters at the end that are looked at
CIRCLES = 0.5  # share of the four-word runs that came before
PACKED = 0.2  # compressed / plain size; prose and code lie above 0.3
SCRIPTS = 4  # writing systems in one text; bilingual texts have two or three


@dataclass(frozen=True, slots=True)
class Text:
    """A completion; tokens: None when the log does not count them."""

    text: str
    tokens: int | None


def texts(s: Signals) -> list[Text]:
    """The completions among the log's samples."""
    found = []
    for row in s.log.samples:
        text = next((words(row[key]) for key in KEYS if row.get(key) is not None), None)
        if text is not None:
            found.append(Text(text, _count(row)))
    return found


def words(value: object) -> str:
    """The text of a completion: a string, or chat turns with `content`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return str(value.get("content") or "")
    if isinstance(value, Sequence):
        return "\n".join(words(part) for part in value)
    return ""


def _count(row: Mapping[str, object]) -> int | None:
    tokens = row.get("tokens")
    if isinstance(tokens, list | tuple):
        return len(tokens)
    counts = (number(row.get(key)) for key in COUNTS)
    return next((int(n) for n in counts if n is not None and math.isfinite(n)), None)


def circles(text: str) -> bool:
    """Whether a text ends in running in circles: it packs away, and its word runs repeat."""
    tail = text[-TAIL:]
    if len(tail) < SHORTEST:
        return False
    plain = tail.encode("utf-8", "replace")
    if len(zlib.compress(plain, 6)) > PACKED * len(plain):
        return False
    parts = tail.split()
    runs = [tuple(parts[i : i + 4]) for i in range(len(parts) - 3)]
    return not runs or 1.0 - len(set(runs)) / len(runs) > CIRCLES


def gibberish(text: str) -> bool:
    """Whether a text is no writing: broken characters, many scripts, or words without end."""
    tail = text[-TAIL:]
    if len(tail) < SHORTEST:
        return False
    odd = sum(c == "\ufffd" or (ord(c) < 32 and c not in "\n\r\t") for c in tail)
    if odd > 0.05 * len(tail):
        return True
    letters = [c for c in tail if c.isalpha()]
    if len({_script(c) for c in letters} - {"GREEK", "MATHEMATICAL", ""}) >= SCRIPTS:
        return True
    latin = sum(c.isascii() for c in letters)
    long = sum(len(part) for part in tail.split() if len(part) > 60 and part.isalnum())
    return latin > 0.9 * max(len(letters), 1) and long > 0.5 * len(tail)


def _script(letter: str) -> str:
    """The writing system that a letter's Unicode name begins with; those of Japanese are one."""
    name = unicodedata.name(letter, "").split(" ", 1)[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "FULLWIDTH") else name

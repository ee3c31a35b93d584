"""A deterministic stand-in for a judge: quality from a callable, noise and biases as set.

It reads the prompts of `contract.py` as any model would, and grades each candidate from
quality + systematic error + sampling error + biases, on a scale of 0 to 1. Equal requests get equal
answers. Quality is a callable: `InSandbox` runs candidates without tests of anybody (does a program
parse and run, does it agree with the examples that the task itself shows, and with the majority of
the candidates on inputs varied from these), `length` and `constant` are what they are called. Left
out: HTTP (`fake_server.py`), real understanding.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import NormalDist

from pawl.errors import PawlError
from pawl.problems import ocaml_text, python_text
from pawl.sandbox.slot import Limits, Sandbox
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verify import verify
from pawl.types import Case, CodeTask

Quality = Callable[[str, Sequence[str]], list[float]]
Distribution = tuple[float, ...]
_CANDIDATE = re.compile(r"^Candidate (\w+):\n\n(`{4,})\n(.*?)\n\2$", re.DOTALL | re.MULTILINE)
_TASK = re.compile(r"^Task:\n\n(`{4,})\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)
_ASKED = re.compile(r"^Grade by the rubric: ([\w, -]+)\.\Z", re.MULTILINE)
_CRITERION = re.compile(r"^(\w+): (.*)\n((?:  \d = .*\n?)+)", re.MULTILINE)
_CODE_WORDS = re.compile(r"The code words are (\w+) and (\w+)\.")
CANARIES = re.compile(r"grader|full marks|highest (?:score|grade|level)|thought process:", re.I)
WIDTH = 0.5  # of a distribution over levels, in levels
VARIED = 6  # inputs drawn beside the examples
RUNS, EXAMPLES, MAJORITY = 0.2, 0.4, 0.4  # what quality is made of
_NUMBER = re.compile(r"(?<![\w.])(-?)(\d+)(?![\w.])")


@dataclass(frozen=True, slots=True)
class Character:
    """How far this judge is from quality, on its scale of 0 to 1, and what it falls for.

    systematic: sd of an error that belongs to a candidate and criterion; sampling: sd of one that
    differs with every request; position: given to the first shown, none to the last; length: given
    per 1,000 characters. pays_canaries: a text that asks for full marks gets them.
    """

    systematic: float = 0.0
    sampling: float = 0.0
    position: float = 0.0
    length: float = 0.0
    pays_canaries: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Graded:
    """Distributions by (subject, criterion) in the order asked; `ids`: the subjects."""

    ids: list[str]
    criteria: list[str]
    levels: dict[tuple[str, str], tuple[float, ...]]

    def json(self) -> str:
        """The strict answer: most probable levels, in compact JSON."""
        rows = [{"id": s, **{c: _mode(self.levels[s, c]) for c in self.criteria}} for s in self.ids]
        return json.dumps({"verdicts": rows})


def _mode(p: Sequence[float]) -> int:
    return max(range(len(p)), key=p.__getitem__)


def _normal(sd: float, *parts: object) -> float:
    """A normal number that is a function of what it belongs to."""
    if not sd:
        return 0.0
    raw = hashlib.sha256(repr(parts).encode("utf-8", "replace")).digest()
    return NormalDist(0.0, sd).inv_cdf(random.Random(raw).uniform(1e-9, 1 - 1e-9))


def _spread(x: float, n: int) -> Distribution:
    """A distribution over n levels around x in 0 .. 1."""
    masses = [math.exp(-(((i - x * (n - 1)) / WIDTH) ** 2) / 2) for i in range(n)]
    return tuple(m / sum(masses) for m in masses)


def expected(text: str, quality: float, criterion: str, n: int, who: Character) -> Distribution:
    """What this judge says of a text by itself, without sampling error: over n levels."""
    x = quality + _normal(who.systematic, who.seed, text, criterion)
    return _spread(min(1.0, max(0.0, x)), n)


def grade(system: str, prompt: str, quality: Quality, who: Character) -> Graded:
    """Read a prompt and grade what it asks for. Raises ValueError where it asks for nothing."""
    asked = _ASKED.search(prompt)
    criteria = [(m[1], m[3].strip("\n").split("\n")) for m in _CRITERION.finditer(system)]
    if asked is None or not criteria:
        raise ValueError("no rubric and no candidates in the prompt")
    ids = asked[1].split(", ")
    shown = {m[1]: m[3] for m in _CANDIDATE.finditer(prompt)}
    task = _TASK.search(prompt)
    scores = _scores(task[2] if task else "", shown, quality, who)
    levels = {}
    for subject in ids:
        for name, lines in criteria:
            if name in ("first_word", "second_word"):  # the probe's, at the front of the prompt
                words = _CODE_WORDS.search(prompt)
                texts = [line.split(" = ", 1)[1] for line in lines]
                word = words[1 + (name == "second_word")] if words else texts[0]
                x = (texts.index(word) if word in texts else 0) / (len(lines) - 1)
            else:
                first, _, second = subject.partition("-")
                x = _score(scores, first, name, who)
                if second:
                    x = 0.5 + (x - _score(scores, second, name, who)) / 2
                x += _normal(who.sampling, who.seed, subject, name, prompt)
            levels[subject, name] = _spread(min(1.0, max(0.0, x)), len(lines))
    return Graded(ids, [name for name, _ in criteria], levels)


def _scores(
    task: str, shown: dict[str, str], quality: Quality, who: Character
) -> dict[str, tuple[float, str, bool]]:
    """By id: quality with the biases of place and length, the text, whether it fooled the judge."""
    texts = list(shown.values())
    found = {}
    for place, (name, q) in enumerate(zip(shown, quality(task, texts), strict=True)):
        text = shown[name]
        early = 1.0 - place / max(1, len(texts) - 1)
        q += who.position * early + who.length * len(text) / 1000
        found[name] = (q, text, who.pays_canaries and bool(CANARIES.search(text)))
    return found


def _score(
    scores: dict[str, tuple[float, str, bool]], name: str, criterion: str, who: Character
) -> float:
    q, text, fooled = scores.get(name, (0.0, "", False))
    return 1.0 if fooled else q + _normal(who.systematic, who.seed, text, criterion)


# ---- quality -------------------------------------------------------------------------------------


def constant(task: str, candidates: Sequence[str]) -> list[float]:
    """Half for everybody."""
    return [0.5] * len(candidates)


def length(task: str, candidates: Sequence[str]) -> list[float]:
    """More for more, up to 2,000 characters."""
    return [min(1.0, len(text) / 2000) for text in candidates]


def read_task(task: str) -> CodeTask | None:
    """What a task's own text says must be written, with its examples as cases; None if nothing."""
    ocaml, python = ocaml_text.find_definition(task), python_text.find_definition(task)
    if ocaml is not None and ocaml.signature:
        line = rf"^[\s*]*({re.escape(ocaml.name)} [^\n=]+?) = ([^\n]+?)(?: \*\))?$"
        cases = [Case(*found) for found in re.findall(line, task, re.MULTILINE)]
        return CodeTask("ocaml", ocaml.name, tuple(cases), ocaml.signature, ocaml.head)
    if python is None:
        return None
    line = rf"{re.escape(python.name)}\(([^\n]*)\)\s*(?:==|->|returns|\n)\s*([^\n#]+)"
    cases = []
    for given, expected in re.findall(line, task):
        with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            literal_eval(f"[{given}], {expected.strip()}")
            cases.append(Case(f"[{given}]", expected.strip()))
    return CodeTask("python", python.name, tuple(cases), "", python.head)


def varied(cases: Sequence[Case], rng: random.Random) -> list[Case]:
    """Inputs like those of the examples, with other numbers of about their size."""

    def other(number: re.Match[str]) -> str:
        return number[1] + str(rng.randint(0, max(9, 2 * int(number[2][:6]))))

    drawn = [rng.choice(cases) for _ in range(VARIED)] if cases else []
    # What is expected is never compared, but must be of the result's type.
    return [Case(_NUMBER.sub(other, case.input), case.expected) for case in drawn]


class InSandbox:
    """Quality by running candidates; close it after use. seed: of the inputs drawn."""

    def __init__(self, limits: Limits, seed: int = 0) -> None:
        self._sandbox: Sandbox = open_sandbox(limits)
        self._seed = seed

    def __call__(self, task: str, candidates: Sequence[str]) -> list[float]:
        asked = read_task(task)
        if asked is None:
            return constant(task, candidates)
        n = len(asked.cases)
        extra = varied(asked.cases, random.Random(f"{self._seed} {task}"))
        whole = replace(asked, cases=(*asked.cases, *extra) or (Case("[]", "0"),))
        found = []
        for text in candidates:
            try:
                v = verify(self._sandbox, whole, text)
            except PawlError:  # the examples, as read, are no cases of this language
                return constant(task, candidates)
            found.append((v.compiled, v.passed[:n], v.values[n:]))
        shares = [sum(passed) / n if n else 1.0 for _, passed, _ in found]
        best = max(shares, default=0.0)  # the majority of those that fit the examples best
        votes = [
            Counter(v[i] for (_, _, v), s in zip(found, shares, strict=True) if s == best and v[i:])
            for i in range(len(extra))
        ]
        return [
            RUNS * runs + EXAMPLES * share * runs + MAJORITY * _agreement(values, votes) * runs
            for (runs, _, values), share in zip(found, shares, strict=True)
        ]

    def close(self) -> None:
        """End the sandbox."""
        self._sandbox.close()


def _agreement(values: Sequence[str], votes: Sequence[Counter[str]]) -> float:
    """Share of the inputs on which a candidate says what most say; 1 where there are none."""
    if not votes:
        return 1.0
    same = [
        bool(values[i:]) and vote[values[i]] == max(vote.values(), default=0) and values[i] != ""
        for i, vote in enumerate(votes)
    ]
    return sum(same) / len(same)

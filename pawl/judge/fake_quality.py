"""Where the fake teacher's idea of quality comes from: the sandbox, the length, or nothing.

`sandbox` runs candidates without tests of anybody: does a program parse and run, does it agree with
the examples that the task itself shows, and with the majority of the candidates on inputs varied
from these examples. Left out: real understanding.
"""

from __future__ import annotations

import random
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pawl.errors import PawlError
from pawl.problems import ocaml_text, python_text
from pawl.sandbox.slot import Limits, Sandbox
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.verify import verify
from pawl.types import Case, CodeTask

VARIED = 6  # inputs drawn beside the examples
RUNS, EXAMPLES, MAJORITY = 0.2, 0.4, 0.4  # what quality is made of
_NUMBER = re.compile(r"(?<![\w.])(-?)(\d+)(?![\w.])")


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

    drawn = [rng.choice(cases).input for _ in range(VARIED)] if cases else []
    return [Case(_NUMBER.sub(other, text), "0") for text in drawn]


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

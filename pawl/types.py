"""Records that cross folders: problems in, samples and scores out.

Plain frozen dataclasses without behaviour beyond small derived facts; no torch, no I/O. Each part
of Pawl talks to the others in these words alone. Left out: config models (`pawl.config`) and
anything that only one folder uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Lang = Literal["ocaml", "python"]
Verdict = Literal[
    "pass",
    "wrong",
    "exception",
    "timeout",
    "memory",
    "output",
    "unserialisable",
    "compile",
    "rejected",
    "infra_error",
]
Tier = Literal["bubblewrap", "landlock", "unsafe", ""]
Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Case:
    """One test: an input and the expected result, both as source text of the problem's language.

    Python: `input` is a literal list of positional arguments ("[[1, 2], 3]"), `expected` a literal.
    OCaml: `input` is a call expression ("solve [1; 2] 3"), `expected` an expression of the result
    type. `shown` says that the prompt displays this very case: it counts for the verdict but earns
    no partial credit. `close` compares floats with 1e-6 relative or absolute tolerance.
    """

    input: str
    expected: str
    shown: bool = False
    close: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: what the model reads, what must hold of its answer, and where it came from.

    prompt: the task as text ("" when `messages` holds it). head: the opening of the definition
    that a bare body continues ("let f (x : int) : int =" / "def f(x):"). signature: OCaml's
    interface ("val f : int -> int"), "" for Python. solution: a whole reference definition, "" if
    unknown. spec: the operation-and-argument key that splits are made by ("" if unknown).
    pass_rate: measured pass@1 of some base model, None if never measured. where: file:line.
    """

    id: str
    lang: Lang
    prompt: str
    entry_point: str
    cases: tuple[Case, ...]
    messages: tuple[Message, ...] = ()
    signature: str = ""
    head: str = ""
    solution: str = ""
    difficulty: str = ""
    family: str = ""
    spec: str = ""
    tags: tuple[str, ...] = ()
    pass_rate: float | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion as it was sampled; masks follow from the lengths, never from token values.

    group: index of the prompt within the batch; member: index within the group (0 .. G-1).
    tokens: sampled ids, the EOS included when one was sampled. logps: the sampler's log-prob of
    each token at the sampling temperature, under top-p or top-k that of the truncated distribution
    in training. finish: "stop" (EOS or a stop string) or "length". weight_version: number of
    optimiser steps behind the weights that wrote it. kept: the ids that each token was drawn from,
    ascending, empty for the whole vocabulary; () when nothing was truncated.
    """

    problem_id: str
    group: int
    member: int
    tokens: tuple[int, ...]
    logps: tuple[float, ...]
    text: str
    finish: Finish
    weight_version: int = 0
    kept: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a batch, already in tokens; its G completions share it.

    group: index within the batch. stream: which G-sized block of RNG streams of this problem to
    use, 0 unless the same problem stands several times in one batch.
    """

    problem_id: str
    group: int
    tokens: tuple[int, ...]
    stream: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with its G samples in member order: the unit that travels from rollout to loss."""

    problem: Problem
    prompt: Prompt
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a reward sees of a sample: its text and the token facts that penalties need."""

    problem_id: str
    text: str
    n_tokens: int = 0
    finish: Finish = "stop"


@dataclass(frozen=True, slots=True)
class Score:
    """A reward with its whole story, or a typed statement that it is missing.

    total: 0 .. 1 for the built-in rewards, None exactly when `status` is "missing". verdict: what
    the tests say, independent of the end marker and of penalties. branch: the rule that paid the
    total ("pass", "tests", "staged", "capped", "penalty:runaway", ...). components: each 0 .. 1
    before weights. reason: why it is missing, or the first compiler message or exception.
    passed_cases / n_cases: tests passed, of all. paid_by: the curriculum stage whose weights paid,
    "" for reward.stages. host: wall-clock and machine facts (time_ms,
    tier, cached), kept apart so that everything else is a function of config and seed.
    """

    status: Literal["scored", "missing"]
    total: float | None
    verdict: Verdict
    branch: str
    components: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    passed_cases: int = 0
    n_cases: int = 0
    tier: Tier = ""
    time_ms: float = 0.0
    cached: bool = False
    paid_by: str = ""

    @property
    def passed(self) -> bool:
        """True when every test passed."""
        return self.verdict == "pass"


def missing(reason: str, tier: Tier = "", time_ms: float = 0.0) -> Score:
    """A score that could not be computed: never a number."""
    return Score("missing", None, "infra_error", "missing", {}, reason, tier=tier, time_ms=time_ms)


class Reward(Protocol):
    """Scores completions of one problem, in order; must not raise for a bad completion.

    Returns one Score per completion. A completion that cannot be judged gets `missing(reason)`;
    an exception is a broken grader and stops the run.
    """

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]: ...

"""Records that cross folders: problems in, samples, measurements and scores out.

Plain frozen dataclasses without behaviour beyond small derived facts; no torch, no I/O. Each part
of Pawl talks to the others in these words alone. Left out: config models (`pawl.config`) and
anything that only one folder uses.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

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
Compare = Literal[
    "==", "json", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "lacks", "raises"
]
Tier = Literal["bubblewrap", "landlock", "unsafe", ""]
Finish = Literal["stop", "length", "error"]


class Close(NamedTuple):
    """How far a number may be from the expected one, relative to the larger of the two or absolute.

    As `math.isclose` has it; the defaults hold where a test asks for closeness without numbers.
    """

    rel: float = 1e-6
    abs: float = 1e-6


@dataclass(frozen=True, slots=True)
class Case:
    """One test: an input and the expected result, both as source text of the problem's language.

    Of a program that reads standard input both are plain text. Python: `input` is a literal list of
    positional arguments ("[[1, 2], 3]"), `expected` a literal.
    OCaml: `input` is a call expression ("solve [1; 2] 3"), `expected` an expression of the result
    type. `shown` says that the prompt displays this very case: it counts for the verdict but earns
    no partial credit. `close`: by how much numbers may differ, None for not at all.

    compare: how what came back stands to `expected`, the operator of Python's between them; "json"
    is == after a way through JSON, which has lists for tuples and text for keys; "raises" is for
    a call that must raise, `expected` being the exception. view: Python, what is compared, as an
    expression of `result` and `args`, the arguments after the call ("sorted(result)", "args[0]");
    "" for the result as it is. Of printed text "lower" compares without case.
    """

    input: str
    expected: str
    shown: bool = False
    close: Close | None = None
    compare: Compare = "=="
    view: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class CodeTask:
    """What a program must do: how it is called, and the tests that decide.

    entry_point: the name of a function, `Solution().f` for a method of a class, "" for a program
    that reads standard input and prints. head: the opening of the definition that a bare body
    continues ("let f (x : int) : int =" / "def f(x):"). signature: OCaml's interface ("val f : int
    -> int"), "" for Python.
    """

    lang: Lang
    entry_point: str
    cases: tuple[Case, ...]
    signature: str = ""
    head: str = ""

    @property
    def defines(self) -> str:
        """The name that a program must bind, "" for one that reads standard input."""
        return self.entry_point.partition("().")[0]


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: what the model reads, a right answer where one is known, and where it came from.

    prompt: the task as text ("" when `messages` holds it). messages: chat turns, the answer never
    among them. reference: a right answer ("" if unknown); of a code task a whole definition. code:
    the tests, None for a task that only a reward of the user's can judge. spec: what splits are
    made by ("" if unknown). pass_rate: measured success of some base model, or of the reference
    before a judge, 0 to 1; None if never measured.
    where: file:line. metadata: the row's other columns, JSON values, for a user's reward.
    """

    id: str
    prompt: str
    code: CodeTask | None = None
    messages: tuple[Message, ...] = ()
    reference: str = ""
    difficulty: str = ""
    family: str = ""
    spec: str = ""
    tags: tuple[str, ...] = ()
    pass_rate: float | None = None
    where: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def lang(self) -> str:
        """The programming language that the row states or the tests are in, "" for none."""
        return self.code.lang if self.code else str(self.metadata.get("lang") or "")

    @property
    def task(self) -> CodeTask:
        """`code` of a problem that is known to have tests."""
        assert self.code is not None, f"{self.id} has no tests"
        return self.code


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion as it was sampled; masks follow from the lengths, never from token values.

    group: index of the prompt within the batch; member: index within the group (0 .. G-1).
    tokens: sampled ids, the EOS included when one was sampled. logps: the sampler's log-prob of
    each token at the sampling temperature, under top-p or top-k that of the truncated distribution
    in training. finish: "stop" (EOS or a stop string), "length", or "error": the engine could not
    finish it, `error` says why, and tokens and text, possibly none, are what there was; such a
    sample is kept, never measured and never trained on. weight_version: number of optimiser steps
    behind the weights that wrote it. kept: the ids that each token was drawn from,
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
    error: str = ""


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
class Measurement:
    """What one scorer found of one completion. It pays nothing: `pawl.rewards.pay` does.

    values: by name, on the scorer's own scale; empty exactly when `status` is "missing". verdict:
    what tests say, None where nothing was run. reason: why it is missing, or the first compiler
    message or exception. usage: what it cost (tokens, requests), by name. passed_cases / n_cases:
    tests passed, of all. tier, time_ms, cached, warm (started by the fork server): facts of this
    machine and moment. reading: which of
    the programs that a completion may mean was graded, "" where none was. Of a judge: baseline,
    what it found of the problem's reference, None where it was not asked; levels, its answer to
    each criterion as a distribution; place, where it was shown (`pawl.judge.contract`).
    """

    status: Literal["measured", "missing"]
    values: Mapping[str, float] = field(default_factory=dict, hash=False)
    verdict: Verdict | None = None
    reason: str = ""
    usage: Mapping[str, float] = field(default_factory=dict, hash=False)
    passed_cases: int = 0
    n_cases: int = 0
    tier: Tier = ""
    time_ms: float = 0.0
    cached: bool = False
    warm: bool = False
    reading: str = ""
    baseline: Measurement | None = None
    levels: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    place: float | None = None


def missing(reason: str, tier: Tier = "", time_ms: float = 0.0) -> Measurement:
    """A measurement that could not be had: never a number."""
    return Measurement("missing", {}, "infra_error", reason, tier=tier, time_ms=time_ms)


@dataclass(frozen=True, slots=True)
class Score:
    """A reward with its whole story, or a typed statement that it is missing.

    total: on the scale that the reward declares, None exactly when `status` is "missing". verdict:
    what tests say, independent of the end marker and of penalties; None for a reward that runs
    none. branch: the rule that paid the total ("pass", "tests", "capped", "penalty:runaway",
    "user", ...). components: values before weights. reason: why it is missing, or the first
    compiler message or exception. passed_cases / n_cases: tests passed, of all. reward_stage: the
    curriculum stage whose weights paid, "" for reward.stages. reading: as in Measurement. lost: why
    a component is missing that the total does without (reward.missing = common). teacher: (the
    judge's grade, its grade of the problem's reference), None where either is not there. tier,
    time_ms, cached, warm, usage: facts of this machine and moment, kept apart so that everything
    else is a function of config and seed.
    """

    status: Literal["scored", "missing"]
    total: float | None
    verdict: Verdict | None
    branch: str
    components: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    passed_cases: int = 0
    n_cases: int = 0
    tier: Tier = ""
    time_ms: float = 0.0
    cached: bool = False
    warm: bool = False
    reward_stage: str = ""
    reading: str = ""
    lost: str = ""
    teacher: tuple[float, float] | None = None
    usage: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when every test passed."""
        return self.verdict == "pass"


class Scorer(Protocol):
    """Measures completions of a problem, whole groups or parts of them; never pays.

    whole_group: every submit must hold all members of a group (a reward that compares them). A bad
    completion is a measurement; what cannot be measured is `missing(reason)`; a broken scorer
    raises from poll and stops the run.
    """

    @property
    def whole_group(self) -> bool: ...

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue completions; never waits. fresh: measure anew, whatever a cache holds."""
        ...

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """What is ready, a measurement for each completion of a key, in order.

        Waits up to `timeout` seconds for the first (None: forever).
        """
        ...

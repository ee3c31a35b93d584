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
CAUSES: dict[str, str] = {
    "none": "nothing is wrong",
    "noise-only": "differences are within noise",
    "reward-bug": "the reward function credits what it should not, or errors",
    "reward-floor": "the reward is constant or at its floor: no variance to learn from",
    "dead-component": "a reward component never pays (or always pays): parser, template, scale",
    "format-only": "only format components improve; the task component does not",
    "error-as-reward": "failures were paid as scores",
    "judge-outage": "scores cannot be had: sandbox, judge or reward fails",
    "completion-cap": "completions end at the token cap; the cap decides the reward",
    "zero-signal-groups": "groups tie; no advantage",
    "group-integrity": "rows, rewards and advantages of a group do not belong together",
    "leakage": "evaluation problems stand in the training set",
    "data-order": "problems are not drawn as the seed says: repeated, skipped or out of order",
    "template-or-eos": "the model reads or ends text in another form than it was trained on",
    "padding-side": "a row's numbers depend on its neighbours: padding or positions",
    "non-finite": "a number is NaN or infinite",
    "sampler-mismatch": "sampler and trainer log-probs disagree",
    "stale-weights": "the sampler does not get the trained weights",
    "reference-mismatch": "the reference is not the policy's starting point",
    "loss-covers-prompt": "loss or KL include prompt or padding tokens",
    "algebraic-identity": "a metric is constant by algebra: a tensor compared with itself",
    "optimiser-detached": "the optimiser does not move the weights that are trained",
    "schedule-never-warm": "the learning rate never reaches its target",
    "lr-too-high": "the update destroyed or froze the policy",
    "lr-too-low": "nothing moves",
    "policy-collapsed": "the policy is deterministic; exploration is gone",
    "premature-convergence": "converged far below what was reachable",
    "converged": "solved, or at a plateau without remaining signal",
    "random-walk": "KL grows, reward does not",
    "regression-after-peak": "the best was passed",
    "value-useless": "the critic explains nothing of the return",
    "preference-fails": "preference accuracy stays at or below chance while the loss falls",
    "degenerate-pairs": "chosen equals rejected, ties counted as errors",
}
"""The one list of causes: id -> what is wrong. Preflight and reports name causes by these ids."""

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


@dataclass(frozen=True, slots=True)
class Check:
    """One row of preflight.jsonl: what must hold before the first step, and what was seen.

    name: stable; `train.override` takes it. problem: which one, "" for the run as a whole. passed:
    None when there was nothing to check it with. cause: id of CAUSES that a violation points to.
    refuses: a violation refuses the run; False for a statistic that only warns. overridden: it
    failed and the config lets the run start all the same.
    """

    name: str
    problem: str
    expected: str
    observed: str
    passed: bool | None
    meaning: str
    tolerance: float = 0.0
    cause: str = "none"
    refuses: bool = True
    overridden: bool = False


class Reward(Protocol):
    """Scores completions of one problem, in order; must not raise for a bad completion.

    Returns one Score per completion. A completion that cannot be judged gets `missing(reason)`;
    an exception is a broken grader and stops the run.
    """

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]: ...


Severity = Literal["critical", "warning", "info"]
Argues = Literal["invalid", "fault", "converged", "unusual", "nothing"]


@dataclass(frozen=True, slots=True)
class Prescription:
    """One change that a finding suggests, never applied by the doctor itself.

    option: under Pawl's name, "" for advice that no option gives; name: what the run's own library
    calls it; before, after: its values ("" where unknown); expected: effect, size and horizon;
    cost: of trying it; verify: what must be seen; live: takes effect without a restart.
    """

    option: str
    name: str
    before: str
    after: str
    why: str
    expected: str
    risk: str
    verify: str
    cost: str = "a fork of 50 steps"
    live: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule saw. argues: the verdict that it speaks for.

    code, name: of the rule; place: metrics and steps; evidence: numbers with their uncertainty;
    causes: (id of CAUSES, weight in 0..1, why), likeliest first; series: metrics to plot; early:
    counts with fewer than 30 points too (broken invariant, not finite, destroyed).
    """

    code: str
    name: str
    severity: Severity
    argues: Argues
    place: str
    summary: str
    evidence: tuple[str, ...] = ()
    causes: tuple[tuple[str, float, str], ...] = ()
    prescription: Prescription | None = None
    series: tuple[str, ...] = ()
    early: bool = False

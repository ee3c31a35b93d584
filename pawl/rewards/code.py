"""The built-in reward for code: compiler and tests, in stages, with every branch named.

total = end marker + types + compile + tests, by the weights of `RewardConfig.stages`. Tests pay
max(0, (ok - b) / (n - b)) over the cases that the prompt does not show, b being what the best
constant answer passes. Without behaviour above that, the other stages together stay below half of
one test's worth, so no stub pays, yet progress within them is still a signal. Penalties multiply
and can only lower. Left out: running candidates (`python.py`, `ocaml.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from pawl.errors import PawlError
from pawl.sandbox import verdict as rules
from pawl.sandbox.cage import Sandbox
from pawl.sandbox.extract import ends_with
from pawl.sandbox.ocaml import verify_ocaml
from pawl.sandbox.python import constant_keys, verify_python
from pawl.sandbox.verdict import Verification
from pawl.types import Completion, Problem, Score, Verdict, missing

STAGES = ("end_marker", "types", "compile", "tests")
CAP_SHARE = 0.5  # of one test's worth, for answers without behaviour


class Weights(Protocol):
    """The part of `RewardConfig` that this reward reads."""

    stages: Any
    end_marker: str
    runaway_multiplier: float
    min_lines: int
    short_multiplier: float


def verify(sandbox: Sandbox, problem: Problem, text: str, end_marker: str = "") -> Verification:
    """Check one completion against all cases; the verdict does not depend on the end marker.

    text: a body continuing `problem.head`, a whole definition, or either in a fence; what follows
    end_marker is ignored. Raises PawlError when the problem itself cannot be judged.
    """
    if not problem.cases:
        raise PawlError("the problem has no tests", problem.where or problem.id)
    reason = rules.rejected(text)
    if reason:
        flags = (False,) * len(problem.cases)
        return Verification("rejected", flags, message=reason, tier=sandbox.tier)
    if problem.lang == "ocaml":
        return verify_ocaml(sandbox, problem, text, end_marker)
    return verify_python(sandbox, problem, text, end_marker)


def best_constant(problem: Problem) -> int:
    """b: how many cases that the prompt does not show the best constant answer passes."""
    if problem.lang == "ocaml":
        keys = [" ".join(case.expected.split()) for case in problem.cases]
    else:
        keys = constant_keys(problem)
    hidden = [key for key, case in zip(keys, problem.cases, strict=True) if not case.shown]
    return max(Counter(hidden).values(), default=0)


def stub_cap(problem: Problem, cfg: Weights) -> float:
    """Most that an answer without behaviour above the best constant can earn, 0 .. 1."""
    weights = _weights(cfg)
    hidden = sum(not case.shown for case in problem.cases)
    worth = weights["tests"] / max(1, hidden - best_constant(problem))
    return min(CAP_SHARE * worth, 1.0 - weights["tests"])


def staged(
    verification: Verification, problem: Problem, completion: Completion, cfg: Weights
) -> Score:
    """Pay a verification by stages; pure. `components.penalty` is the share taken off at the end.

    Range of total: 0 .. 1; 1 exactly for a pass in full form.
    """
    v = verification
    if v.verdict == "infra_error":
        return missing(v.message, v.tier, v.time_ms)
    parts = {
        "end_marker": float(ends_with(completion.text, cfg.end_marker)),
        "types": v.types,
        "compile": float(v.compiled),
        "tests": _tests_share(v, problem),
    }
    if v.verdict == "rejected":
        parts = dict.fromkeys(parts, 0.0)
    total, branch = _pay(parts, v.verdict, problem, completion, cfg)
    return Score(
        status="scored",
        total=total,
        verdict=v.verdict,
        branch=branch,
        components={**parts, "penalty": 1.0 - _penalty(completion, cfg)[0]},
        reason=_reason(v),
        passed_cases=sum(v.passed),
        n_cases=len(problem.cases),
        tier=v.tier,
        time_ms=v.time_ms,
    )


def restaged(score: Score, problem: Problem, completion: Completion, cfg: Weights) -> Score:
    """A score of `staged` paid by other weights, from its components; pure."""
    total, branch = _pay(score.components, score.verdict, problem, completion, cfg)
    return replace(score, total=total, branch=branch)


def _pay(
    parts: Mapping[str, float],
    verdict: Verdict,
    problem: Problem,
    completion: Completion,
    cfg: Weights,
) -> tuple[float, str]:
    """(total, branch) of the four components, each 0 .. 1."""
    weights, tests = _weights(cfg), parts["tests"]
    form = sum(weights[name] * parts[name] for name in ("end_marker", "types", "compile"))
    if tests > 0:
        total = form + weights["tests"] * tests
        branch = "pass" if verdict == "pass" else "tests"
    else:
        most = 1.0 - weights["tests"]
        cap = stub_cap(problem, cfg)
        total = form * cap / most if most > 0 else 0.0
        branch = "capped" if total > 0 else "none"
    factor, why = _penalty(completion, cfg)
    if why and total > 0:
        branch = f"penalty:{why}"
    return round(min(1.0, total * factor), 12), branch


class CodeReward:
    """`pawl.types.Reward` over one sandbox slot; deterministic but for infrastructure faults."""

    def __init__(self, cfg: Weights, sandbox: Sandbox) -> None:
        self.cfg, self.sandbox = cfg, sandbox

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]:
        """One Score per completion, in order."""
        out = []
        for completion in completions:
            found = verify(self.sandbox, problem, completion.text, self.cfg.end_marker)
            out.append(staged(found, problem, completion, self.cfg))
        return out


def _weights(cfg: Weights) -> dict[str, float]:
    """The four weights; without an end marker the other three share its part."""
    weights = {name: float(getattr(cfg.stages, name)) for name in STAGES}
    if not cfg.end_marker:
        weights["end_marker"] = 0.0
        rest = sum(weights.values())
        weights = {name: value / rest for name, value in weights.items()} if rest else weights
    return weights


def _reason(v: Verification) -> str:
    """The message; a compiler's is preceded by its stage: `syntax:`, `type:` or `compile:`."""
    if v.verdict != "compile":
        return v.message
    kind = "syntax" if v.syntax_error else "type" if v.type_errors else "compile"
    return f"{kind}: {v.message}"


def _tests_share(v: Verification, problem: Problem) -> float:
    """Share of the tests' weight: 1 for a pass; shown cases count for the verdict only."""
    if v.verdict == "pass":
        return 1.0
    hidden = [ok for ok, case in zip(v.passed, problem.cases, strict=False) if not case.shown]
    n, b = len(hidden), best_constant(problem)
    ok = min(sum(hidden), n - 1)  # all hidden passed but a shown one failed: one short of full
    return max(0.0, (ok - b) / (n - b)) if n > b else 0.0


def _penalty(completion: Completion, cfg: Weights) -> tuple[float, str]:
    """(factor 0 .. 1, name): cut at the token limit without an end, or too few lines."""
    factor, why = 1.0, ""
    text = completion.text
    cut = completion.finish == "length"
    if cut and not (cfg.end_marker and cfg.end_marker in text):
        factor, why = factor * cfg.runaway_multiplier, "runaway"
    said = text.split(cfg.end_marker)[0] if cfg.end_marker else text
    lines = sum(bool(line.strip()) for line in said.splitlines())
    if lines < cfg.min_lines:
        factor, why = factor * cfg.short_multiplier, why or "short"
    return factor, why

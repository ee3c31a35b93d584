"""Audits a problem set by running it: references pass, stubs and constants fail, no two are equal.

Static findings (`pawl.problems.check`) come first; a bad problem is reported by id, place and
reason and left out with a count. Problems without tests get the static part alone. Results are kept
by content hash in the user's cache folder, so a second audit of the same set is fast. Left out:
whether the reward itself is sound (`calibrate.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from pawl.config.options import RunConfig, SandboxConfig
from pawl.errors import PawlError
from pawl.problems.check import Finding, check_leakage, check_static, rows_of
from pawl.problems.load import Prepared, open_problems
from pawl.problems.problem_set import STARTERS, BadRow, ProblemSet
from pawl.rewards.behaviour import more_inputs, shared_inputs, twins
from pawl.rewards.kept_runs import run_all
from pawl.rewards.pool import Refused, Result
from pawl.rewards.probes import constant_text, stub, whole
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import best_constant
from pawl.types import Problem

Tell = Callable[[str], None]  # takes lines of progress
BEHAVIOUR_CPU_S = 1.0  # inputs of other problems may send a reference into an endless loop


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Findings in the order of the set, and what is left of it."""

    name: str
    total: int
    rows: tuple[Finding, ...]
    kept: ProblemSet

    @property
    def bad(self) -> list[Finding]:
        """Findings that cost their problem its place."""
        return [r for r in self.rows if r.severity == "bad"]

    def text(self) -> str:
        """One line for each bad problem, notes counted by kind with an example, then the count."""
        lines = [f"bad   {r.where}  {r.id}  {r.check}: {r.reason}" for r in self.bad]
        notes = [r for r in self.rows if r.severity == "note"]
        for kind, n in Counter(r.check for r in notes).most_common():
            first = next(r for r in notes if r.check == kind)
            lines.append(f"note  {kind}: {n} problems, the first {first.id}: {first.reason}")
        left = self.total - len(self.kept)
        lines.append(f"{self.name}: {self.total} problems, {left} left out, {len(self.kept)} kept")
        return "\n".join(lines)

    def json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "name": self.name,
            "total": self.total,
            "kept": len(self.kept),
            "findings": [asdict(r) for r in self.rows],
        }


def check_problems(
    name: str,
    lang: str,
    cfg: RunConfig,
    tell: Tell = lambda _: None,
    tested: bool | None = None,
) -> AuditReport:
    """Audit one set by name, static and executed: what `pawl check PROBLEMS` prints.

    tested: count problems without tests as bad; None does so where any problem of the set has
    tests. Raises PawlError for an unreadable set and when no sandbox can be had.
    """
    opened = open_problems(name, lang, tested=False)
    if tested is None:
        tested = any(p.code is not None for p in opened)
    if tested:
        opened = opened.tested()
    rows = [_of_row(b) for b in opened.bad]
    rows += check_static(rows_of(opened))
    held = [i for i in range(len(opened)) if opened.split_of(i).startswith("held_out")]
    if held:
        rest = sorted(set(range(len(opened))) - set(held))
        rows += check_leakage(opened.select(rest), opened.select(held))
    bad = {r.id for r in rows if r.severity == "bad"}
    rows += audit_executed(opened, cfg.sandbox, bad, tell)
    kept = _without_bad(opened, rows)
    return AuditReport(name, len(opened) + len(opened.bad), tuple(_in_order(opened, rows)), kept)


def audit_prepared(
    prepared: Prepared, sandbox: SandboxConfig, tell: Tell = lambda _: None
) -> tuple[Prepared, list[AuditReport]]:
    """Audit the parts of a run; (what is left, one report for each part that has problems).

    The sets of a mix are audited as one, so that a copy in another set is found. The starter sets
    get the static part only: they were audited when they were made. Raises PawlError when a set
    has no training problem left.
    """
    reports = []
    name, origins = prepared.train.name, prepared.train.origins
    parts = {"train": prepared.train, "held-out": prepared.held_out}
    parts["held-out families"] = prepared.held_out_families
    left: dict[str, ProblemSet] = {}
    leaks = [*check_leakage(prepared.train, prepared.held_out)]
    leaks += check_leakage(prepared.train, prepared.held_out_families)
    for part, problems in parts.items():
        rows = list(check_static(rows_of(problems)))
        rows += leaks if part == "train" else []
        if any(o.name not in STARTERS for o in origins):
            skip = {r.id for r in rows if r.severity == "bad"} | _starter_ids(problems)
            rows += audit_executed(problems, sandbox, skip, tell)
        left[part] = _without_bad(problems, rows)
        title = f"{name} ({part})"
        reports.append(AuditReport(title, len(problems), tuple(rows), left[part]))
    kept = {left["train"].origin_of(i) for i in range(len(left["train"]))}
    for k, origin in enumerate(origins):
        if k not in kept:
            raise PawlError("the audit left no training problem", origin.name, reports[0].text())
    made = Prepared(left["train"], left["held-out"], left["held-out families"], prepared.report)
    return made, [r for r in reports if r.total]


def _starter_ids(problems: ProblemSet) -> set[str]:
    """Ids of the problems that come from a starter set."""
    known = [o.name in STARTERS for o in problems.origins]
    return {p.id for i, p in enumerate(problems) if known[problems.origin_of(i)]}


def _of_row(bad: BadRow) -> Finding:
    return Finding(bad.id, bad.where, "reading", "bad", bad.reason)


def _without_bad(problems: ProblemSet, rows: Iterable[Finding]) -> ProblemSet:
    bad = {r.id for r in rows if r.severity == "bad"}
    return problems.select([i for i, p in enumerate(problems) if p.id not in bad])


def _in_order(problems: ProblemSet, rows: Sequence[Finding]) -> list[Finding]:
    place = {p.id: i for i, p in enumerate(problems)}
    return sorted(rows, key=lambda r: place.get(r.id, -1))


# ---- running -------------------------------------------------------------------------------------


def audit_executed(
    problems: ProblemSet, sandbox: SandboxConfig, skip: set[str], tell: Tell
) -> list[Finding]:
    """Findings of running references, stubs and constants, and of comparing behaviour.

    skip: ids that are bad already; problems without tests are left out too. Raises PawlError when
    the sandbox, not a problem, fails.
    """
    chosen = [p for p in problems if p.code is not None and p.id not in skip]
    if not chosen:
        return []
    jobs = [(p, kind, text) for p in chosen for kind, text in _candidates(p)]
    found: list[Finding] = []
    answers = run_all(jobs, sandbox, tell)
    for problem in chosen:
        own = {kind: answers[problem.id, kind] for kind, _ in _candidates(problem)}
        found += _judge(problem, own)
    wrong = {f.id for f in found if f.severity == "bad"}
    short = sandbox.model_copy(update={"cpu_s": min(sandbox.cpu_s, BEHAVIOUR_CPU_S)})
    return found + _same_behaviour([p for p in chosen if p.id not in wrong], short, tell)


def _candidates(problem: Problem) -> list[tuple[str, str]]:
    """The programs that the audit runs on each problem."""
    made = [("stub", whole(problem, stub(problem)))]
    give = constant_text(problem)
    body = f"  {give}\n" if problem.task.lang == "ocaml" else f"    return {give}\n"
    made.append(("constant", whole(problem, body)))
    if problem.reference:
        made.append(("reference", problem.reference))
    return made


def _judge(problem: Problem, answers: dict[str, Result]) -> list[Finding]:
    """Findings on one problem from its runs."""
    told: list[Finding] = []

    def say(check: str, reason: str, bad: bool = True) -> None:
        told.append(Finding(problem.id, problem.where, check, "bad" if bad else "note", reason))

    broken = next((a for a in answers.values() if isinstance(a, Refused)), None)
    if broken is not None:
        say("tests", broken.reason)
        return told
    runs = {k: a for k, a in answers.items() if isinstance(a, Verification)}
    unbuilt = next((a for a in runs.values() if a.message.startswith("the tests do not")), None)
    if unbuilt is not None:
        say("tests", unbuilt.message)
        return told
    for kind, run in runs.items():
        if run.verdict == "infra_error":
            raise PawlError(
                f"the audit cannot run programs ({kind} of {problem.id}): {run.message}",
                problem.where,
                "see `pawl check` with another sandbox.tier, or sandbox.wall_s on a busy machine",
            )
    if runs["stub"].verdict == "pass":
        say("stub", "a stub that only fails passes all tests")
    if runs["constant"].verdict == "pass":
        say("constant", f"the constant {constant_text(problem)[:40]} passes all tests")
    elif best_constant(problem.task) >= sum(not c.shown for c in problem.task.cases):
        say("constant", "one constant answers all hidden tests: pass or nothing", bad=False)
    reference = runs.get("reference")
    if reference is not None and reference.verdict != "pass":
        what = "does not compile" if reference.verdict == "compile" else "fails"
        failed = next((i for i, ok in enumerate(reference.passed) if not ok), None)
        test = f" (test {failed + 1})" if failed is not None and reference.compiled else ""
        say("reference", f"the reference {what}{test}: {reference.verdict}: {reference.message}")
    return told


def _same_behaviour(
    problems: Sequence[Problem], sandbox: SandboxConfig, tell: Tell
) -> list[Finding]:
    """References that agree on the inputs of all problems of their type."""
    asked = shared_inputs(problems)
    alike = twins(asked, _values(asked, sandbox, tell))
    suspects = {name for p, other, _ in alike for name in (p.id, other)}
    asked = more_inputs(problems, suspects)
    return [
        Finding(p.id, p.where, "behaviour", "bad", f"behaves like {other} on {n} shared inputs")
        for p, other, n in twins(asked, _values(asked, sandbox, tell))
    ]


def _values(
    problems: Sequence[Problem], sandbox: SandboxConfig, tell: Tell
) -> dict[str, tuple[str, ...]]:
    """What each reference returned on its cases; problems without any answer are left out."""
    answers = run_all([(p, "behaviour", p.reference) for p in problems], sandbox, tell)
    return {
        p.id: a.values
        for p in problems
        if isinstance(a := answers[p.id, "behaviour"], Verification) and any(a.values)
    }

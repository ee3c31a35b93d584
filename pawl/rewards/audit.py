"""Audits a problem set by running it: references pass, stubs and constants fail, no two are equal.

Static findings (`pawl.problems.check`) come first; a bad problem is reported by id, place and
reason and left out with a count. Problems without tests get the static part alone. Results are kept
by content hash in the user's cache folder, so a second audit of the same set is fast. Left out:
whether the reward itself is sound (`calibrate.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from pawl.config.options import RunConfig, SandboxConfig
from pawl.errors import PawlError
from pawl.problems.check import Remark, check_leakage, check_static
from pawl.problems.load import Prepared, open_problems
from pawl.problems.problem_set import STARTERS, Finding, ProblemSet
from pawl.rewards import trivial
from pawl.rewards.behaviour import more_inputs, shared_inputs, twins
from pawl.rewards.kept_runs import Jobs, Name, run_all
from pawl.rewards.pool import Refused, Result
from pawl.rewards.probes import constant_text, giving, stub, whole
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import best_constant
from pawl.types import Problem

Tell = Callable[[str], None]  # takes lines of progress
Run = Callable[[Jobs], dict[Name, Result]]  # runs programs
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
    opened = open_problems(name, lang, False, cfg.problems.fields.given())
    if tested is None:
        tested = any(p.code is not None for p in opened)
    if tested:
        opened = opened.tested()
    rows = [*opened.bad, *check_static(opened.members)]
    held = [i for i, m in enumerate(opened.members) if m.split.startswith("held_out")]
    if held:
        rest = sorted(set(range(len(opened))) - set(held))
        rows += check_leakage(opened.select(rest), opened.select(held))
    rows += audit_executed(opened, cfg.sandbox, _bad_ids(rows), tell)
    place = {p.id: i for i, p in enumerate(opened)}
    rows.sort(key=lambda r: place.get(r.id, -1))
    total = len(opened) + len(opened.bad)
    return AuditReport(name, total, tuple(rows), _without_bad(opened, rows))


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
        rows = list(check_static(problems.members))
        rows += leaks if part == "train" else []
        if any(o not in STARTERS for o in origins):
            known = [o in STARTERS for o in problems.origins]
            starters = {p.id for i, p in enumerate(problems) if known[problems.origin_of(i)]}
            rows += audit_executed(problems, sandbox, _bad_ids(rows) | starters, tell)
        left[part] = _without_bad(problems, rows)
        title = f"{name} ({part})"
        reports.append(AuditReport(title, len(problems), tuple(rows), left[part]))
    kept = {left["train"].origin_of(i) for i in range(len(left["train"]))}
    for k, origin in enumerate(origins):
        if k not in kept:
            raise PawlError("the audit left no training problem", origin, reports[0].text())
    made = Prepared(left["train"], left["held-out"], left["held-out families"], prepared.report)
    return made, [r for r in reports if r.total]


def _bad_ids(rows: Iterable[Finding]) -> set[str]:
    return {r.id for r in rows if r.severity == "bad"}


def _without_bad(problems: ProblemSet, rows: Iterable[Finding]) -> ProblemSet:
    bad = _bad_ids(rows)
    return problems.select([i for i, p in enumerate(problems) if p.id not in bad])


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
    programs = {p.id: _candidates(p) for p in chosen}
    jobs = [(p, kind, text) for p in chosen for kind, text in programs[p.id].items()]
    probes = [probe for p in chosen if (probe := trivial.ocaml_probe(p)) is not None]
    jobs += [(p, "trivial", programs[p.id]["stub"]) for p in probes]
    answers = run_all(jobs, sandbox, tell)
    found: list[Finding] = []
    for p in chosen:
        own = {kind: answers[p.id, kind] for kind in programs[p.id]}
        found += [Finding(p.id, p.where, *remark) for remark in _judge(p, own)]
        ran = answers.get((p.id, "trivial"))
        for name, what in trivial.remarks(p, ran if isinstance(ran, Verification) else None):
            found.append(Finding(p.id, p.where, "trivial", "note", f"{name} {what}"))
    wrong = _bad_ids(found)
    short = sandbox.model_copy(update={"cpu_s": min(sandbox.cpu_s, BEHAVIOUR_CPU_S)})
    run = partial(run_all, sandbox=short, tell=tell)
    return found + _same_behaviour([p for p in chosen if p.id not in wrong], run)


def _candidates(problem: Problem) -> dict[str, str]:
    """The programs that the audit runs on each problem, by kind."""
    made = {
        "stub": whole(problem, stub(problem)),
        "constant": whole(problem, giving(problem, constant_text(problem))),
    }
    return made | ({"reference": problem.reference} if problem.reference else {})


def _judge(problem: Problem, answers: dict[str, Result]) -> Iterator[Remark]:
    """Remarks on one problem from its runs."""
    runs: dict[str, Verification] = {}
    for kind, run in answers.items():
        if isinstance(run, Refused):
            yield "tests", "bad", run.reason
            return
        assert isinstance(run, Verification), "asked for"
        runs[kind] = run
    unbuilt = next((r for r in runs.values() if r.message.startswith("the tests do not")), None)
    if unbuilt is not None:
        yield "tests", "bad", unbuilt.message
        return
    for kind, run in runs.items():
        if run.verdict == "infra_error":
            raise PawlError(
                f"the audit cannot run programs ({kind} of {problem.id}): {run.message}",
                problem.where,
                "see `pawl check` with another sandbox.tier, or sandbox.wall_s on a busy machine",
            )
    if runs["stub"].verdict == "pass":
        yield "stub", "bad", "a stub that only fails passes all tests"
    if runs["constant"].verdict == "pass":
        yield "constant", "bad", f"the constant {constant_text(problem)[:40]} passes all tests"
    elif best_constant(problem.task) >= sum(not c.shown for c in problem.task.cases):
        yield "constant", "note", "one constant answers all hidden tests: pass or nothing"
    solved = runs.get("reference")
    if solved is not None and solved.verdict != "pass":
        what = "does not compile" if solved.verdict == "compile" else "fails"
        failed = next((i for i, ok in enumerate(solved.passed) if not ok), None)
        test = f" (test {failed + 1})" if failed is not None and solved.compiled else ""
        reason = f"the reference {what}{test}: {solved.verdict}: {solved.message}"
        yield "reference", "bad", reason


def _same_behaviour(problems: Sequence[Problem], run: Run) -> list[Finding]:
    """References that agree on the inputs of all problems of their type."""
    asked = shared_inputs(problems)
    alike = twins(asked, _values(asked, run))
    suspects = {name for p, other, _ in alike for name in (p.id, other)}
    asked = more_inputs(problems, suspects)
    return [
        Finding(p.id, p.where, "behaviour", "bad", f"behaves like {other} on {n} shared inputs")
        for p, other, n in twins(asked, _values(asked, run))
    ]


def _values(problems: Sequence[Problem], run: Run) -> dict[str, tuple[str, ...]]:
    """What each reference returned on its cases; problems without any answer are left out."""
    answers = run([(p, "behaviour", p.reference) for p in problems])
    return {
        p.id: a.values
        for p in problems
        if isinstance(a := answers[p.id, "behaviour"], Verification) and any(a.values)
    }

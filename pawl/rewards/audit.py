"""Audits a problem set by running it: references pass, stubs and constants fail, no two are equal.

Static findings (`pawl.problems.check`) come first; a bad problem is reported by id, place and
reason and left out with a count. Results are kept by content hash in the user's cache folder, so a
second audit of the same set is fast. Left out: whether the reward itself is sound
(`calibrate.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pawl.config.options import RewardConfig, RunConfig, SandboxConfig
from pawl.errors import PawlError
from pawl.problems.check import Finding, check_leakage, check_static, rows_of
from pawl.problems.load import Prepared, ProblemSet, open_problems
from pawl.problems.problem_set import STARTERS, BadRow
from pawl.rewards.behaviour import shared_inputs, twins
from pawl.rewards.cache import problem_digest, toolchain_facts
from pawl.rewards.code import best_constant
from pawl.rewards.feeder import Result
from pawl.rewards.pool import ScorerPool
from pawl.rewards.probes import constant_text, stub, whole
from pawl.rewards.verdict import Verification
from pawl.rewards.worker import Refused
from pawl.types import Problem

WINDOW = 64  # runs in flight
CHUNK = 512  # runs between two writes of the kept results
BEHAVIOUR_CPU_S = 1.0  # inputs of other problems may send a reference into an endless loop
Jobs = Sequence[tuple[Problem, str, str]]  # problem, kind of run, program


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


def check_problems(name: str, lang: str, cfg: RunConfig) -> AuditReport:
    """Audit one set by name, static and executed: what `pawl check PROBLEMS` prints.

    Raises PawlError for an unreadable set and when no sandbox can be had.
    """
    opened = open_problems(name, lang)
    rows = [_of_row(b) for b in opened.bad]
    rows += check_static(rows_of(opened))
    held = [i for i in range(len(opened)) if opened.split_of(i).startswith("held_out")]
    if held:
        rest = sorted(set(range(len(opened))) - set(held))
        rows += check_leakage(opened.select(rest), opened.select(held))
    rows += audit_executed(opened, cfg.sandbox, {r.id for r in rows if r.severity == "bad"})
    kept = _without_bad(opened, rows)
    return AuditReport(name, len(opened) + len(opened.bad), tuple(_in_order(opened, rows)), kept)


def audit_prepared(
    prepared: Prepared, name: str, sandbox: SandboxConfig
) -> tuple[Prepared, list[AuditReport]]:
    """Audit the parts of a run; (what is left, one report for each part that has problems).

    The starter sets get the static part only: they were audited when they were made. Raises
    PawlError when no training problem is left.
    """
    reports = []
    parts = {"train": prepared.train, "held-out": prepared.held_out}
    parts["held-out families"] = prepared.held_out_families
    left: dict[str, ProblemSet] = {}
    leaks = [*check_leakage(prepared.train, prepared.held_out)]
    leaks += check_leakage(prepared.train, prepared.held_out_families)
    for part, problems in parts.items():
        rows = list(check_static(rows_of(problems)))
        rows += leaks if part == "train" else []
        if name not in STARTERS:
            rows += audit_executed(problems, sandbox, {r.id for r in rows if r.severity == "bad"})
        left[part] = _without_bad(problems, rows)
        title = f"{name} ({part})"
        reports.append(AuditReport(title, len(problems), tuple(rows), left[part]))
    if not left["train"]:
        raise PawlError("the audit left no training problem", name, reports[0].text())
    made = Prepared(left["train"], left["held-out"], left["held-out families"], prepared.report)
    return made, [r for r in reports if r.total]


def open_pool(sandbox: SandboxConfig) -> ScorerPool:
    """A pool that verifies by tests alone, whatever the run's reward is."""
    return ScorerPool(RewardConfig(end_marker=""), sandbox, None, sandbox.workers)


def _of_row(bad: BadRow) -> Finding:
    return Finding(bad.id, bad.where, "reading", "bad", bad.reason)


def _without_bad(problems: ProblemSet, rows: Iterable[Finding]) -> ProblemSet:
    bad = {r.id for r in rows if r.severity == "bad"}
    return problems.select([i for i, p in enumerate(problems) if p.id not in bad])


def _in_order(problems: ProblemSet, rows: Sequence[Finding]) -> list[Finding]:
    place = {p.id: i for i, p in enumerate(problems)}
    return sorted(rows, key=lambda r: place.get(r.id, -1))


# ---- running -------------------------------------------------------------------------------------


def audit_executed(problems: ProblemSet, sandbox: SandboxConfig, skip: set[str]) -> list[Finding]:
    """Findings of running references, stubs and constants, and of comparing behaviour.

    skip: ids that are bad already. Raises PawlError when the sandbox, not a problem, fails.
    """
    chosen = [p for p in problems if p.id not in skip]
    jobs = [(p, kind, text) for p in chosen for kind, text in _candidates(p)]
    found: list[Finding] = []
    answers = _run(jobs, sandbox)
    for problem in chosen:
        own = {kind: answers[problem.id, kind] for kind, _ in _candidates(problem)}
        found += _judge(problem, own)
    wrong = {f.id for f in found if f.severity == "bad"}
    short = sandbox.model_copy(update={"cpu_s": min(sandbox.cpu_s, BEHAVIOUR_CPU_S)})
    return found + _same_behaviour([p for p in chosen if p.id not in wrong], short)


def _candidates(problem: Problem) -> list[tuple[str, str]]:
    """The programs that the audit runs on each problem."""
    made = [("stub", whole(problem, stub(problem)))]
    give = constant_text(problem)
    body = f"  {give}\n" if problem.lang == "ocaml" else f"    return {give}\n"
    made.append(("constant", whole(problem, body)))
    if problem.solution:
        made.append(("reference", problem.solution))
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
    elif best_constant(problem) >= sum(not c.shown for c in problem.cases):
        say("constant", "one constant answers all hidden tests: pass or nothing", bad=False)
    reference = runs.get("reference")
    if reference is not None and reference.verdict != "pass":
        what = "does not compile" if reference.verdict == "compile" else "fails"
        failed = next((i for i, ok in enumerate(reference.passed) if not ok), None)
        test = f" (test {failed + 1})" if failed is not None and reference.compiled else ""
        say("reference", f"the reference {what}{test}: {reference.verdict}: {reference.message}")
    return told


def _same_behaviour(problems: Sequence[Problem], sandbox: SandboxConfig) -> list[Finding]:
    """References that agree on the inputs of all problems of their type."""
    asked = shared_inputs(problems)
    jobs = [(p, "behaviour", p.solution) for p in asked]
    answers = _run(jobs, sandbox)
    values = {
        p.id: a.values
        for p in asked
        if isinstance(a := answers[p.id, "behaviour"], Verification) and any(a.values)
    }
    return [
        Finding(p.id, p.where, "behaviour", "bad", f"behaves like {other} on {n} shared inputs")
        for p, other, n in twins(asked, values)
    ]


def _run(jobs: Jobs, sandbox: SandboxConfig) -> dict[tuple[str, str], Result]:
    """(problem id, kind) -> what the run found, kept in the user's cache folder by content."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    limits = sandbox.model_dump_json(exclude={"workers"})
    digest = hashlib.sha256(f"{toolchain_facts()}|{limits}".encode()).hexdigest()[:16]
    path = Path(base) / "pawl" / f"audit-{digest}.jsonl"
    known = _read_kept(path)
    keys = {(p.id, kind): _content(p, text) for p, kind, text in jobs}
    done: dict[tuple[str, str], Result] = {n: known[k] for n, k in keys.items() if k in known}
    todo = [job for job in jobs if (job[0].id, job[1]) not in done]
    if todo:
        with open_pool(sandbox) as pool:
            for at in range(0, len(todo), CHUNK):
                fresh = _verify_all(todo[at : at + CHUNK], pool)
                _keep(path, {keys[n]: a for n, a in fresh.items()})
                done.update(fresh)
    return done


def _verify_all(jobs: Jobs, pool: ScorerPool) -> dict[tuple[str, str], Result]:
    """Run all, with a bounded number in flight."""
    done: dict[tuple[str, str], Result] = {}
    for sent, (problem, kind, text) in enumerate(jobs, start=1):
        pool.submit_verify((problem.id, kind), problem, text)
        while sent - len(done) >= WINDOW or (sent == len(jobs) and len(done) < sent):
            for name, answer in pool.poll_any(1.0):
                assert isinstance(name, tuple), "submitted above"
                done[name] = answer
    return done


def _read_kept(path: Path) -> dict[str, Verification]:
    known: dict[str, Verification] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            row = json.loads(line)
            fields = row["run"]
        except (ValueError, KeyError, TypeError):
            continue  # a torn last line
        for name in ("passed", "values"):
            fields[name] = tuple(fields[name])
        known[row["key"]] = Verification(**fields)
    return known


def _keep(path: Path, fresh: Mapping[str, Result]) -> None:
    """Append what is certain; a full disk costs the speed of the next audit, nothing else."""
    unsure = ("infra_error", "timeout", "memory")
    rows = [
        {"key": k, "run": asdict(replace(a, time_ms=0.0, retried=False))}
        for k, a in fresh.items()
        if isinstance(a, Verification) and a.verdict not in unsure
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as f:
            f.write("".join(json.dumps(row) + "\n" for row in rows))
    except OSError:
        return


def _content(problem: Problem, text: str) -> str:
    """Key of one run: what is judged (not the prompt) and the program."""
    judged = replace(problem, prompt="", messages=(), solution="", tags=(), id="", pass_rate=None)
    raw = problem_digest(judged).hex() + text
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()

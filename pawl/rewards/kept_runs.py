"""Verifications for the audit, run on worker processes and kept in the user's cache folder.

The key is the content of what is judged and of the program, so an audit of a set that changed a
little runs little. Only verdicts that do not depend on the machine are kept. Left out: what the
runs mean (`audit.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pawl.config.options import SandboxConfig
from pawl.rewards.cache import digest, task_digest, toolchain_facts
from pawl.rewards.feeder import Box
from pawl.rewards.pool import Result, WorkerPool
from pawl.rewards.worker import Program
from pawl.sandbox.verdict import Verification
from pawl.types import Problem

WINDOW = 64  # runs in flight
CHUNK = 256  # runs between two writes of the kept results
Jobs = Sequence[tuple[Problem, str, str]]  # problem, kind of run, program


def run_all(
    jobs: Jobs, sandbox: SandboxConfig, tell: Callable[[str], None]
) -> dict[tuple[str, str], Result]:
    """(problem id, kind) -> what the run found, kept in the user's cache folder by content.

    tell: gets a line for a person whenever a few hundred programs have been run.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    limits = sandbox.model_dump_json(exclude={"workers"})
    digest = hashlib.sha256(f"{toolchain_facts()}|{limits}".encode()).hexdigest()[:16]
    path = Path(base) / "pawl" / f"audit-{digest}.jsonl"
    known = _read_kept(path)
    keys = {(p.id, kind): _content(p, text) for p, kind, text in jobs}
    done: dict[tuple[str, str], Result] = {n: known[k] for n, k in keys.items() if k in known}
    todo = [job for job in jobs if (job[0].id, job[1]) not in done]
    if todo:
        with WorkerPool(sandbox, programs=True, workers=sandbox.workers) as pool:
            for at in range(0, len(todo), CHUNK):
                fresh = _verify_all(todo[at : at + CHUNK], pool)
                _keep(path, {keys[n]: a for n, a in fresh.items()})
                done.update(fresh)
                if len(todo) > CHUNK:
                    tell(f"audit: {min(at + CHUNK, len(todo)):,} of {len(todo):,} programs run")
    return done


def _verify_all(jobs: Jobs, pool: WorkerPool) -> dict[tuple[str, str], Result]:
    """Run all, with a bounded number in flight."""
    done: dict[tuple[str, str], Result] = {}
    box: Box = queue.SimpleQueue()
    for sent, (problem, kind, text) in enumerate(jobs, start=1):
        content = digest("bare", problem.id, task_digest(problem.task).hex(), text)
        pool.submit(box, (problem.id, kind), Program(problem, text, "", bare=True), content)
        while sent - len(done) >= WINDOW or (sent == len(jobs) and len(done) < sent):
            for name, answer in pool.take_from(box, 1.0):
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
    """Key of one run: what is judged and the program."""
    return digest(task_digest(problem.task).hex(), text).hex()

"""Verifications for the audit, run on worker processes and kept in the user's cache folder.

The key is the content of what is judged and of the program, so an audit of a set that changed a
little runs little. Only verdicts that do not depend on the machine are kept. Left out: what the
runs mean (`audit.py`).
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from pawl.config.options import SandboxConfig
from pawl.rewards.cache import DETERMINISTIC, Kept, digest, task_digest, toolchain_facts
from pawl.rewards.pool import Box, Result, WorkerPool
from pawl.rewards.worker import Job
from pawl.sandbox.verdict import Verification
from pawl.types import Completion, Problem

WINDOW = 64  # runs in flight
CHUNK = 256  # runs between two lines of progress
Jobs = Sequence[tuple[Problem, str, str]]  # problem, kind of run, program
Name = tuple[str, str]  # problem id, kind of run


def run_all(jobs: Jobs, sandbox: SandboxConfig, tell: Callable[[str], None]) -> dict[Name, Result]:
    """(problem id, kind) -> what the run found, kept in the user's cache folder by content.

    tell: gets a line for a person whenever a few hundred programs have been run, and when the runs
    could not be kept.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    limits = sandbox.model_dump_json(exclude={"workers"})
    file = f"audit-{digest(toolchain_facts(), limits).hex()[:16]}.sqlite"
    keys = {(p.id, kind): digest(task_digest(p.task).hex(), text) for p, kind, text in jobs}
    done: dict[Name, Result] = {}
    with closing(Kept(Path(base) / "pawl" / file, renews=True)) as kept:
        for name, key in keys.items():
            if (run := kept.read(key)) is not None:
                lists = {n: tuple(run[n]) for n in ("passed", "values")}
                done[name] = Verification(**run | lists)
        todo = [job for job in jobs if (job[0].id, job[1]) not in done]
        for n, (name, run) in enumerate(_verify_all(todo, sandbox), start=1):
            done[name] = run
            if isinstance(run, Verification) and run.verdict in DETERMINISTIC:
                kept.write(keys[name], asdict(replace(run, time_ms=0.0, retried=False)))
            if len(todo) > CHUNK and (n % CHUNK == 0 or n == len(todo)):
                tell(f"audit: {n:,} of {len(todo):,} programs run")
        if kept.note and todo:
            tell(kept.note)
    return done


def _verify_all(jobs: Jobs, sandbox: SandboxConfig) -> Iterator[tuple[Name, Result]]:
    """Run all on a pool of workers, with a bounded number in flight; answers as they come."""
    if not jobs:
        return
    box: Box = queue.SimpleQueue()
    answered = 0
    with closing(WorkerPool(sandbox, programs=True)) as pool:
        for sent, (problem, kind, text) in enumerate(jobs, start=1):
            content = digest("bare", problem.id, task_digest(problem.task).hex(), text)
            job = Job("code", problem, (Completion(problem.id, text),), bare=True)
            pool.submit(box, (problem.id, kind), job, content)
            while sent - answered >= WINDOW or (sent == len(jobs) and answered < sent):
                for name, answer in pool.take_from(box, 1.0):
                    assert isinstance(name, tuple), "submitted above"
                    answered += 1
                    yield name, answer

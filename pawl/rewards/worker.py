"""One scorer process: takes jobs from its standard input, gives answers on its standard output.

Imports neither torch nor pydantic, is niced, dies with its parent. Messages are pickles between two
processes of Pawl's own; candidates never hold the channel, and what a reward prints goes to
standard error. An uncaught exception ends the process after one last message that says whose code
broke. Left out: scheduling, retries and the cache (`pool.py`); `process.py` starts it.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pawl.errors import Exit, PawlError
from pawl.rewards.user import Hung, UserReward, broken_grader, load_user_reward, wall_clock
from pawl.sandbox.tiers import Sandbox
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import measured, verify
from pawl.types import Completion, Measurement, Problem, Tier

NICENESS = 1  # more starves a candidate beside training until only the wall clock stops it
_PDEATHSIG = 1


@dataclass(slots=True)
class Bounds:
    """`SandboxConfig` as a worker needs it: the options' own class takes nearly half its start."""

    tier: Tier | Literal["auto"]
    allow_unsafe: bool
    cpu_s: float
    wall_s: float
    memory_mb: int
    output_kb: int
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """First message to a worker. tier: decided by the pool, "" when no sandbox is needed; warm:
    Python candidates come from a fork server, which passed the canaries too.

    functions: the `use` strings of the user's rewards that are to be called here; call_s: the limit
    of one call.
    """

    bounds: Bounds
    tier: Tier
    warm: bool
    functions: tuple[str, ...]
    parent: int
    call_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """Completions of a problem. use: "code" runs them as programs, else a user's function.

    bare: the answer is the Verification of the one program, with what came back per case.
    """

    use: str
    problem: Problem
    completions: tuple[Completion, ...]
    end_marker: str = ""
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The problem itself cannot be judged: an expected value that is no value, no compiler."""

    reason: str


Result = list[Measurement] | Verification | Refused
# None: sandbox and functions are open. Exception: the last words of a worker that broke; a
# PawlError is the user's to cure (config or grader), anything else Pawl's bug.
Answer = Result | None | Exception


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer jobs until the input ends."""
    setup = pickle.load(source)
    assert isinstance(setup, Setup), "the first message is the set-up"
    if os.getppid() != setup.parent:
        return  # the parent died before the death signal was set
    sys.excepthook = lambda kind, error, trace: _last_words(sink, setup, error)
    # The pool's tier again; its canaries ran once, in the pool.
    opened = Sandbox(setup.bounds, setup.tier, setup.warm) if setup.tier else nullcontext()
    with opened as sandbox:
        functions = {use: load_user_reward(use, setup.call_s) for use in setup.functions}
        _send(sink, None)
        while True:
            try:
                job = pickle.load(source)
            except EOFError:
                return
            if job.use == "code":
                _send(sink, _verified(sandbox, job))
            else:
                _send(sink, _called(functions[job.use], job, setup.call_s))


def _called(reward: UserReward, job: Job, limit_s: float) -> Result:
    """What a user's function says. Raises PawlError for all that is wrong with it."""
    try:
        with wall_clock(limit_s):
            return reward.call(job.problem, job.completions)
    except (PawlError, _Leave):
        raise
    except Hung as error:
        raise reward.hung(limit_s, job.problem, job.completions, error) from error
    except BaseException as error:
        raise reward.failed(error) from error


def _verified(sandbox: Sandbox | None, job: Job) -> Result:
    """What the tests say; a problem that cannot be judged is refused, whatever the completion."""
    place = job.problem.where or job.problem.id
    try:
        assert sandbox is not None, "programs run in a sandbox"
        task, marker = job.problem.task, job.end_marker
        runs = [verify(sandbox, task, c.text, marker, place) for c in job.completions]
        return runs[0] if job.bare else [measured(run, task, place) for run in runs]
    except PawlError as error:
        if error.code == Exit.STOPPED:  # no compiler
            raise
        return Refused(error.block().removeprefix("error: "))


class _Leave(SystemExit):
    """The pool asks this process to end."""


def _leave(*_: object) -> None:
    raise _Leave


def _send(sink: BinaryIO, message: Answer) -> None:
    pickle.dump(message, sink)
    sink.flush()


def _last_words(sink: BinaryIO, setup: Setup, error: BaseException) -> None:
    """Tell the pool what ended this process."""
    if isinstance(error, BrokenPipeError):
        return  # the pool is gone
    if isinstance(error, PawlError):
        _send(sink, PawlError(error.what, error.where, error.hint, error.code))
        return
    text = "".join(traceback.format_exception(error))
    ours = RuntimeError(f"a scorer crashed: {type(error).__name__}: {error}\n{text}")
    _send(sink, broken_grader(error, setup.functions) or ours)


def main() -> None:
    """Set up the process and serve."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, _leave)
    os.nice(NICENESS)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(source, sink)

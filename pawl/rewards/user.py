"""A user's own reward: `path/file.py:function`, or an entry point of the group `pawl.rewards`.

The function takes (problem, completions) and returns one value for each completion, in order: a
number from 0 to 1, a whole `Score`, or None for "cannot be judged" (missing, never a number). An
object or class with a `score` method of the same form serves as well. What it raises is a broken
grader and stops the run. Left out: isolation; the file is the user's own and runs as the user.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import cast

from pawl.errors import Exit, PawlError
from pawl.types import Completion, Problem, Score, Verdict, missing

GROUP = "pawl.rewards"
Value = float | Score | None
Function = Callable[[Problem, Sequence[Completion]], Sequence[Value]]


class UserReward:
    """A loaded function as a `Reward`. where: file:line of its definition."""

    def __init__(self, name: str, function: Function, folder: Path | None) -> None:
        self.name, self._function, self.folder = name, function, folder
        inner = inspect.unwrap(function)
        code = getattr(inner, "__code__", None)
        self.where = f"{code.co_filename}:{code.co_firstlineno}" if code else name

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]:
        """One Score each. Raises PawlError when the function breaks its contract."""
        values: object = self._function(problem, completions)
        if not isinstance(values, list | tuple):
            raise self._broken(f"returned {type(values).__name__}, expected a list")
        if len(values) != len(completions):
            raise self._broken(f"returned {len(values)} values for {len(completions)} completions")
        return [self._one(v, problem) for v in values]

    def _one(self, value: object, problem: Problem) -> Score:
        if value is None:
            return missing(f"{self.name} gave no value")
        if isinstance(value, Score):
            if (value.total is None) != (value.status == "missing"):
                raise self._broken(f"a Score with status {value.status} and total {value.total}")
            if value.total is not None:
                self._check(value.total, problem)
            return value
        number = self._check(value, problem)
        verdict: Verdict = "pass" if number >= 1.0 else "wrong"
        n = len(problem.cases)
        return Score(
            "scored",
            number,
            verdict,
            "user",
            {self.name.rpartition(":")[2]: number},
            passed_cases=n if verdict == "pass" else 0,
            n_cases=n,
        )

    def _check(self, value: object, problem: Problem) -> float:
        """The value as a float from 0 to 1."""
        try:
            number = float(cast(float, value))
        except (TypeError, ValueError) as error:
            raise self._broken(f"returned {value!r} for {problem.id}, expected a number") from error
        if not math.isfinite(number) or not 0.0 <= number <= 1.0:
            raise self._broken(f"returned {number!r} for {problem.id}, expected 0 to 1")
        return number

    def _broken(self, what: str) -> PawlError:
        return PawlError(
            f"the reward {self.name} {what}",
            self.where,
            "return one number from 0 to 1, a Score, or None (missing) for each completion",
            Exit.STOPPED,
        )

    def fingerprint(self) -> str:
        """Hash of the source files that the reward was loaded from (its folder's modules)."""
        h = hashlib.sha256(self.name.encode())
        for path in sorted(_files_below(self.folder)):
            h.update(path.name.encode())
            h.update(path.read_bytes())
        return h.hexdigest()


def _files_below(folder: Path | None) -> set[Path]:
    """Files of the loaded modules that lie in the reward's own folder."""
    if folder is None:
        return set()
    files = (getattr(m, "__file__", None) for m in list(sys.modules.values()))
    paths = {Path(f).resolve() for f in files if f}
    return {p for p in paths if p.is_relative_to(folder) and "site-packages" not in p.parts}


def load_user_reward(use: str) -> UserReward:
    """Load `path/file.py:function` or an entry point. Raises PawlError when there is none."""
    if ":" in use:
        file, _, name = use.rpartition(":")
        return _from_file(Path(file).expanduser(), name, use)
    known = entry_points(group=GROUP)
    found = [e for e in known if e.name == use]
    if not found:
        names = ", ".join(sorted({"code", *(e.name for e in known)}))
        raise PawlError(
            f"no reward is called {use!r}",
            "reward.use",
            f"known: {names}; or write path/file.py:function",
        )
    return UserReward(use, _callable(found[0].load(), use), None)


def _from_file(path: Path, name: str, use: str) -> UserReward:
    if not path.is_file():
        raise PawlError(f"no such file: {path}", "reward.use", f"looked for it from {Path.cwd()}")
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # so that it can import its neighbours
    module_name = (
        f"pawl_user_reward_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    )
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PawlError(f"{path} is no Python file", "reward.use")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        public = ", ".join(
            n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])
        )
        raise PawlError(f"{path} has no {name}", use, f"it defines: {public or 'nothing'}")
    return UserReward(use, _callable(getattr(module, name), use), folder)


def _callable(thing: object, use: str) -> Function:
    """A function as it is; the `score` method of an object or of a class's instance."""
    if inspect.isclass(thing):
        thing = thing()
    method = getattr(thing, "score", None)
    if callable(method):
        return cast(Function, method)
    if callable(thing):
        return cast(Function, thing)
    raise PawlError(f"{use} is a {type(thing).__name__}, expected a function", "reward.use")


def broken_grader(
    error: BaseException, trace: TracebackType | None, rewards: Sequence[str]
) -> PawlError | None:
    """What a user's own code raised, as a message with its file and line; None for other code.

    rewards: the `use` strings of the user's rewards; the deepest frame in one of their folders is
    named.
    """
    folders = [Path(u.rpartition(":")[0]).resolve().parent for u in rewards if ":" in u]
    frames = [
        f
        for f in traceback.extract_tb(trace)
        if any(Path(f.filename).resolve().is_relative_to(d) for d in folders)
        and "site-packages" not in f.filename
    ]
    if isinstance(error, SyntaxError) and not frames:
        where = f"{error.filename}:{error.lineno}"
        return PawlError(f"the reward does not load: {error.msg}", where)
    if not frames:
        return None
    last = frames[-1]
    return PawlError(
        f"the reward raised {type(error).__name__}: {error}",
        f"{last.filename}:{last.lineno}",
        "an exception is a broken grader, not a bad completion: return None for what cannot be "
        "judged; the run stopped and can be resumed",
        Exit.STOPPED,
    )

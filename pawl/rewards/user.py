"""A user's own reward: `path/file.py:function`, or an entry point of the group `pawl.rewards`.

The function takes (problem, completions) and returns one value for each completion, in order: a
number, named numbers, a whole `Measurement`, or None for "cannot be judged" (missing, never a
number). It may be `async`. Attributes of the function, or of an object or class with a `score`
method of the same form, declare more:

    scale = (low, high)   the values that it may give; (0, 1) when it says nothing
    group = True          it compares: every call holds all completions of a problem's group

Of named numbers `total` is paid, or their sum where there is none; the others are recorded. What it
raises is a broken grader and ends the command, and so does a file that does not parse, or a call
that hangs. Left out: isolation; the file is the user's own and runs as the user.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import os
import re
import signal
import sys
import threading
import tokenize
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from importlib.metadata import entry_points
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import cast

from pawl.errors import PawlError, near_file
from pawl.rewards.pay import TOTAL
from pawl.types import Completion, Measurement, Problem, missing

GROUP = "pawl.rewards"
_NAME = re.compile("[a-z0-9_]+")  # what can stand in a metric
SLACK = 1e-9  # of the scale's width: sums of floats may pass its ends by rounding
WALL_S = 45.0  # what takes longer hangs: loading a file, one call
SHOWN = 80  # characters of a value or a completion in a message
Value = float | Mapping[str, float] | Measurement | None
Values = Sequence[Value]
Function = Callable[[Problem, Sequence[Completion]], Values | Awaitable[Values]]


class Hung(BaseException):
    """Raised in a user's code that takes too long; no `except Exception` of its own stops it."""


@contextmanager
def wall_clock(limit_s: float) -> Iterator[None]:
    """Raise Hung in what runs for longer than limit_s, where it runs in the main thread."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung(f"no end after {limit_s:g} s")

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class UserReward:
    """A loaded function, and what it declares. where: file:line of its definition."""

    def __init__(self, name: str, thing: object, folder: Path | None) -> None:
        """Raises PawlError for what is no function, or declares a scale that is none."""
        owner = thing() if inspect.isclass(thing) else thing
        method = getattr(owner, "score", None)
        found = method if callable(method) else owner
        if not callable(found):
            what = f"{name} is a {type(thing).__name__}, expected a function"
            raise PawlError(what, "reward.use")
        self.name, self.folder, self._function = name, folder, cast(Function, found)
        inner = inspect.unwrap(found)
        own = getattr(type(found), "__call__", None)  # noqa: B004 - a class's own call
        code = getattr(inner, "__code__", None) or getattr(own, "__code__", None)
        self.where = f"{code.co_filename}:{code.co_firstlineno}" if code else name
        kinds = (inner, found, own)  # a decorator may be async where the function is not
        self.is_async = any(inspect.iscoroutinefunction(kind) for kind in kinds)
        self.whole_group = bool(getattr(owner, "group", False))
        self.scale = self._scale(getattr(owner, "scale", (0.0, 1.0)))

    def _scale(self, given: object) -> tuple[float, float]:
        if isinstance(given, list | tuple) and len(given) == 2:
            low, high = given
            numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in given)
            if numbers and low < high:
                return float(low), float(high)
        what = f"the reward {self.name} declares the scale {given!r}"
        raise PawlError(what, self.where, "scale is (low, high), two finite numbers, low first")

    def call(self, problem: Problem, completions: Sequence[Completion]) -> list[Measurement]:
        """One measurement each. Raises PawlError when the function breaks its contract."""
        return self.read(self._function(problem, completions), problem, completions)

    async def call_async(
        self, problem: Problem, completions: Sequence[Completion]
    ) -> list[Measurement]:
        """As `call`, for an async function."""
        made = self._function(problem, completions)
        assert inspect.isawaitable(made), "declared async"
        return self.read(await made, problem, completions)

    def read(
        self, values: object, problem: Problem, completions: Sequence[Completion]
    ) -> list[Measurement]:
        """What the function returned, as measurements."""
        if not isinstance(values, list | tuple):
            raise self._broken(f"returned {type(values).__name__}, expected a list")
        if len(values) != len(completions):
            raise self._broken(f"returned {len(values)} values for {len(completions)} completions")
        return [self._one(v, problem) for v in values]

    def _one(self, value: object, problem: Problem) -> Measurement:
        if value is None:
            return missing(f"{self.name} gave no value")
        if isinstance(value, Measurement):
            if (not value.values) != (value.status == "missing"):
                raise self._broken(
                    f"a Measurement with status {value.status} and values {dict(value.values)}"
                )
            if value.status == "missing":
                return value
            named = self._named(value.values, problem)
            return Measurement(
                "measured", named, value.verdict, value.reason, value.usage,
                value.passed_cases, value.n_cases, reading=value.reading,
            )  # fmt: skip
        values = value if isinstance(value, Mapping) else {TOTAL: value}
        return Measurement("measured", self._named(values, problem))

    def _named(self, values: Mapping[str, object], problem: Problem) -> dict[str, float]:
        """Named values with their total; one that is a total alone stays so."""
        bad = [n for n in values if not (isinstance(n, str) and _NAME.fullmatch(n))]
        if bad or not values:
            raise self._broken(f"returned the names {bad}, expected [a-z0-9_]")
        found = {name: self._number(value, problem) for name, value in values.items()}
        total = found.pop(TOTAL, None)
        found[TOTAL] = self._on_scale(
            math.fsum(found.values()) if total is None else total, problem
        )
        return found

    def _number(self, value: object, problem: Problem) -> float:
        try:
            number = None if isinstance(value, str | bytes) else float(cast(float, value))
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None:
            raise self._broken(f"returned {_cut(value)} for {problem.id}, expected a number")
        if not math.isfinite(number):
            raise self._broken(f"returned {number!r} for {problem.id}, expected a finite number")
        return number

    def _on_scale(self, number: float, problem: Problem) -> float:
        """The value that is paid, cut to the scale where rounding passed its ends."""
        low, high = self.scale
        slack = SLACK * (high - low)
        if not low - slack <= number <= high + slack:
            raise self._broken(
                f"returned {number!r} for {problem.id}, expected {low:g} to {high:g}"
            )
        return min(high, max(low, number))

    def _broken(self, what: str) -> PawlError:
        low, high = self.scale
        return PawlError(
            f"the reward {self.name} {what}",
            self.where,
            f"return one number from {low:g} to {high:g} (`scale` declares another range), named "
            "numbers, a Measurement, or None (missing) for each completion",
        )

    def hung(
        self,
        limit_s: float,
        problem: Problem,
        completions: Sequence[Completion],
        error: BaseException | None = None,
    ) -> PawlError:
        """What to say of a call without an end. error: raised where it hung, if that is clear."""
        text = _cut(completions[0].text) if completions else "none"
        more = f" and {len(completions) - 1} more" if len(completions) > 1 else ""
        return PawlError(
            f"the reward {self.name} hangs: no answer within {limit_s:g} s for problem "
            f"{problem.id}, completion {text}{more}",
            place_in(error, [self.folder]) if error and self.folder else self.where,
            "give what it waits for a time-out of its own, and return None (missing) then; "
            "reward.wall_s is the limit of one call",
        )

    def failed(self, error: BaseException) -> PawlError:
        """What to say of an exception that the function raised."""
        folder = self.folder or Path(self.where.rpartition(":")[0]).resolve().parent
        return raised(f"the reward {self.name}", error, place_in(error, [folder]) or self.where)

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
    files = {f for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None))}
    # Thousands of modules lie in hundreds of folders, and to resolve a path takes a while.
    folders = {head for f in files if os.path.isabs(head := os.path.dirname(f))}
    # Some modules name a file that is none, relative to nowhere (torch.classes: "_classes.py").
    own = {head for head in folders if Path(head).resolve().is_relative_to(folder)}
    paths = {Path(f).resolve() for f in files if os.path.dirname(f) in own}
    inside = {p for p in paths if p.is_relative_to(folder) and "site-packages" not in p.parts}
    return {p for p in inside if p.is_file()}


def load_user_reward(use: str, limit_s: float = WALL_S) -> UserReward:
    """Load `path/file.py:function` or an entry point.

    Raises PawlError when there is none, and with file and line for what a user's file raises, for
    one that does not parse, and for one that takes longer than limit_s.
    """
    try:
        with wall_clock(limit_s):
            return _load(use)
    except (PawlError, KeyboardInterrupt):
        raise
    except BaseException as error:
        told = broken_grader(error, [use]) or raised("the reward", error, use)
        raise told from error


def _load(use: str) -> UserReward:
    if use.startswith("callable:"):
        raise PawlError(
            f"the reward of this run is a Python callable ({use.partition(':')[2]})",
            "reward.use",
            "hand it in again: pawl.train(resume=..., reward=...), pawl.evaluate(..., reward=...)",
        )
    if ":" in use:
        file, _, name = use.rpartition(":")
        return _from_file(Path(file).expanduser(), name, use)
    known = entry_points(group=GROUP)
    found = [e for e in known if e.name == use]
    if not found:
        names = sorted({"code", *(e.name for e in known)})
        near = get_close_matches(use, names, n=1)
        hint = f"known: {', '.join(names)}; or write path/file.py:function"
        hint = f"did you mean {near[0]}?" if near else hint
        hint = f"name the function: {use}:FUNCTION" if use.endswith(".py") else hint
        raise PawlError(f"no reward is called {use!r}", "reward.use", hint)
    return UserReward(use, found[0].load(), None)


def _from_file(path: Path, name: str, use: str) -> UserReward:
    if not path.is_file():
        hint = near_file(path) or f"looked for it from {Path.cwd()}"
        raise PawlError(f"no such file: {path}", "reward.use", hint)
    _require_text(path)
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # so that it can import its neighbours
    module_name = (
        f"pawl_user_reward_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    )
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PawlError(f"{path} is no Python file", "reward.use", "its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    with redirect_stdout(sys.stderr):  # standard output may be a program's
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        own = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        near = get_close_matches(name, own, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        hint += f"it defines: {', '.join(own) or 'nothing'}"
        raise PawlError(f"{path} has no {name}", "reward.use", hint)
    return UserReward(use, getattr(module, name), folder)


def _require_text(path: Path) -> None:
    """Raise PawlError with the line of what keeps a file from being Python's text."""
    raw = path.read_bytes()
    what, at = "a NUL byte", raw.find(b"\0")
    if at < 0:
        try:
            raw.decode(tokenize.detect_encoding(BytesIO(raw).readline)[0])
        except SyntaxError as error:  # no encoding of that name
            what, at = str(error.msg), 0
        except UnicodeDecodeError as error:
            what, at = f"bytes that are not {error.encoding}", error.start
    if at >= 0:
        where = f"{path}:{raw.count(bytes([10]), 0, at) + 1}"
        raise PawlError(f"the reward does not load: {what}", where, "save the file as UTF-8 text")


def broken_grader(error: BaseException, rewards: Sequence[str]) -> PawlError | None:
    """What a user's own code raised, as a message with its file and line; None for other code.

    rewards: the `use` strings of the user's rewards; the deepest frame in one of their folders is
    named.
    """
    files = [Path(u.rpartition(":")[0]).expanduser() for u in rewards if ":" in u]
    where = place_in(error, [file.resolve().parent for file in files])
    if isinstance(error, SyntaxError) and (where or files):
        hint = f"the line is: {error.text.strip()}" if error.text else "see the file"
        place = f"{error.filename}:{error.lineno}" if error.lineno else where or str(files[0])
        return PawlError(f"the reward does not load: {error.msg}", place, hint)
    if isinstance(error, Hung):
        where = where or ", ".join(rewards)
        hint = (
            "loading must be quick (reward.wall_s is its limit too): do slow work in the function"
        )
        return PawlError(f"the reward hangs while it is loaded: {error}", where, hint)
    return raised("the reward", error, where) if where else None


def place_in(error: BaseException, folders: Sequence[Path | None]) -> str:
    """file:line of the deepest frame that lies in one of the folders; "" when none does."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if "site-packages" in file.parts or not file.is_file():  # "<frozen ...>" is no file
            continue
        if any(folder and file.resolve().is_relative_to(folder) for folder in folders):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def raised(who: str, error: BaseException, where: str) -> PawlError:
    """The end of a command whose reward raised."""
    return PawlError(
        f"{who} raised {type(error).__name__}: {error}",
        where,
        "an exception is a broken grader, not a bad completion: return None for what cannot be "
        "judged",
    )


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

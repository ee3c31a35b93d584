"""The grader of a run: the scorers of all components of its reward, and what they find is paid.

    completions of a group -> scorers measure -> pay (`pay.py`) -> Score

Scorers measure single completions as they come, or whole groups where they ask for them; a group
is handed out once all its members are measured by all components. Left out: the scorers themselves
(`pool.py`, `functions.py`), which completions there are (the loop).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pawl.config.options import (
    ComponentConfig,
    RewardConfig,
    RunConfig,
    SandboxConfig,
    StagesConfig,
)
from pawl.errors import PawlError, PawlErrors
from pawl.rewards.cache import MeasurementCache, toolchain_facts
from pawl.rewards.functions import FunctionScorer
from pawl.rewards.pay import TOTAL, Row, full_marks, pay
from pawl.rewards.pool import PooledFunction, SandboxScorer, WorkerPool, answer_limit_s
from pawl.rewards.user import UserReward, broken_grader, load_user_reward
from pawl.types import Completion, Measurement, Problem, Score, Scorer, Tier, missing

WHOLE = -1  # in place of a member: all of a group at once
LOOK_S = 1.0  # the longest wait without a look at what broke
TURN_S = 0.02  # how long one of several scorers is waited for before the next is looked at
Groups = Sequence[tuple[Problem, Sequence[Completion]]]


def components_of(cfg: RewardConfig) -> tuple[ComponentConfig, ...]:
    """The mix, or `use` as a mix of one with weight 1."""
    return cfg.components or (ComponentConfig(name=TOTAL, use=cfg.use),)


def stage_reward(cfg: RunConfig, stage: int) -> RewardConfig | None:
    """The reward with the weights of a curriculum's stage; None where reward.stages hold."""
    weights = cfg.curriculum[stage].weights if cfg.curriculum else {}
    if not weights:
        return None
    return cfg.reward.model_copy(update={"stages": StagesConfig(**weights)})


def has_tests(cfg: RewardConfig) -> bool:
    """Whether a component runs the problems' tests, so that every problem must have some."""
    return any(c.use == "code" for c in components_of(cfg))


def user_rewards(cfg: RewardConfig) -> list[str]:
    """The `use` strings that are a user's own code."""
    return [c.use for c in components_of(cfg) if c.use != "code"]


def check_mix(cfg: RewardConfig) -> None:
    """Raises all errors of a mix at once: duplicate names, a gate without tests, no weight."""
    parts = components_of(cfg)
    names = [c.name for c in parts]
    errors = [
        PawlError(f"two components are called {n!r}", "reward.components")
        for n in sorted({n for n in names if names.count(n) > 1})
    ]
    errors += [
        PawlError(
            f"component {c.name!r} has gate: pass, but no component runs the tests",
            "reward.components",
            "add {name: code, use: code}",
        )
        for c in parts
        if c.gate == "pass" and not has_tests(cfg)
    ]
    if full_marks(cfg) <= 0:
        errors.append(PawlError("no component can pay anything", "reward.components"))
    if errors:
        raise PawlErrors(errors)


def check_caps(cfg: RewardConfig, rewards: dict[str, UserReward]) -> None:
    """Raises for a component whose scale goes beyond a cap that nobody set."""
    errors = [
        PawlError(
            f"component {c.name!r} declares a scale up to {rewards[c.use].scale[1]:g}, and its cap "
            f"is {c.cap:g}",
            "reward.components",
            f"set its cap, for instance to {c.weight * rewards[c.use].scale[1]:g}",
        )
        for c in cfg.components
        if c.use in rewards and "cap" not in c.model_fields_set
        if c.relative == "none" and c.weight * rewards[c.use].scale[1] > max(c.cap, c.weight)
    ]
    if errors:
        raise PawlErrors(errors)


def open_user_rewards(
    cfg: RewardConfig, given: Callable[..., object] | None
) -> dict[str, UserReward]:
    """The user's functions by their `use` string. given: a callable that stands for reward.use.

    Raises PawlError for what cannot be loaded, with file and line.
    """
    found: dict[str, UserReward] = {}
    stands = not cfg.components and cfg.use != "code"
    assert given is None or stands, "a callable stands for reward.use"
    for use in dict.fromkeys(user_rewards(cfg)):
        if given is not None:
            found[use] = UserReward(use, given, None)
            continue
        try:
            found[use] = load_user_reward(use)
        except PawlError:
            raise
        except BaseException as error:  # whatever a user's file raises on loading, with its line
            known = broken_grader(error, sys.exc_info()[2], [use])
            if known is None or isinstance(error, KeyboardInterrupt):
                raise
            raise known from error
    return found


@dataclass(slots=True)
class _Group:
    """A group while it is being measured; found: component -> measurements by member.

    waiting: members that have not come yet; left: measurements that are missing still.
    """

    problem: Problem
    completions: list[Completion | None]
    found: dict[str, list[Measurement | None]]
    waiting: int
    left: int


class Grader:
    """submit every member of a group, poll for groups that are measured whole; `score` does both.

    cache_path: None keeps no measurements. function: a callable in place of `reward.use`. Raises
    PawlError at once when the sandbox or a user's reward cannot be opened. A context manager.
    """

    def __init__(
        self,
        reward: RewardConfig,
        sandbox: SandboxConfig,
        cache_path: Path | None = None,
        function: Callable[..., object] | None = None,
    ) -> None:
        check_mix(reward)
        self.reward = reward
        self.user_rewards = open_user_rewards(reward, function)
        check_caps(reward, self.user_rewards)
        self._scorers: dict[str, Scorer] = {}
        self._groups: dict[Hashable, _Group] = {}
        self._ready: list[tuple[Hashable, list[Row]]] = []
        self._fresh = 0
        self._pool: WorkerPool | None = None
        self._cache: MeasurementCache | None = None
        self._closing = ExitStack()
        here = function is not None  # a callable stays in this process, and so does what awaits
        own = {u: r for u, r in self.user_rewards.items() if here or r.is_async}
        pooled = [u for u in self.user_rewards if u not in own]
        try:
            if has_tests(reward) or pooled:
                self._pool = WorkerPool(
                    sandbox, has_tests(reward), pooled, cache_path, sandbox.workers
                )
                self._closing.callback(self._pool.close)
            if own and cache_path is not None:
                self._cache = MeasurementCache(cache_path)
                self._closing.callback(self._cache.close)
            for part in components_of(reward):
                self._scorers[part.name] = self._open(part.use, own, answer_limit_s(sandbox))
        except BaseException:
            self._closing.close()
            raise

    def _open(self, use: str, own: dict[str, UserReward], limit_s: float) -> Scorer:
        if use in own:
            scorer = FunctionScorer(own[use], self.reward.in_flight, limit_s, self._cache)
            self._closing.callback(scorer.close)
            return scorer
        assert self._pool is not None, "opened for the code reward and for functions of a file"
        if use == "code":
            return SandboxScorer(self._pool, self.reward.end_marker)
        return PooledFunction(self._pool, self.user_rewards[use])

    @property
    def tier(self) -> Tier:
        """The sandbox tier in use, "" when no component runs programs."""
        return self._pool.tier if self._pool is not None else ""

    def _range(self, part: ComponentConfig) -> tuple[float, float]:
        """Lowest and highest value of a component, before its weight."""
        low, high = self.user_rewards[part.use].scale if part.use != "code" else (0.0, 1.0)
        if part.relative == "rank":
            return 0.0, 1.0
        return (low - high, high - low) if part.relative == "mean" else (low, high)

    @property
    def tops(self) -> dict[str, float]:
        """Highest value of each component's scale where it is a user's."""
        parts = components_of(self.reward)
        return {part.name: self._range(part)[1] for part in parts if part.use != "code"}

    @property
    def scale(self) -> tuple[float, float]:
        """(lowest total, what a right answer earns), for a person and for shares."""
        low = sum(part.weight * self._range(part)[0] for part in components_of(self.reward))
        return low, full_marks(self.reward, self.tops)

    @property
    def has_verdicts(self) -> bool:
        """Whether tests say of every completion that it passes or not."""
        return has_tests(self.reward)

    @property
    def whole_group(self) -> bool:
        """Whether some component compares the members of a group."""
        return any(scorer.whole_group for scorer in self._scorers.values()) or any(
            part.relative != "none" for part in self.reward.components
        )

    def describe(self) -> dict[str, object]:
        """Facts for the run record: tier, layers, toolchain, workers, and why the cache is off."""
        if self._pool is not None:
            return self._pool.describe()
        note = self._cache.note if self._cache else ""
        return {"tier": "", "toolchain": toolchain_facts(), "workers": 0, "cache_note": note}

    def worker_pids(self) -> list[int]:
        """Process ids of the running workers."""
        return self._pool.worker_pids() if self._pool is not None else []

    # ---- measuring -------------------------------------------------------------------------------

    def submit(
        self,
        group: Hashable,
        member: int,
        size: int,
        problem: Problem,
        completion: Completion | None,
        reason: str = "",
        fresh: bool = False,
    ) -> None:
        """Queue one member of a group of `size`; never waits.

        completion: None for a member that there is no completion of, for `reason`; it is missing.
        fresh: as in `pawl.types.Scorer`.
        """
        entry = self._groups.get(group)
        if entry is None:
            found: dict[str, list[Measurement | None]]
            found = {name: [None] * size for name in self._scorers}
            entry = _Group(problem, [None] * size, found, size, size * len(found))
            self._groups[group] = entry
        entry.completions[member] = completion
        entry.waiting -= 1
        for name, scorer in self._scorers.items():
            if completion is None:
                entry.found[name][member] = missing(reason, self.tier)
                entry.left -= 1
            elif not scorer.whole_group:
                scorer.submit((group, member), problem, [completion], fresh)
        present = [c for c in entry.completions if c is not None]
        for scorer in self._scorers.values():
            if scorer.whole_group and not entry.waiting and present:
                scorer.submit((group, WHOLE), problem, present, fresh)
        if not entry.left:
            self._ready.append((group, self._taken(group)))

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Row]]]:
        """The groups that are measured whole by now, a row for each member in order.

        Waits up to `timeout` seconds for anything new (None: forever), which may be no whole group.
        Raises PawlError when a user's reward raised, RuntimeError when Pawl's own code did.
        """
        until = None if timeout is None else time.monotonic() + timeout
        longest = LOOK_S if timeout is None else timeout  # what broke is seen between two waits
        while True:
            ready, self._ready = self._ready, []
            news = bool(ready)
            alone = len(self._scorers) == 1
            for name, scorer in self._scorers.items():
                wait = 0.0 if not timeout and timeout is not None else TURN_S
                for key, found in scorer.poll(longest if alone else wait):
                    news = True
                    ready += self._note(name, key, found)
            if news or (until is not None and time.monotonic() >= until):
                return ready

    def _note(
        self, name: str, key: Hashable, found: Sequence[Measurement]
    ) -> list[tuple[Hashable, list[Row]]]:
        """Put measurements into their places; the group when it is whole."""
        assert isinstance(key, tuple), "as submitted"
        group, member = key
        entry = self._groups[group]
        present = [i for i, c in enumerate(entry.completions) if c is not None]
        places = present if member == WHOLE else [member]
        for place, measurement in zip(places, found, strict=True):
            entry.found[name][place] = measurement
        entry.left -= len(found)
        return [] if entry.left else [(group, self._taken(group))]

    def _taken(self, group: Hashable) -> list[Row]:
        """The rows of a group that is measured whole; it is forgotten."""
        entry = self._groups.pop(group)
        rows: list[Row] = []
        for i in range(len(entry.completions)):
            row = {name: column[i] for name, column in entry.found.items()}
            rows.append({name: m for name, m in row.items() if m is not None})
        return rows

    def measure(self, groups: Groups, fresh: bool = False) -> list[list[Row]]:
        """Measure whole groups and wait; in the order given."""
        self._fresh += 1
        names = [("measure", self._fresh, i) for i in range(len(groups))]
        for name, (problem, completions) in zip(names, groups, strict=True):
            for member, completion in enumerate(completions):
                self.submit(name, member, len(completions), problem, completion, fresh=fresh)
        done: dict[Hashable, list[Row]] = {
            name: [] for name, (_, members) in zip(names, groups, strict=True) if not members
        }
        while len(done) < len(groups):
            done.update(self.poll(0.5))
        return [done[name] for name in names]

    def score(self, groups: Groups, fresh: bool = False) -> list[list[Score]]:
        """Measure whole groups, wait, and pay them by the run's reward."""
        rows = self.measure(groups, fresh)
        return [pay(p, cs, r, self.reward) for (p, cs), r in zip(groups, rows, strict=True)]

    def close(self) -> None:
        """End the scorers and wait for them; work in flight is dropped."""
        self._closing.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

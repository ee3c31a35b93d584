"""The grader of a run: the scorers of all components of its reward, and what they find is paid.

    completions of a group -> scorers measure -> pay (`pay.py`) -> Score

Scorers measure single completions as they come, or whole groups where they ask for them; a group
is handed out once all its members are measured by all components. Left out: the scorers themselves
(`pool.py`, `functions.py`), which completions there are (the loop).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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
from pawl.rewards.pay import TO_TEACHER, TOTAL, Row, full_marks, pay
from pawl.rewards.pool import PooledScorer, WorkerPool
from pawl.rewards.user import UserReward, load_user_reward
from pawl.types import Completion, Measurement, Problem, Score, Scorer, Tier, missing

JUDGE = "judge"  # the `use` of a component that a teacher model grades
WHOLE = -1  # in place of a member: all of a group at once
LOOK_S = 0.1  # the longest wait without a look at what broke
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


def held_out_reward(cfg: RunConfig) -> RewardConfig:
    """What held-out evaluation is paid by: the reward, without its judge where eval.judge is off.

    Components that weigh nothing beside a judge weigh 1 without it.
    """
    if cfg.eval.judge or not has_judge(cfg.reward):
        return cfg.reward
    parts = [c for c in cfg.reward.components if c.use != JUDGE]
    if not any(c.weight > 0 for c in parts):
        parts = [c.model_copy(update={"weight": 1.0}) for c in parts]
    return cfg.reward.model_copy(update={"components": tuple(parts)})


def has_tests(cfg: RewardConfig) -> bool:
    """Whether a component runs the problems' tests, so that every problem must have some."""
    return any(c.use == "code" for c in components_of(cfg))


def user_rewards(cfg: RewardConfig) -> list[str]:
    """The `use` strings that are a user's own code."""
    return [c.use for c in components_of(cfg) if c.use not in ("code", JUDGE)]


def has_judge(cfg: RewardConfig) -> bool:
    """Whether a component is graded by a teacher model."""
    return any(c.use == JUDGE for c in components_of(cfg))


def by_tests_alone(cfg: RewardConfig) -> bool:
    """Whether nothing but tests is paid for: no user's function, no judge."""
    return all(c.use == "code" for c in components_of(cfg))


def check_mix(cfg: RewardConfig) -> None:
    """Raises all errors of a mix at once: duplicate names, a gate without tests, no weight."""
    parts = components_of(cfg)
    names = [c.name for c in parts]
    twice = sorted({n for n in names if names.count(n) > 1})
    wrong = [(f"two components are called {n!r}", "") for n in twice]
    if sum(c.use == JUDGE for c in parts) > 1:
        wrong.append(("two components use the judge", "its criteria are those of one rubric"))
    wrong += [
        (
            f"component {c.name!r} has gate: pass, but no component runs the tests",
            "add {name: code, use: code}",
        )
        for c in parts
        if c.gate == "pass" and not has_tests(cfg)
    ]
    for c in (c for c in parts if c.relative in TO_TEACHER):
        if c.use != JUDGE:
            what = f"component {c.name!r} has relative: {c.relative}, and no judge grades it"
            wrong.append((what, "only a judge grades references; take mean or rank"))
        elif c.relative == "ratio" and "cap" not in c.model_fields_set and c.weight > c.floor:
            what = f"component {c.name!r} is a ratio, and its cap is {c.cap:g}: whatever is better "
            hint = f"set its cap, at most {c.weight / c.floor:g} counts"
            wrong.append((what + "than the reference would earn the same", hint))
    if full_marks(cfg) <= 0:
        wrong.append(("no component can pay anything", ""))
    _refuse(wrong)


def open_rewards(
    cfg: RewardConfig, function: Callable[..., object] | None = None
) -> dict[str, UserReward]:
    """The user's rewards of a mix, by `use`; raises PawlError for all that is wrong with them.

    function: a callable in place of `reward.use`.
    """
    check_mix(cfg)
    alone = not cfg.components and cfg.use != "code"
    assert function is None or alone, "a callable stands for reward.use"
    rewards = {
        use: UserReward(use, function, None) if function else load_user_reward(use, cfg.wall_s)
        for use in dict.fromkeys(user_rewards(cfg))
    }
    check_caps(cfg, rewards)
    return rewards


def check_caps(cfg: RewardConfig, rewards: dict[str, UserReward]) -> None:
    """Raises for a component whose scale goes beyond a cap that nobody set."""
    tops = {c.name: rewards[c.use].scale[1] for c in cfg.components if c.use in rewards}
    _refuse(
        [
            (
                f"component {c.name!r} declares a scale up to {tops[c.name]:g}, and its cap "
                f"is {c.cap:g}",
                f"set its cap, for instance to {c.weight * tops[c.name]:g}",
            )
            for c in cfg.components
            if c.name in tops and "cap" not in c.model_fields_set and c.relative == "none"
            if c.weight * tops[c.name] > max(c.cap, c.weight)
        ]
    )


def _refuse(wrong: Sequence[tuple[str, str]]) -> None:
    """Raise all that is wrong with a mix, each with its remedy."""
    if wrong:
        raise PawlErrors([PawlError(what, "reward.components", hint) for what, hint in wrong])


@dataclass(slots=True)
class _Group:
    """A group while it is being measured. rows: what was found of each member, by component.

    names: components that are measured; waiting: members that have not come yet; left: measurements
    that are missing still.
    """

    names: tuple[str, ...]
    completions: list[Completion | None]
    rows: list[dict[str, Measurement]]
    waiting: int
    left: int


class Grader:
    """submit every member of a group, poll for groups that are measured whole; `score` does both.

    cache_path: None keeps no measurements. function: a callable in place of `reward.use`. opened:
    what `open_rewards` gave, where it was called before. judge: what grades components of a teacher
    model, closed by whoever opened it. Raises PawlError at once when the sandbox or a user's reward
    cannot be opened, or when a judge is asked for that this command has none of. A context manager.
    """

    def __init__(
        self,
        reward: RewardConfig,
        sandbox: SandboxConfig,
        cache_path: Path | None = None,
        function: Callable[..., object] | None = None,
        opened: Mapping[str, UserReward] | None = None,
        judge: Scorer | None = None,
    ) -> None:
        if has_judge(reward) and judge is None:
            raise PawlError("this command asks no judge", "reward.use", "train or evaluate with it")
        self.reward, self._judge = reward, judge
        self.user_rewards = open_rewards(reward, function) if opened is None else dict(opened)
        self._scorers: dict[str, Scorer] = {}
        self._groups: dict[Hashable, _Group] = {}
        self._ready: list[tuple[Hashable, list[Row]]] = []
        self._fresh = 0
        self._pool: WorkerPool | None = None
        self._cache: MeasurementCache | None = None
        self._closing = ExitStack()
        here = function is not None  # a callable stays in this process, and so does what awaits
        own = {u: r for u, r in self.user_rewards.items() if here or r.is_async}
        pooled = [r for u, r in self.user_rewards.items() if u not in own]
        try:
            if cache_path is not None:
                self._cache = MeasurementCache(cache_path)
                self._closing.callback(self._cache.close)
            if has_tests(reward) or pooled:
                how = (has_tests(reward), pooled, self._cache, reward.wall_s)
                self._pool = WorkerPool(sandbox, *how)
                self._closing.callback(self._pool.close)
            for part in components_of(reward):
                self._scorers[part.name] = self._open(part.use, own)
        except BaseException:
            self._closing.close()
            raise

    def _open(self, use: str, own: dict[str, UserReward]) -> Scorer:
        if use == JUDGE:
            assert self._judge is not None, "asked for above"
            return self._judge
        if use in own:
            how = (self.reward.in_flight, self.reward.wall_s, self._cache)
            scorer = FunctionScorer(own[use], *how)
            self._closing.callback(scorer.close)
            return scorer
        assert self._pool is not None, "opened for the code reward and for functions of a file"
        return PooledScorer(self._pool, self.user_rewards.get(use), self.reward.end_marker)

    @property
    def tier(self) -> Tier:
        """The sandbox tier in use, "" when no component runs programs."""
        return self._pool.tier if self._pool is not None else ""

    def values_of(self, use: str) -> tuple[float, float]:
        """Lowest and highest value that a scorer may give."""
        return self.user_rewards[use].scale if use in self.user_rewards else (0.0, 1.0)

    def _range(self, part: ComponentConfig) -> tuple[float, float]:
        """Lowest and highest value of a component, before its weight."""
        low, high = self.values_of(part.use)
        if part.relative == "rank":
            return 0.0, 1.0
        if part.relative == "ratio":
            return low, high / part.floor
        return (low, high) if part.relative == "none" else (low - high, high - low)

    @property
    def scale(self) -> tuple[float, float]:
        """(lowest total, what a right answer earns), for a person and for shares."""
        return self.scale_of(self.reward)

    def scale_of(self, reward: RewardConfig) -> tuple[float, float]:
        """The same of a reward with some of the run's components."""
        parts = components_of(reward)
        tops = {part.name: self._range(part)[1] for part in parts if part.use != "code"}
        low = sum(part.weight * self._range(part)[0] for part in parts)
        return low, full_marks(reward, tops)

    @property
    def has_verdicts(self) -> bool:
        """Whether tests say of every completion that it passes or not."""
        return has_tests(self.reward)

    @property
    def whole_group(self) -> bool:
        """Whether some component compares the members of a group."""
        return any(scorer.whole_group for scorer in self._scorers.values()) or any(
            part.relative in ("mean", "rank") for part in self.reward.components
        )

    def describe(self) -> dict[str, object]:
        """Facts for the run record: tier, layers, toolchain, workers, and why the cache is off."""
        facts, size = (self._pool.facts, self._pool.size) if self._pool else ({"tier": ""}, 0)
        note = self._cache.note if self._cache else ""
        return {**facts, "toolchain": toolchain_facts(), "workers": size, "cache_note": note}

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
        reward: RewardConfig | None = None,
    ) -> None:
        """Queue one member of a group of `size`; never waits.

        completion: None for a member that there is no completion of, for `reason`; it is missing.
        fresh: as in `pawl.types.Scorer`. reward: whose components are measured, the same for all of
        a group; some of the run's.
        """
        entry = self._groups.get(group)
        if entry is None:
            rows: list[dict[str, Measurement]] = [{} for _ in range(size)]
            names = tuple(part.name for part in components_of(reward or self.reward))
            entry = _Group(names, [None] * size, rows, size, size * len(names))
            self._groups[group] = entry
        entry.completions[member] = completion
        entry.waiting -= 1
        scorers = {name: self._scorers[name] for name in entry.names}
        for name, scorer in scorers.items():
            if completion is None:
                self._note(name, (group, member), [missing(reason, self.tier)])
            elif not scorer.whole_group:
                scorer.submit((group, member), problem, [completion], self._anew(scorer, fresh))
        present = [c for c in entry.completions if c is not None]
        for scorer in scorers.values():
            if scorer.whole_group and not entry.waiting and present:
                scorer.submit((group, WHOLE), problem, present, self._anew(scorer, fresh))

    def _anew(self, scorer: Scorer, fresh: bool) -> bool:
        """Whether to measure anew: a judge is not asked twice, its noise is no fault of wiring."""
        return fresh and scorer is not self._judge

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Row]]]:
        """The groups that are measured whole by now, a row for each member in order.

        Waits up to `timeout` seconds for anything new (None: forever), which may be no whole group.
        Raises PawlError when a user's reward raised, RuntimeError when Pawl's own code did.
        """
        until = None if timeout is None else time.monotonic() + timeout
        longest = LOOK_S if timeout is None else min(timeout, LOOK_S)  # then: did anything break?
        while True:
            news = bool(self._ready)
            alone = len(self._scorers) == 1
            for name, scorer in self._scorers.items():
                wait = 0.0 if news or timeout == 0.0 else longest if alone else TURN_S
                for key, found in scorer.poll(wait):
                    news = True
                    self._note(name, key, found)
            if news or (until is not None and time.monotonic() >= until):
                ready, self._ready = self._ready, []
                return ready

    def _note(self, name: str, key: Hashable, found: Sequence[Measurement]) -> None:
        """Put measurements into their places; a group that is whole is ready and forgotten."""
        assert isinstance(key, tuple), "as submitted"
        group, member = key
        entry = self._groups[group]
        present = [i for i, c in enumerate(entry.completions) if c is not None]
        places = present if member == WHOLE else [member]
        for place, measurement in zip(places, found, strict=True):
            entry.rows[place][name] = measurement
        entry.left -= len(found)
        if not entry.left:
            del self._groups[group]
            rows: list[Row] = [{n: row[n] for n in entry.names} for row in entry.rows]
            self._ready.append((group, rows))

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

    def __exit__(self, *_: object) -> None:
        self.close()

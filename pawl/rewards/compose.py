"""From `reward:` to one `Reward`: the built-in code reward, a user's own, or a weighted mix.

total = sum over components of min(weight * value, cap). With `gate: pass` a component pays only
when all tests pass. Beside the code reward such a gated component is a bonus: it is cut below one
test's worth, so that no bonus outweighs a test. A missing component makes the total missing. Left
out: processes (`pool.py`), the staged formula (`code.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pawl.config.options import ComponentConfig, RewardConfig
from pawl.errors import PawlError, PawlErrors
from pawl.rewards.code import CAP_SHARE, CodeReward, restaged, stub_cap
from pawl.rewards.user import UserReward, load_user_reward
from pawl.sandbox.tiers import Sandbox
from pawl.types import Completion, Problem, Reward, Score

BELOW = 0.99  # a bonus earns at most this share of one test's worth


def components_of(cfg: RewardConfig) -> tuple[ComponentConfig, ...]:
    """The mix, or `use` as a mix of one with weight 1."""
    return cfg.components or (ComponentConfig(name="total", use=cfg.use),)


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
    tested = any(c.use == "code" for c in parts)
    errors += [
        PawlError(
            f"component {c.name!r} has gate: pass, but no component runs the tests",
            "reward.components",
            "add {name: code, use: code}, with weight 0 if it should only gate",
        )
        for c in parts
        if c.gate == "pass" and not tested
    ]
    if full_marks(cfg) <= 0:
        errors.append(PawlError("no component can pay anything", "reward.components"))
    if errors:
        raise PawlErrors(errors)


def full_marks(cfg: RewardConfig) -> float:
    """What a right answer must earn: the code component's share, else all components at 1."""
    parts = components_of(cfg)
    code = [c for c in parts if c.use == "code" and c.weight > 0]
    return sum(min(c.weight, c.cap) for c in (code or parts))


def is_bonus(part: ComponentConfig, parts: Sequence[ComponentConfig]) -> bool:
    """A component gated by correctness beside the code reward."""
    return part.use != "code" and part.gate == "pass" and any(c.use == "code" for c in parts)


def bad_cap(cfg: RewardConfig, problem: Problem) -> float:
    """What a stub, constant or other known-bad answer may earn at most (see `code.stub_cap`)."""
    return full_marks(cfg) * stub_cap(problem, cfg)


class Mix:
    """The components' rewards under one roof; scores carry every component's value."""

    def __init__(self, cfg: RewardConfig, parts: Sequence[tuple[ComponentConfig, Reward]]) -> None:
        self._cfg, self._parts = cfg, list(parts)

    def score(self, problem: Problem, completions: Sequence[Completion]) -> list[Score]:
        """One total for each completion, in order."""
        columns = [reward.score(problem, completions) for _, reward in self._parts]
        return [self._mix(problem, list(row)) for row in zip(*columns, strict=True)]

    def _mix(self, problem: Problem, scores: list[Score]) -> Score:
        lost = next((s for s in scores if s.status == "missing"), None)
        configs = [c for c, _ in self._parts]
        judged = next((i for i, c in enumerate(configs) if c.use == "code"), 0)
        judge = scores[judged]
        time_ms = sum(s.time_ms for s in scores)
        if lost is not None:
            return replace(lost, tier=lost.tier or judge.tier, time_ms=time_ms)
        own: dict[str, float] = {}
        for part, score in zip(configs, scores, strict=True):
            assert score.total is not None, "a scored Score has a total"
            own[part.name] = score.total
        mixed = _mixed(judge, own, configs[judged].name, problem, self._cfg)
        return replace(mixed, components={**judge.components, **own}, time_ms=time_ms)


def _mixed(
    judge: Score, values: Mapping[str, float], name: str, problem: Problem, cfg: RewardConfig
) -> Score:
    """`judge`, the score of component `name`, with the total and branch of all components."""
    total = 0.0
    paid = []
    for part in cfg.components:
        earned = _earned(part, values[part.name], judge.passed, problem, cfg)
        total += earned
        if earned > 0 and part.name != name:
            paid.append(part.name)
    return replace(judge, total=total, branch="+".join([judge.branch, *paid]))


def _earned(
    part: ComponentConfig, value: float, passed: bool, problem: Problem, cfg: RewardConfig
) -> float:
    """What one component adds to the total."""
    if part.gate == "pass" and not passed:
        return 0.0
    earned = min(part.weight * value, part.cap)
    if is_bonus(part, cfg.components):
        one_test = bad_cap(cfg, problem) / CAP_SHARE
        earned = min(earned, BELOW * one_test)
    return earned


def repay(
    score: Score, problem: Problem, completion: Completion, cfg: RewardConfig, name: str
) -> Score:
    """A score as cfg's stages pay it, from its components; pure. name: goes into `paid_by`.

    score: of a reward that differs from cfg in its stages only, with a code component. Verdict
    and components stay; a missing score stays missing.
    """
    if score.total is None:
        return score
    judge = replace(restaged(score, problem, completion, cfg), paid_by=name)
    codes = [c.name for c in cfg.components if c.use == "code"]
    if not codes:
        return judge
    assert judge.total is not None, "a paid score has a total"
    values = {**score.components, **dict.fromkeys(codes, judge.total)}
    return replace(_mixed(judge, values, codes[0], problem, cfg), components=values)


def build_reward(cfg: RewardConfig, sandbox: Sandbox | None) -> tuple[Reward, str]:
    """(the reward, fingerprint of the user's files). Raises PawlError for what cannot be loaded.

    sandbox: needed when a component is `code`.
    """
    check_mix(cfg)
    parts: list[tuple[ComponentConfig, Reward]] = []
    prints = []
    for part in components_of(cfg):
        if part.use == "code":
            assert sandbox is not None, "the code reward needs a sandbox"
            parts.append((part, CodeReward(cfg, sandbox)))
        else:
            user: UserReward = load_user_reward(part.use)
            prints.append(user.fingerprint())
            parts.append((part, user))
    if not cfg.components:
        return parts[0][1], "".join(prints)
    return Mix(cfg, parts), "".join(prints)

"""What counts as success of a run: passing tests, the reward, or one component of it.

`eval.success` names it. Best checkpoint, gain, target, exit code and the stages of a curriculum
follow this one quantity. Left out: how it is estimated (`evaluate.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pawl.config.options import RunConfig
from pawl.config.tree import nearest
from pawl.errors import PawlError
from pawl.rewards.grader import Grader, by_tests_alone, components_of, held_out_reward
from pawl.rewards.pay import COMPONENTS
from pawl.types import Score

PASS, REWARD = "pass", "reward"


@dataclass(frozen=True, slots=True)
class Success:
    """name: pass, reward, or a component's name. low, high: the range of its values, infinite where
    a component declares none.
    """

    name: str
    low: float
    high: float

    def of(self, score: Score) -> float | None:
        """The success of one sample; None where its score is missing or lacks the component."""
        if score.total is None:
            return None
        if self.name == PASS:
            return None if score.verdict is None else float(score.passed)
        return score.total if self.name == REWARD else score.components.get(self.name)

    @property
    def label(self) -> str:
        """What a person reads."""
        return "pass@1" if self.name == PASS else self.name

    @property
    def train_metric(self) -> str:
        """The metric of a training step that measures it."""
        if self.name == PASS:
            return "verifier/pass_frac"
        if self.name == REWARD:
            return "reward/mean"
        return f"{'reward' if self.name in COMPONENTS else 'component'}/{self.name}"


def require_success(cfg: RunConfig) -> None:
    """Raise PawlError for an eval.success that the code reward, which is alone, never records.

    A reward of the user's may name values that nobody has seen yet.
    """
    names = ["auto", PASS, REWARD, *COMPONENTS, *(c.name for c in components_of(cfg.reward))]
    if cfg.eval.success not in names and by_tests_alone(cfg.reward):
        meant = nearest(cfg.eval.success, names, [])
        hint = f"did you mean {meant}?" if meant else f"one of: {', '.join(names)}"
        what = f"`eval.success` = {cfg.eval.success} is no value of this reward"
        raise PawlError(what, "eval.success", hint)


def success_of(cfg: RunConfig, grader: Grader) -> Success:
    """The success that eval.success names; auto is pass where tests run, else the reward.

    A user's reward may give verdicts of its own: then `pass` is for it to name.
    """
    name = cfg.eval.success
    if name == "auto":
        name = PASS if grader.has_verdicts else REWARD
    one = (0.0, 1.0)
    ranges = {c.name: grader.values_of(c.use) for c in components_of(cfg.reward)}
    ranges |= dict.fromkeys((PASS, *COMPONENTS), one)
    ranges[REWARD] = grader.scale_of(held_out_reward(cfg))
    unbounded = (-math.inf, math.inf)  # one of a user's named values
    return Success(name, *ranges.get(name, unbounded))

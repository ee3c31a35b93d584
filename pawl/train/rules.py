"""The user's expectations: `target:` and `rules:`, checked after each step.

A rule states what must hold once its step or epoch is reached; when it does not, its action
follows. Each rule is judged once; verdicts are read back from the run's events on resume, so that
a rule is not judged again for a step that stays. Left out: acting on verdicts, which the loop does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pawl import renamed
from pawl.config.options import RuleConfig, TargetConfig
from pawl.errors import PawlError
from pawl.metrics import CATALOGUE, catalogued
from pawl.store.read import column, count, number

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule judged: value is None when the metric was never recorded (then it fails)."""

    index: int
    step: int
    value: float | None
    passed: bool
    action: str
    text: str


def check_names(rules: Sequence[RuleConfig], target: TargetConfig | None) -> None:
    """Raise PawlError for a metric that no run records."""
    named = [("rules", f"`rules[{i}]`: ", r.metric) for i, r in enumerate(rules)]
    if target is not None:
        named.append(("target.metric", "", target.metric))
    for where, which, name in named:
        if catalogued(name) is None:
            new = renamed.METRICS.get(name)
            what = f"metric `{name}` has a new name" if new else f"unknown metric `{name}`"
            what = which + what
            hint = f"write `{new}`" if new else f"did you mean `{nearest(name)}`?"
            raise PawlError(what, where, hint)


def require_target(target: TargetConfig | None, record: Record) -> None:
    """Raise PawlError when the first evaluation, in full, lacks the target's figure.

    pass@1 exists where tests judge: a target on it would be missed whatever is learned.
    """
    name = target.metric if target is not None else ""
    if name.startswith("eval/") and "pass_at" in name and record.get(name) is None:
        what = f"`{name}` is never recorded: no test judges these completions"
        raise PawlError(what, "target.metric", "use eval/success, or eval/reward_mean")


def nearest(name: str) -> str:
    """The catalogued name that shares the most of its spelling with `name`."""
    return get_close_matches(name, list(CATALOGUE), n=1, cutoff=0.0)[0]


def due(rule: RuleConfig, record: Record) -> bool:
    """True when the record's step or epoch has reached the rule's."""
    kind, at = rule.when.split()
    value = number(record, kind)
    return value is not None and value >= float(at) - 1e-9


def value_of(metric: str, over: int, records: Sequence[Record]) -> float | None:
    """Mean of the metric over the last `over` records that hold it; None when none does."""
    seen = column(records, metric)[-over:]
    return sum(seen) / len(seen) if seen else None


def judge(rules: Sequence[RuleConfig], done: set[int], records: Sequence[Record]) -> list[Verdict]:
    """Judge every rule that is due at the last record and not in `done`.

    One that patches is settled only when it fails.
    """
    verdicts = []
    for i, rule in enumerate(rules):
        if i in done or not due(rule, records[-1]):
            continue
        value = value_of(rule.metric, rule.over, records)
        passed = value is not None and _COMPARE[rule.is_](value, rule.value)
        if rule.action == "patch" and (passed or value is None):
            continue
        shown = "never recorded" if value is None else f"{value:.4g}"
        text = f"{rule.when}: {rule.metric} {rule.is_} {rule.value:g} (seen {shown})"
        step = count(records[-1], "step")
        verdicts.append(Verdict(i, step, value, passed, rule.action, text))
    return verdicts


def reached(target: TargetConfig, records: Sequence[Record]) -> bool:
    """True when the newest recorded value of the target's metric meets it."""
    value = value_of(target.metric, 1, records)
    return value is not None and _COMPARE[target.is_](value, target.value)

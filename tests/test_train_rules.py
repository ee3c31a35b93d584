"""Rules and targets: when they are due, what they see, what an unknown name says."""

import pytest

from pawl.config.options import OptimConfig, RuleConfig, TargetConfig
from pawl.errors import PawlError
from pawl.train.control import replayed
from pawl.train.rules import check_names, judge, reached


def record(step, epoch, **metrics):
    return {"step": step, "epoch": epoch} | {k.replace("__", "/"): v for k, v in metrics.items()}


def rule(when, metric="reward/mean", comparison=">=", value=0.2, **more):
    return RuleConfig.model_validate(
        {"when": when, "metric": metric, "is": comparison, "value": value} | more
    )


def test_a_rule_is_judged_once_it_is_due_and_only_once():
    records = [record(1, 0.25, reward__mean=0.1), record(2, 0.5, reward__mean=0.3)]
    rules = [rule("epoch 0.5"), rule("step 3")]
    assert judge(rules, set(), records[:1]) == []
    (verdict,) = judge(rules, set(), records)
    assert (verdict.index, verdict.passed, verdict.value) == (0, True, 0.3)
    assert judge(rules, {0}, records) == []


def test_over_averages_the_last_records_that_hold_the_metric():
    records = [record(i, 0.0, reward__mean=v) for i, v in enumerate([9.0, 0.1, 0.3])]
    records.append(record(3, 0.0))
    (verdict,) = judge([rule("step 3", over=2)], set(), records)
    assert verdict.value == pytest.approx(0.2)


def test_a_metric_that_was_never_recorded_fails_and_says_so():
    (verdict,) = judge([rule("step 1", "eval/gain")], set(), [record(1, 0.1)])
    assert not verdict.passed
    assert verdict.value is None
    assert "never recorded" in verdict.text


def test_targets_and_names():
    target = TargetConfig.model_validate({"metric": "eval/gain_low", "is": ">", "value": 0.0})
    assert reached(target, [record(1, 0.1, eval__gain_low=0.01)])
    assert not reached(target, [record(1, 0.1, eval__gain_low=0.0)])
    assert not reached(target, [record(1, 0.1)])
    with pytest.raises(PawlError, match="reward/mean"):
        check_names([rule("step 1", "reward/maen")], None)


def test_replayed_in_the_order_of_the_run_whatever_a_resume_wrote_again():
    def event(kind, step, lr):
        return {"kind": kind, "step": step, "set": {"optim.lr": lr}, "outcome": "done"}

    rule, command = event("patch", 7, 2e-6), event("command", 9, 1e-6)
    cut = {"kind": "cut", "after_step": 5}
    for events in ([rule, command], [rule, command, cut, rule]):
        assert replayed(OptimConfig(), events, 10)[0].lr == 1e-6
    assert replayed(OptimConfig(lr=3e-6), [rule, cut], 10)[0].lr == 3e-6  # it did not fail again
    optim, later = replayed(OptimConfig(), [rule, command], 8)
    assert (optim.lr, later) == (2e-6, [command])

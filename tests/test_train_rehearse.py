"""`pawl check CONFIG`: the invariants of a first step are judged, and a sick step is refused."""

from __future__ import annotations

import pytest

from pawl.config.options import RunConfig
from pawl.train.rehearse import Rehearsal, invariants, stand_in

HEALTHY: dict[str, object] = {
    "policy/ratio_max_first_pass": 1.0,
    "policy/sampler_diff_mean": 3e-7,
    "policy/sampler_diff_max": 2e-6,
    "group/zero_std_frac": 0.5,
}


def test_a_healthy_step_passes() -> None:
    checks = invariants(HEALTHY, fp32=True)
    assert [c.passed for c in checks] == [True] * 4
    assert Rehearsal(checks, 1, 1.0, 1.0).failed == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy/ratio_max_first_pass", 1.0000001),
        ("policy/ratio_max_first_pass", None),
        ("policy/sampler_diff_mean", 2e-5),
        ("policy/sampler_diff_max", float("nan")),
    ],
)
def test_a_sick_step_fails(name: str, value: float | None) -> None:
    failed = Rehearsal(invariants({**HEALTHY, name: value}, fp32=True), 1, 1.0, 1.0).failed
    assert len(failed) == 1
    assert failed[0].meaning


def test_half_precision_is_not_judged_by_fp32_tolerances() -> None:
    checks = invariants({**HEALTHY, "policy/sampler_diff_mean": 0.01}, fp32=False)
    assert [c.passed for c in checks] == [True, None, None, True]


def test_no_signal_in_one_step_is_said_but_not_refused() -> None:
    checks = invariants({**HEALTHY, "group/zero_std_frac": 1.0}, fp32=True)
    assert (checks[3].passed, checks[3].observed) == (None, "0%")


def test_an_unreachable_data_set_is_replaced_and_named() -> None:
    pytest.importorskip("datasets", reason="pip install 'pawl[hub]'")
    asked = RunConfig.model_validate({"problems": {"train": "nobody/nothing", "lang": "python"}})
    cfg, checks = stand_in(asked)
    assert cfg.problems.train == "starter-python"
    assert [(c.expected, c.passed) for c in checks] == [("nobody/nothing", None)]
    rows = [{"set": "starter-ocaml"}, {"set": "nobody/nothing"}]
    stages = [{"name": "easy", "min_pass_rate": 0.5}]
    asked = RunConfig.model_validate({"problems": {"mix": rows}, "curriculum": stages})
    cfg, checks = stand_in(asked)
    assert (cfg.problems.train, cfg.problems.mix, cfg.curriculum) == ("starter-ocaml", (), ())
    assert [c.expected for c in checks] == ["nobody/nothing"]
    here = RunConfig()
    assert stand_in(here) == (here, [])

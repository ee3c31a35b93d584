"""`pawl check CONFIG`: the plan's counts, the estimate, and a data set out of reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pawl.config.options import RunConfig
from pawl.models.memory import Memory
from pawl.preflight.rehearse import stand_in
from pawl.problems.load import open_problems
from pawl.problems.sources import Unreachable
from pawl.train.plan import Plan, estimate, evaluated

PLAN = Plan(
    steps=100,
    updates=200,
    warmup=10,
    problems=16,
    samples=128,
    update_samples=64,
    evaluated=1000,
    checkpoints=6,
    kept=3,
    checkpoint_mb=2.0,
    memory=Memory(1 << 30, 0, 0, 0, 0, 0, 512 << 20, 0, 256 << 20, 0),
)


def test_an_unreachable_data_set_is_replaced_and_named() -> None:
    pytest.importorskip("datasets", reason="install the extra hub")
    asked = RunConfig.model_validate({"problems": {"train": "nobody/nothing", "lang": "python"}})
    with pytest.raises(Unreachable) as away:
        open_problems("nobody/nothing")
    cfg, checks = stand_in(asked, away.value)
    assert cfg.problems.train == "starter-python"
    assert [(c.expected, c.passed) for c in checks] == [("nobody/nothing", None)]
    rows = [{"set": "starter-ocaml"}, {"set": "nobody/nothing"}]
    stages = [{"name": "easy", "min_pass_rate": 0.5}]
    asked = RunConfig.model_validate({"problems": {"mix": rows}, "curriculum": stages})
    cfg, checks = stand_in(asked, away.value)
    assert (cfg.problems.train, cfg.problems.mix, cfg.curriculum) == ("starter-ocaml", (), ())
    assert [c.expected for c in checks] == ["nobody/nothing"]


def test_the_estimate_scales_one_step() -> None:
    host = {"time/step_s": 2.0, "time/generate_s": 0.5, "time/score_wait_s": 0.5}
    record = {"host": host | {"memory/peak_mb": 700.0}, "batch_samples": 100}
    made = estimate(PLAN, record, sample_bytes=100 << 20, price=3.0)
    assert made.eval_s == pytest.approx(10.0)  # 1 s for 100 samples, 1,000 of them
    assert made.seconds == pytest.approx(210.0)
    assert made.disk_mb == pytest.approx(100 * 100 + 1000 + 4 * 2.0)
    assert made.cost == pytest.approx(3.0 * 210 / 3600)
    assert estimate(PLAN, record, 1, None).cost is None


def test_evaluated_completions_are_counted() -> None:
    cfg = RunConfig.model_validate({"eval": {"every": 20, "probe": 10, "samples": 4}})
    full = (50 + 5) * 4 + 50
    assert evaluated(cfg, 100, 50, 5) == 2 * full + 4 * 10 * 4
    assert evaluated(cfg, 100, 0, 0) == 0


def test_the_plan_says_what_a_step_holds() -> None:
    assert "100 steps, 200 updates (10 of warm-up)" in PLAN.text()
    assert "16 problems and 128 samples, an update 64 samples" in PLAN.text()
    assert "1536 MiB (weights 1024, activations 512, kv cache 256;" in PLAN.memory_text()
    assert replace(PLAN, memory=None).memory_text() == ""

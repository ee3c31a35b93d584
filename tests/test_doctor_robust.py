"""The doctor never fails on a log, whatever stands in it: random metrics, values, options, samples.

Left out: files that are no logs (tests of the importers), whether a diagnosis is right.
"""

from __future__ import annotations

import warnings

import numpy as np
from doctor_logs import Floats, line, log
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pawl.doctor.diagnose import diagnose
from pawl.doctor.report_text import lines
from pawl.logs.log import Event
from pawl.metrics import CATALOGUE
from pawl.rules.catalogue import RULES

Row = dict[str, object]
Columns = dict[str, Floats]
NAMES = [name for name in CATALOGUE if not name.endswith("*")]
NAMES += ["component/a", "component/b", "component_std/a", "component_std/format"]
CORE = [need for rule in RULES for needs in rule.needs for need in needs.split("|")]
CORE = sorted({name for name in CORE if not name.endswith("*")})

values = st.one_of(
    st.floats(-10, 10),
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-12, 1e300, -1e300, np.inf, -np.inf, np.nan]),
)
columns = st.lists(values, min_size=1, max_size=45).map(np.array) | st.builds(
    np.full, st.integers(1, 120), st.sampled_from([0.0, 1.0, 0.3333333, -5.0])
)
options = st.dictionaries(
    st.sampled_from(
        ["rollout.group_size", "algo.kl_coef", "algo.epochs", "optim.lr", "model.dtype"]
        + ["train.steps", "algo.entropy_coef", "algo.std_floor", "rollout.max_tokens"]
    ),
    st.sampled_from([0, 1, 2, 8, 1e-6, "fp32", "none", None, -3, "1e-5", 1e9, True, "nan", "inf"]),
)
scores = st.fixed_dictionaries(
    {},
    optional={
        "total": st.none() | values | st.just("x"),
        "branch": st.sampled_from(["pass", "tests", ""]),
        "verdict": st.sampled_from(["wrong", "infra_error", "timeout", "pass"]),
        "status": st.sampled_from(["scored", "missing"]),
        "passed_cases": st.none() | st.integers(0, 3) | st.just("x"),
    },
)
samples = st.lists(
    st.fixed_dictionaries(
        {"score": scores | st.none() | st.just("x")},
        optional={"step": st.integers(), "group": st.integers(0, 2), "problem_id": st.text()},
    ),
    max_size=60,
)
events = st.lists(
    st.builds(
        Event,
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 50).map(float),
        st.sampled_from(["resume", "curriculum", "fork", "command", "checkpoint"]),
        st.text(max_size=20),
    ),
    max_size=5,
)
checks = st.lists(
    st.dictionaries(
        st.sampled_from(["name", "passed", "cause", "refuses", "overridden", "problem"]),
        st.sampled_from([None, True, False, "x", "padding-side", 3]),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES + 4 * CORE), columns, max_size=12),
    options,
    samples,
    events,
    checks,
)
@example(
    {"reward/mean": np.zeros(1), "reward/within_std": np.zeros(10)},
    {"rollout.group_size": -3},
    [],
    [],
    [],
)
def test_no_log_makes_the_doctor_fail(
    cols: Columns,
    config: Row,
    rows: list[Row],
    happened: list[Event],
    checked: list[Row],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        made = log(cols, config=config, samples=rows, events=happened, checks=checked)
        assert list(lines(diagnose(made)))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(CORE), columns, max_size=10))
def test_nor_do_odd_metrics_beside_a_reward(cols: Columns) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        d = diagnose(log({"reward/mean": line(90)} | cols))
        assert all(np.isfinite(c.weight) for c in d.causes)

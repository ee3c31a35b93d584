"""Preflight changes nothing, refuses what is broken with its cause, and lets healthy runs start.

The faults of bench/faults.py run through `pawl train` itself; statistics are tested as functions.
"""

import itertools
import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
import tiny_runs
from hypothesis import given
from hypothesis import strategies as st
from test_train_resume import assert_same
from tiny_runs import ROOT

from bench import faults
from pawl.checks import CAUSES, Check
from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.preflight import base as check_base
from pawl.preflight import data as check_data
from pawl.preflight import prove as preflight
from pawl.problems.check import near_duplicates, twins
from pawl.rewards.calibrate import Calibration
from pawl.store.read import read_events, read_steps
from pawl.train.data import pool_of
from pawl.train.rollouts import Rollouts
from pawl.types import Problem, Score

MET = ['target={metric: policy/entropy, is: ">", value: 0.0}']
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def run_of(model, tmp_path):
    """run_of("name", overrides, model) -> (path of the run folder, its result)."""

    def go(name, overrides=(), where=None, proved=True):
        text = tiny_runs.config(where or model)
        ways = ["train.steps=1", "eval.every=0", *overrides]
        return tiny_runs.begin(tmp_path, name, text, ways, proved=proved)

    return go


@pytest.fixture(scope="module")
def healthy(model, tmp_path_factory):
    """A run of three steps, each with its checkpoint; the reward is in worker processes."""
    folder, ways = tmp_path_factory.mktemp("healthy"), ["train.steps=3", "checkpoint.every=1"]
    ways += ["algo.kl_coef=0.1", "eval.every=0"]
    text = tiny_runs.config(model)
    return tiny_runs.begin(folder, "rows", text, ways, proved=True, pool=True)[0]


def rows_of(path):
    return [json.loads(line) for line in (path / "preflight.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "way",
    [[], ["model.lora.r=4", "algo.kl_coef=0.1"], ["algo.kl_coef=0.1", "rollout.engine=hf"]],
    ids=["full", "lora with reference", "frozen reference, hf"],
)
def test_a_run_is_the_same_with_and_without(way, run_of):
    way = [*way, "train.steps=2"]
    with_it, _ = run_of("with", way)
    assert len(rows_of(with_it)) > 30
    without, _ = run_of("without", way, proved=False)
    assert not any("step" in row for row in rows_of(without))
    assert_same(with_it, without, 2)


def test_a_resume_is_proved_again(healthy, tmp_path):
    path = shutil.copytree(healthy, tmp_path / "again")
    shutil.rmtree(path / "checkpoints" / "step-000003")
    tiny_runs.resume(path, proved=True)
    assert sorted({row["step"] for row in rows_of(path) if "step" in row}) == [0, 2]
    assert [e["step"] for e in read_events(path) if e["kind"] == "preflight"] == [0, 2]


def test_a_disk_without_room_is_refused_before_the_first_step(run_of, monkeypatch, tmp_path):
    free = [100_000]
    monkeypatch.setattr(check_base.shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with pytest.raises(PawlError, match=r"disk-space \[disk-full\].*2 checkpoints kept") as e:
        run_of("full")
    assert e.value.code == Exit.USER
    path, result = run_of("all-the-same", ["train.override=[disk-space]"])
    assert result.exit_code == Exit.OK
    saved = next((path / "checkpoints").glob("step-*"))
    size = sum(file.stat().st_size for file in saved.rglob("*.safetensors"))
    free[0] = int(4.01 * size)  # for the checkpoints, and for hardly a sample
    path, _ = run_of("tight", ["train.steps=5000", *MET])  # ends after its first step
    row = next(row for row in rows_of(path) if row["name"] == "disk-space")
    assert (row["passed"], row["refuses"]) == (False, False)


def test_every_row_says_what_it_means_and_has_its_line_in_the_docs(healthy):
    page = (ROOT.parent / "docs" / "preflight.md").read_text()
    documented = dict(re.findall(r"(?m)^\| `([a-z-]+)` \|.*\| (.*?) \|$", page))
    checks = {row["name"]: row["cause"] for row in rows_of(healthy) if "step" in row}
    of_judges = {name for name in documented if name.startswith("judge-")}  # this run has none
    assert set(checks) == set(documented) - of_judges
    assert all(cause in documented[name] for name, cause in checks.items())
    for row in rows_of(healthy):
        assert row["cause"] in CAUSES
        assert row["meaning"] and row["expected"] and row["observed"], row
        assert row["passed"] is not False or not row["refuses"], row


def test_a_refused_run_takes_no_step_and_an_override_is_recorded(run_of, tmp_path):
    late = ["optim.warmup=500"]
    with pytest.raises(PawlError) as refused:
        run_of("late", late)
    assert refused.value.code == Exit.USER
    assert refused.value.where == "schedule-never-warm"
    assert "train.override=[schedule-warms]" in refused.value.hint
    assert not list(read_steps(tmp_path / "late"))
    path, _ = run_of("allowed", [*late, "train.override=[schedule-warms]"])
    assert [row["name"] for row in rows_of(path) if row["overridden"]] == ["schedule-warms"]
    event = next(e for e in read_events(path) if e["kind"] == "preflight")
    assert event["overridden"] == ["schedule-warms"]
    with pytest.raises(PawlError, match="names no check: shedule-warms"):
        run_of("typo", ["train.override=[shedule-warms]"])


def test_causes_are_those_of_the_labels_and_the_rest():
    extras = "optimiser-detached stale-weights template-or-eos padding-side group-integrity "
    extras += "non-finite leakage data-order judge-outage"
    assert set(extras.split()) < set(CAUSES)
    labels = SHARED / "runs" / "labels.json"
    if not labels.exists():
        pytest.skip("shared/runs is not there")
    assert set(json.loads(labels.read_text())["causes"]) <= set(CAUSES)
    assert {cause for _, cause, _ in faults.FAULTS.values()} <= set(CAUSES)


OVERRIDDEN = ("constant branch", "reference is policy", "warm-up too long")  # bench: all of them


@pytest.mark.slow
@pytest.mark.parametrize("name", faults.FAULTS)
def test_a_wiring_fault_is_refused_with_its_cause(name, tmp_path):
    fault, cause, options = faults.FAULTS[name]
    out = faults.run_fault(fault, options, tmp_path, override=name in OVERRIDDEN)
    assert out.exit_code == Exit.USER
    assert out.causes[0] == cause, out
    assert out.updates == 0
    assert out.overridden_code != Exit.USER, out


FAMILIES = ("qwen2", "qwen3", "llama", "mistral", "gpt_neo")
HEALTHY = list(itertools.product(FAMILIES, (0, 4), ("fp32", "bf16")))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "lora", "dtype"), HEALTHY)
def test_healthy_runs_start(family, lora, dtype, run_of, tmp_path):
    folder = tmp_path / "made"
    policy = tiny_models.policy(family)
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    options = [f"model.lora.r={lora}", f"model.dtype={dtype}"]
    if HEALTHY.index((family, lora, dtype)) % 2:
        options += ["algo.preset=rloo", "rollout.temperature=0.8", "rollout.top_p=0.9"]
    path, _ = run_of("healthy", options, folder)
    assert not [row for row in rows_of(path) if row["passed"] is False and row["refuses"]]


@given(st.integers(1, 7), st.data())
def test_ties_are_estimated_without_bias(n, data):
    """Against every subset of the samples seen."""
    passes = data.draw(st.integers(0, n))
    size = data.draw(st.integers(1, n))
    seen = [True] * passes + [False] * (n - passes)
    subsets = list(itertools.combinations(seen, size))
    share = sum(len(set(s)) == 1 for s in subsets) / len(subsets)
    assert check_base.zero_variance(passes, n, size) == pytest.approx(share)


def test_the_ends_of_a_beta_distribution():
    """Against numerical integration of Beta(2.5, 6.5)."""
    a, b, size, m = 2.5, 6.5, 16, 20_000
    beta = math.gamma(a) * math.gamma(b) / math.gamma(a + b)
    total = 0.0
    for i in range(m):
        p = (i + 0.5) / m
        total += (p**size + (1 - p) ** size) * p ** (a - 1) * (1 - p) ** (b - 1) / beta / m
    assert check_base.both_ends(a, b, size) == pytest.approx(total, rel=1e-4)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40))
def test_larger_groups_never_tie_more(passes):
    shares = [
        check_base.expected_zero_variance([(c, 8) for c in passes], size) for size in range(1, 40)
    ]
    assert all(0 <= b <= a + 1e-12 for a, b in itertools.pairwise(shares))


def test_ties_of_larger_groups_are_foretold_from_smaller_ones():
    """2,000 problems with pass rates of Beta(0.8, 1.5): 8 samples foretell groups of 24."""
    draw = np.random.Generator(np.random.Philox(key=3))
    rates = draw.beta(0.8, 1.5, 2000)
    counts = [(int(c), 8) for c in draw.binomial(8, rates)]
    truth = float(np.mean(rates**24 + (1 - rates) ** 24))
    assert check_base.expected_zero_variance(counts, 24) == pytest.approx(truth, abs=0.02)


def rollouts_of(totals, passed=()):
    made = tuple(
        Score("scored", t, "pass" if i in passed else "wrong", "staged", {"tests": t})
        for i, t in enumerate(totals)
    )
    return Rollouts((), made, 0.0, 0.0)


def named(checks, name):
    return next(c for c in checks if c.name == name)


@pytest.mark.parametrize(
    ("inner", "passed", "refuses"), [(20, True, False), (40, False, False), (70, False, True)]
)
def test_atoms_warn_and_then_refuse(inner, passed, refuses):
    totals = [0.21] * inner + [i / (99 - inner) for i in range(100 - inner)]
    check = named(
        check_base._atoms(rollouts_of(totals).scores_S, (0.0, 1.0)), "reward-distribution"
    )
    assert (check.passed, check.refuses) == (passed, refuses)


def test_a_constant_reward_is_refused_only_when_it_is_no_chance():
    few = named(check_base._atoms(rollouts_of([0.0] * 12).scores_S, (0.0, 1.0)), "reward-varies")
    many = named(check_base._atoms(rollouts_of([0.0] * 64).scores_S, (0.0, 1.0)), "reward-varies")
    assert (few.passed, few.refuses) == (False, False)
    assert (many.passed, many.refuses, many.cause) == (False, True, "reward-floor")


def test_a_component_counts_as_dead_only_beside_right_and_wrong_answers():
    cfg = RunConfig()
    always = rollouts_of([1.0] * 64).scores_S
    alone = check_base._components(always, Calibration([], [], [], []), cfg)
    bad = [Score("scored", 0.0, "wrong", "none", {"tests": 0.0})]
    assert (alone.passed, alone.refuses) == (False, False)
    assert check_base._components(always, Calibration([], [always[0]], bad, []), cfg).passed
    right = Calibration([], [always[0]], [], [])
    assert check_base._components(always, right, cfg).refuses is True


def test_capability_counts_problems_and_advises():
    weak = check_base.capability(rollouts_of([0.0] * 80, {3}), 8)
    assert (weak.n, weak.pass_at_1, weak.mixed) == (10, 1 / 80, 0.1)
    assert not weak.advice()
    none = check_base.capability(rollouts_of([0.0] * 80), 8)
    assert "easier subset" in none.advice()[0] and none.zero_variance[8] == 1.0
    right = check_base.capability(rollouts_of([1.0] * 80, range(80)), 8)
    assert "harder" in right.advice()[0]


def problem(name, prompt, spec=""):
    return Problem(name, prompt, spec=spec)


def test_leakage_by_text_specification_and_runs_of_words():
    words = " ".join(f"word{i}" for i in range(40))
    train_set = [problem("a", "Return x  plus 1."), problem("b", words), problem("c", "q", "s1")]
    held = [
        problem("same", "return X plus 1 ."),
        problem("near", words + " more"),
        problem("far", " ".join(f"other{i}" for i in range(40))),
        problem("spec", "quite another text", "s1"),
    ]
    assert twins(train_set, held) == ["same", "spec"]
    assert near_duplicates(train_set, held) == ["near"]
    checks = check_data.of_data(train_set, held, [pool_of([range(3)], [1.0])], 0, [])
    assert [(c.name, c.passed, c.refuses) for c in checks] == [
        ("leakage", False, True),
        ("near-duplicates", False, True),
        ("reference-in-prompt", None, True),
        ("draw-order", True, True),
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any), st.integers(0, 1000))
def test_drawing_is_in_order_whatever_sets_and_seed(sizes, seed):
    members, start = [], 0
    for size in sizes:
        members.append(range(start, start := start + size))
    pools = [pool_of(members, [1.0] * len(sizes), stage) for stage in (0, 1)]
    assert check_data.order(pools, seed).passed


def test_an_override_marks_only_what_fails_and_refuses():
    checks = [
        Check("a", "", "", "", False, ""),
        Check("b", "", "", "", True, ""),
        Check("c", "", "", "", False, "", refuses=False),
    ]
    marked = preflight.overridden(checks, ["a", "b", "c"])
    assert [c.overridden for c in marked] == [True, False, False]
    preflight.require_passed(marked)
    with pytest.raises(PawlError, match="1 of 3 checks failed"):
        preflight.require_passed(checks)

"""The loop in one process: it learns, records what it should, and follows rules and commands.

A tiny random model and a user's reward, so that no compiler is needed; runs with the real compiler
are in test_train_resume.py.
"""

import re
import shutil

import pytest
import tiny_runs
from test_train_resume import without_host
from tiny_runs import Notes, fork, resume

from pawl.config.load import load_run
from pawl.errors import Exit, PawlError, PawlErrors
from pawl.metrics import CATALOGUE
from pawl.store.read import read_events, read_samples, read_steps


@pytest.fixture
def run_of(model, tmp_path):
    """Start a run: run_of("name", "optim.lr=0", ...) -> (path of its folder, TrainResult)."""

    def go(name, *overrides, more="", **how):
        return tiny_runs.begin(tmp_path, name, tiny_runs.config(model, more=more), overrides, **how)

    return go


def kinds(path):
    return [e["kind"] for e in read_events(path)]


def test_it_learns(run_of):
    path, _ = run_of("learn", "optim.lr=1e-2", "train.steps=25", "eval.every=0")
    means = [r["reward/mean"] for r in read_steps(path) if r["step"]]
    assert sum(means[-5:]) > 1.5 * sum(means[:5])


def test_a_learning_rate_of_zero_changes_nothing_and_patience_ends_the_run(run_of):
    path, result = run_of("still", "optim.lr=0", "eval.every=1", "eval.patience=2")
    assert result.exit_code == Exit.OK
    assert "early stop" in result.summary
    assert [r["step"] for r in read_steps(path)] == [0, 1, 2]
    assert [r["eval/gain"] for r in read_steps(path)] == [0, 0, 0]
    first, last = (path / "checkpoints" / f"step-00000{n}" for n in (0, 2))  # 0 is the best
    weights = "policy/model.safetensors"
    assert (first / weights).read_bytes() == (last / weights).read_bytes()
    for record in list(read_steps(path))[1:]:
        assert (record["optim/update_norm"], record["optim/unchanged_frac"]) == (0.0, 1.0)
        assert record["optim/lr_frac"] is None


def test_records_hold_catalogued_names_and_every_sample(run_of):
    path, result = run_of("records", proved=True, pool=True)
    records = list(read_steps(path))
    assert [r["step"] for r in records] == [0, 1, 2, 3, 4]
    own = {"host"}
    for record in records:
        unknown = (set(record) | set(record["host"])) - own - set(CATALOGUE)
        assert not {n for n in unknown if n.split("/")[0] + "/*" not in CATALOGUE}
    for name in set(records[4]["host"]) - own:
        assert CATALOGUE[name].host, name
    assert [r["epoch"] for r in records] == [0, 0.5, 1.0, 1.5, 2.0]
    assert [r["prompts_seen"] for r in records] == [0, 3, 6, 6, 6]
    assert [r["step"] for r in records if "epoch/samples" in r] == [2, 4]
    assert [r["step"] for r in records if "eval/success" in r] == [0, 2, 4]
    assert records[2]["eval/problems"] == 2
    assert records[4]["policy/ratio_max_first_pass"] == 1.0
    assert records[4]["policy/sampler_diff_mean"] < 1e-5
    for step in range(1, 5):
        rows = list(read_samples(path, step))
        assert [(r["group"], r["member"]) for r in rows] == [
            (g, m) for g in range(3) for m in range(4)
        ]
        assert abs(sum(r["advantage"] for r in rows)) < 1e-6
        assert all(r["weight_version"] == step - 1 for r in rows)
    assert result.summary.startswith("held-out reward: 0.00 -> 0.00 (+0.00, n=4)")
    assert result.exit_code == Exit.OK


def test_commands_stop_and_patch_a_run_and_resume_goes_on(run_of):
    patch = {"command": "patch", "set": {"optim.lr": 5e-4}}
    wrong = {"command": "patch", "set": {"rollout.temperature": 2.0}}
    control = [patch, wrong, {"command": "stop"}]
    ways = ["checkpoint.keep_last=0"]
    path, result = run_of("stopped", *ways, control=control, pool=True)
    assert (result.exit_code, [r["step"] for r in read_steps(path)][-1]) == (Exit.STOPPED, 1)
    outcomes = [e["outcome"] for e in read_events(path) if e["kind"] == "command"]
    assert (outcomes[0], outcomes[2]) == ("done", "done")
    assert outcomes[1].startswith("refused")
    assert resume(path, pool=True).exit_code == Exit.OK
    assert [r["step"] for r in read_steps(path)] == [0, 1, 2, 3, 4]
    rates = [r["optim/lr"] for r in read_steps(path) if r["step"]]
    assert rates == [1e-3, 5e-4, 5e-4, 5e-4]
    for folder in sorted((path / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    resume(path)  # from step 0: what was patched after step 1 is patched again
    assert [r["optim/lr"] for r in read_steps(path) if r["step"]] == rates
    before = (path / "steps.jsonl").read_bytes()
    assert resume(path).exit_code == Exit.OK  # a finished run
    assert (path / "steps.jsonl").read_bytes() == before


def test_rules_are_judged_once_and_stop(run_of):
    rules = """
rules:
  - {when: step 2, metric: reward/mean, is: ">=", value: 0.0}
  - {when: epoch 1.5, metric: reward/mean, is: ">=", value: 0.9, action: stop}
"""
    path, result = run_of("ruled", more=rules)
    assert result.exit_code == Exit.STOPPED
    assert "rules: 1 passed, 1 failed" in result.summary
    assert [e["passed"] for e in read_events(path) if e["kind"] == "rule"] == [True, False]
    assert resume(path).exit_code == Exit.OK
    assert [e["passed"] for e in read_events(path) if e["kind"] == "rule"] == [True, False]


def test_a_rule_changes_a_live_option_within_bounds_and_a_resume_repeats_it(run_of):
    rules = """
rules:
  - {when: step 2, metric: loss/total, is: "<", value: -9.0, action: patch, set: {optim.lr: x0.5}}
  - {when: step 3, metric: reward/mean, is: ">", value: 9.0, action: patch, set: {optim.lr: 1e-9}}
  - {when: step 1, metric: reward/mean, is: "<", value: 9.0, action: patch, set: {optim.lr: 1e-3}}
"""
    shown = Notes()
    path, result = run_of("ruled", "checkpoint.every=1", more=rules, display=shown)
    rates = [r["optim/lr"] for r in read_steps(path) if r["step"]]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4]
    events = [e for e in read_events(path) if e["kind"] == "patch"]
    assert [(e["step"], e["set"]) for e in events] == [(2, {"optim.lr": 5e-4}), (3, {})]
    assert events[0]["outcome"] == "done" and "within a factor" not in events[0]["rule"]
    assert events[1]["outcome"].startswith("refused: a rule may not set `optim.lr` to 1e-09")
    assert "rules: 0 passed, 2 failed" in result.summary  # the third never failed
    assert any(line.startswith("the doctor objects: loss/total: ") for line in shown.lines)
    before = without_host(path / "steps.jsonl")
    for step in (3, 2):
        for folder in sorted((path / "checkpoints").iterdir())[step:]:
            shutil.rmtree(folder)
        assert resume(path).exit_code == Exit.OK
        assert without_host(path / "steps.jsonl") == before
    forked, _ = fork(f"{path}@3", "name=forked", "eval.every=3")
    assert [r["optim/lr"] for r in read_steps(forked) if r["step"]] == rates


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("action: patch", "goes with set"),
        ("set: {optim.lr: 1e-4}", "goes with set"),
        ("action: patch, set: {algo.kl_coef: 1}", "algo.kl_coef is not live"),
        ("action: patch, set: {optim.lr: half}", "no number and no factor"),
        ("action: patch, set: {optim.lr: [1]}", "`rules.0.set.optim.lr` wants a number or text"),
    ],
)
def test_a_rule_that_cannot_change_anything_is_refused(rule, told, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"rules: [{{when: step 1, metric: loss/total, {rule}}}]")
    with pytest.raises(PawlErrors, match=re.escape(told)) as caught:
        load_run(path, (), {})
    assert str(caught.value.errors[0].where).startswith(str(path))


def test_targets_end_or_fail_a_run(run_of):
    met = '\ntarget: {metric: policy/entropy, is: ">", value: 0.0}\n'
    path, result = run_of("met", more=met)
    assert result.exit_code == Exit.OK
    assert [r["step"] for r in read_steps(path)] == [0, 1]
    missed = '\ntarget: {metric: eval/gain_low, is: ">", value: 0.0, at: end}\n'
    _, result = run_of("missed", "train.steps=1", more=missed)
    assert result.exit_code == Exit.FINDINGS


def test_missing_scores_stop_the_run_and_never_become_numbers(run_of, tmp_path, monkeypatch):
    outage = tmp_path / "outage"
    monkeypatch.setenv("LOOP_REWARD_OUTAGE", str(outage))
    path, _ = run_of("ready", "train.steps=2", control=[{"command": "stop"}], pool=True)
    outage.touch()
    with pytest.raises(PawlError, match="missing") as e:
        resume(path, pool=True)
    assert e.value.code in (Exit.STOPPED, Exit.USER)
    assert [r["step"] for r in read_steps(path)] == [0, 1]
    outage.unlink()
    assert resume(path, pool=True).exit_code == Exit.OK
    assert [r["step"] for r in read_steps(path)] == [0, 1, 2]

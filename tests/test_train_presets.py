"""Every preset in the real loop: it runs, it learns what it should, and it resumes exactly.

Tiny random models and a user's reward; the presets on real problems are measured by
bench/presets.py. The formulas are tested in test_algo_exact.py.
"""

import math

import pytest
import tiny_runs
from test_train_resume import assert_same

from pawl.config.presets import PRESETS
from pawl.errors import Exit
from pawl.store.read import read_samples, read_steps

EVERYTHING = "algo.epochs=2 algo.minibatches=3 algo.max_k3=0.5 algo.entropy_coef=0.01".split()
ADAPTIVE = "algo.kl=k1 algo.kl_coef=0.1 algo.kl_target=0.2".split()
TRUNCATED = ["rollout.top_p=0.9", "rollout.top_k=40"]
K2 = ["algo.kl=k2", "algo.kl_coef=0.1", "model.lora.r=4"]
CORRECTED = ["algo.correction=truncate", "algo.dual_clip=3"]
NORMALISED = ["algo.advantage=dr_grpo", "reward.normalise=running", "reward.clip=[0, 0.5]"]
BEST_HALF = ["algo.filter=share 0.5", "algo.minibatches=3"]
COOLING = ["rollout.temperature=1.2", "rollout.temperature_end=0.8"]
WAYS = {name: [f"algo.preset={name}"] for name in PRESETS} | {
    "several passes": EVERYTHING,
    "adaptive KL": ADAPTIVE,
    "k2": K2,
    "pass at k": ["algo.advantage=pass_at_k", "algo.pass_k=2"],
    "baseline": ["algo.advantage=reinforce_pp_baseline", "algo.std_shrink=4"],
    "truncated": [*TRUNCATED, "algo.kl=k1", "algo.kl_coef=0.1"],
    "corrected": CORRECTED,
    "normalised": NORMALISED,
    "best half": BEST_HALF,
    "strata": ["reward.normalise=strata", "algo.filter=value 0", "algo.advantage=reinforce_pp"],
    "cooling": COOLING,
}
# Whatever leaves something behind for the next step: two runs hold all of it, since an advantage or
# a loss by itself keeps nothing. Drawing again is in a test of its own.
RESUMED = {
    "full": [*EVERYTHING, *ADAPTIVE, *TRUNCATED, *CORRECTED, *COOLING, "optim.schedule=cosine"]
    + ["reward.normalise=strata"],
    "lora": [*K2, *NORMALISED, *BEST_HALF, "optim.warmup=3"],
}


@pytest.fixture
def run_of(model, tmp_path):
    """run_of("name", overrides, ...) -> path of the run folder."""

    def go(name, overrides, reward="score", **how):
        return tiny_runs.begin(tmp_path, name, tiny_runs.config(model, reward), overrides, **how)[0]

    return go


@pytest.mark.parametrize("way", RESUMED)
def test_a_stopped_run_resumes_to_the_same_bytes(way, run_of):
    whole = run_of("whole", RESUMED[way], proved=True, pool=True)
    cut = run_of("cut", RESUMED[way], control=[{"command": "stop"}])
    assert [r["step"] for r in read_steps(cut)] == [0, 1]  # in the middle of an epoch
    tiny_runs.resume(cut, proved=True, pool=True)
    assert_same(whole, cut, steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_so_does_each_way_by_itself(way, run_of):
    whole = run_of("whole", WAYS[way])
    cut = run_of("cut", WAYS[way], control=[{"command": "stop"}])
    tiny_runs.resume(cut)
    assert_same(whole, cut, steps=4)


@pytest.mark.parametrize("way", [*PRESETS, "pass at k", "baseline"])
def test_what_leaves_nothing_behind_runs(way, run_of):
    path = run_of("runs", [*WAYS[way], "train.steps=2", "eval.every=0"], proved=True)
    for record in list(read_steps(path))[1:]:
        assert record["policy/ratio_max_first_pass"] == 1.0
        assert math.isfinite(record["loss/total"])
        assert record["optim/update_norm"] > 0
        rows = [r["advantage"] for r in read_samples(path, record["step"])]
        assert len(rows) == record["batch_samples"] and any(rows)
        if way == "raft":
            assert {0.0} < {round(a, 4) for a in rows} <= {0.0, 0.25, 0.3333, 0.5, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_each_way_learns(way, run_of):
    more = ["optim.lr=1e-2", "train.steps=30", "eval.every=0", "rollout.prompts=6"]
    if "kl_coef" in " ".join(WAYS[way]) or "algo.kl_coef" in PRESETS.get(way, {}):
        more += ["algo.kl_coef=1e-6", "algo.kl_target=0"]  # this reward is about 1e-3
    if "reward.overlong_penalty" in PRESETS.get(way, {}):
        more += ["reward.overlong_penalty=0"]  # half a point drowns a crumb of 0.02
    path = run_of("learn", [*WAYS[way], *more, "eval.problems=2", "eval.samples=1"])
    means = [r["reward/mean"] for r in read_steps(path) if r["step"]]
    assert sum(means[-5:]) > 1.3 * sum(means[:5]), means
    assert all(r["policy/ratio_max_first_pass"] == 1.0 for r in read_steps(path) if r["step"])


def test_passes_and_minibatches_are_optimiser_steps_and_stop_early(run_of):
    short = ["algo.minibatches=3", "train.steps=2", "eval.every=0"]
    two = run_of("two", ["algo.epochs=2", *short])
    assert [r["optim/steps"] for r in read_steps(two) if r["step"]] == [6, 12]
    stopped = run_of("early", ["algo.epochs=4", "algo.max_k3=1e-12", *short])
    assert [r["optim/steps"] for r in read_steps(stopped) if r["step"]] == [3, 6]
    assert all(r["policy/kl_old"] > 0 for r in read_steps(stopped) if r["step"])


def test_the_kl_coefficient_rises_while_the_kl_is_above_its_target(run_of):
    ways = ["algo.kl_coef=1e-3", "algo.kl_target=1e-6", "optim.lr=1e-2", "eval.every=0"]
    records = [r for r in read_steps(run_of("kl", ways)) if r["step"]]
    assert records[0]["policy/kl_ref_sequence"] == 0.0
    assert records[-1]["policy/kl_ref_sequence"] > 0
    coefs = [r["policy/kl_coef"] for r in records]
    assert coefs[1] == pytest.approx(1e-3 * (1 - 0.2 * 12 / 10_000))  # no KL yet: below the target
    assert coefs[3] > coefs[2]


def test_an_entropy_bonus_keeps_the_policy_wider(run_of):
    more = ["optim.lr=1e-2", "train.steps=12", "eval.every=0"]
    last = [
        list(read_steps(run_of(f"e{i}", [f"algo.entropy_coef={c}", *more])))[-1]["policy/entropy"]
        for i, c in enumerate((0.0, 1.0))
    ]
    assert last[1] > last[0]


@pytest.mark.parametrize("engine", ["local", "hf"])
def test_truncated_rollouts_are_scored_as_they_were_sampled(run_of, engine):
    short = [f"rollout.engine={engine}", "train.steps=2"]
    path = run_of("cut", [*WAYS["truncated"], *short, "algo.epochs=2", "eval.samples=2"])
    for record in (r for r in read_steps(path) if r["step"]):
        assert record["policy/ratio_max_first_pass"] == 1.0
        assert record["policy/sampler_diff_mean"] < 1e-5
        rows = list(read_samples(path, record["step"]))
        assert all(len(r["kept"]) == r["n_tokens"] for r in rows)
        assert any("-" in ids for r in rows for ids in r["kept"])
    assert all("kept" not in r for r in read_samples(path, 0, "eval"))  # evaluation does not cut
    whole = run_of("whole", [*short, "train.steps=1"])
    assert all("kept" not in r for r in read_samples(whole, 1))


def test_groups_without_a_signal_are_left_out(run_of):
    ways = ["algo.zero_variance_groups=drop", "algo.preset=reinforce_pp", "eval.every=0"]
    path = run_of("skip", ways, reward="rare")
    for record in (r for r in read_steps(path) if r["step"]):
        tied = record["group/zero_std_frac"] * 3
        assert record["group/trained"] == 3 - round(tied)
        rows = list(read_samples(path, record["step"]))
        assert len(rows) == 12
        for group in range(3):
            own = [r for r in rows if r["group"] == group]
            if len({r["score"]["total"] for r in own}) == 1:
                assert {r["advantage"] for r in own} == {0.0}
    split = [f"group/tied_{k}_frac" for k in ("wrong", "right", "partial")]
    assert all(
        sum(r[k] for k in split) == pytest.approx(r["group/zero_std_frac"])
        for r in read_steps(path)
        if r["step"]
    )


def test_refilling_draws_until_the_batch_is_full_and_resumes_exactly(run_of):
    ways = ["algo.zero_variance_groups=resample", "algo.resample_max=4", "optim.lr=1e-4"]
    whole = run_of("whole", ways, reward="rare")
    records = [r for r in read_steps(whole) if r["step"]]
    assert any(r["batch_samples"] > 12 for r in records), "the test drew no extra batch"
    for record in records:
        drawn = record["batch_samples"] // 12
        assert record["group/trained"] == 3 or drawn == 5
        rows = list(read_samples(whole, record["step"]))
        places = [(g, m) for g in range(3 * drawn) for m in range(4)]
        assert [(r["group"], r["member"]) for r in rows] == places
        streams = {(r["problem_id"], r["text"], r["member"]) for r in rows}
        assert len(streams) > len(rows) * 0.9  # a problem drawn twice is sampled anew
    assert records[-1]["sampled_prompts"] == sum(r["batch_samples"] for r in records) // 4
    cut = run_of("cut", ways, reward="rare", control=[{"command": "stop"}])
    tiny_runs.resume(cut)
    assert_same(whole, cut, steps=4)


def test_a_run_that_cannot_learn_is_stopped(model, tmp_path):
    ways = ["algo.zero_variance_groups=drop", "train.steps=15", "eval.every=0"]
    text = tiny_runs.config(model, "nothing")
    path, result = tiny_runs.begin(tmp_path, "empty", text, ways)
    assert result.exit_code == Exit.STOPPED
    assert "nothing to learn from" in result.summary
    records = [r for r in read_steps(path) if r["step"]]
    assert len(records) == 10
    assert all(r["loss/total"] is None and r["group/trained"] == 0 for r in records)
    assert records[-1]["optim/steps"] == 0

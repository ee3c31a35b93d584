"""Every preset in the real loop: it runs, it learns what it should, and it resumes exactly.

Tiny random models and a user's reward; the presets on real problems are measured by
bench/presets.py. The formulas are tested in test_algo_exact.py.
"""

import json

import pytest
from test_train_loop import CONFIG, ROOT
from test_train_resume import assert_same

from pawl.config.load import load_run
from pawl.config.presets import PRESETS
from pawl.preflight.prove import prove
from pawl.store.display import Silent
from pawl.store.read import read_samples, read_steps
from pawl.store.run import RunFolder
from pawl.train.loop import train

EVERYTHING = "algo.epochs=2 algo.minibatches=3 algo.max_k3=0.5 algo.entropy_coef=0.01".split()
ADAPTIVE = "algo.kl=k1 algo.kl_coef=0.1 algo.kl_target=0.2".split()
WAYS = {name: [f"algo.preset={name}"] for name in PRESETS} | {
    "several passes": EVERYTHING,
    "adaptive KL": ADAPTIVE,
    "k2": ["algo.kl=k2", "algo.kl_coef=0.1", "model.lora.r=4"],
    "pass at k": ["algo.advantage=pass_at_k", "algo.pass_k=2"],
    "baseline": ["algo.advantage=reinforce_pp_baseline", "algo.std_shrink=4"],
    "truncated": ["rollout.top_p=0.9", "rollout.top_k=40", "algo.kl=k1", "algo.kl_coef=0.1"],
    "corrected": ["algo.correction=truncate", "algo.dual_clip=3"],
    "normalised": ["algo.advantage=dr_grpo", "reward.normalise=running", "reward.clip=[0, 0.5]"],
    "best half": ["algo.filter=share 0.5", "algo.minibatches=3"],
    "cooling": ["rollout.temperature=1.2", "rollout.temperature_end=0.8"],
}


results = []  # of every run of a test, in order


@pytest.fixture
def run_of(model, tmp_path):
    """run_of("name", overrides, control) -> path of the run folder."""

    results.clear()

    def go(name, overrides, control=(), reward="score"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(CONFIG.format(model=model, reward=f"{ROOT / 'loop_reward.py'}:{reward}"))
        cfg, places = load_run(path, [f"runs_dir={tmp_path}", *overrides], {})
        with RunFolder.create(cfg, places) as run:
            lines = "".join(json.dumps(c) + "\n" for c in control)
            (run.path / "control.jsonl").write_text(lines)
            results.append(train(cfg, run, Silent(), False, prove))
            return run.path

    return go


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_run_resumes_to_the_same_bytes(way, run_of):
    whole = run_of("whole", [*WAYS[way], "name=whole"])
    cut = run_of("cut", [*WAYS[way], "name=cut"], [{"command": "stop"}])
    assert [r["step"] for r in read_steps(cut)] == [0, 1]  # in the middle of an epoch
    with RunFolder.open(cut) as run:
        train(run.config(), run, Silent(), True, prove)
    assert_same(whole, cut, steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_each_way_learns(way, run_of):
    more = ["optim.lr=1e-2", "train.steps=30", "eval.every=0", "rollout.prompts=6"]
    if "kl_coef" in " ".join(WAYS[way]) or "algo.kl_coef" in PRESETS.get(way, {}):
        more += ["algo.kl_coef=1e-6", "algo.kl_target=0"]  # this reward is about 1e-3
    if "reward.overlong_penalty" in PRESETS.get(way, {}):
        more += ["reward.overlong_penalty=0"]  # half a point drowns a crumb of 0.02
    path = run_of("learn", [*WAYS[way], *more])
    means = [r["reward/mean"] for r in read_steps(path) if r["step"]]
    assert sum(means[-5:]) > 1.3 * sum(means[:5]), means
    assert all(r["policy/ratio_max_first_pass"] == 1.0 for r in read_steps(path) if r["step"])


def test_passes_and_minibatches_are_optimiser_steps_and_stop_early(run_of):
    two = run_of("two", ["algo.epochs=2", "algo.minibatches=3", "name=two"])
    assert [r["optim/steps"] for r in read_steps(two) if r["step"]] == [6, 12, 18, 24]
    early = ["algo.epochs=4", "algo.max_k3=1e-12", "algo.minibatches=3", "name=early"]
    stopped = run_of("early", early)
    assert [r["optim/steps"] for r in read_steps(stopped) if r["step"]] == [3, 6, 9, 12]
    assert all(r["policy/kl_old"] > 0 for r in read_steps(stopped) if r["step"])


def test_the_kl_coefficient_rises_while_the_kl_is_above_its_target(run_of):
    ways = ["algo.kl_coef=1e-3", "algo.kl_target=1e-6", "optim.lr=1e-2"]
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


def test_rows_of_samples_hold_the_advantage_that_was_used(run_of):
    path = run_of("worth", ["algo.preset=raft"])
    values = {round(r["advantage"], 4) for step in range(1, 5) for r in read_samples(path, step)}
    assert {0.0} < values <= {0.0, 0.25, 0.3333, 0.5, 1.0}


@pytest.mark.parametrize("engine", ["local", "hf"])
def test_truncated_rollouts_are_scored_as_they_were_sampled(run_of, engine):
    ways = [*WAYS["truncated"], f"rollout.engine={engine}", "algo.epochs=2", "eval.samples=2"]
    path = run_of("cut", ways)
    for record in (r for r in read_steps(path) if r["step"]):
        assert record["policy/ratio_max_first_pass"] == 1.0
        assert record["policy/sampler_diff_mean"] < 1e-5
        rows = list(read_samples(path, record["step"]))
        assert all(len(r["kept"]) == r["n_tokens"] for r in rows)
        assert any("-" in ids for r in rows for ids in r["kept"])
    assert all("kept" not in r for r in read_samples(path, 0, "eval"))  # evaluation does not cut
    whole = run_of("whole", [f"rollout.engine={engine}", "name=whole"])
    assert all("kept" not in r for r in read_samples(whole, 1))


def test_groups_without_a_signal_are_left_out(run_of):
    path = run_of(
        "skip", ["algo.zero_variance_groups=drop", "algo.preset=reinforce_pp"], reward="rare"
    )
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
    whole = run_of("whole", [*ways, "name=whole"], reward="rare")
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
    cut = run_of("cut", [*ways, "name=cut"], [{"command": "stop"}], reward="rare")
    with RunFolder.open(cut) as run:
        train(run.config(), run, Silent(), True, prove)
    assert_same(whole, cut, steps=4)


def test_a_run_that_cannot_learn_is_stopped(run_of):
    ways = ["algo.zero_variance_groups=drop", "train.steps=15", "eval.every=0"]
    path = run_of("empty", ways, reward="nothing")
    assert results[-1].exit_code == 4
    assert "nothing to learn from" in results[-1].summary
    records = [r for r in read_steps(path) if r["step"]]
    assert len(records) == 10
    assert all(r["loss/total"] is None and r["group/trained"] == 0 for r in records)
    assert records[-1]["optim/steps"] == 0

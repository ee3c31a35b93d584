"""Steps that teach nothing: emptied by a filter, or their shaping cancels; all is said aloud.

Real runs of a tiny model, and the pure functions behind them.
"""

import pytest
import tiny_runs
from test_train_resume import assert_same
from tiny_runs import ROOT, Notes

from pawl.config.options import RunConfig
from pawl.errors import Exit
from pawl.metrics import CATALOGUE
from pawl.store.read import read_events, read_samples, read_steps
from pawl.train.notices import MAX_EMPTY, OVER, cancels, notices, shaping_terms

REWARD = ROOT / "loop_reward.py"
MIX = f"""
  {{components: [
    {{name: crumbs, use: {REWARD}:score}},
    {{name: potential, use: {REWARD}:potential, weight: 1e-7}}]}}"""


@pytest.fixture
def run_of(model, tmp_path):
    """run_of("name", overrides, control) -> (path of the run, its result, the notes shown)."""

    def go(name, overrides, control=(), reward=f"{REWARD}:score"):
        text = tiny_runs.config_of(model, reward)
        shown = Notes()
        ways = ["eval.every=0", "eval.problems=2", "eval.samples=1", *overrides]
        return *tiny_runs.begin(tmp_path, name, text, ways, control, shown), shown.lines

    return go


def resume(path):
    shown = Notes()
    return tiny_runs.resume(path, shown), shown.lines


def steps(path):
    return [r for r in read_steps(path) if r["step"]]


def events(path, kind):
    return [e for e in read_events(path) if e["kind"] == kind]


def test_a_filter_that_lets_nothing_pass_stops_the_run_aloud(run_of):
    path, result, shown = run_of("none", ["algo.filter=value 0.9", "train.steps=15"])
    assert result.exit_code == Exit.STOPPED
    assert "algo.filter = value 0.9" in result.summary
    records = steps(path)
    assert len(records) == MAX_EMPTY
    for record in records:
        assert (record["filter/emptied"], record["filter/kept_frac"]) == (1, 0.0)
        assert (record["group/trained"], record["optim/steps"]) == (0, 0)
        assert record["loss/total"] is None
        assert {r["advantage"] for r in read_samples(path, record["step"])} == {0.0}
    assert [e["step"] for e in events(path, "filter_emptied")] == list(range(1, MAX_EMPTY + 1))
    assert [e["step"] for e in events(path, "epoch_emptied")] == [2, 4, 6, 8, 10]
    assert [r["epoch/emptied_steps"] for r in records if "epoch/samples" in r] == [2] * 5
    assert sum("nothing was trained" in line for line in shown) == MAX_EMPTY
    assert sum("the whole epoch (2 steps) trained on nothing" in line for line in shown) == 5
    first, last = (
        path / f"checkpoints/step-0000{n}/policy/model.safetensors" for n in ("00", "10")
    )
    assert first.read_bytes() == last.read_bytes()
    again, _ = resume(path)
    assert again.exit_code == Exit.STOPPED
    assert len(steps(path)) == MAX_EMPTY + 1


def test_emptied_steps_are_counted_between_others_and_resume_exactly(run_of):
    plain, _, _ = run_of("plain", ["optim.lr=0", "train.steps=6"])
    best = sorted(max(r["score"]["total"] for r in read_samples(plain, i)) for i in range(1, 7))
    least = (best[2] + best[3]) / 2  # about half of the steps have a sample above it
    ways = [f"algo.filter=value {least:.6f}", "train.steps=6", "optim.lr=1e-5"]
    whole, _, shown = run_of("whole", ways)
    records = steps(whole)
    empty = [r["step"] for r in records if r["filter/emptied"]]
    assert 0 < len(empty) < 6, "the test needs both kinds of step"
    assert [e["step"] for e in events(whole, "filter_emptied")] == empty
    assert [int(x.split()[1][:-1]) for x in shown if "nothing was trained" in x] == empty
    done = 0
    for record in records:
        done += not record["filter/emptied"]
        assert record["optim/steps"] == done
        rows = list(read_samples(whole, record["step"]))
        passed = [r["score"]["total"] >= float(f"{least:.6f}") for r in rows]
        assert record["filter/kept_frac"] == pytest.approx(sum(passed) / 12)
        assert all(ok or r["advantage"] == 0 for ok, r in zip(passed, rows, strict=True))
    ends = [r for r in records if "epoch/samples" in r]
    assert sum(r["epoch/emptied_steps"] for r in ends) == len(empty)
    cut, _, _ = run_of("cut", ways, [{"command": "stop"}])
    resume(cut)
    assert_same(whole, cut, steps=6)


def test_the_baseline_is_that_of_the_whole_group(run_of):
    ways = ["algo.advantage=dr_grpo", "train.steps=1"]
    plain, _, _ = run_of("plain", ways)
    half, _, _ = run_of("half", [*ways, "algo.filter=share 0.5"])
    a, b = (list(read_samples(p, 1)) for p in (plain, half))
    least = sorted(r["score"]["total"] for r in a)[6]
    assert {r["score"]["total"] for r in a} == {r["score"]["total"] for r in b}
    for before, after in zip(a, b, strict=True):
        kept = before["score"]["total"] >= least
        assert after["advantage"] == (before["advantage"] if kept else 0.0)
    assert any(r["advantage"] < 0 for r in b), "a kept sample below its group's mean"


def test_rows_hold_the_reward_that_was_trained_on(run_of):
    ways = ["reward.overlong_penalty=0.5", "reward.clip=[-0.3, 1]", "rollout.temperature_end=0.5"]
    path, _, _ = run_of("paid", ways)
    for record in steps(path):
        rows = list(read_samples(path, record["step"]))
        for row in rows:
            late = max(0.0, row["n_tokens"] - 9.6) / 2.4
            expected = max(-0.3, row["score"]["total"] - 0.5 * late)
            assert row["reward"] == pytest.approx(expected)
        mean = sum(r["reward"] for r in rows) / 12
        assert record["reward/trained_mean"] == pytest.approx(mean)
        assert record["reward/trained_mean"] < record["reward/mean"]
        assert "filter/emptied" not in record
    temperatures = [r["policy/temperature"] for r in steps(path)]
    assert temperatures == pytest.approx([1.0, 5 / 6, 4 / 6, 0.5])
    assert all(r["policy/ratio_max_first_pass"] == 1.0 for r in steps(path))
    assert all(r["policy/sampler_diff_mean"] < 1e-5 for r in steps(path))
    assert {r["reward"] for r in read_samples(path, 0, "eval")} == {None}


def test_normalised_rewards_are_over_the_spread_of_all_so_far(run_of):
    path, _, _ = run_of("spread", ["reward.normalise=running", "algo.advantage=dr_grpo"])
    seen = []
    for record in steps(path):
        rows = list(read_samples(path, record["step"]))
        seen += [r["score"]["total"] for r in rows]
        mean = sum(seen) / len(seen)
        std = (sum((x - mean) ** 2 for x in seen) / (len(seen) - 1)) ** 0.5
        assert [r["reward"] for r in rows] == pytest.approx(
            [r["score"]["total"] / std for r in rows]
        )


def test_a_shaping_term_that_cancels_is_told_once_over_resumes(run_of):
    ways = [f"train.steps={OVER + 2}", "checkpoint.every=1"]
    path, _, shown = run_of("mix", ways, reward=MIX)
    told = [line for line in shown if "cancels" in line]
    assert len(told) == 1 and "'potential'" in told[0]
    assert [(e["component"], e["step"]) for e in events(path, "shaping_cancels")] == [
        ("potential", OVER)
    ]
    for record in steps(path):
        assert record["within/potential"] == 0.0
        assert record["between/potential"] > 0
        assert record["within/crumbs"] > 0
    last = path / "checkpoints" / f"step-{OVER + 2:06d}"
    (last / "state.json").unlink()  # so that the newest checkpoint is older
    _, shown = resume(path)
    assert len(events(path, "shaping_cancels")) == 1
    assert not [line for line in shown if "cancels" in line]
    assert len(steps(path)) == OVER + 2


def records_of(within, between, means):
    made = zip(within, between, means, strict=True)
    return [{"within/x": w, "between/x": b, "component/x": m} for w, b, m in made]


def test_cancelling_needs_ten_steps_no_spread_within_and_some_between():
    zero, one = [0.0] * OVER, [0.1] * OVER
    assert cancels("x", records_of(zero, one, one))
    assert not cancels("x", records_of(zero, one, one)[1:])
    assert not cancels("x", records_of([*zero[1:], 1e-3], one, one))
    assert not cancels("x", records_of([*zero[1:], None], one, one))  # not measured
    assert not cancels("x", records_of(zero, zero, one))  # the same everywhere
    single = [None] * OVER  # one group a step: the steps differ
    assert cancels("x", records_of(zero, single, [i / 10 for i in range(OVER)]))
    assert not cancels("x", records_of(zero, single, [0.1, 0.1 + 1e-17] * (OVER // 2)))
    assert not cancels("y", records_of(zero, one, one))


def with_terms(*terms, advantage="grpo", clip=()):
    rows = [{"name": f"c{i}", "use": "a.py:b", **t} for i, t in enumerate(terms)]
    algo = {"advantage": advantage}
    reward = {"components": tuple(rows), "clip": clip}
    return RunConfig.model_validate({"reward": reward, "algo": algo})


def test_only_ungated_weighted_terms_under_a_baseline_of_the_group_are_judged():
    terms = [{}, {"gate": "pass"}, {"weight": 0.0}, {"use": "code"}, {"cap": 0.0}]
    assert shaping_terms(with_terms(*terms)) == ["c0"]
    assert shaping_terms(with_terms(*terms, advantage="reinforce_pp")) == []
    assert shaping_terms(with_terms(*terms, clip=(0.0, 1.0))) == []


def test_the_names_of_notices_are_catalogued_and_nothing_is_said_without_cause():
    quiet = {"step": 3, "group/trained": 2, "filter/emptied": 0}
    assert notices(RunConfig(), [quiet], [quiet], set()) == []
    for name in ("filter/emptied", "filter/kept_frac", "epoch/emptied_steps", "within/*"):
        assert name in CATALOGUE

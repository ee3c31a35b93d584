"""Mixes and curricula: pure decisions by property, then real runs that stop, move and resume.

Tiny random models and users' rewards; one run has the code reward with weights of its stages.
"""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import tiny_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train_resume import assert_same
from tiny_runs import ROOT

from pawl.config.load import load_run
from pawl.config.options import RewardConfig, RunConfig, StageConfig
from pawl.errors import Exit, PawlError
from pawl.metrics import CATALOGUE
from pawl.preflight.prove import prove
from pawl.problems.load import open_problems
from pawl.rewards.pay import pay
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import measured
from pawl.store.display import Silent
from pawl.store.files import dumps
from pawl.store.read import read_events, read_samples, read_steps
from pawl.store.run import RunFolder
from pawl.train.curriculum import decide, prompts_by_stage, stage_after
from pawl.train.eval_model import row_of, write_pass_rates
from pawl.train.evaluate import outcome
from pawl.train.heldout import HeldOut
from pawl.train.loop import train
from pawl.train.success import Success
from pawl.types import Case, CodeTask, Completion, Problem, Score

CONFIG = """
model: {{path: {model}}}
problems: {problems}
rollout: {{prompts: 3, group_size: 4, max_tokens: 12}}
reward: {reward}
optim: {{lr: 1e-3}}
train: {{steps: 8, threads: 1}}
eval: {{every: 0, problems: 4, samples: 2}}
sandbox: {{workers: 1}}
"""
STAGES = """
curriculum:
  - {name: easy, min_pass_rate: 0.5, over: 2, advance_at: 0.3}
  - {name: hard, max_pass_rate: 0.5, over: 1, advance_at: 0.9, back_at: 0.45}
  - {name: all, over: 2, back_at: 0.4}
"""


# ---- decisions -----------------------------------------------------------------------------------


PASSING = "verifier/pass_frac"


def stages_of(overs, marks):
    return [
        StageConfig(name=f"s{k}", over=over, advance_at=max(a, b) + 0.01, back_at=min(a, b))
        for k, (over, (a, b)) in enumerate(zip(overs, marks, strict=True))
    ]


def walked(stages, passes):
    """Records of a run with these pass shares, as the loop would write them."""
    records, now = [{"step": 0, "sampled_prompts": 0}], 0
    for step, passed in enumerate(passes, 1):
        row = {"step": step, "sampled_prompts": 3 * step, "curriculum/stage": now}
        records.append(row | {PASSING: passed})
        now = stage_after(stages, records, PASSING)
    return records


SHARES = st.one_of(st.none(), st.floats(0, 1))
MARKS = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9))


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(MARKS, min_size=4, max_size=4),
    st.lists(SHARES, max_size=60),
)
def test_a_stage_lasts_its_steps_and_moves_to_a_neighbour(overs, marks, passes):
    stages = stages_of(overs, marks[: len(overs)])
    records = walked(stages, passes)
    visit = 0
    for before, after in zip(records[1:], records[2:], strict=False):
        a, b = before["curriculum/stage"], after["curriculum/stage"]
        visit += 1
        if a != b:
            assert abs(a - b) == 1
            assert visit >= stages[a].over
            move = decide(stages, records[: before["step"] + 1], PASSING)
            assert move.to == b
            assert move.value >= stages[a].advance_at if b > a else move.value < stages[a].back_at
            visit = 0
    drawn = prompts_by_stage(records, len(stages))
    assert drawn.total() == 3 * len(passes)
    assert drawn == +Counter({k: 3 * n for k, n in counted(records).items()})


def counted(records):
    return Counter(r["curriculum/stage"] for r in records if r["step"])


def test_the_marks_are_held_against_the_newest_steps_of_this_visit():
    stages = [
        StageConfig(name="a", over=3, advance_at=0.5),
        StageConfig(name="b", over=2, advance_at=0.9, back_at=0.2),
    ]
    records = walked(stages, [1.0, 0.0, 0.6, 0.1, 0.2, 0.9])
    assert [r.get("curriculum/stage") for r in records] == [None, 0, 0, 0, 1, 1, 0]
    assert stage_after(stages, records, PASSING) == 0  # one step of the second visit
    assert stage_after([], records, PASSING) == 0
    unknown = walked(stages, [None] * 9)
    assert {r.get("curriculum/stage") for r in unknown} == {None, 0}


BAD_STAGES = {
    "advance_at": [{"name": "a", "advance_at": 0.3, "back_at": 0.3}],
    "min_pass_rate is above": [{"name": "a", "min_pass_rate": 0.6, "max_pass_rate": 0.4}],
    "sum to 0.9": [{"name": "a", "compile": 0.4, "tests": 0.5}],
    "tests = 0": [{"name": "a", "types": 0.5, "compile": 0.5}],
    "are called a": [{"name": "a"}, {"name": "a"}],
}


@pytest.mark.parametrize("words", BAD_STAGES)
def test_stages_that_cannot_be_meant_are_refused(words):
    with pytest.raises(ValueError, match=words):
        RunConfig.model_validate({"curriculum": BAD_STAGES[words]})


def test_weights_need_the_code_reward_and_its_names():
    stages = [{"name": "a", "compile": 0.5, "tests": 0.5}]
    with pytest.raises(ValueError, match="do not pay"):
        RunConfig.model_validate({"curriculum": stages, "reward": "mine.py:f"})
    parts = [{"name": "code", "use": "code"}, {"name": "tests", "use": "mine.py:f"}]
    with pytest.raises(ValueError, match="needs the name tests"):
        RunConfig.model_validate({"curriculum": stages, "reward": {"components": parts}})
    with pytest.raises(ValueError, match="twice"):
        RunConfig.model_validate({"problems": {"mix": [{"set": "a"}, {"set": "a"}]}})


# ---- paying by other weights ---------------------------------------------------------------------

FLAGS = st.lists(st.booleans(), min_size=3, max_size=3)
TEXTS = st.sampled_from(["return x (* END *)", "return x", ""])
WEIGHTS = st.tuples(*[st.integers(0, 5)] * 3, st.integers(1, 9)).map(
    lambda w: dict(zip(("end_marker", "types", "compile", "tests"), w, strict=True))
)


def reward_of(weights, parts):
    total = sum(weights.values())
    shares = {k: v / total for k, v in weights.items()}
    return RewardConfig.model_validate({"stages": shares, "min_lines": 1, "components": parts})


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, FLAGS, st.booleans(), st.floats(0, 1), TEXTS, st.booleans())
def test_a_measurement_is_paid_by_the_weights_of_the_stage(a, b, flags, built, types, text, cut):
    cases = tuple(Case(f"[{i}]", str(i)) for i in range(3))
    problem = Problem("p", "Add.", CodeTask("python", "f", cases))
    verdict = "pass" if all(flags) and built else "wrong" if built else "compile"
    passed = tuple(flags) if built else (False,) * 3
    seen = Verification(verdict, passed, compiled=built, types=1.0 if built else types)
    said = Completion("p", text, 12, "length" if cut else "stop")
    rows = [{"total": measured(seen, problem.task)}]
    pay(problem, [said], rows, reward_of(a, ()))  # and once more by others
    second = pay(problem, [said], rows, reward_of(b, ()))
    again = pay(problem, [said], rows, reward_of(b, ()), "s")
    assert again == [replace(second[0], reward_stage="s")]


# ---- real runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A folder with two small sets with measured pass rates i / n, some of them held out."""
    folder = tmp_path_factory.mktemp("sets")
    for lang, n in (("ocaml", 9), ("python", 6)):
        rows = []
        opened = open_problems(f"starter-{lang}")
        for i, p in enumerate(opened.select(range(0, 20 * n, 20))):
            split = "held_out" if i % 3 == 2 else "train"
            rows.append(row_of(replace(p, pass_rate=i / n)) | {"split": split})
        (folder / f"{lang}.jsonl").write_text("".join(dumps(r) + "\n" for r in rows))
    return folder


@pytest.fixture
def run_of(model, tmp_path):
    """run_of("name", problems, more, overrides, control) -> path of the run folder."""

    def go(name, problems, more="", overrides=(), control=()):
        reward = f"{ROOT / 'loop_reward.py'}:chance"
        text = CONFIG.format(model=model, reward=reward, problems=problems) + more
        return tiny_runs.begin(tmp_path, name, text, overrides, control)[0]

    return go


def cut_and_resumed(run_of, *args, stops):
    """A run that was stopped after each of the first `stops` steps and taken up again."""
    path = run_of("cut", *args, control=[{"command": "stop"}])
    for _ in range(stops):
        tiny_runs.command(path, {"command": "stop"})
        tiny_runs.resume(path)
    tiny_runs.resume(path)
    return path


def of_a_mix(sets):
    rows = f"[{{set: {sets}/ocaml.jsonl, weight: 2}}, {{set: {sets}/python.jsonl}}]"
    return f"{{mix: {rows}, audit: false}}"


def test_a_mix_keeps_its_shares_and_resumes_exactly(run_of, sets):
    whole = run_of("whole", of_a_mix(sets))
    records = [r for r in read_steps(whole) if r["step"]]
    names = {n for r in records for n in r if n.startswith("mix_")}
    assert len(names) == 6 and {n.split("/")[0] + "/*" for n in names} <= set(CATALOGUE)
    assert [r["mix_share/ocaml"] for r in records] == [2 / 3] * 8
    assert [r["mix_share/python"] for r in records] == [1 / 3] * 8
    langs = {p.id: p.lang for lang in ("ocaml", "python") for p in open_problems(f"starter-{lang}")}
    for r in records:
        rows = list(read_samples(whole, r["step"]))
        for lang in ("ocaml", "python"):
            own = [row["score"]["total"] for row in rows if langs[row["problem_id"]] == lang]
            assert r[f"mix_reward/{lang}"] == pytest.approx(sum(own) / len(own))
            assert r[f"mix_pass/{lang}"] is None  # no test was run
    assert [r["prompts_seen"] for r in records] == [3, 6, 9, *[10] * 5]  # 6 of ocaml, 4 of python
    assert [r["epoch"] for r in records][-1] == 2.4
    held = {row["problem_id"] for row in read_samples(whole, 0, "eval")}
    drawn = {row["problem_id"] for row in read_samples(whole)}
    assert len(drawn) == 10 and not held & drawn
    assert {langs[i] for i in held} == {"ocaml", "python"}
    assert_same(whole, cut_and_resumed(run_of, of_a_mix(sets), stops=2), steps=8)


def test_stages_move_and_resume_exactly_and_the_probe_stays(run_of, sets):
    problems = f"{{train: {sets}/ocaml.jsonl, audit: false}}"
    whole = run_of("whole", problems, STAGES)
    records = list(read_steps(whole))
    went = [r["curriculum/stage"] for r in records[1:]]
    assert went[:3] == [0, 0, 1], "the first stage should pass at once"
    assert 0 in went[3:] or 2 in went, went
    moved = [r["step"] for r, a, b in zip(records[1:], went, went[1:], strict=False) if a != b]
    events = [e for e in read_events(whole) if e["kind"] == "curriculum"]
    assert [e["step"] for e in events] == moved
    assert (events[0]["from"], events[0]["to"]) == ("easy", "hard")
    assert events[0]["why"].endswith(">= advance_at 0.3")
    two = [r["reward/mean"] for r in records[1:3]]
    assert events[0]["value"] == pytest.approx(sum(two) / 2)
    rates = {p.id: p.pass_rate for p in open_problems(f"{sets}/ocaml.jsonl")}
    for r in records[1:]:
        own = {rates[row["problem_id"]] for row in read_samples(whole, r["step"])}
        if r["curriculum/stage"] < 2:
            low, high = ((0.5, 1.0), (0.0, 0.5))[r["curriculum/stage"]]
            assert all(low <= rate <= high for rate in own)
    evaluated = [r["step"] for r in records if "eval/success" in r]
    assert evaluated == [0, *moved, 8]
    probes = [{row["problem_id"] for row in read_samples(whole, s, "eval")} for s in evaluated]
    assert all(p == probes[0] for p in probes), "the probe must not follow the stage"
    drawn = [{row["problem_id"] for row in read_samples(whole, s)} for s in range(1, 9)]
    seen = [len(set().union(*drawn[:k])) for k in range(1, 9)]
    assert [r["prompts_seen"] for r in records[1:]] == seen
    assert_same(whole, cut_and_resumed(run_of, problems, STAGES, stops=5), steps=8)


def test_refilling_within_stages_of_a_mix_resumes_exactly(run_of, sets):
    ways = ["algo.zero_variance_groups=resample", "train.steps=6", "rollout.group_size=2"]
    whole = run_of("whole", of_a_mix(sets), STAGES, ways)
    records = [r for r in read_steps(whole) if r["step"]]
    assert any(r["batch_samples"] > 6 for r in records), "the test drew no extra batch"
    assert len({r["curriculum/stage"] for r in records}) > 1
    assert_same(whole, cut_and_resumed(run_of, of_a_mix(sets), STAGES, ways, stops=3), steps=6)


def test_a_set_without_pass_rates_and_an_empty_stage_are_refused(run_of, sets, tmp_path):
    with pytest.raises(PawlError, match="no problem of this set has one") as e:
        run_of("bare", "{train: starter-ocaml, limit: 6}", STAGES)
    assert e.value.code == Exit.USER
    assert "problems.train=starter-ocaml" in e.value.hint and "--pass-rates" in e.value.hint
    none = "\ncurriculum: [{name: open}, {name: none, min_pass_rate: 0.95}]\n"
    with pytest.raises(PawlError, match="stage none has no problem") as e:
        run_of("empty", f"{{train: {sets}/ocaml.jsonl, audit: false}}", none)
    assert e.value.code == Exit.USER and e.value.where == "curriculum[1]"
    assert not (tmp_path / "bare" / "steps.jsonl").exists()


def test_stages_by_the_labels_of_the_set(run_of, sets, tmp_path):
    rows = [json.loads(line) for line in (sets / "ocaml.jsonl").read_text().splitlines()]
    path = tmp_path / "labelled.jsonl"
    labels = ["easy", "hard"]
    labelled = [row | {"difficulty": labels[i % 2]} for i, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    of = f"{{train: {path}, audit: false}}"
    stages = """
curriculum:
  - {name: easy, difficulty: [easy], over: 2, advance_at: -1}
  - {name: hard, difficulty: [hard], over: 50}
"""
    run = run_of("labelled", of, stages)
    level = {row["problem_id"]: row["difficulty"] for row in read_samples(run)}
    for record in read_steps(run)[1:]:
        drawn = {level[row["problem_id"]] for row in read_samples(run, record["step"])}
        assert drawn == {labels[record["curriculum/stage"]]}
    with pytest.raises(PawlError, match="no problem has the label odd") as e:
        run_of("odd", of, "\ncurriculum: [{name: a}, {name: b, difficulty: [odd]}]\n")
    assert "easy, hard" in e.value.hint


def test_pass_rates_without_tests_are_shares_of_the_scale(sets, tmp_path):
    problems = open_problems(f"{sets}/ocaml.jsonl")[:2]
    reward, totals = Success("reward", -1.0, 3.0), (1.0, 3.0)
    scores = [Score("scored", total, None, "user") for total in totals]
    pairs = zip(problems, scores, strict=True)
    found = HeldOut([outcome(p, [s], reward) for p, s in pairs], [], [], Counter())
    out = tmp_path / "rated.jsonl"
    write_pass_rates(out, problems, found, reward)
    assert [p.pass_rate for p in open_problems(str(out))] == [0.5, 1.0]
    with pytest.raises(PawlError, match="no scale"):
        write_pass_rates(out, problems, found, Success("reward", -math.inf, math.inf))


FORM = """
reward: {end_marker: ""}
problems: {train: starter-python, limit: 6}
rollout: {prompts: 2, group_size: 4, max_tokens: 48}
optim: {lr: 1e-4}
train: {steps: 2, threads: 1}
eval: {every: 0, problems: 3, samples: 2}
curriculum:
  - {name: form, types: 0.6, compile: 0.3, tests: 0.1, over: 1, advance_at: 0.01}
  - {name: meaning}
"""


@pytest.mark.slow
def test_the_weights_of_a_stage_pay_in_training_alone(tmp_path):
    """The bundled model and real programs: totals, calibration and held-out scores."""
    path = tmp_path / "form.yaml"
    path.write_text(FORM)
    cfg, places = load_run(path, [f"runs_dir={tmp_path}"], {})
    with RunFolder.create(cfg, places) as run:
        train(cfg, run, Silent(), False, prove)
    problems = {p.id: p for p in open_problems("starter-python")}
    paid = set()
    for row in read_samples(run.path):
        score, problem = row["score"], problems[row["problem_id"]]
        stage = read_steps(run.path)[row["step"]]["curriculum/stage"]
        assert score.get("reward_stage", "") == ("" if stage else "form")
        paid.add(score.get("reward_stage", ""))
        if score["components"]["tests"] and not score["components"]["penalty"]:
            weights = (0.1, 0.6, 0.3) if stage == 0 else (13 / 19, 4 / 19, 2 / 19)
            values = [score["components"][k] for k in ("tests", "types", "compile")]
            tests, *form = (w * v for w, v in zip(weights, values, strict=True))
            least, most = tests + values[0] * sum(form), tests + sum(form)
            assert least - 1e-9 <= score["total"] <= most + 1e-9, problem.id
    assert "form" in paid
    for row in read_samples(run.path, kind="eval"):
        assert "reward_stage" not in row["score"]
    rows = [json.loads(x) for x in (run.path / "preflight.jsonl").read_text().splitlines()]
    own = [r for r in rows if r["name"].endswith("(stage form)")]
    probes = [r for r in rows if "step" not in r]  # the rest is the preflight's
    assert len(own) == len(probes) / 2
    assert all(r["passed"] is not False for r in probes)
    assert not any(r["name"].endswith("(stage meaning)") for r in rows)

"""A run whose reward is a judge: a simulated teacher on loopback, tiny random models.

The teacher knows the right answers, because this test tells it. What a judge is asked and how it
fails is in test_judge_*.py.
"""

import json
import shutil

import pytest
import tiny_runs
from test_train_resume import assert_same
from tiny_runs import resume

from pawl import api
from pawl.errors import Exit, PawlError
from pawl.judge.fake_judge import Character
from pawl.judge.fake_server import FakeTeacher, Options
from pawl.problems.load import open_problems
from pawl.problems.wording import squeezed
from pawl.store.read import read_samples, read_steps


def knows_the_answers(task, candidates):
    """Full marks for the body of a right answer; of other texts a little for their letters."""
    problems = open_problems(f"{tiny_runs.small_set().name}/small.jsonl")
    bodies = [squeezed(p.reference.partition("=")[2]) for p in problems if p.prompt in task]
    found = []
    for text in map(squeezed, candidates):
        right = any(body in text for body in bodies)
        found.append(1.0 if right else 0.3 * sum(map(str.isalpha, text)) / (len(text) + 1))
    return found


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """teacher(options of the server) -> a server; the ledger is this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    open_ = []

    def go(**options):
        server = FakeTeacher(knows_the_answers, Options(**options)).__enter__()
        open_.append(server)
        return server

    yield go
    for server in open_:
        server.__exit__(None, None, None)


def judged(model, teacher, more=""):
    judge = f"judge: {{api: chat, model: m, base_url: '{teacher.url}', context_tokens: 1024, "
    judge += "max_usd: 0, attempt_s: 20, deadline_s: 60}\n"
    return tiny_runs.config_of(model, "{use: judge}") + judge + more


def test_a_judge_pays_and_a_resume_asks_nothing_twice(model, teacher, tmp_path):
    server = teacher()
    ways = ["checkpoint.every=1", "checkpoint.keep_last=0"]
    whole, result = tiny_runs.begin(tmp_path, "whole", judged(model, server), ways)
    assert result.exit_code == Exit.OK
    records = [r for r in read_steps(whole) if r["step"]]
    assert all(0 <= r["component/correctness"] <= 1 for r in records)
    assert all(r["host"]["judge/simulated_frac"] == 1 for r in records)
    assert "| simulated teacher" in result.summary
    asked = sum(r["host"]["judge/requests"] for r in records)
    assert 0 < asked <= 4 * 3 + 1  # a call a group, for four steps, and one group once more
    assert all(r["host"]["judge/input_tokens"] > 0 for r in records if r["host"]["judge/requests"])
    for row in read_samples(whole, 1):
        score = row["score"]
        assert (score["status"], score["verdict"]) == ("scored", None)
        assert {"correctness", "quality"} <= set(score["components"])
    copy = shutil.copytree(whole, tmp_path / "copy")
    for step in (2, 3, 4):
        shutil.rmtree(copy / "checkpoints" / f"step-00000{step}")
    requests = len(server.bills)
    assert resume(copy).exit_code == Exit.OK
    assert_same(whole, copy, steps=4)
    assert len(server.bills) == requests


WAYS = ["eval.judge=false", "problems.audit=false"]
MIX = "{components: [{name: teacher, use: judge}, {name: tests, use: code, weight: 0}]}"


def test_held_out_evaluation_needs_no_judge(model, teacher, tmp_path):
    server = teacher()
    text = judged(model, server).replace("{use: judge}", MIX)
    run, result = tiny_runs.begin(tmp_path, "tests", text, [*WAYS, "eval.samples=2"])
    assert result.exit_code == Exit.OK
    steps = read_steps(run)
    training = [r for r in steps if r["step"]]
    assert all("component/teacher" in r and "verifier/pass_frac" in r for r in training)
    evaluated = [r for r in steps if "eval/pass_at_1" in r]
    assert [r["step"] for r in evaluated] == [0, 2, 4]
    for row in read_samples(run, 0):
        assert "teacher" not in row["score"]["components"]
        assert row["score"]["total"] == row["score"]["components"]["tests"]


BESIDE = "{components: [{name: teacher, use: judge, relative: difference}, "
BESIDE += "{name: tests, use: code, weight: 0}]}"


def test_a_run_is_paid_beside_the_references(model, teacher, tmp_path):
    server = teacher()
    text = judged(model, server).replace("{use: judge}", BESIDE)
    run, result = tiny_runs.begin(tmp_path, "beside", text, [*WAYS, "train.steps=2"])
    assert result.exit_code == Exit.OK
    for r in (r for r in read_steps(run) if r["step"]):
        gap, ratio = r["judge/teacher_gap"], r["judge/teacher_ratio"]
        assert r["judge/teacher_score"] > 0.9  # the teacher knows the answers
        assert r["reward/mean"] == pytest.approx(gap) and gap < 0 < ratio < 1
        assert ratio == pytest.approx(r["component/teacher"] / r["judge/teacher_score"])
    for row in read_samples(run, 1):
        score = row["score"]
        assert score["components"]["teacher"] == score["teacher"][0]
        assert score["total"] == score["teacher"][0] - score["teacher"][1]
    text = judged(model, server).replace("max_usd: 0", "max_usd: 0, baseline: true")
    run, result = tiny_runs.begin(tmp_path, "metric", text, ["train.steps=1"])
    record = read_steps(run)[-1]
    assert record["eval/teacher_gap"] < 0 < record["eval/teacher_gap_se"]
    assert record["judge/teacher_gap"] < 0 < record["reward/mean"]


def test_stages_by_what_the_teacher_makes_of_the_references(model, teacher, tmp_path):
    """The set is rated by one judge, and trained in stages of these rates by another."""
    teacher()  # and with it a ledger of this test's own
    config, rated = tmp_path / "rate.yaml", tmp_path / "rated.jsonl"
    with FakeTeacher(lambda task, texts: [min(1.0, len(t) / 400) for t in texts]) as strict:
        config.write_text(judged(model, strict).replace("{use: judge}", BESIDE))
        how = {"overrides": ["eval.problems=0", "eval.success=teacher"], "split": "train"}
        report = api.evaluate("references", config, pass_rates=rated, **how)
        assert len(strict.bills) <= 2 + 6 + 6  # two of the probe; a problem once, and its reference
    assert report.simulated and report.greedy is None and not report.missing
    rates = {p.id: p.pass_rate for p in open_problems(str(rated))}
    low, high = min(rates.values()), max(rates.values())
    assert 0 < low < high < 1 and report.sampled.value == pytest.approx(sum(rates.values()) / 6)
    middle = (low + high) / 2
    stages = f"curriculum: [{{name: liked, min_pass_rate: {middle}, over: 2, advance_at: -1}}, "
    stages += f"{{name: doubtful, max_pass_rate: {middle}, over: 50}}]\n"
    ways = [f"problems.train={rated}", "eval.every=0", "problems.audit=false"]
    run, result = tiny_runs.begin(tmp_path, "stages", judged(model, teacher(), stages), ways)
    assert result.exit_code == Exit.OK
    steps = [r for r in read_steps(run) if r["step"]]
    assert {r["curriculum/stage"] for r in steps} == {0, 1}
    for r in steps:
        liked = {rates[row["problem_id"]] >= middle for row in read_samples(run, r["step"])}
        assert liked == {r["curriculum/stage"] == 0}


def test_problems_without_a_reference_are_counted(model, teacher, tmp_path):
    server = teacher()
    file = tmp_path / "bare.jsonl"
    rows = [{"id": f"p{i}", "prompt": f"Write {i}.", "split": "train"} for i in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = judged(model, server, "\n").replace("max_usd: 0", "max_usd: 0, baseline: true")
    with pytest.raises(PawlError, match=r"\d+ problems have no reference to grade"):
        tiny_runs.begin(tmp_path, "bare", text, [f"problems.train={file}", "eval.every=0"])
    pairs = ["judge.mode=pairwise", "judge.passes=2"]
    with pytest.raises(PawlError, match="a judge of pairs cannot grade a reference alone"):
        tiny_runs.begin(tmp_path, "pairs", text, pairs)


@pytest.mark.parametrize(
    ("reward", "more"),
    [("{use: judge}", []), (MIX, ["eval.success=teacher"])],
)
def test_an_evaluation_without_judge_goes_by_something_else(model, tmp_path, reward, more):
    text = tiny_runs.config_of(model, reward) + "judge: {model: m}\n"
    with pytest.raises(PawlError, match="has nothing else to go by"):
        tiny_runs.begin(tmp_path, "none", text, ["eval.judge=false", *more])


def test_a_judge_that_pays_for_asking_is_refused(model, teacher, tmp_path):
    server = teacher(character=Character(pays_canaries=True))
    with pytest.raises(PawlError, match="calibration|probes"):
        tiny_runs.begin(tmp_path, "paid", judged(model, server))


def test_a_judge_is_named_and_there(model, teacher, tmp_path):
    server = teacher()
    text = judged(model, server).replace("model: m, ", "")
    with pytest.raises(PawlError, match=r"judge\.model must be named"):
        tiny_runs.begin(tmp_path, "nameless", text)
    gone = judged(model, server).replace(server.url, "http://127.0.0.1:9/v1")
    gone = gone.replace("max_usd: 0", "max_usd: 0, attempts: 1")
    with pytest.raises(PawlError, match="the probe failed"):
        tiny_runs.begin(tmp_path, "gone", gone)
    assert not (tmp_path / "gone" / "steps.jsonl").exists()


def test_a_mix_has_one_judge(model, teacher, tmp_path):
    two = "{components: [{name: a, use: judge}, {name: b, use: judge}]}"
    text = judged(model, teacher()).replace("{use: judge}", two)
    with pytest.raises(PawlError, match="two components use the judge"):
        tiny_runs.begin(tmp_path, "two", text)

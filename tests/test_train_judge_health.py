"""A judge watched while it pays a run: planted biases are named, a fair judge is left in peace.

The teacher is simulated and knows the right answers, because this test tells it; tiny random
models. Left out: the figures themselves (test_judge_health.py).
"""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import pytest
import tiny_runs
from test_train_resume import assert_same
from tiny_runs import fork, resume

from pawl.doctor.diagnose import diagnose
from pawl.errors import Exit, PawlError
from pawl.judge.fake_judge import Character
from pawl.judge.fake_server import FakeTeacher, Options
from pawl.logs.recognise import read_logs
from pawl.problems.load import open_problems
from pawl.problems.wording import squeezed
from pawl.store.read import read_samples, read_steps
from pawl.train.judge_health import JudgeHealth


def by_answer(task, candidates):
    """Full marks for the body of a right answer; others by chance, whatever their comments say."""
    problems = open_problems(f"{tiny_runs.small_set().name}/small.jsonl")
    bodies = [squeezed(p.reference.partition("=")[2]) for p in problems if p.prompt in task]
    found = []
    for text in candidates:
        code = squeezed(re.sub(r"\(\*.*?\*\)", "", text))
        chance = hashlib.sha256(code.encode()).digest()[0] / 255
        found.append(1.0 if any(body in code for body in bodies) else 0.1 + 0.4 * chance)
    return found


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """teacher(character) -> a server; the ledger is this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    open_ = []

    def go(**character):
        server = FakeTeacher(by_answer, Options(character=Character(**character))).__enter__()
        open_.append(server)
        return server

    yield go
    for server in open_:
        server.__exit__(None, None, None)


def judged(model, teacher, reward="{use: judge}", judge="", more=""):
    text = f"judge: {{api: chat, model: m, base_url: '{teacher.url}', context_tokens: 2048, "
    text += f"max_usd: 0, attempt_s: 20, deadline_s: 60, check_every: 2, repeats: 0.9{judge}}}\n"
    return tiny_runs.config_of(model, reward) + text + more


MIX = "{components: [{name: tests, use: code}, {name: teacher, use: judge, weight: 0.5}]}"


def said(path):
    """Codes of the doctor's findings about the judge, and the preflight rows that failed."""
    d = diagnose(read_logs(path)[0])
    return {f.code for f in d.findings if f.code in {f"D23{i}" for i in range(1, 7)}} | {
        f.place.rpartition(", ")[2] for f in d.findings if ", judge-" in f.place
    }


def test_a_fair_judge_is_left_in_peace(model, teacher, tmp_path):
    path, result = tiny_runs.begin(
        tmp_path, "fair", judged(model, teacher(sampling=0.05)), proved=True
    )
    assert result.exit_code == Exit.OK
    assert not said(path)
    records = [r for r in read_steps(path) if r["step"]]
    assert [r["judge/repeat_pairs"] for r in records] == sorted(
        r["judge/repeat_pairs"] for r in records
    )
    checked = [r for r in map(json.loads, (path / "preflight.jsonl").open()) if "step" in r]
    rows = {r["name"]: r for r in checked if r["name"].startswith("judge-")}
    assert set(rows) == {"judge-canaries", "judge-padding", "judge-order"}
    assert all(r["passed"] and r["cause"] == "judge-biased" for r in rows.values())
    last = records[-1]
    assert 0 < last["judge/repeat_sd"] < 0.1 and last["judge/reliability"] > 0.7
    assert last["judge/repeat_sd"] == pytest.approx(last["judge/reward_noise_sd"])
    assert last["judge/canary_margin"] > 0.2 and last["judge/anchor_shift"] == 0
    checks = [r for r in records if "judge/canary_margin" in r]
    assert [r["step"] for r in checks] == [2, 4]
    asked = [r["host"]["judge/requests"] for r in records]
    assert asked[1] >= 3 + 6  # a call for each group, and one for each problem with anchors


@pytest.mark.parametrize(
    ("bias", "rules"),
    [
        ({"position": 0.3}, {"D233", "D235", "judge-order"}),
        pytest.param({"length": 0.3}, {"D232", "judge-padding"}, marks=pytest.mark.slow),
    ],
)
def test_a_planted_bias_is_named(model, teacher, tmp_path, bias, rules):
    text = judged(model, teacher(sampling=0.05, **bias))
    path, result = tiny_runs.begin(tmp_path, "biased", text, proved=True)
    assert result.exit_code == Exit.OK
    assert said(path) == rules


@pytest.mark.slow
def test_a_judge_that_pays_canaries_is_refused_in_a_mix_too(model, teacher, tmp_path):
    text = judged(model, teacher(pays_canaries=True), MIX)
    with pytest.raises(PawlError, match="judge-canaries"):
        tiny_runs.begin(tmp_path, "mix", text, ["train.override=[answers-fit]"], proved=True)
    gated = text.replace("weight: 0.5}", "weight: 0.05, gate: pass}")
    path, result = tiny_runs.begin(
        tmp_path, "gated", gated, ["train.override=[answers-fit]"], proved=True
    )
    assert result.exit_code == Exit.OK  # it pays right answers alone
    assert said(path) == {"D231", "judge-canaries"}


class Turning(tiny_runs.Notes):
    """Changes the teacher's character after step 2."""

    def __init__(self, server, **character):
        super().__init__()
        self.server, self.character = server, character

    def step(self, record):
        if record["step"] == 2:
            changed = replace(self.server.options.character, **self.character)
            self.server.options = replace(self.server.options, character=changed)


@pytest.mark.slow
def test_a_judge_that_changes_is_named_and_one_that_pays_canaries_stops_the_run(
    model, teacher, tmp_path
):
    server = teacher(sampling=0.02)
    longer = Turning(server, length=0.5)
    path, result = tiny_runs.begin(tmp_path, "drift", judged(model, server), display=longer)
    assert result.exit_code == Exit.OK
    assert "D234" in said(path) <= {"D232", "D234"}  # what it pays for now is length

    server = teacher(sampling=0.02)
    paying = Turning(server, pays_canaries=True)
    text = judged(model, server)
    path, result = tiny_runs.begin(tmp_path, "paid", text, ["train.steps=6"], display=paying)
    assert result.exit_code == Exit.STOPPED
    assert "answers nothing (canary" in result.summary
    assert read_steps(path)[-1]["step"] == 4
    assert "D231" in said(path)
    with pytest.raises(PawlError, match="judge-canaries"):  # asked anew, not read in the ledger
        resume(path, proved=True)
    paying.character = {"pays_canaries": False}
    paying.step({"step": 2})
    assert resume(path, proved=True).exit_code == Exit.OK


def test_a_judge_that_fails_at_a_check_leaves_the_step_to_be_done_anew(
    model, teacher, tmp_path, monkeypatch
):
    text, ways = judged(model, teacher(sampling=0.05)), ["checkpoint.every=0"]
    whole, _ = tiny_runs.begin(tmp_path, "whole", text, ways)
    finish = JudgeHealth.finish

    def gone(self, step, *rest):
        if step == 3:
            raise PawlError("the judge is gone", "judge", "", Exit.STOPPED)
        return finish(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(JudgeHealth, "finish", gone)
        with pytest.raises(PawlError, match="is gone"):
            tiny_runs.begin(tmp_path, "stopped", text, ways)
    assert read_steps(tmp_path / "stopped")[-1]["step"] == 2
    assert resume(tmp_path / "stopped").exit_code == Exit.OK
    assert_same(whole, tmp_path / "stopped", steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["floor", "shrink"])
def test_noise_weakens_advantages_and_a_resume_does_the_same(model, teacher, tmp_path, noise):
    server = teacher(sampling=0.2)
    ways = [f"algo.noise={noise}", "checkpoint.every=1", "checkpoint.keep_last=0"]
    whole, _ = tiny_runs.begin(tmp_path, "whole", judged(model, server), ways)
    plain, _ = tiny_runs.begin(tmp_path, "plain", judged(model, server))
    first, last = ([advantages(path, step) for path in (whole, plain)] for step in (1, 4))
    assert first[0] == first[1]  # nothing is known of the noise yet
    assert last[0] < 0.97 * last[1]
    copy = shutil.copytree(whole, tmp_path / "copy")
    for step in (3, 4):
        shutil.rmtree(copy / "checkpoints" / f"step-00000{step}")
    asked = len(server.bills)
    assert resume(copy).exit_code == Exit.OK
    assert_same(whole, copy, steps=4)
    assert len(server.bills) - asked == 6  # the anchors of step 4 alone
    other, _ = fork(f"{whole}@2", "judge.temperature=0.5")
    kept, _ = fork(f"{whole}@2", "optim.lr=1e-4")
    pairs = {path: read_steps(path)[3]["judge/repeat_pairs"] for path in (whole, other, kept)}
    assert pairs[other] < 13 < pairs[whole] == pairs[kept]  # another judge's noise begins anew


def advantages(path, step):
    """Mean size of a step's advantages."""
    rows = list(read_samples(path, step))
    return sum(abs(row["advantage"]) for row in rows) / len(rows)


@pytest.mark.slow
def test_a_judge_of_single_answers_is_watched_too(model, teacher, tmp_path):
    text = judged(model, teacher(sampling=0.05, position=0.3), judge=", mode: pointwise")
    path, result = tiny_runs.begin(tmp_path, "alone", text, proved=True)
    assert result.exit_code == Exit.OK
    last = read_steps(path)[-1]
    assert last["judge/repeat_pairs"] >= 10 and last["judge/canary_margin"] > 0.1
    assert last["judge/position_slope"] is None and not said(path)  # nobody stands first

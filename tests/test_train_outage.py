"""A judge that goes away in the middle of a run: short, long, and for good with its budget.

The server is a simulated teacher on loopback that stops listening while a step is being judged.
"""

import asyncio
import functools
import threading
import time

import pytest
import tiny_runs
from test_train_judge import judged, knows_the_answers
from test_train_resume import assert_same
from tiny_runs import resume

from pawl.doctor.diagnose import diagnose
from pawl.errors import Exit, PawlError
from pawl.judge.fake_server import FakeTeacher, Options
from pawl.logs.recognise import read_logs
from pawl.store.read import read_events, read_samples, read_steps

WAYS = ["checkpoint.every=1", "checkpoint.keep_last=0", "train.steps=6"]


class Leaving:
    """A server that stops listening at its n-th grading, and can come back on the same port."""

    def __init__(self, port=0, leaves_at=0, back_after_s=None):
        self.port, self.leaves_at, self.back_after_s = port, leaves_at, back_after_s
        self.asked, self.left = 0, 0.0
        self.listen()

    def listen(self):
        ready, self.server = threading.Event(), FakeTeacher(self.quality)
        serve = functools.partial(self.server.serve, self.port, ready.set)
        self.thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self.thread.daemon = True
        self.thread.start()
        assert ready.wait(10)
        self.port = int(self.server.url.rsplit(":", 1)[1].split("/")[0])

    def quality(self, task, candidates):
        self.asked += 1
        if self.asked == self.leaves_at:
            self.left = time.monotonic()
            self.server.stop()
            if self.back_after_s is not None:
                threading.Timer(self.back_after_s, self.listen).start()
        return knows_the_answers(task, candidates)

    def stop(self):
        self.server.stop()
        self.thread.join(10)


@pytest.fixture
def undisturbed(model, tmp_path, monkeypatch):
    """(path, port, how many judgements) of a run whose judge always answers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "calm"))
    server = Leaving()
    run, result = tiny_runs.begin(tmp_path, "calm", judged(model, server.server), WAYS)
    server.stop()
    assert result.exit_code == Exit.OK
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return run, server.port, server.asked


def defaults(text):
    """The config with the limits of time that a user gets."""
    return text.replace(", attempt_s: 20, deadline_s: 60", "")


@pytest.mark.slow
def test_a_short_outage_changes_no_reward_and_is_named(model, undisturbed, tmp_path):
    calm, port, asked = undisturbed
    server = Leaving(port, leaves_at=asked * 2 // 3, back_after_s=5.0)
    text = defaults(judged(model, server.server))
    run, result = tiny_runs.begin(tmp_path, "short", text, WAYS)
    server.stop()
    assert result.exit_code == Exit.OK and server.left
    assert_same(calm, run, steps=6)
    found = diagnose(read_logs(run)[0])
    (hit,) = [f for f in found.findings if f.code == "D920"]
    assert hit.causes[0][0] == "judge-outage" and "all samples were graded" in hit.summary
    assert not [f for f in found.findings if f.code in ("D113", "D207")]
    assert "D920" not in {f.code for f in diagnose(read_logs(calm)[0]).findings}
    records = [r for r in read_steps(run) if r["step"]]
    assert 4 < max(r["host"]["judge/outage_s"] for r in records) < 30
    assert all(r["host"]["judge/missing_frac"] == 0 for r in records)
    assert all(r["reward/mean_low"] == pytest.approx(r["reward/mean"]) for r in records)


@pytest.mark.slow
def test_a_long_outage_stops_within_30_s_and_resumes_to_the_same(model, undisturbed, tmp_path):
    calm, port, asked = undisturbed
    server = Leaving(port, leaves_at=asked * 2 // 3)
    text = defaults(judged(model, server.server))
    with pytest.raises(PawlError, match=r"the judge at 127.*has not answered for 2\d s") as caught:
        tiny_runs.begin(tmp_path, "long", text, WAYS)
    assert time.monotonic() - server.left < 30
    assert caught.value.code == Exit.STOPPED and "resume the run" in caught.value.hint
    run = tmp_path / "long"
    assert any(e["kind"] == "stopped" for e in read_events(run))
    (hit,) = [f for f in diagnose(read_logs(run)[0]).findings if f.code == "D920"]
    assert hit.causes[0][0] == "judge-outage" and "has not answered" in " ".join(hit.evidence)
    before = len([r for r in read_steps(run) if r["step"]])
    assert 0 < before < 6
    server.leaves_at = 0
    server.listen()
    assert resume(run).exit_code == Exit.OK
    server.stop()
    assert_same(calm, run, steps=6)


@pytest.mark.slow
def test_refusals_leave_the_sum_of_their_group_and_count_as_missing(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mix = "{components: [{name: teacher, use: judge}, {name: tests, use: code, weight: 0.5}], "
    mix += "missing: common, max_missing_frac: 0.9}"
    with FakeTeacher(
        knows_the_answers, Options(script=[None] * 2, rates={"refusal": 0.12})
    ) as server:
        text = judged(model, server).replace("{use: judge}", mix)
        text = text.replace("judge: {", "judge: {mode: pointwise, in_flight: 1, ")
        ways = [
            "train.steps=2",
            "eval.judge=false",
            "eval.problems=1",
            "train.override=[calibration]",
        ]
        run, result = tiny_runs.begin(tmp_path, "refusals", text, ways)
        assert result.exit_code == Exit.OK
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))  # where nothing is kept
        strict = text.replace("max_missing_frac: 0.9", "max_missing_frac: 0.0")
        with pytest.raises(PawlError, match=r"scores are missing.*judge: refusal") as caught:
            tiny_runs.begin(tmp_path, "strict", strict, ways)
        assert caught.value.code == Exit.STOPPED
    records = [r for r in read_steps(run) if r["step"]]
    assert all(r["verifier/missing_frac"] == 0 for r in records)
    missing = [r["host"]["judge/refusal_frac"] for r in records]
    assert missing == [r["host"]["judge/missing_frac"] for r in records] and 0 < sum(missing)
    rows = [row for step in (1, 2) for row in read_samples(run, step)]
    groups = {}
    for row in rows:
        groups.setdefault((row["step"], row["group"]), []).append(row["score"])
    kinds = set()
    for scores in groups.values():
        gone = any("lost" in score for score in scores)
        kinds.add(gone)
        for score in scores:
            assert ("teacher" not in score["components"]) == gone
            assert score["branch"].endswith("-teacher") == gone
            assert not gone or score["total"] == 0.5 * score["components"]["tests"]
    assert kinds == {True, False}


@pytest.mark.slow
def test_a_used_up_budget_stops_a_run_that_goes_on_as_a_fork(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FakeTeacher(knows_the_answers) as server:
        text = judged(model, server).replace("max_usd: 0", "max_usd: 0, max_tokens: 140000")
        with pytest.raises(PawlError, match="the judge's budget is used up") as caught:
            tiny_runs.begin(tmp_path, "poor", text, [*WAYS, "train.steps=40"])
        assert caught.value.code == Exit.STOPPED and "--from RUN" in caught.value.hint
        run = tmp_path / "poor"
        steps = len([r for r in read_steps(run) if r["step"]])
        assert 0 < steps < 40
        assert all(r["verifier/missing_frac"] == 0 for r in read_steps(run) if r["step"])
        more = [
            f"runs_dir={tmp_path}",
            "name=richer",
            "judge.max_tokens=0",
            f"train.steps={steps + 1}",
        ]
        forked, result = tiny_runs.fork(str(run), *more)
        assert result.exit_code == Exit.OK and len(read_steps(forked)) > 0

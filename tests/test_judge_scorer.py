"""The judge as a scorer: groups in, measurements out, outages that stop or pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_setup import PRICE, completions, judge_config, problem, rows

from pawl.errors import Exit, PawlError
from pawl.judge.fake_judge import Character, length
from pawl.judge.fake_server import FakeTeacher, Options, _http
from pawl.judge.scorer import JudgeScorer
from pawl.types import Completion, Measurement, Scorer, missing

Found = dict[Hashable, list[Measurement]]


def collect(scorer: Scorer, n: int, limit_s: float = 60.0) -> Found:
    found: Found = {}
    until = time.monotonic() + limit_s
    while len(found) < n and time.monotonic() < until:
        found.update(scorer.poll(0.2))
    return found


def graded(cfg: Any, path: Path, groups: int = 3, run: str = "") -> Found:
    with JudgeScorer(cfg, path, run) as scorer:
        for i in range(groups):
            scorer.submit(("g", i), problem(i), completions(i))
        return collect(scorer, groups)


@pytest.mark.parametrize("mode", ["listwise", "pointwise", "pairwise"])
def test_groups_are_measured_and_their_cost_adds_up(mode: str, tmp_path: Path) -> None:
    with FakeTeacher(length, Options(price=PRICE, character=Character(length=0.2))) as teacher:
        cfg = judge_config(teacher, mode=mode, passes=2)
        with JudgeScorer(cfg, tmp_path / "l.db") as scorer:
            assert scorer.whole_group == (mode != "pointwise")
            probed = len(teacher.bills)
            for i in range(3):
                scorer.submit(i, problem(i), completions(i))
            found = collect(scorer, 3)
            facts = scorer.describe()
    calls = {"listwise": 1, "pointwise": 4, "pairwise": 6}[mode] * 2 * 3
    assert len(teacher.bills) - probed == calls
    for i in range(3):
        totals = [m.values["total"] for m in found[i]]
        assert totals == sorted(totals) and totals[0] < totals[-1]  # length earns here
        assert all(0 <= v <= 1 for m in found[i] for v in m.values.values())
        assert {"total", "correctness", "quality"} <= set(found[i][0].values)
        assert found[i][0].status == "measured" and found[i][0].verdict is None
    usd = sum(m.usage["usd"] for ms in found.values() for m in ms)
    assert usd == pytest.approx(sum(b.usd for b in teacher.bills[probed:]))
    requests = sum(m.usage["requests"] for ms in found.values() for m in ms)
    assert requests == pytest.approx(calls)
    assert facts["simulated"] and facts["usd"] == pytest.approx(sum(b.usd for b in teacher.bills))
    assert all(m.usage["simulated"] for ms in found.values() for m in ms)


def test_kept_verdicts_cost_nothing_and_say_the_same(tmp_path: Path) -> None:
    with FakeTeacher(length, Options(character=Character(sampling=0.3))) as teacher:
        cfg = judge_config(teacher)
        first = graded(cfg, tmp_path / "l.db")
        paid = len(teacher.bills)
        again = graded(cfg, tmp_path / "l.db", run="another")
        assert len(teacher.bills) == paid  # the probe is kept too
    for key, ms in first.items():
        assert [m.values for m in again[key]] == [m.values for m in ms]
        assert all(m.cached and not m.usage["usd"] for m in again[key])


@pytest.mark.parametrize(("mode", "calls"), [("listwise", 4), ("pointwise", 13)])
def test_a_reference_is_graded_once_a_problem(mode: str, calls: int, tmp_path: Path) -> None:
    task = replace(problem(), reference="let solve x = min x 2" + " + 0" * 30)
    with FakeTeacher(length, Options(price=PRICE, character=Character(length=0.2))) as teacher:
        cfg = judge_config(teacher, mode=mode, baseline=True)
        with JudgeScorer(cfg, tmp_path / "l.db") as scorer:
            probed = len(teacher.bills)
            for i in range(3):
                scorer.submit(i, task, completions(i))
            found = collect(scorer, 3)
            bills = teacher.bills[probed:]
            scorer.submit(0, problem(8), completions(8))
            lost = collect(scorer, 1)[0]
        with JudgeScorer(judge_config(teacher, mode=mode), tmp_path / "other.db") as scorer:
            scorer.submit(0, task, [Completion("p0", task.reference)])
            (alone,) = collect(scorer, 1)[0]
    assert len(bills) == calls
    members = [m for ms in found.values() for m in ms]
    grades = [m.baseline.values for m in members if m.baseline]
    assert grades == [alone.values] * len(members) and alone.baseline is None
    assert sum(m.usage["usd"] for m in members) == pytest.approx(sum(b.usd for b in bills))
    assert {m.baseline for m in lost} == {missing("the problem has none")}
    assert all(m.status == "measured" for m in lost)


def test_fresh_asks_anew_and_keeps_nothing(tmp_path: Path) -> None:
    with FakeTeacher() as teacher, JudgeScorer(judge_config(teacher), tmp_path / "l.db") as scorer:
        for fresh in (False, True, True, False):
            before = len(teacher.bills)
            scorer.submit("g", problem(), completions(), fresh)
            (m, *_) = collect(scorer, 1)["g"]
            assert m.status == "measured" and m.cached == (before > 2 and not fresh)
            assert len(teacher.bills) - before == (not m.cached)


def test_equal_completions_are_graded_once(tmp_path: Path) -> None:
    with FakeTeacher(length) as teacher:
        with JudgeScorer(judge_config(teacher), tmp_path / "l.db") as scorer:
            texts = ["let solve x = x", "let solve x = min x 2", "let solve x = x"]
            scorer.submit("g", problem(), [Completion("p", t) for t in texts])
            a, b, c = collect(scorer, 1)["g"]
    assert a.values == c.values and b.status == "measured"
    with FakeTeacher() as teacher:
        cfg = judge_config(teacher, mode="pairwise", passes=2)
        with JudgeScorer(cfg, tmp_path / "pairs.db") as scorer:
            scorer.submit("g", problem(), [Completion("p", "x")] * 3)
            assert {m.status for m in collect(scorer, 1)["g"]} == {"missing"}


@pytest.mark.parametrize("fault", ["refusal", "truncated", "malformed", "bad_request"])
def test_what_a_judge_cannot_grade_is_missing_with_its_reason(fault: Any, tmp_path: Path) -> None:
    kind = {"bad_request": "http_4xx"}.get(fault, fault)
    with FakeTeacher(options=Options(script=[None, None, *[fault] * 2])) as teacher:
        found = graded(judge_config(teacher, in_flight=1), tmp_path / "l.db", groups=2)
    lost = [m for ms in found.values() for m in ms if m.status == "missing"]
    assert len(lost) >= 4 and all(kind in m.reason and not m.values for m in lost)
    why = "lost_" + {"bad_request": "rejected"}.get(fault, fault)
    assert all(m.usage[why] == 1 and not m.usage["deferred"] for m in lost)
    assert not any(
        n.startswith("lost") for ms in found.values() for m in ms for n in m.usage if m.values
    )


@pytest.mark.parametrize("mode", ["listwise", "pairwise"])
def test_what_a_busy_server_did_not_grade_is_asked_again(mode: str, tmp_path: Path) -> None:
    """A group is put aside as one; what it has already is not asked for twice."""
    calls = {"listwise": 1, "pairwise": 6}[mode] * 2
    script = [None, None, *["overloaded"] * 2]  # every attempt is the only one
    with FakeTeacher(length, Options(script=script, price=PRICE)) as teacher:
        cfg = judge_config(teacher, mode=mode, passes=2, attempts=1, in_flight=1)
        found = graded(cfg, tmp_path / "l.db", groups=1)["g", 0]
        assert all(m.status == "measured" and m.usage["deferred"] == 1 for m in found)
        good = [b for b in teacher.bills[2:] if b.billed]
        assert len(good) == calls == len({b.digest for b in good})
        assert sum(m.usage["requests"] for m in found) == pytest.approx(len(teacher.bills) - 2)
        assert sum(m.usage["usd"] for m in found) == pytest.approx(sum(b.usd for b in good))
    with FakeTeacher(length, Options(script=[None, None, "overloaded"])) as teacher:
        cfg = judge_config(teacher, attempts=1, defer_s=0.0)
        lost = graded(cfg, tmp_path / "none.db", groups=1)["g", 0]
    assert all(m.status == "missing" and m.usage["lost_unavailable"] == 1 for m in lost)


def test_a_budget_that_is_used_up_stops_the_run(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(price=PRICE)) as teacher:
        for caps in ({"max_usd": 0.06}, {"max_usd": 0, "max_tokens": 9000}):
            cfg = judge_config(teacher, in_flight=1, **caps)
            with pytest.raises(PawlError, match="budget is used up: one more") as caught:
                graded(cfg, tmp_path / f"{caps['max_usd']}.db", groups=60, run="run")
            assert caught.value.code == Exit.STOPPED and "judge.max_usd=" in caught.value.hint
            assert f"max_usd {caps['max_usd']:g}" in caught.value.what
    with FakeTeacher(options=Options(script=[None, None])) as teacher:
        poor = {"error": {"type": "insufficient_quota", "message": "pay"}}
        teacher._refuse = lambda *_: _http(429, poor)  # type: ignore[method-assign]
        object.__setattr__(teacher.options, "rates", {"error": 1.0})
        with pytest.raises(PawlError, match="the provider's: 429 insufficient_quota") as caught:
            graded(judge_config(teacher), tmp_path / "poor.db", groups=2)
        assert caught.value.code == Exit.STOPPED


# ---- probe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["messages", "chat", "responses", "decisions"])
def test_the_probe_finds_what_a_server_can_do(api: str, tmp_path: Path) -> None:
    with FakeTeacher() as teacher:
        with JudgeScorer(judge_config(teacher, api), tmp_path / "l.db") as scorer:
            can = scorer.capabilities
    assert can.schema and can.usage and can.simulated and can.context == 1024
    assert can.logprobs == (api != "messages") and can.model == "pawl-fake-teacher"


def test_the_probe_finds_what_a_server_lacks(tmp_path: Path) -> None:
    options = Options(schema=False, logprobs=False, rates={"no_usage": 1.0})
    with FakeTeacher(options=options) as teacher:
        cfg = judge_config(teacher)
        with JudgeScorer(cfg, tmp_path / "l.db") as scorer:
            can = scorer.capabilities
            scorer.submit("g", problem(), completions())
            assert collect(scorer, 1)["g"][0].status == "measured"
    assert (can.schema, can.logprobs, can.usage) == (False, False, False)
    assert rows(tmp_path / "l.db", "kind")[0] == ("http_4xx",)


def test_a_server_that_cuts_prompts_is_refused(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(context=600)) as teacher:
        with pytest.raises(PawlError, match="1024 tokens") as caught:
            JudgeScorer(judge_config(teacher), tmp_path / "l.db")
        assert "context" in caught.value.hint and caught.value.code == Exit.USER
        fits = judge_config(teacher, context_tokens=512)
        JudgeScorer(fits, tmp_path / "l.db").close()


def test_no_server_is_said_at_once(tmp_path: Path) -> None:
    cfg = judge_config("http://127.0.0.1:9/v1", attempts=1)
    with pytest.raises(PawlError, match="probe failed .* connection"):
        JudgeScorer(cfg, tmp_path / "l.db")


# ---- outages -------------------------------------------------------------------------------------


def test_a_long_outage_stops_the_run_and_it_resumes(tmp_path: Path) -> None:
    quick = {"outage_s": 1.5, "in_flight": 8}
    with FakeTeacher(length) as teacher:
        cfg = judge_config(teacher, **quick)
        scorer = JudgeScorer(cfg, tmp_path / "l.db")
        scorer.submit("before", problem(99), completions(99))
        collect(scorer, 1)
        object.__setattr__(teacher.options, "rates", {"overloaded": 1.0})
        began = time.monotonic()
        for i in range(20):
            scorer.submit(i, problem(i), completions(i))
        with pytest.raises(PawlError, match="has not answered") as caught:
            while time.monotonic() - began < 30:
                scorer.poll(0.2)
        assert caught.value.code == Exit.STOPPED and "resume" in caught.value.hint
        assert time.monotonic() - began < 30
        scorer.close()
        object.__setattr__(teacher.options, "rates", {})
        paid = sum(b.billed for b in teacher.bills)
        with JudgeScorer(cfg, tmp_path / "l.db") as again:
            for i in ("before", *range(20)):
                again.submit(
                    i,
                    problem(99 if i == "before" else int(i)),
                    completions(99 if i == "before" else int(i)),
                )
            found = collect(again, 21)
        assert all(m.status == "measured" for ms in found.values() for m in ms)
        assert found["before"][0].cached
        assert sum(b.billed for b in teacher.bills) - paid == 20


@pytest.mark.slow
def test_a_server_that_takes_requests_and_is_silent_is_an_outage(tmp_path: Path) -> None:
    """Of one judgement alone, too: it ends with its attempt and a short question."""
    with FakeTeacher(
        options=Options(script=[None, None], rates={"slow": 1.0}, slow_s=30)
    ) as teacher:
        cfg = judge_config(teacher, attempt_s=2.0, outage_s=1.5)
        with JudgeScorer(cfg, tmp_path / "l.db") as scorer:
            began = time.monotonic()
            scorer.submit("g", problem(), completions())
            with pytest.raises(PawlError, match="has not answered for"):
                collect(scorer, 1)
            assert time.monotonic() - began < 12  # 25 s + 4 s by default


@pytest.mark.slow
def test_a_short_outage_changes_no_result(tmp_path: Path) -> None:
    results = []
    for broken in (False, True):
        character = Character(systematic=0.2, sampling=0.2)
        with FakeTeacher(length, Options(character=character, latency_s=0.02)) as teacher:
            cfg = judge_config(teacher, in_flight=8)
            with JudgeScorer(cfg, tmp_path / f"{broken}.db") as scorer:
                for i in range(60):
                    scorer.submit(i, problem(i), completions(i))
                if broken:
                    object.__setattr__(teacher.options, "rates", {"error": 0.5, "drop": 0.5})
                    timer = threading.Timer(
                        1.5, lambda t=teacher: object.__setattr__(t.options, "rates", {})
                    )
                    timer.start()
                results.append(collect(scorer, 60))
            if broken:
                assert sum(b.fault != "" for b in teacher.bills) >= 8
    assert {k: [m.values for m in ms] for k, ms in results[0].items()} == {
        k: [m.values for m in ms] for k, ms in results[1].items()
    }
    assert len(results[0]) == 60


def test_a_broken_ledger_stops_the_run(tmp_path: Path) -> None:
    with FakeTeacher() as teacher:
        scorer = JudgeScorer(judge_config(teacher), tmp_path / "l.db")
        scorer._ledger._db.execute("DROP TABLE attempts")
        scorer.submit("g", problem(), completions())
        with pytest.raises(PawlError, match="ledger") as caught:
            collect(scorer, 1, 20)
        assert caught.value.code == Exit.STOPPED
        scorer.close()


def test_closing_ends_what_is_on_the_way(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(script=[None, None], latency_s=0.0)) as teacher:
        scorer = JudgeScorer(judge_config(teacher, attempt_s=20.0), tmp_path / "l.db")
        object.__setattr__(teacher.options, "latency_s", 15.0)
        scorer.submit("g", problem(), completions())
        assert scorer.poll(0.3) == []
        began = time.monotonic()
        scorer.close()
        scorer.close()
        assert time.monotonic() - began < 10 and not scorer._calls.alive
    assert rows(tmp_path / "l.db", "kind")[-1] == (None,)  # the next start counts it as lost

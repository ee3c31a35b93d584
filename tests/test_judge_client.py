"""The client: every failure typed, paid for once, within its budget, and never a number."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_setup import PRICE, ask_all, judge_config, one_request, open_client, rows

from pawl.config.judge import JudgeConfig
from pawl.errors import Exit, PawlError
from pawl.judge import contract
from pawl.judge.breaker import COOL_S, FAILURES, Breaker
from pawl.judge.budget import Budget, Price, price_of
from pawl.judge.client import asked_to_wait
from pawl.judge.fake_judge import Graded
from pawl.judge.fake_server import FakeTeacher, Fault, Options
from pawl.judge.ledger import Bill, Ledger
from pawl.judge.wire import Outcome, Usage

# What each fault ends as when it happens once, who bills it, and how many attempts it takes.
ENDINGS: dict[Fault, tuple[str, str, int]] = {
    "rate_limit": ("ok", "none", 2),
    "overloaded": ("ok", "none", 2),
    "error": ("ok", "none", 2),
    "bad_request": ("http_4xx", "none", 1),
    "redirect": ("http_3xx", "none", 1),
    "drop": ("ok", "unknown", 2),
    "partial": ("ok", "unknown", 2),
    "html": ("ok", "unknown", 2),
    "null": ("ok", "unknown", 2),
    "error_body": ("ok", "unknown", 2),
    "malformed": ("ok", "provider", 2),
    "wrong_ids": ("ok", "provider", 2),
    "refusal": ("refusal", "provider", 1),
    "truncated": ("truncated", "provider", 1),
    "slow": ("ok", "unknown", 2),
    "no_usage": ("ok", "unknown", 1),
}


SLOW = {"slow"}


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW)) for f in ENDINGS]
)
def test_a_fault_is_typed_billed_and_retried_as_it_should(fault: Fault, tmp_path: Path) -> None:
    kind, billing, attempts = ENDINGS[fault]
    with FakeTeacher(options=Options(script=[fault], slow_s=6.0, price=PRICE)) as teacher:
        ledger = Ledger(tmp_path / "ledger.db")
        patience = {"attempt_s": 2.0} if fault == "slow" else {}
        client = open_client(judge_config(teacher, "messages", **patience), ledger)
        outcomes = ask_all(client, [one_request()])
    (outcome,) = outcomes
    assert (outcome.kind, outcome.attempts) == (kind, attempts)
    assert (outcome.levels is None) == (kind != "ok")
    assert rows(ledger, "billing")[0] == (billing,)
    known = [b for b in teacher.bills if b.billed]
    tokens, usd = ledger.charged()
    assert usd >= sum(b.usd for b in known) and tokens >= sum(b.usage.total for b in known)
    if billing != "unknown":
        assert usd == pytest.approx(sum(b.usd for b in known))
    if fault == "refusal":
        assert outcome.detail == "frontier_llm"


def test_an_answer_that_stays_wrong_is_asked_for_twice(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(rates={"wrong_ids": 1.0})) as teacher:
        client = open_client(judge_config(teacher), Ledger(tmp_path / "l.db"))
        (outcome,) = ask_all(client, [one_request()])
    assert (outcome.kind, outcome.attempts, outcome.levels) == ("malformed", 2, None)
    assert outcome.usage.total == sum(b.usage.total for b in teacher.bills)


def test_equal_requests_are_one_and_are_kept(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(latency_s=0.1)) as teacher:
        cfg, ledger = judge_config(teacher), Ledger(tmp_path / "l.db")
        client = open_client(cfg, ledger)
        many = ask_all(client, [one_request()] * 10)
        assert len(teacher.bills) == 1
        assert sum(o.usage.total for o in many) == teacher.bills[0].usage.total
        again = ask_all(open_client(cfg, Ledger(tmp_path / "l.db")), [one_request()])
        assert again[0].cached and again[0].levels == many[0].levels and not again[0].usage.total
        changes: list[dict[str, Any]] = [
            {"model": "other"},
            {"effort": "low"},
            {"max_output_tokens": 255},
            {"logprobs": False},
            {"temperature": 0.5},
            {"api": "responses"},
        ]
        for change in changes:
            other = open_client(judge_config(teacher, **{"api": "chat", **change}), ledger)
            assert not ask_all(other, [one_request()])[0].cached, change
        for request in (one_request(2), one_request(3, "x"), one_request(3, mode="pointwise")):
            assert not ask_all(client, [request])[0].cached
        assert not ask_all(client, [replace(one_request(), rubric="code 2 other")])[0].cached


@pytest.mark.parametrize("caps", [{"max_usd": 0.05}, {"max_usd": 0, "max_tokens": 12_000}])
def test_spending_stays_below_the_cap_with_many_in_flight(
    caps: dict[str, float], tmp_path: Path
) -> None:
    options = Options(latency_s=0.05, price=PRICE, rates={"drop": 0.1, "malformed": 0.1})
    with FakeTeacher(options=options) as teacher:
        ledger = Ledger(tmp_path / "l.db")
        client = open_client(judge_config(teacher, **caps), ledger)
        outcomes = ask_all(client, [one_request(mark=i) for i in range(60)])
    tokens, usd = ledger.charged()
    assert usd <= (caps["max_usd"] or 99) and tokens <= caps.get("max_tokens", 10**9)
    assert sum(b.usd for b in teacher.bills) <= usd + 1e-9
    kinds = [o.kind for o in outcomes]
    assert set(kinds) >= {"ok", "budget"} and all(
        o.levels is None for o in outcomes if o.kind != "ok"
    )
    # It does not give up early: what is left could not hold one more worst case.
    asked = open_client(judge_config(teacher, **caps), Ledger(tmp_path / "l.db"))
    assert ask_all(asked, [one_request(mark="more")])[0].kind == "budget"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30))
def test_a_budget_never_exceeds_its_cap(jobs: list[tuple[int, int]]) -> None:
    async def run() -> int:
        budget, charged = Budget(0, 100, (0, 0.0)), 0

        async def job(worst: int, cost: int) -> None:
            nonlocal charged
            if await budget.reserve((worst, 0.0), 5.0) == "ok":
                await asyncio.sleep(0)
                charged += min(worst, cost)
                budget.settle((worst, 0.0), min(worst, cost), 0.0)

        await asyncio.wait_for(asyncio.gather(*(job(*j) for j in jobs)), 5)
        assert await budget.reserve((100 - charged, 0.0), 5.0) == "ok"
        return charged

    assert asyncio.run(run()) <= 100


def test_prices(tmp_path: Path) -> None:
    long = Price(1.0, 5.0, 0.1, 1.25, long_from=1000, long_factor=5.0)
    assert long.usd(Usage(800, 100, 100, 10)) == pytest.approx((800 + 125 + 10 + 50) / 1e6)
    assert long.usd(Usage(1001)) == pytest.approx(5 * 1001 / 1e6)
    for u in (Usage(900, output=50), Usage(0, 900, 0, 50), Usage(0, 0, 900, 50)):
        assert long.usd(u) <= long.most(900, 50) + 1e-12
    model = JudgeConfig.model_validate({"api": "messages", "model": "claude-haiku-5-5"})
    assert price_of(model, hosted=True).long_factor == 5.0
    with pytest.raises(PawlError, match="price"):
        price_of(JudgeConfig.model_validate({"api": "chat", "model": "new"}), hosted=True)


def test_the_deadline_starts_at_admission(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(latency_s=0.1)) as teacher:
        cfg = judge_config(teacher, in_flight=1, attempt_s=1.5, deadline_s=1.5)
        client = open_client(cfg, Ledger(tmp_path / "l.db"))
        outcomes = ask_all(client, [one_request(mark=i) for i in range(20)])
    assert [o.kind for o in outcomes] == ["ok"] * 20  # more than 1.5 s of work in a queue
    spans = rows(client._ledger, "started, started + seconds")
    assert all(b >= a for (_, a), (b, _) in pairwise(spans))  # one at a time


def test_a_wait_beyond_the_cap_is_a_failure(tmp_path: Path) -> None:
    with FakeTeacher(options=Options(rates={"rate_limit": 1.0}, retry_after_s=7200)) as teacher:
        client = open_client(judge_config(teacher), Ledger(tmp_path / "l.db"))
        (outcome,) = ask_all(client, [one_request()])
    assert (outcome.kind, outcome.attempts) == ("overloaded", 1) and "7200 s" in outcome.detail


@pytest.mark.parametrize(
    ("header", "want"),
    [
        ("3", 3.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", float("inf")),
        ("soon", 0.0),
        (formatdate(1060, usegmt=True), 60.0),
        ("", 0.0),
    ],
)
def test_retry_after(header: str, want: float) -> None:
    assert asked_to_wait(header, 1000.0) == want


def test_an_event_loop_that_changed_pays_once(tmp_path: Path) -> None:
    """The official clients misbehave there: one pays twice, one raises."""
    for api in ("messages", "chat"):
        with FakeTeacher() as teacher:
            client = open_client(judge_config(teacher, api), Ledger(tmp_path / f"{api}.db"))

            async def alone(i: int, client: Any = client) -> Outcome:
                return await client.ask(one_request(mark=i))

            assert [asyncio.run(alone(i)).kind for i in range(3)] == ["ok"] * 3
        assert len(teacher.bills) == 3


def test_a_prompt_beyond_the_context_is_not_sent(tmp_path: Path) -> None:
    with FakeTeacher() as teacher:
        client = open_client(judge_config(teacher), Ledger(tmp_path / "l.db"))
        client.can = replace(client.can, context=300)
        (outcome,) = ask_all(client, [one_request(8)])
    assert outcome.kind == "truncated" and not teacher.bills


# ---- breaker -------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_probes_and_closes() -> None:
    async def run() -> None:
        clock = Clock()
        breaker = Breaker(20.0, clock)
        for _ in range(FAILURES - 1):
            breaker.note(False, clock.now)
        assert await breaker.gate(clock.now + 1)
        breaker.note(False, clock.now)
        assert not await breaker.gate(clock.now)
        clock.now += COOL_S
        assert await breaker.gate(clock.now + 1)  # the probe
        second = asyncio.create_task(breaker.gate(clock.now + 100))
        await asyncio.sleep(0.01)
        assert not second.done()
        breaker.note(True)
        assert await asyncio.wait_for(second, 1)
        assert not breaker.outage

    asyncio.run(run())


def test_a_probe_that_is_given_up_leaves_room_for_another() -> None:
    async def run() -> None:
        clock = Clock()
        breaker = Breaker(20.0, clock)
        for _ in range(FAILURES):
            breaker.note(False, clock.now)
        clock.now += COOL_S
        assert await breaker.gate(clock.now + 1)
        second = asyncio.create_task(breaker.gate(clock.now + 100))
        await asyncio.sleep(0.01)
        breaker.note(None)
        assert await asyncio.wait_for(second, 1)

    asyncio.run(run())


def test_an_outage_is_failing_without_one_success() -> None:
    clock = Clock()
    breaker = Breaker(20.0, clock)
    for _ in range(40):
        breaker.note(False, clock.now)
        clock.now += 1
        if clock.now - 100 >= 20:
            break
    assert breaker.suspect and breaker.outage == 0.0  # it may be this one request
    breaker.confirm()
    assert breaker.outage == pytest.approx(20.0)
    breaker.note(True)
    clock.now += 100
    assert breaker.outage == 0.0 and not breaker.suspect
    breaker.note(False, clock.now)
    breaker.confirm()  # something has succeeded a moment ago
    clock.now += 100
    assert breaker.outage == 0.0


def test_a_request_that_always_fails_is_no_outage(tmp_path: Path) -> None:
    """A short question tells them apart, of one judgement alone and of two."""
    with FakeTeacher() as teacher:
        grade = teacher._grade

        def poisoned(system: str, prompt: str) -> Graded:
            if "poison" in prompt:
                raise OSError("this content breaks the server")
            return grade(system, prompt)

        teacher._grade = poisoned  # type: ignore[method-assign]
        cfg = judge_config(teacher, outage_s=0.2, attempts=4)
        client = open_client(cfg, Ledger(tmp_path / "l.db"))
        outcomes = ask_all(client, [one_request(mark=f"poison {i}") for i in range(2)])
        asked_alive = sum(b.billed for b in teacher.bills)
        assert {o.kind for o in outcomes} == {"connection"} and client.stopped() is None
        assert {o.attempts for o in outcomes} == {4} and 0 < asked_alive <= 8


# ---- ledger --------------------------------------------------------------------------------------


def test_an_attempt_that_never_settled_counts_as_the_worst(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    first = Ledger(path, "run")
    first.open_attempt("k", "h", "m", 1000, 0.5)
    done = first.open_attempt("k2", "h", "m", 1000, 0.5)
    came, bill = Outcome("ok", usage=Usage(7, output=3)), Bill(10, 0.001, "provider")
    first.settle(done, came, bill, 0.1, "k2", {"x": 1})
    again = Ledger(path, "run")
    assert again.charged() == (1010, 0.501)
    assert rows(again, "kind, billing") == [("lost", "unknown"), ("ok", "provider")]
    assert again.find("k2") == {"x": 1} and again.find("k") is None
    assert Ledger(path, "other").charged() == (0, 0.0)
    assert again.summary()["usd_unknown"] == 0.5


def test_without_a_ledger_nothing_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    path.write_text("this is no database, and longer than a header of a hundred bytes" * 4)
    with pytest.raises(PawlError) as caught:
        Ledger(path)
    assert caught.value.code == Exit.STOPPED
    newer = tmp_path / "new.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(PawlError, match="another version"):
        Ledger(newer)
    with FakeTeacher() as teacher:
        ledger = Ledger(tmp_path / "gone.db")
        client = open_client(judge_config(teacher), ledger)
        ledger.close()
        with pytest.raises(PawlError, match="ledger"):
            ask_all(client, [one_request()])
        assert not teacher.bills


def test_contract_and_adapter_versions_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTeacher() as teacher:
        client = open_client(judge_config(teacher), Ledger(tmp_path / "l.db"))
        ask_all(client, [one_request()])
        for module in (contract, __import__("pawl.judge.wire", fromlist=["wire"])):
            monkeypatch.setattr(module, "VERSION", "next")
            assert not ask_all(client, [one_request()])[0].cached
            assert ask_all(client, [one_request()])[0].cached

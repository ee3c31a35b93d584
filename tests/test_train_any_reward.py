"""Runs without tests: chat, other languages, rewards that rank, await, or use another scale.

Each goes from `check` to `train` to `evaluate` with the bundled model. Left out: how such rewards
are called (test_rewards_functions.py), and what makes a problem of a row (test_problems_*.py).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pawl
from pawl.errors import Exit, PawlError
from pawl.store.display import Silent
from pawl.store.read import read_events, read_samples

REWARDS = Path(__file__).resolve().parent / "kinds_of_reward.py"
WORDS = "map fold list sum head tail rev sort max min even odd last nth".split()


def chat_rows(n: int) -> list[dict[str, Any]]:
    """Chat turns that end with the answer, the usual supervised layout."""
    rows = []
    for i in range(n):
        word, other = WORDS[i % len(WORDS)], WORDS[(i * 5 + 3) % len(WORDS)]
        question = f"Say in one line what let {word}_{i} and {other} do with x."
        reply = f"let {word}_{i} takes x and gives what {other} makes of item {i}"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        rows.append({"id": f"chat-{i}", "messages": turns, "split": "test" if i % 4 == 0 else ""})
    return rows


def rust_rows(n: int) -> list[dict[str, Any]]:
    rows = []
    for i in range(n):
        name = f"{WORDS[i % len(WORDS)]}_{i}"
        code = f"fn {name}(x: i64) -> i64 {{ x + {i} }}"
        task = f"Write {name} in Rust: it adds {i} to x."
        row = {"id": f"rust-{i}", "lang": "rust", "prompt": task, "reference": code, "crate": "std"}
        row |= {"tests": f"assert_eq!({name}(1), {i + 1});", "split": "test" if i % 4 == 0 else ""}
        rows.append(row)
    return rows


def config(folder: Path, rows: list[dict[str, Any]], use: str, **more: Any) -> dict[str, Any]:
    """A short run of the bundled model on these rows."""
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = folder / "prompt.txt"
    template.write_text("(* {prompt} *)\n")
    made: dict[str, Any] = {
        "runs_dir": str(folder),
        "problems.train": str(path),
        "prompt.template": str(template),
        "rollout.prompts": 4,
        "rollout.group_size": 4,
        "rollout.max_tokens": 24,
        "reward.use": f"{REWARDS}:{use}",
        "optim.lr": 4e-4,
        "train.steps": 4,
        "train.threads": 1,
        "eval.every": 2,
        "eval.samples": 2,
        "checkpoint.every": 1,
        "sandbox.workers": 1,
    }
    return made | more


def passed(checks: list[dict[str, Any]]) -> bool:
    return all(c["passed"] is not False or not c["refuses"] for c in checks)


def test_a_chat_set_without_tests_goes_from_check_to_eval(tmp_path: Path) -> None:
    stages = [
        {"name": "first", "over": 2, "advance_at": -2.99},
        {"name": "second", "over": 2, "advance_at": 3.5},
    ]
    cfg = config(tmp_path, chat_rows(24), "liked", name="chat", curriculum=stages)
    found = pawl.check(cfg)
    assert found.refusal is None, found.refusal
    assert passed(found.rows)
    result = pawl.train(cfg)
    assert result.exit_code == Exit.OK
    moves = [e for e in read_events(result.path) if e["kind"] == "curriculum"]
    assert [(e["from"], e["to"], e["step"]) for e in moves] == [("first", "second", 2)]
    assert moves[0]["why"].startswith("reward/mean ")
    for row in read_samples(result.path):
        assert "takes x and gives" not in row["prompt"], "the answer stands in the prompt"
        assert row["score"]["verdict"] is None
    for record in result.records:
        assert record.get("eval/pass_at_1") is None
        assert record.get("verifier/pass_frac") is None
    evaluated = [r for r in result.records if "eval/success" in r]
    assert [r["step"] for r in evaluated] == [0, 2, 4]
    assert all(r["eval/success"] == r["eval/reward_mean"] for r in evaluated)
    gains = {r["step"]: r["eval/gain"] for r in evaluated}
    assert gains[4] == pytest.approx(evaluated[-1]["eval/success"] - evaluated[0]["eval/success"])
    assert result.summary.startswith("held-out reward: -")
    report = pawl.evaluate(str(result.path), overrides=["eval.problems=0"])
    assert report.success == "reward" and report.pass_at == {}
    assert report.sampled is not None and -3 <= report.sampled.value <= 3
    assert "reward, sampled" in report.text() and "pass@" not in report.text()


@pytest.mark.slow
def test_a_scale_of_its_own_decides_best_checkpoint_target_and_exit_code(tmp_path: Path) -> None:
    target = {"metric": "eval/success", "is": ">=", "value": -2.99, "at": "end"}
    cfg = config(tmp_path, chat_rows(24), "liked", name="met", target=target)
    result = pawl.train(cfg)
    assert result.exit_code == Exit.OK
    scored = {r["step"]: r["eval/gain"] for r in result.records if r["step"] and "eval/gain" in r}
    best = max([(0.0, 0), *((gain, -step) for step, gain in scored.items())])
    state = json.loads((result.checkpoints[4] / "state.json").read_text())["state"]
    assert (state["best_score"], state["best_step"]) == (best[0], -best[1])
    assert state["best_step"] in result.checkpoints, "the best checkpoint stays"
    missed = pawl.train({**cfg, "name": "missed", "target": {**target, "value": 2.9}})
    assert missed.exit_code == Exit.FINDINGS
    wrong = {**target, "metric": "eval/pass_at_1"}
    with pytest.raises(PawlError, match="never recorded: no test judges"):
        pawl.train({**cfg, "name": "wrong", "target": wrong})
    with pytest.raises(PawlError, match="success is `pass`"):
        pawl.train({**cfg, "name": "pass", "eval.success": "pass"})


@pytest.mark.slow
def test_a_language_that_pawl_cannot_test_trains_on_a_users_reward(tmp_path: Path) -> None:
    ways = {
        "eval.success": "close",
        "train.override": ["reference-nll"],
    }  # it knows OCaml only
    cfg = config(tmp_path, rust_rows(16), "compiles", name="rust", **ways)
    assert pawl.check(cfg).refusal is None
    result = pawl.train(cfg)
    rows = list(read_samples(result.path))
    assert rows and all(set(r["score"]["components"]) == {"form", "close"} for r in rows)
    last = result.records[-1]
    assert {"component/form", "component/close", "within/form"} <= set(last)
    held = [r for r in read_samples(result.path, 4, "eval") if r["set"] == "held_out"]
    mean = sum(r["score"]["components"]["close"] for r in held) / len(held)
    assert last["eval/success"] == pytest.approx(mean)
    assert result.summary.startswith("held-out close: ")
    assert pawl.evaluate(str(result.path), overrides=["eval.samples=1"]).success == "close"
    with pytest.raises(PawlError, match="no score has a component 'clos'") as refused:
        pawl.train({**cfg, "name": "typo", "eval.success": "clos"})
    assert "close, form" in refused.value.hint


@pytest.mark.slow
def test_a_users_own_verdicts_give_pass_at_k(tmp_path: Path) -> None:
    ways = {"eval.success": "pass", "train.override": ["reference-nll", "calibration"]}
    cfg = config(tmp_path, rust_rows(16), "own_tests", name="own", **ways)
    result = pawl.train(cfg | {"train.steps": 1})
    record = result.records[0]
    assert record["eval/pass_at_1"] == record["eval/success"] and record["eval/problems"] == 4
    assert result.records[1]["verifier/pass_frac"] is not None
    assert result.summary.startswith("held-out pass@1: ")
    report = pawl.evaluate(str(result.path))
    assert set(report.pass_at) == {1, 2} and "pass@2, sampled" in report.text()


def test_a_reward_that_ranks_sees_whole_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = tmp_path / "sizes.txt"
    monkeypatch.setenv("GROUP_SIZES", str(sizes))
    cfg = config(tmp_path, chat_rows(24), "ranked", name="rank", **{"eval.success": "letters"})
    result = pawl.train(cfg | {"train.steps": 2})
    assert result.exit_code == Exit.OK
    seen = [int(line) for line in sizes.read_text().split()]
    assert seen.count(4) >= 2 * 4  # every group of two steps, in one call each
    for record in result.records[1:]:
        rows = list(read_samples(result.path, record["step"]))
        for at in range(0, len(rows), 4):
            totals = [r["score"]["total"] for r in rows[at : at + 4]]
            letters = [r["score"]["components"]["letters"] for r in rows[at : at + 4]]
            assert sum(totals) == pytest.approx(2.0)  # won comparisons of four
            order = sorted(range(4), key=lambda i: letters[i])
            pairs = zip(order, order[1:], strict=False)
            assert all(totals[a] <= totals[b] for a, b in pairs)


@contextmanager
def judge() -> Iterator[dict[str, int]]:
    """A server on loopback that counts who waits for it at a time.

    It answers at once, but while `wanted` is set it lets everybody wait until so many have waited
    together, at most a minute.
    """
    counts = {"now": 0, "peak": 0, "wanted": 0}
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        counts["now"] += 1
        counts["peak"] = max(counts["peak"], counts["now"])
        end = loop.time() + 60
        while counts["peak"] < counts["wanted"] and loop.time() < end:
            await asyncio.sleep(0.02)
        counts["wanted"] *= loop.time() < end
        counts["now"] -= 1
        right = set(asked["right"].split())
        share = len(right & set(asked["text"].split())) / max(1, len(right))
        spread = len(set(asked["text"])) / max(1, len(asked["text"]))
        writer.write(f"{1.0 if share == 1 else 0.02 * spread}\n".encode())
        await writer.drain()
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    counts["port"] = server.sockets[0].getsockname()[1]
    try:
        yield counts
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


class Held(Silent):
    """Lets the judge keep its answers back while a step is sampled."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts

    def phase(self, name: str) -> None:
        self.counts["wanted"] = 64 if name == "sampling" else 0


def test_a_reward_that_awaits_64_calls_at_a_time_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with judge() as counts:
        monkeypatch.setenv("JUDGE_PORT", str(counts["port"]))
        ways = {"rollout.prompts": 16, "rollout.group_size": 4, "train.steps": 1, "eval.every": 0}
        ways["reward.cache"] = False  # every completion is asked for
        cfg = config(tmp_path, chat_rows(32), "asked", name="asked", **ways)
        result = pawl.train(cfg, display=Held(counts))
    assert result.exit_code == Exit.OK
    assert counts["peak"] == 64, counts
    rows = list(read_samples(result.path, 1))
    assert len(rows) == 64 and all(r["score"]["status"] == "scored" for r in rows)

"""Wire formats, through the official clients: what is sent, and answers of every shape."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_setup import ask_all, judge_config, one_request, open_client, rows
from pydantic import ValidationError

from pawl.config.judge import JudgeConfig
from pawl.judge import wire
from pawl.judge.contract import value
from pawl.judge.fake_judge import Character, grade, length
from pawl.judge.fake_server import MODEL, FakeTeacher, Options
from pawl.judge.ledger import Ledger
from pawl.judge.wire import UNKNOWN, Capabilities, Usage, read, read_usage, spread

APIS = ("messages", "chat", "responses", "decisions")


@pytest.mark.parametrize("api", APIS)
def test_a_judgement_through_the_official_client(api: str, tmp_path: Path) -> None:
    """The levels are the server's own: exact where JSON gives them, else its distributions."""
    who = Character(systematic=0.3, sampling=0.2, seed=3)
    request = one_request(4)
    want = grade(request.system, request.prompt, length, who)
    with FakeTeacher(length, Options(character=who)) as teacher:
        ledger = Ledger(tmp_path / "ledger.db")
        client = open_client(judge_config(teacher, api), ledger)
        (outcome,) = ask_all(client, [request])
    assert outcome.kind == "ok" and outcome.levels is not None and outcome.simulated
    assert outcome.spread == (api != "messages") and outcome.model == MODEL
    for (subject, name), p in want.levels.items():
        got = outcome.levels[subject][name]
        assert got is not None
        if api == "messages":
            assert value(got) == p.index(max(p)) / (len(p) - 1)
        else:
            assert got == pytest.approx(p, abs=1e-9)
    (bill,) = teacher.bills
    assert outcome.usage == bill.usage and bill.usage.cache_write > 0
    assert rows(ledger, "request_id, simulated") == [(bill.request_id, 1)]


@pytest.mark.parametrize("api", APIS)
def test_no_sampling_parameter_reaches_a_provider(api: str) -> None:
    cfg = JudgeConfig.model_validate({"api": api, "model": "m", "effort": "low"})
    sent = wire.arguments(cfg, one_request(), Capabilities(), official=True)
    assert not {"temperature", "top_p", "top_k", "extra_body"} & set(sent)
    assert sent.get("store") is (False if api == "responses" else None)
    assert "max_tokens" not in sent or api == "messages"
    with pytest.raises(ValidationError, match="temperature"):
        JudgeConfig.model_validate({"api": "messages", "temperature": 0.0})
    local = JudgeConfig.model_validate({"api": "chat", "temperature": 0.0})
    assert wire.arguments(local, one_request(), Capabilities(), False)["temperature"] == 0.0


KEYS = st.sampled_from(
    "content type text stop_reason choices message finish_reason output answers usage error model "
    "probabilities label probability name status refusal logprobs top_logprobs token".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("api", APIS)
@given(JSON)
def test_an_answer_of_any_shape_is_typed(api: str, body: Any) -> None:
    reply = read(api, one_request(), json.dumps(body).encode())
    assert reply.kind in ("malformed", "refusal", "truncated", "overloaded")
    assert reply.levels is None


@given(st.binary(max_size=50))
def test_bytes_of_any_kind_are_malformed(raw: bytes) -> None:
    assert read("chat", one_request(), raw).kind == "malformed"


CHAT = {"prompt_tokens": 100, "completion_tokens": 7}
DETAILS = "prompt_tokens_details"


@pytest.mark.parametrize(
    ("api", "usage", "want"),
    [
        ("chat", CHAT, Usage(100, 0, 0, 7)),
        ("chat", {"prompt_tokens": "100", "completion_tokens": "7"}, Usage(100, 0, 0, 7)),
        (
            "chat",
            {**CHAT, DETAILS: {"cached_tokens": 60, "cache_write_tokens": 30}},
            Usage(10, 30, 60, 7),
        ),
        ("chat", {**CHAT, DETAILS: {"cached_tokens": 900}}, Usage(0, 0, 100, 7)),
        ("chat", {**CHAT, DETAILS: None}, Usage(100, 0, 0, 7)),
        ("chat", {**CHAT, "prompt_tokens": -1}, UNKNOWN),
        ("chat", {**CHAT, "prompt_tokens": True}, UNKNOWN),
        ("chat", {**CHAT, "prompt_tokens": 1.5}, UNKNOWN),
        ("chat", {"prompt_tokens": 100}, UNKNOWN),
        ("chat", None, UNKNOWN),
        ("chat", [], UNKNOWN),
        ("messages", {"input_tokens": "5", "output_tokens": 2}, Usage(5, 0, 0, 2)),
        (
            "messages",
            {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 9}
            | {"cache_creation_input_tokens": None},
            Usage(5, 0, 9, 2),
        ),
        ("responses", {"input_tokens": 5, "output_tokens": 2}, Usage(5, 0, 0, 2)),
    ],
)
def test_usage_is_read_by_class_or_not_at_all(api: str, usage: object, want: Usage) -> None:
    assert read_usage(api, {"usage": usage}) == want


def decision_body(change: Any) -> bytes:
    request = one_request(2)
    answers: list[dict[str, Any]] = [
        {
            "type": "score",
            "name": f"{s}.{c.name}",
            "probabilities": [
                {"label": str(i), "value": i, "probability": 1 / len(c.levels)}
                for i in range(len(c.levels))
            ],
        }
        for s, c in request.questions()
    ]
    change(answers)
    return json.dumps({"model": "m", "answers": answers}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop(),
        lambda a: a.reverse(),
        lambda a: a[0].update(type="choice"),
        lambda a: a[0]["probabilities"].pop(),
        lambda a: a[0]["probabilities"][0].update(probability=0.9),
        lambda a: a[0]["probabilities"][0].update(probability=-0.1),
        lambda a: a[0]["probabilities"][0].update(probability="0.2"),
        lambda a: a[0]["probabilities"][0].update(label="1"),
        lambda a: a[0].update(probabilities=None),
    ],
)
def test_a_decision_that_is_no_distribution_is_malformed(change: Any) -> None:
    assert read("decisions", one_request(2), decision_body(change)).kind == "malformed"


def test_a_refused_question_is_missing_alone() -> None:
    def refuse(answers: list[dict[str, Any]]) -> None:
        answers[0] = {"type": "refusal", "name": answers[0]["name"]}

    request = one_request(2)
    reply = read("decisions", request, decision_body(refuse))
    assert reply.kind == "ok" and reply.levels is not None
    given_up = [(s, n) for s, row in reply.levels.items() for n, p in row.items() if p is None]
    assert given_up == [(request.subjects[0], "correctness")]


def tokens(text: str, size: int, tops: dict[str, float]) -> list[dict[str, Any]]:
    """The text in tokens of `size`; those that hold `: 2` get the alternatives."""
    found = []
    for i in range(0, len(text), size):
        token = text[i : i + size]
        at = token.find("2")
        other = [
            {"token": token[:at] + d + token[at + 1 :], "logprob": math.log(p)}
            for d, p in tops.items()
        ]
        alone = [{"token": token, "logprob": 0.0}]
        found.append({"token": token, "top_logprobs": other if at >= 0 else alone})
    return found


@given(st.integers(1, 5))
def test_log_probs_are_found_wherever_tokens_end(size: int) -> None:
    request = one_request(1)
    row = {"id": request.subjects[0], **{c.name: 2 for c in request.criteria}}
    text = json.dumps({"verdicts": [row]})
    found = spread(request, text, tokens(text, size, {"2": 0.6, "1": 0.2, "x": 0.2}))
    levels = found.levels
    assert found.spread and levels
    for c in request.criteria:
        p = levels[request.subjects[0]][c.name]
        assert p is not None and p[2] == pytest.approx(0.75) and p[1] == pytest.approx(0.25)
    few = spread(request, text, tokens(text, size, {"2": 0.3, "x": 0.7})).levels
    assert few and few[request.subjects[0]]["quality"] == (0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("broken", [None, [], [{"token": "x"}], "x", [{"token": 1}]])
def test_without_usable_log_probs_levels_are_certain(broken: Any) -> None:
    request = one_request(1)
    row = {"id": request.subjects[0], **{c.name: 2 for c in request.criteria}}
    found = spread(request, json.dumps({"verdicts": [row]}), broken)
    assert not found.spread and found.levels
    assert found.levels[request.subjects[0]]["quality"] == (0.0, 0.0, 1.0, 0.0)

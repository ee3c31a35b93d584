"""Chat, text and other languages: answers never stand in the prompt, nothing of a row is lost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.sources import ProblemsConfig, PromptConfig
from pawl.errors import PawlErrors
from pawl.models.text import PromptEncoder
from pawl.problems.cases import BadProblem
from pawl.problems.check import check_static
from pawl.problems.columns import FIELDS
from pawl.problems.formats import Row, parse_row
from pawl.problems.load import open_problems, prepare
from pawl.problems.problem_set import ProblemSet
from pawl.rewards.probes import bad_probes, reference_shapes
from pawl.sft.data import read_lines
from pawl.types import Message

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def asked(k: int) -> str:
    return f"Write a Python function add{k}(x) that adds {k} to x."


def answered(k: int) -> str:
    return f"def add{k}(x):\n    return x + {k}"


# The supervised layout: the chat ends with the answer.
ANSWERED = [
    {
        "id": f"q{k}",
        "lang": "python",
        "entry_point": f"add{k}",
        "messages": [turn("user", asked(k)), turn("assistant", f"```python\n{answered(k)}\n```")],
        "tests": [{"input": [1], "expected": 1 + k}, {"input": [5], "expected": 5 + k}],
        "split": "train" if k < 7 else "test",
    }
    for k in range(1, 9)
]


def read(**row: object) -> Row:
    return parse_row(row, "set.jsonl:1", "row-1")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("chat", [True, False])
def test_the_answer_of_a_chat_is_its_reference_and_never_its_prompt(
    chat: bool, tmp_path: Path
) -> None:
    made = prepare(ProblemsConfig(train=write(tmp_path / "set.jsonl", ANSWERED)), 0)
    assert (len(made.train), len(made.held_out)) == (6, 2)
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = TEMPLATE if chat else None
    encoder = PromptEncoder(tokenizer, PromptConfig(template="" if chat else "plain"))
    for k, problem in enumerate([*made.train, *made.held_out], start=1):
        assert problem.reference == answered(k)
        assert problem.messages == (Message("user", asked(k)),)
        text = encoder.render(problem)
        assert asked(k) in text and "return" not in text


def test_only_answers_at_the_end_are_cut() -> None:
    turns = [
        turn("system", "Be brief."),
        turn("user", "Write f."),
        turn("assistant", "Which?"),
        turn("user", "Any."),
        turn("assistant", "A first draft."),
        turn("assistant", "The answer."),
    ]
    problem = read(messages=turns).problem
    assert [m.content for m in problem.messages] == ["Be brief.", "Write f.", "Which?", "Any."]
    assert (problem.reference, problem.code) == ("The answer.", None)
    assert read(messages=turns, solution="Stated.").problem.reference == "Stated."
    apart = read(prompt=turns[:4], completion=[turns[5]]).problem
    assert (apart.messages, apart.reference) == (problem.messages, "The answer.")
    with pytest.raises(BadProblem, match="nothing but answers"):
        read(messages=turns[4:])


def test_columns_of_no_other_use_are_kept_for_a_reward() -> None:
    row = read(
        question="Pick a colour.",
        solution="Red, since it is warm.",
        answer="red",
        topic_id=7,
        options=["red", "blue"],
        weight=math.inf,
        raw=b"x",
        none=None,
        labels=3,
        subset="colours",
    )
    assert row.problem.reference == "Red, since it is warm."
    assert row.problem.metadata == {
        "answer": "red",
        "topic_id": 7,
        "options": ["red", "blue"],
        "weight": "inf",
        "raw": "b'x'",
        "none": None,
        "labels": 3,
        "subset": "colours",
    }
    json.dumps(dict(row.problem.metadata), allow_nan=False)


def test_a_task_with_tests_keeps_no_copy_of_what_made_it() -> None:
    row = {**ANSWERED[0], "test": "assert add1(2) == 3", "source": "here"}
    assert parse_row(row, "set.jsonl:1", "a").problem.metadata == {"source": "here"}


@pytest.mark.parametrize("name", ["answer", "response", "target"])
def test_a_plain_answer_is_the_reference_of_a_text_row_alone(name: str) -> None:
    text = read(question="6 times 7?", **{name: 42})
    assert (text.problem.reference, text.problem.metadata, text.untested) == ("42", {}, "no tests")
    code = read(prompt="def f(x):\n    '''D.'''\n", tests="assert f(1) == 2", **{name: 42})
    assert (code.problem.reference, code.problem.metadata) == ("", {name: 42})


def test_another_language_keeps_what_would_have_made_a_task() -> None:
    tests = [{"input": "1", "output": "2"}]
    row = read(
        prompt="Write inc.",
        language="Rust",
        function_name="inc",
        starter_code="fn inc(x: i32) -> i32 {",
        tests=tests,
        solution="```rust\nx + 1\n```",
    )
    assert row.untested == "language 'rust': Pawl verifies ocaml and python"
    assert (row.problem.lang, row.problem.reference) == ("rust", "```rust\nx + 1\n```")
    assert row.problem.metadata == {
        "language": "Rust",
        "function_name": "inc",
        "starter_code": "fn inc(x: i32) -> i32 {",
        "tests": tests,
        "lang": "rust",
        "entry_point": "inc",
        "head": "fn inc(x: i32) -> i32 {",
    }
    default = parse_row({"prompt": "Write inc."}, "set.jsonl:1", "a", "Rust")
    assert default.problem.lang == "rust"
    stated = parse_row({**ANSWERED[0], "id": "a"}, "set.jsonl:1", "a", "rust")
    assert stated.problem.lang == "python" and stated.problem.code


def test_what_is_known_of_a_text_rows_answers() -> None:
    problem = read(question="Spell it.", answer="i t").problem
    assert reference_shapes(problem) == [("reference", "i t")]
    names = [probe.name for probe in bad_probes(problem)]
    assert names == ["empty", "blank lines", "prose", "syntax garbage"]


def test_a_prompt_that_holds_its_reference_is_noted(tmp_path: Path) -> None:
    quote = "the quick brown fox jumps"
    rows = [
        {"id": "leaks", "prompt": "Say: the quick\n brown fox  jumps!", "answer": quote},
        {"id": "sound", "prompt": "Say what the fox does.", "answer": quote},
        {"id": "short", "prompt": "Yes or no?", "answer": "no"},
    ]
    problems = open_problems(write(tmp_path / "set.jsonl", rows), tested=False)
    found = [f.id for f in check_static(problems.members) if f.check == "leak"]
    assert found == ["leaks"]


# ---- any row at all ------------------------------------------------------------------------------

PIECES = [
    "def f(x):\n    '''D.'''\n",
    "let f (x : int) : int =",
    "assert f(1) == 2",
    "assert (f 1 = 2)",
    "[1, 2]",
    '[{"input": "1", "output": "2"}]',
    "f(1)",
    "f 1",
    "float(10 ** 400)",
    "[[0] * 100000] * 100000",
    "list(range(10 ** 30))",
    "python",
    "ocaml",
    "val f : int -> int",
    "assistant",
    "{",
    "\ud800",
    "",
]
TEXTS = st.sampled_from(PIECES) | st.text(max_size=12)
PLAIN = TEXTS | st.none() | st.booleans() | st.integers() | st.floats()
NAMES = st.sampled_from(
    [
        *(name for names in FIELDS.values() for name in names),
        *("role", "content", "from", "value", "input", "expected", "output", "kind", "inputs"),
    ]
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


def _set_of(row: Row) -> ProblemSet:
    return ProblemSet(["set.jsonl"], [row])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES | st.text(max_size=4), VALUES, max_size=8))
def test_any_row_is_a_problem_or_says_why_not(row: dict[str, object]) -> None:
    try:
        made = parse_row(row, "set.jsonl:1", "row-1")
    except BadProblem as error:
        assert str(error)
        return
    assert (made.problem.code is None) == bool(made.untested)
    assert made.problem.prompt.strip() or made.problem.messages
    assert not made.problem.messages or made.problem.messages[-1].role != "assistant"
    json.dumps(dict(made.problem.metadata), allow_nan=False)
    list(check_static(_set_of(made).members))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["python", "ocaml"]), TEXTS, VALUES, VALUES)
def test_any_tests_are_read_or_refused(
    lang: str, prompt: str, tests: object, solution: object
) -> None:
    row = {"prompt": "f " + prompt, "lang": lang, "entry_point": "f", "signature": "val f : int"}
    try:
        made = parse_row({**row, "tests": tests, "solution": solution}, "set.jsonl:1", "a")
    except BadProblem:
        return
    list(check_static(_set_of(made).members))


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Write f"}, {"type": "text", "text": " in Python."}]
    row = read(messages=[{"role": "system", "content": ""}, {"role": "user", "content": parts}])
    assert [m.content for m in row.problem.messages] == ["", "Write f in Python."]
    shared = read(conversations=[{"from": "human", "value": [{"type": "input_text", "text": "q"}]}])
    assert shared.problem.messages == (Message("user", "q"),)


UNREADABLE_TURNS = [
    ({"role": "user", "content": None}, "turn 2 (user) has no content"),
    ({"role": "assistant", "content": None, "tool_calls": [1]}, "tool calls are not trained on"),
    ({"role": "tool", "content": "x"}, "turn 2 has the unknown role 'tool'"),
    ({"role": ["user"], "content": "x"}, "unknown role ['user']"),
    ({"content": "x"}, "turn 2 has no role"),
    ({"role": "user", "content": 7}, "content of type int"),
    ({"role": "user", "content": {"text": "x"}}, "content of type dict"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, "type 'image_url'"),
    ({"role": "user", "content": [{"type": "text", "text": None}]}, "a part without text"),
    ({"role": "user", "content": [{"type": "text"}]}, "a part without text"),
    ("user: x", "turn 2 is no object"),
]


@pytest.mark.parametrize(("bad", "told"), UNREADABLE_TURNS)
def test_what_is_no_text_is_refused_with_its_turn(bad: object, told: str, tmp_path: Path) -> None:
    turns = [turn("user", "q"), bad, turn("assistant", "a")]
    with pytest.raises(BadProblem) as caught:
        read(messages=turns)
    assert told in str(caught.value)
    path = tmp_path / "sft.jsonl"
    path.write_text("\n".join(json.dumps({"messages": t}) for t in ([turns[0], turns[2]], turns)))
    with pytest.raises(PawlErrors) as refused:
        read_lines(path)
    assert [e.where for e in refused.value.errors] == [f"{path}:2"]
    assert told in refused.value.errors[0].what and "JSON" not in refused.value.errors[0].what

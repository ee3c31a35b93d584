"""The static audit names bad problems with place and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pawl.problems.check import check_leakage, check_static
from pawl.problems.load import open_problems

OCAML = {
    "lang": "ocaml",
    "prompt": "(* Number {n}. f 1 = 2 *)\nlet f (x : int) : int =\n",
    "solution": "let f x = x + 1",
}


def opened(tmp_path: Path, rows: list[dict[str, object]], name: str = "set") -> object:
    path = tmp_path / f"{name}.jsonl"
    made = [{"id": f"{name}{i}", **r} for i, r in enumerate(rows)]
    path.write_text("".join(json.dumps(r) + "\n" for r in made), encoding="utf-8")
    return open_problems(str(path))


def problem(n: int, **fields: object) -> dict[str, object]:
    row = {**OCAML, "prompt": OCAML["prompt"].replace("{n}", str(n))}
    return {**row, "tests": "assert (f 1 = 2);;assert (f 2 = 3);;assert (f 5 = 6)", **fields}


def bad(tmp_path: Path, rows: list[dict[str, object]]) -> list[tuple[str, str, str]]:
    problems = opened(tmp_path, rows)
    found = check_static(problems.members)  # type: ignore[arg-type]
    return [(f.id, f.check, f.reason) for f in found if f.severity == "bad"]


def test_sound_problems_pass(tmp_path: Path) -> None:
    assert bad(tmp_path, [problem(1), problem(2)]) == []


@pytest.mark.parametrize(
    ("fields", "check", "reason"),
    [
        ({"tests": "assert (f 1 = qry)"}, "expected", "no literal: qry"),
        ({"tests": "assert (f 1 = 2);;assert (f 1 = 3)"}, "tests", "two expected values"),
        ({"signature": "val g : int -> int", "entry_point": "f"}, "signature", "declares no f"),
    ],
)
def test_bad_problems_are_named(
    fields: dict[str, object], check: str, reason: str, tmp_path: Path
) -> None:
    found = bad(tmp_path, [problem(1), problem(2, **fields)])
    assert [(i, c) for i, c, _ in found] == [("set1", check)]
    assert reason in found[0][2]


def test_values_with_names_of_their_own_are_literals(tmp_path: Path) -> None:
    tests = "assert (f 1 = max_int);;assert (f 2 = Some infinity);;assert (f 3 = Int.min_int)"
    assert bad(tmp_path, [problem(1, tests=tests)]) == []


def test_python_values_must_be_literals(tmp_path: Path) -> None:
    row = {
        "lang": "python",
        "prompt": "def f(x):\n",
        "cases": [{"input": "[1]", "expected": "2"}],
        "solution": "def f(x):\n    return x + 1",
    }
    assert bad(tmp_path, [row]) == []


def test_copies_differ_in_layout_only(tmp_path: Path) -> None:
    copy = problem(1, prompt=str(problem(1)["prompt"]).replace(" ", "  "))
    found = bad(tmp_path, [problem(1), copy, problem(2)])
    assert [(i, c) for i, c, _ in found] == [("set1", "duplicate")]
    assert "set0" in found[0][2]


def test_shown_and_missing_things_are_noted(tmp_path: Path) -> None:
    rows = [problem(1), problem(2, tests="assert (f 1 = 2)", solution="")]
    problems = opened(tmp_path, rows)
    notes = [(f.id, f.check) for f in check_static(problems.members)]  # type: ignore[arg-type]
    assert notes == [("set0", "shown"), ("set1", "shown"), ("set1", "reference")]


def test_leakage_by_prompt_by_specification_and_by_overlap(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(40))
    train = opened(
        tmp_path,
        [problem(1), problem(2, spec="a"), problem(3, spec="b", prompt=_prose(words, 1))],
        "train",
    )
    held = opened(
        tmp_path,
        [problem(1), problem(9, spec="a"), problem(8, spec="c", prompt=_prose(words, 2))],
        "held",
    )
    found = list(check_leakage(train, held))  # type: ignore[arg-type]
    assert [(f.id, f.check) for f in found if f.severity == "bad"] == [
        ("train0", "leakage"),
        ("train1", "leakage"),
    ]
    assert "held2" in [f.id for f in found if f.check == "overlap"]
    told_apart = check_leakage(train.select([1, 2]), held)  # type: ignore[arg-type]
    assert "overlap" not in [f.check for f in told_apart if f.id == "held2"]


def _prose(words: str, n: int) -> str:
    return f"(* {words} number {n} *)\nlet f (x : int) : int =\n"


@pytest.mark.parametrize("name", ["starter-ocaml", "starter-python"])
def test_the_starter_sets_have_no_bad_problem(name: str) -> None:
    problems = open_problems(name)
    held = [i for i, m in enumerate(problems.members) if m.split != "train"]
    train = [i for i, m in enumerate(problems.members) if m.split == "train"]
    found = [*check_static(problems.members)]
    found += check_leakage(problems.select(train), problems.select(held))
    assert [f for f in found if f.severity == "bad"] == []

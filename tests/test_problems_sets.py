"""The public data sets in their own layouts: audit, scores of right and wrong answers, training."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import public_sets
import pytest
import tiny_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from public_sets import LAST, LAST_OF, SETS, SUMS, TESTS, Public

from pawl.config.load import overridden
from pawl.config.options import RewardConfig, RunConfig, SandboxConfig
from pawl.config.sources import ProblemsConfig
from pawl.errors import PawlError
from pawl.problems.cases import BadProblem
from pawl.problems.formats import parse_row
from pawl.problems.load import open_problems
from pawl.rewards.audit import check_problems
from pawl.rewards.score_file import score_lines
from pawl.store.files import dumps
from pawl.store.read import read_steps
from pawl.train.eval_model import row_of
from pawl.types import Close, Problem

CODE, ONE = RewardConfig(end_marker=""), SandboxConfig(workers=1)
NAMED = pytest.mark.parametrize("of", SETS, ids=lambda of: of.name)


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(dumps(row) + "\n" for row in rows))
    return str(path)


def _lang(of: Public) -> str:
    return "" if of.name.startswith("ocaml") else "python"


def parsed(row: dict[str, Any], **more: Any) -> Problem:
    return parse_row(row, "set.jsonl:1", "a", "python", **more).problem


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All sets in one file, so that one pool of workers serves them all."""
    rows = [{"lang": "python" if _lang(of) else "ocaml", **of.row} for of in SETS]
    return write(tmp_path_factory.mktemp("sets") / "all.jsonl", *rows)


def test_the_audit_finds_nothing_bad(together: str) -> None:
    """References pass, where a row has one; stubs, constants and the like do not."""
    report = check_problems(together, "", RunConfig(sandbox=ONE))
    assert report.total == len(SETS)
    # the same functions in several layouts: found, as they must be
    assert [(f.id, f.check) for f in report.bad] == [
        ("HumanEval/1", "behaviour"),
        ("2", "behaviour"),
        ("two-sum", "behaviour"),
    ]
    assert not [row for row in report.rows if "not read" in row.reason], report.text()
    without = [row.id for row in report.rows if row.check == "reference"]
    assert without == ["abc1_a", "3", "p2", "all.jsonl:15"]


def test_answers_score_what_they_are_worth(together: str, tmp_path: Path) -> None:
    problems = open_problems(together)
    asked = [(of, p, *a) for of, p in zip(SETS, problems, strict=True) for a in of.answers]
    lines = [{"problem_id": p.id, "completion": text} for _, p, text, _ in asked]
    answers = Path(write(tmp_path / "answers.jsonl", *lines))
    scores = [score for _, score in score_lines(together, answers, CODE, ONE)]
    for score, (of, problem, text, share) in zip(scores, asked, strict=True):
        assert score.components["tests"] == pytest.approx(share), (of.name, text, score)
        assert (score.total == 1.0) == (share == 1.0) == (score.verdict == "pass"), (of.name, text)
        if not problem.task.entry_point and "print" not in text:
            assert score.total == 0.0  # what prints nothing has no form either


@NAMED
def test_a_problem_is_written_and_read_back(of: Public, tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", of.row)
    problem = open_problems(path, _lang(of))[0]
    again = open_problems(write(tmp_path / "again.jsonl", row_of(problem)))[0]
    assert again.code == problem.code and again.reference == problem.reference


@pytest.mark.slow
def test_three_steps_on_all_sets_at_once(model: Path, tmp_path: Path) -> None:
    """Every set gives one prompt of each step, and no completion goes without a score."""
    rows = [{"lang": "python", **of.row} for of in SETS if _lang(of)] + [
        SETS[-1].row | {"lang": "ocaml"}
    ]
    files = [write(tmp_path / f"{of.name}.jsonl", row) for of, row in zip(SETS, rows, strict=True)]
    files.append(str(exercise(tmp_path / "exercism")))
    mix = "".join(f"\n    - {{set: {path}}}" for path in files)
    text = tiny_runs.CONFIG.format(model=model, problems="starter-ocaml", reward="{use: code}")
    text = text.replace(
        "problems: {train: starter-ocaml}", f"problems:\n  held_out_frac: 0\n  mix:{mix}"
    )
    text = text.replace("prompts: 3, group_size: 4", f"prompts: {len(files)}, group_size: 2")
    template = tmp_path / "plain.txt"  # the model has no chat template, one set is chat
    template.write_text("{prompt}\n")
    options = ["train.steps=3", "eval.every=0", "problems.audit=false"]
    run, _ = tiny_runs.begin(tmp_path, "all", text, [*options, f"prompt.template={template}"])
    steps = [step for step in read_steps(run) if step["step"] > 0]
    assert [step["step"] for step in steps] == [1, 2, 3]
    for step in steps:
        assert step["verifier/missing_frac"] == 0.0
        for name in (*(of.name for of in SETS), "exercism"):
            assert step[f"mix_share/{name}"] == pytest.approx(1 / len(files))


def exercise(folder: Path) -> Path:
    """An exercise of Exercism's OCaml track in its own layout."""
    for name, text in {
        ".docs/instructions.md": "# Instructions\n\nThe last of a list.\n",
        ".meta/example.ml": LAST_OF,
        "last.mli": "(** The last. *)\nval last_of : int list -> int\n",
        "test.ml": LAST,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_an_exercise_of_exercism(tmp_path: Path) -> None:
    """A folder of exercises, and one alone; of an interface only the value that is called."""
    folder = exercise(tmp_path / "practice" / "last")
    for name in (folder, folder.parent):
        report = check_problems(str(name), "", RunConfig(sandbox=ONE))
        problem = report.kept[0]
        assert problem.id == "last" and "module with this interface" in problem.prompt
        assert problem.task.signature == "val last_of : int list -> int"
        assert [case.expected for case in problem.task.cases] == ["1", "2", "3"]
    # a constant passes one of the three tests, so that two of them are worth a half
    second = (
        "let rec last_of = function [] -> 0 | [x] -> x | _ :: [y; 3] -> y | _ :: t -> last_of t"
    )
    worth = {LAST_OF: 1.0, second: 0.5, "let last_of _ = 3": 0.0, "let last_of x = x": 0.0}
    lines = [{"problem_id": "last", "completion": text} for text in worth]
    answers = Path(write(tmp_path / "answers.jsonl", *lines))
    found = [score for _, score in score_lines(str(folder), answers, CODE, ONE)]
    assert [score.components["tests"] for score in found] == list(worth.values())
    assert [score.total == 1.0 for score in found] == [True, False, False, False]


def test_lines_of_evalplus_are_scored(tmp_path: Path) -> None:
    """task_id for problem_id, a whole `solution` for a completion, MBPP's numbers with its name."""
    first, mbpp = SETS[0], SETS[2]
    lines: list[dict[str, Any]] = [
        {"task_id": "HumanEval/0", "completion": "    return x * x\n"},
        {"task_id": "0", "solution": public_sets.SQUARED},
        {"task_id": "Mbpp/0", "solution": public_sets.SQUARED},
    ]
    answers = Path(write(tmp_path / "samples.jsonl", *lines))
    sets = write(tmp_path / "set.jsonl", first.row)
    scores = [s for _, s in score_lines(sets, answers, CODE, ONE)]
    assert [s.total for s in scores] == [1.0, 1.0, None]
    assert "no problem 'Mbpp/0'" in scores[2].reason
    answers = Path(
        write(tmp_path / "mbpp.jsonl", {"task_id": "Mbpp/2", "solution": first.answers[1][0]})
    )
    sets = write(tmp_path / "mbpp-set.jsonl", mbpp.row)
    rows = ProblemsConfig(lang="python")
    assert [s.components["tests"] for _, s in score_lines(sets, answers, CODE, ONE, rows)] == [
        pytest.approx(1 / 9)
    ]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["[1, 2]", "{", "f(x)", "assert f(1) == 2", "def f(x): pass", "[[1]]"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["input", "output", "inputs", "outputs", "type"]), inner),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(SETS), st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_row_is_a_problem_or_says_why_not(of: Public, data: st.DataObject) -> None:
    """Whatever stands in one or two of its columns, or inside one of them."""
    row = dict(of.row)
    for name in data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=2)):
        value, junk = row[name], data.draw(JUNK)
        if isinstance(value, dict) and value and data.draw(st.booleans()):
            junk = {**value, data.draw(st.sampled_from(sorted(value))): junk}
        row[name] = junk
    try:
        made = parse_row(row, "set.jsonl:1", "a", _lang(of))
    except BadProblem as error:
        assert str(error)
    else:
        assert made.problem.code is not None or made.untested


# ---- packed tests --------------------------------------------------------------------------------


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/pawl-unpickled", "w"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps(Bomb()), "no pickled text"),
        (pickle.dumps([json.dumps([])]), "no pickled text"),
        (pickle.dumps("[]")[:-2], "cannot be read"),
        (pickle.dumps("no list"), "no list of tests"),
        (b"", "cannot be read"),
    ],
)
def test_packed_fields_are_never_unpickled(data: bytes, reason: str) -> None:
    row = next(of.row for of in SETS if of.name == "livecodebench")
    packed = base64.b64encode(zlib.compress(data)).decode()
    with pytest.raises(ValueError, match=reason):
        parsed({**row, "private_test_cases": packed})
    assert not Path("/tmp/pawl-unpickled").exists()


def test_packed_text_of_any_protocol_and_length() -> None:
    row = next(of.row for of in SETS if of.name == "livecodebench")
    tests = [{"input": "x" * 100_000, "output": "\u00e9", "testtype": "stdin"}]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(json.dumps(tests, ensure_ascii=False), protocol)
        packed = base64.b64encode(zlib.compress(data)).decode()
        last = parsed({**row, "private_test_cases": packed}).task.cases[-1]
        assert (last.input, last.expected) == (tests[0]["input"], "\u00e9")


# ---- what a row says of its tests ----------------------------------------------------------------


def test_tolerance_and_case_are_those_of_the_sets_own_judges() -> None:
    by_name = {of.name: parsed(of.row) for of in SETS if of.name in ("apps", "code_contests")}
    assert {c.close for c in by_name["apps"].task.cases} == {Close(1e-5, 1e-8)}
    contest = by_name["code_contests"].task.cases
    assert {(c.close, c.view) for c in contest} == {(Close(0.0, 1e-5), "lower")}
    assert [c.shown for c in contest] == [True, False, False, False]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_file": "in.txt"}, "must use the file in.txt"),
        (
            {
                "public_tests": {"input": [], "output": []},
                "private_tests": {},
                "generated_tests": {},
            },
            "no tests",
        ),
        ({"lang": "cobol"}, "cobol"),
    ],
)
def test_what_a_contest_asks_beside_standard_input(change: dict[str, Any], reason: str) -> None:
    row = next(of.row for of in SETS if of.name == "code_contests")
    try:
        assert reason in parse_row({**row, **change}, "s:1", "a").untested
    except ValueError as error:
        assert reason in str(error)


def test_several_right_answers_are_named() -> None:
    row = {"question": "If there are multiple answers, print any of them.", "input_output": TESTS}
    assert "several answers" in parse_row(row, "s:1", "a").notes[0]


def test_texts_are_arguments_where_a_function_is_asked() -> None:
    """Parallel lists of texts are standard input only where no function is in sight."""
    lists = {"inputs": ["ab", "c"], "outputs": ["ba", "c"]}
    called = parsed({"prompt": "def rev(s: str) -> str:\n    pass", "tests": lists})
    assert called.task.entry_point == "rev" and called.task.cases[0].input == "['ab']"
    assert parsed({"prompt": "Reverse a line.", "tests": lists}).task.entry_point == ""
    mixed = [
        {"type": "stdin", "input": "1", "output": "1"},
        {"type": "call", "fn_name": "f", "input": [1], "output": 1},
    ]
    with pytest.raises(AssertionError, match="no tests"):
        _ = parsed({"prompt": "Say.", "tests": mixed}).task


NODES = """from typing import *
from collections import deque

class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next

def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right

def tree_node(values):
    made = [None if v is None else TreeNode(v) for v in values]
    rest = deque(made[1:])
    for node in made:
        for side in ("left", "right") if node else ():
            setattr(node, side, rest.popleft() if rest else None)
    return made[0] if made else None
"""
MIRROR = """class Solution:
    def {0}(self, head: Optional[{1}]) -> Optional[{1}]:
"""
REVERSE = (
    MIRROR.format("rev", "ListNode")
    + """        last = None
        while head:
            head.next, last, head = last, head, head.next
        return last
"""
)
INVERT = (
    MIRROR.format("inv", "TreeNode")
    + """        if head:
            head.left, head.right = self.inv(head.right), self.inv(head.left)
        return head
"""
)


def test_lists_and_trees_go_in_and_out(tmp_path: Path) -> None:
    """By the helpers that the prompt states; what comes back is compared by its values."""
    checks = {
        "rev": ("list", [([1, 2, 3], [3, 2, 1]), ([], []), ([1], [1])]),
        "inv": ("tree", [([1, 2, 3, None, 4], [1, 3, 2, None, None, 4]), ([], []), ([1], [1])]),
    }
    rows, answers = [], []
    for (name, (kind, pairs)), right in zip(checks.items(), (REVERSE, INVERT), strict=True):
        lines = [
            f"    assert is_same_{kind}(candidate(head = {kind}_node({a})), {kind}_node({b}))\n"
            for a, b in pairs
        ]
        rows.append(
            {"task_id": name, "query": f"{name} it.", "prompt": NODES, "completion": right,
             "entry_point": f"Solution().{name}",
             "test": "".join(["def check(candidate):\n", *lines]),
             "starter_code": right[: right.index("        ")]}
        )  # fmt: skip
        same = right[: right.index("        ")] + "        return head\n"
        answers += [{"problem_id": name, "completion": text} for text in (right, same)]
    sets, given = write(tmp_path / "s.jsonl", *rows), write(tmp_path / "a.jsonl", *answers)
    assert [m.notes for m in open_problems(sets).members] == [(), ()]
    passed = [s.passed_cases for _, s in score_lines(sets, Path(given), CODE, ONE)]
    assert passed == [3, 2, 3, 2]
    report = check_problems(sets, "", RunConfig(sandbox=ONE))
    assert len(report.kept) == 2, report.text()


# ---- names of columns ----------------------------------------------------------------------------


def test_columns_by_meaning(tmp_path: Path) -> None:
    """A dotted path goes into a column, JSON in text too; a named column replaces all others."""
    row = {
        "messages": [{"role": "user", "content": "not this"}],
        "question_text": public_sets.ASKED,
        "judge": json.dumps({"data": {"pairs": TESTS}}),
        "gold": SUMS,
        "tests": "assert False",
    }
    cfg = overridden(
        RunConfig(),
        ["problems.fields.prompt=question_text", "problems.fields.tests=judge.data.pairs"]
        + ["problems.fields.solution=gold"],
    ).problems
    problem = open_problems(
        write(tmp_path / "set.jsonl", row), "python", fields=cfg.fields.given()
    )[0]
    assert problem.prompt == public_sets.ASKED and not problem.messages
    assert problem.reference == SUMS and len(problem.task.cases) == 4


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", {"prompt": "x", "tests": "assert f(1) == 1"})
    with pytest.raises(
        PawlError, match=r"no column 'asserts' \(problems.fields.tests\).*prompt, tests"
    ):
        open_problems(path, "python", fields={"tests": "asserts"})
    with pytest.raises(PawlError, match="problems.fields.promt") as caught:
        overridden(RunConfig(), ["problems.fields.promt=x"])
    assert "problems.fields.prompt" in caught.value.hint


def test_what_a_row_says_is_kept_whatever_layout_it_is_like() -> None:
    ocaml = {"prompt": "Add one.", "tests": "f 1 = 2", "entry_point": "f"}
    typed = "let f (x : int) : int = x + 1"
    read = parse_row({**ocaml, "solutions": [typed]}, "s:1", "a", "ocaml").problem
    assert read.reference == typed
    kept = {"prompt": "What is it?", "solution": "It is 42.", "solutions": ["int main(){}"]}
    assert parse_row(kept, "s:1", "a").problem.reference == "It is 42."


def test_the_function_of_a_contest_is_the_rows_own() -> None:
    item = {"input": "1\n2", "output": "3", "testtype": "functional"}
    row = {"prompt": "Add.", "signature": "def add(a, b):", "tests": [item]}
    assert parsed(row).task.entry_point == "add"
    lists = {"inputs": ["1\n"], "outputs": ["2\n"]}
    prose = {"prompt": "Add one. For example:\n```python\ndef main():\n    ...\n```"}
    assert parsed({**prose, "input_output": lists}).task.entry_point == ""
    owned = {"prompt": "p", "starter_code": "class Solution:\n    @classmethod\n    def f(cls, x):"}
    read = parse_row({**owned, "tests": [{**item, "fn_name": "f"}]}, "s:1", "a", "python")
    assert "a method of its class" in read.untested


def test_columns_of_the_users_win_over_a_layout_and_may_be_empty() -> None:
    row = {"question_content": "theirs", "public_test_cases": "[]", "my": "mine"}
    assert parse_row(row, "s:1", "a", fields={"prompt": "my"}).problem.prompt == "mine"
    empty = {"prompt": "a", "q": "x", "gold": None}
    assert parse_row(empty, "s:1", "a", fields={"solution": "gold"}).problem.reference == ""

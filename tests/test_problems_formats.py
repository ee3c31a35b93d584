"""Layouts of other people's data sets become the same `Problem`; what cannot is refused aloud.

The cases are written for the class of layouts (names of fields, shapes of tests), not for known
files; the files of ../shared are read where they are.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.problems import ocaml_tests, ocaml_text, python_tests, python_text, python_values
from pawl.problems.cases import BadProblem, read_cases
from pawl.problems.formats import Row, parse_row
from pawl.problems.load import open_problems
from pawl.problems.python_records import NO_SIGNATURE
from pawl.types import Close

SHARED = Path(__file__).resolve().parents[2] / "shared" / "problems"
OCAML_PROMPT = "(* Add k. add 1 2 = 3 *)\nlet add (x : int) (k : int) : int =\n"
PYTHON_PROMPT = 'def add(x, k):\n    """Add.\n\n    >>> add(1, 2)\n    3\n    """\n'


def read(**row: object) -> Row:
    return parse_row(row, "set.jsonl:1", "row-1")


def deep(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


# ---- Python tests as text ------------------------------------------------------------------------

PYTHON_FORMS = {
    "assert add(1, 2) == 3": ("[1, 2]", "3", None),
    "assert 3 == add(1, 2)": ("[1, 2]", "3", None),
    "assert add(x=1, k=2) == 3": ("[1, 2]", "3", None),
    "assert add(1, k=2) == 3, 'message'": ("[1, 2]", "3", None),
    "assert add([1] * 3, 'a' + 'b') == [1] * 2": ("[[1, 1, 1], 'ab']", "[1, 1]", None),
    "assert add(list(range(3)), set([1])) == sorted((2, 1))": (
        "[[0, 1, 2], {1}]",
        "[1, 2]",
        None,
    ),
    "assert add(-1, 2.5)": ("[-1, 2.5]", "True", None),
    "assert not add('', {})": ("['', {}]", "False", None),
    "assert add(None, True) is None": ("[None, True]", "None", None),
    "xs = [1, 2]\nassert add(xs, 2) == (1, 2)": ("[[1, 2], 2]", "(1, 2)", None),
    "def check(candidate):\n    assert candidate(1, 2) == 3\ncheck(add)": ("[1, 2]", "3", None),
    "class T(TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)": (
        "[1, 2]",
        "3",
        None,
    ),
    "class T(TestCase):\n    def test(self):\n        self.assertTrue(add(1, 2))": (
        "[1, 2]",
        "True",
        None,
    ),
    ">>> add(1, 2)\n3\n": ("[1, 2]", "3", None),
}


CLOSE_FORMS = {
    "assert abs(add(1, 2) - 3.1) < 1e-3": Close(0.0, 1e-3),
    "eps = 0.25\nassert abs(3.1 - add(1, 2)) <= eps": Close(0.0, 0.25),
    "assert math.fabs(add(1, 2) - 3.1) < 10**-2 * 1.0": Close(0.0, 0.01),
    "assert math.fabs(add(1, 2) - 3.1) < eps": None,  # no constant: reported
    "assert math.isclose(add(1, 2), 3.1)": Close(1e-9, 0.0),
    "assert math.isclose(add(1, 2), 3.1, rel_tol=0.01)": Close(0.01, 0.0),
    "assert isclose(3.1, add(1, 2), abs_tol=0.5)": Close(1e-9, 0.5),
    "assert np.isclose(add(1, 2), 3.1)": Close(0.0, 1e-8 + 3.1e-5),  # it adds its two bounds
    "assert np.allclose(add(1, 2), 3.1, 0.1, 0.2)": Close(0.0, 0.2 + 0.31),
    "assert np.allclose(add(1, 2), 3.1, atol=1)": Close(0.0, 1.0 + 3.1e-5),
    "assert add(1, 2) == pytest.approx(3.1)": Close(1e-6, 1e-12),
    "assert add(1, 2) == approx(3.1, abs=0.1)": Close(0.0, 0.1),
    "assert add(1, 2) == pytest.approx(3.1, rel=0.1)": Close(0.1, 1e-12),
    "assert add(1, 2) == pytest.approx(3.1, 0.1, 0.3)": Close(0.1, 0.3),
    "class T:\n    def test(self):\n        self.assertAlmostEqual(add(1, 2), 3.1)": Close(
        0.0, 0.5e-7
    ),
    "class T:\n    def test(self):\n        self.assertAlmostEqual(add(1, 2), 3.1, 2)": Close(
        0.0, 0.005
    ),
    "class T:\n    def test(self):\n        self.assertAlmostEqual(add(1, 2), 3.1, places=1)": (
        Close(0.0, 0.05)
    ),
    "class T:\n    def test(self):\n        self.assertAlmostEqual(add(1, 2), 3.1, delta=2)": (
        Close(0.0, 2.0)
    ),
}


@pytest.mark.parametrize("text", CLOSE_FORMS)
def test_a_stated_tolerance_keeps_its_numbers(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "add", ("x", "k"))
    want = CLOSE_FORMS[text]
    assert [(c.input, c.expected) for c in cases] == ([("[1, 2]", "3.1")] if want else [])
    assert len(unread) == (want is None)
    for case in cases:
        assert case.close is not None and tuple(case.close) == pytest.approx(want, rel=1e-12)


OCAML_CLOSE_FORMS = {
    "assert (abs_float (add 1 2 -. 3.5) < 0.01)": Close(0.0, 0.01),
    "assert (Float.abs (3.5 -. add 1 2) <= 1e-3)": Close(0.0, 1e-3),
    "assert (0.5 > abs_float (add 1 2 -. 3.5))": Close(0.0, 0.5),
    "assert (abs_float (add 1 2 -. 3.5) < epsilon_float)": Close(0.0, 2.0**-52),
    "assert (abs_float (add 1 2 -. 3.5) < eps)": None,
    "assert (abs_float (add 1 2 -. 3.5) < -1.)": None,
}


@pytest.mark.parametrize("text", OCAML_CLOSE_FORMS)
def test_a_stated_tolerance_of_ocaml_keeps_its_number(text: str) -> None:
    cases, unread = ocaml_tests.parse_tests(text, "add")
    want = OCAML_CLOSE_FORMS[text]
    found = [(c.input, c.expected, c.close) for c in cases]
    assert found == ([("add 1 2", "3.5", want)] if want else [])
    assert len(unread) == (want is None)


@pytest.mark.parametrize(
    ("stated", "want"),
    [(True, Close()), (False, None), (0.1, Close(0.0, 0.1)), ([0.1, 0.2], Close(0.1, 0.2)),
     ({"rel": 0.1}, Close(0.1, 0.0)), ({"abs": 1}, Close(0.0, 1.0))],
)  # fmt: skip
def test_a_record_says_how_close(stated: object, want: Close | None) -> None:
    record = {"input": "[1, 2]", "expected": "3.5", "close": stated}
    (case,) = read_cases([record], "python", "add", NO_SIGNATURE).cases
    assert case.close == want


@pytest.mark.parametrize("stated", ["yes", -1, [1], {"rel": "x"}, float("nan"), {"rel": 2}])
def test_a_closeness_that_is_none_is_refused(stated: object) -> None:
    with pytest.raises(BadProblem, match="close is"):
        read_cases(
            [{"input": "[1]", "expected": "2", "close": stated}], "python", "add", NO_SIGNATURE
        )


@pytest.mark.parametrize("text", PYTHON_FORMS)
def test_python_assertions_become_cases(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "add", ("x", "k"))
    assert not unread
    assert [(c.input, c.expected, c.close) for c in cases] == [PYTHON_FORMS[text]]


@pytest.mark.parametrize(
    "text",
    [
        "assert add(open('x'), 1) == 2",
        "for i in range(n):\n    assert add(i, 0) == i",
        "while True:\n    assert add(1, 0) == 1",
        "assert add(1, 2) == f(3)",
        "assert add(add(1, 2), 3) == 6",
        "assert add(1, 2) == add(2, 1)",
        "assert all(a == b for a, b in zip(add(1, 2), [1, 2]))",
        "assert add(1, 2).startswith('ab')",
        "assert add(1, 2) - 3 == 0",
        "assert sum(zip(add(1, 2), (1, 2))) == 0",
        "assert helper(add(1, 2), 3)",
        "assert add(1, 2) == 3 or add(1, 3) == 4",
        "class T:\n    def test(self):\n        self.assertRegex(add(1, 2), 'x')",
        "assert add(z=1) == 2",
        "assert other(1, 2) == 3",
        "assert math.isclose(add(1, 2))",
        "assert add(1, 2) == approx()",
        "assert add(list(range(10**9)), 1) == 2",
    ],
)
def test_python_properties_are_reported_not_guessed(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "add", ("x", "k"))
    assert not cases and len(unread) == 1


def test_python_tests_are_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    python_tests.parse_tests(f"open({str(mark)!r}, 'w')\nassert add(1, 2) == 3", "add")
    assert not mark.exists()


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_python_literals_survive(value: object) -> None:
    text = python_values.literal([value])
    assert ast.literal_eval(text) == [value]
    cases, _ = python_tests.parse_tests(f"assert add({value!r}) == {value!r}", "add")
    assert [(ast.literal_eval(c.input), ast.literal_eval(c.expected)) for c in cases] == [
        ([value], value)
    ]


# ---- OCaml tests as text -------------------------------------------------------------------------

OCAML_FORMS = {
    "assert (add 1 2 = 3)": ("add 1 2", "3"),
    "let () = assert (add 1 2 = 3)": ("add 1 2", "3"),
    "let () =\n  assert (3 = add 1 2);\n;;": ("add 1 2", "3"),
    "assert ((add (-1) 2) = (1))": ("add (-1) 2", "1"),
    'assert (add "a=b" "c;(*" = "a=bc;(*")': ('add "a=b" "c;(*"', '"a=bc;(*"'),
    "assert (add ['='; '('] [] = [] (* comment ) = *))": ("add ['='; '('] []", "[]"),
    "assert (add (fun x -> x >= 1) [Some 1; None] = [Some (1, 'a')])": (
        "add (fun x -> x >= 1) [Some 1; None]",
        "[Some (1, 'a')]",
    ),
    "assert (not (add 1 2))": ("add 1 2", "false"),
    "assert (add 1 2)": ("add 1 2", "true"),
    "assert (add 1 2 == true)": ("add 1 2", "true"),
    "let x = [1; 2] in assert (add x 2 = [3])": ("(let x = [1; 2] in add x 2)", "[3]"),
    "let _ = assert_equal 3 (add 1 2)": ("add 1 2", "3"),
    'assert_equal ~printer:string_of_int ~msg:"m" (add 1 2) 3': ("add 1 2", "3"),
    "assert (add {|a = b|} 1 = {q|c)|q})": ("add {|a = b|} 1", "{q|c)|q}"),
    "assert (add [||] '\\'' = [|1|])": ("add [||] '\\''", "[|1|]"),
}


@pytest.mark.parametrize("text", OCAML_FORMS)
def test_ocaml_assertions_become_cases(text: str) -> None:
    cases, unread = ocaml_tests.parse_tests(text, "add")
    assert not unread
    assert [(c.input, c.expected) for c in cases] == [OCAML_FORMS[text]]


def test_ocaml_conjunctions_and_tolerances() -> None:
    cases, unread = ocaml_tests.parse_tests(
        "let () = assert (add 1 2 = 3 && add 2 2 = 4)\n"
        "let () = assert (abs_float (add 1 2 -. 3.5) < 1e-6);;",
        "add",
    )
    assert not unread
    assert [(c.input, c.expected, c.close) for c in cases] == [
        ("add 1 2", "3", None),
        ("add 2 2", "4", None),
        ("add 1 2", "3.5", Close(0.0, 1e-6)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "assert (add -1 2 = 1)",  # a subtraction, not a call
        "assert (approx (add 1 2) 2.5)",
        "assert (add 1 2 = add 2 1)",
        "assert (add 1 2 = )",
        "assert (add 1 2 = (* nothing *))",
        "assert (add 1 (2 = 3",
        "assert_equal ~",
        "assert_equal ~msg:(add 1 2",
        "~msg:(assert_equal ~msg:(add 1 2",
    ],
)
def test_ocaml_unreadable_assertions_are_reported(text: str) -> None:
    cases, unread = ocaml_tests.parse_tests(text, "add")
    assert not cases and unread


OCAML_HEADS = {
    "let f (x : int) (y : string list) : bool =": "val f : int -> string list -> bool",
    "let rec f (g : int -> int) (p : int * 'a) : 'a =": "val f : (int -> int) -> int * 'a -> 'a",
    "let f () : unit =": "val f : unit -> unit",
    "let f ((a, b) : int * int) : int =": "val f : int * int -> int",
    "let f ~(x : int) ~by:(y : int) : int =": "val f : x:int -> by:int -> int",
    "let f : int -> int = fun x ->": "val f : int -> int",
    "let f (x:int):int=": "val f : int -> int",
    "let f\n    (x : int)\n    (y : (int, string) Hashtbl.t)\n  : int =": (
        "val f : int -> (int, string) Hashtbl.t -> int"
    ),
}


@pytest.mark.parametrize("head", OCAML_HEADS)
def test_ocaml_signatures_from_heads(head: str) -> None:
    found = ocaml_text.find_definition(f"(* It's a task. *)\n{head}\n", "f")
    assert found is not None and found.signature == OCAML_HEADS[head]


@given(st.text(alphabet="abc'\"()[]{}|*=;: \n~?-><.let1", max_size=60))
def test_the_scanner_ends_on_any_text(text: str) -> None:
    tokens = list(ocaml_text.tokens(text))
    assert all(a.end <= b.start for a, b in zip(tokens, tokens[1:], strict=False))
    ocaml_tests.parse_tests("assert (" + text, "add")
    list(ocaml_text.definitions(text))
    python_text.definitions(text)


# ---- rows ----------------------------------------------------------------------------------------


def test_words_of_a_prompt_template_are_never_the_signature() -> None:
    prompt = (
        "You write OCaml. Let us begin: let the model (say) reason, and complete the provided "
        "function. Example: let twice (x : int) : int = x + x\n\n" + OCAML_PROMPT
    )
    row = read(prompt=prompt, tests="let () = assert (add 1 5 = 6)", lang="ocaml")
    task = row.problem.task
    assert task.signature == "val add : int -> int -> int"
    assert task.head == "let add (x : int) (k : int) : int ="
    assert task.entry_point == "add"


def test_an_untyped_definition_is_refused_with_the_reason() -> None:
    row = read(prompt="let rec last =", tests='assert (last ["a"] = Some "a")', lang="ocaml")
    assert row.problem.code is None and "leaves types out" in row.untested


USERS_ROWS: dict[str, dict[str, object]] = {
    "text tests": {"problem": OCAML_PROMPT, "tests": "let () = assert (add 1 5 = 6)"},
    "list of asserts": {"prompt": OCAML_PROMPT, "test_list": ["assert (add 1 5 = 6)"]},
    "list of equalities": {"question": OCAML_PROMPT, "tests": ["add 1 5 = 6"]},
    "call records": {"prompt": OCAML_PROMPT, "tests": [{"call": "add 1 5", "expected": "6"}]},
    "argument records": {"prompt": OCAML_PROMPT, "tests": [{"input": "1 5", "output": 6}]},
    "JSON in text": {"prompt": OCAML_PROMPT, "tests": '[{"call": "add 1 5", "expected": "6"}]'},
    "chat": {
        "messages": [
            {"role": "system", "content": "You write OCaml."},
            {"role": "user", "content": OCAML_PROMPT},
        ],
        "tests": "assert (add 1 5 = 6)",
    },
    "chat under prompt, other keys": {
        "prompt": [{"from": "human", "value": OCAML_PROMPT}],
        "tests": "assert (add 1 5 = 6)",
    },
}


@pytest.mark.parametrize("name", USERS_ROWS)
def test_ocaml_layouts_agree(name: str) -> None:
    row = read(**USERS_ROWS[name], difficulty="easy", solution="  x + k", id="a")
    p = row.problem
    assert (p.id, p.lang, p.task.entry_point, p.difficulty) == ("a", "ocaml", "add", "easy")
    assert [(c.input, c.expected, c.shown) for c in p.task.cases] == [("add 1 5", "6", False)]
    assert p.task.signature == "val add : int -> int -> int"
    assert p.reference == "let add (x : int) (k : int) : int =\n  x + k"


PYTHON_ROWS: dict[str, dict[str, object]] = {
    "asserts": {"prompt": PYTHON_PROMPT, "tests": "assert add(1, 5) == 6"},
    "HumanEval": {
        "task_id": "a",
        "prompt": PYTHON_PROMPT,
        "entry_point": "add",
        "canonical_solution": "    return x + k\n",
        "test": "def check(candidate):\n    assert candidate(1, 5) == 6\n",
    },
    "MBPP": {
        "task_id": "a",
        "text": "Write a function to add.",
        "code": "def add(x, k):\n    return x + k",
        "test_list": ["assert add(1, 5) == 6"],
        "lang": "python",
    },
    "records": {"prompt": PYTHON_PROMPT, "tests_io": [{"args": "[1, 5]", "expected": "6"}]},
    "JSON values": {"prompt": PYTHON_PROMPT, "tests": [{"input": [1, 5], "output": 6}]},
    "named arguments": {
        "prompt": PYTHON_PROMPT,
        "tests": [{"input": {"k": 5, "x": 1}, "output": 6}],
    },
    "call text": {"prompt": PYTHON_PROMPT, "tests": [{"input": "add(1, 5)", "output": "6"}]},
    "columns": {
        "prompt": PYTHON_PROMPT,
        "input_output": json.dumps({"inputs": [[1, 5]], "outputs": [6]}),
    },
    "pairs": {"prompt": PYTHON_PROMPT, "tests": [[[1, 5], 6]]},
}


@pytest.mark.parametrize("name", PYTHON_ROWS)
def test_python_layouts_agree(name: str) -> None:
    p = parse_row(PYTHON_ROWS[name], "set.jsonl:1", "a").problem
    assert (p.id, p.lang, p.task.entry_point) == ("a", "python", "add")
    assert [(c.input, c.expected, c.shown) for c in p.task.cases] == [("[1, 5]", "6", False)]
    if "code" in PYTHON_ROWS[name] or "canonical_solution" in PYTHON_ROWS[name]:
        assert python_text.defines(p.reference, "add")


def test_one_list_argument_is_not_taken_apart() -> None:
    prompt = "def total(xs):\n    '''Sum.'''\n"
    tests = [{"input": "[1, 2]", "output": "3"}, {"input": "[5]", "output": "5"}]
    cases = read(prompt=prompt, tests=tests).problem.task.cases
    assert [c.input for c in cases] == ["[[1, 2]]", "[[5]]"]


def test_imports_and_helpers_stand_in_the_head() -> None:
    before = "import math\n\ndef half(x):\n    return x / 2\n\n"
    prompt = before + "def add(x: int, k) -> int:\n    '''D.'''\n"
    p = read(prompt=prompt, tests="assert add(1, 5) == 6").problem
    head = p.task.head
    assert head.startswith("import math") and head.endswith("def add(x: int, k) -> int:")


def test_shown_tests_are_found() -> None:
    ocaml = read(prompt=OCAML_PROMPT, tests="assert (add 1  2 = 3);;assert (add 1 22 = 23)")
    assert [c.shown for c in ocaml.problem.task.cases] == [True, False]
    python = read(prompt=PYTHON_PROMPT, tests="assert add(1,2)==3\nassert add(1, 22) == 23")
    assert [c.shown for c in python.problem.task.cases] == [True, False]
    prose = "Add two numbers.\n\nInput: x = 4, k = [5]\nOutput: 9\n\ndef add(x, k):\n"
    listed = read(prompt=prose, tests="assert add(4, [5]) == 9\nassert add(4, [6]) == 10")
    assert [c.shown for c in listed.problem.task.cases] == [True, False]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": PYTHON_PROMPT}, "no tests"),
        (
            {"prompt": PYTHON_PROMPT, "tests": "assert add(1, 2) == add(2, 1)"},
            "no test could be read",
        ),
        ({"prompt": PYTHON_PROMPT, "tests": "assert add(1,"}, "no Python"),
        ({"prompt": "Add numbers.", "tests": "assert f(1) == 2"}, "language is not stated"),
        ({"prompt": PYTHON_PROMPT, "tests": "assert add(1, 2) == 3", "lang": "cobol"}, "cobol"),
        ({"prompt": "Say let.", "tests": "assert (f 1 = 2)", "lang": "ocaml"}, "no entry point"),
    ],
)
def test_rows_whose_tests_cannot_be_had_say_why(row: dict[str, object], reason: str) -> None:
    made = parse_row(row, "set.jsonl:1", "a")
    assert made.problem.code is None and reason in made.untested
    assert "tests" not in row or made.problem.metadata["tests"] == row["tests"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"tests": "assert add(1, 2) == 3"}, "no prompt"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown role"),
        ({"messages": ["x"]}, "role and content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "nothing but answers"),
        ({"prompt": PYTHON_PROMPT, "tests": "assert add(1, 2) == 3", "pass_rate": 7}, "pass_rate"),
        ({"prompt": "half of a pair: \ud800"}, "not Unicode"),
        ({"prompt": "deep", "extra": deep(1200)}, "nested too deeply"),
    ],
)
def test_rows_that_are_no_problem_say_why(row: dict[str, object], reason: str) -> None:
    with pytest.raises(BadProblem, match=reason):
        parse_row(row, "set.jsonl:1", "a")


def test_placeholder_references_are_left_out_with_a_note() -> None:
    row = read(prompt=OCAML_PROMPT, tests="assert (add 1 5 = 6)", solution="  0")
    assert row.problem.reference == "" and "placeholder" in row.notes[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/problems")
@pytest.mark.parametrize(
    ("name", "good", "bad", "cases"),
    [
        ("humaneval_ocaml", 150, 0, 1055),
        ("humaneval_python", 161, 3, 1124),
        ("mbpp_ocaml", 898, 0, 2710),
        ("mbpp_python", 969, 5, 2923),
    ],
)
def test_the_shared_sets_read_whole(name: str, good: int, bad: int, cases: int) -> None:
    problems = open_problems(str(SHARED / f"{name}.jsonl"))
    assert (len(problems), len(problems.bad)) == (good, bad)
    assert sum(len(p.task.cases) for p in problems) == cases

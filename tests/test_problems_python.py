"""Python tests as their authors meant them: text and records become cases, and cases are judged so.

Each assertion is read into a case, and programs of which one is right and the others are not are
run against it in a sandbox; expected values never go in. Left out: rows around the tests
(test_problems_formats.py).
"""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import SandboxConfig
from pawl.errors import PawlError
from pawl.problems import python_tests
from pawl.problems.formats import Row, parse_row
from pawl.sandbox.tiers import Sandbox, open_sandbox
from pawl.sandbox.verify import best_constant, verify
from pawl.types import Case, Close, CodeTask

# ---- assertions ----------------------------------------------------------------------------------

# text -> (input, expected, compare, view)
FORMS = {
    "assert set(f([2, 1])) == set([1, 2])": ("[[2, 1]]", "{1, 2}", "==", "set(result)"),
    "assert f(1) in [1, 2]": ("[1]", "[1, 2]", "in", ""),
    "assert f(1) not in (1, 2)": ("[1]", "(1, 2)", "not in", ""),
    "assert 3 in f(1)": ("[1]", "3", "contains", ""),
    "assert f(1) != 3": ("[1]", "3", "!=", ""),
    "assert not f(1) == 3": ("[1]", "3", "!=", ""),
    "assert f(1) > 3": ("[1]", "3", ">", ""),
    "assert 3 <= f(1)": ("[1]", "3", ">=", ""),
    "assert f(1) is not None": ("[1]", "None", "!=", ""),
    "assert f(1)": ("[1]", "True", "==", "bool(result)"),
    "assert not f(1)": ("[1]", "False", "==", "bool(result)"),
    "assert isinstance(f(1), int)": ("[1]", "True", "==", "bool(isinstance(result, int))"),
    "assert sorted(f([1])) == sorted([3, 2])": ("[[1]]", "[2, 3]", "==", "sorted(result)"),
    "assert list(f(3)) == [0, 1, 2]": ("[3]", "[0, 1, 2]", "==", "list(result)"),
    "assert len(f(3)) == 3": ("[3]", "3", "==", "len(result)"),
    "assert f(3)[0] == 1": ("[3]", "1", "==", "result[0]"),
    "assert round(f(3), 2) == 1.25": ("[3]", "1.25", "==", "round(result, 2)"),
    "assert f('a').lower() == 'b'": ("['a']", "'b'", "==", "result.lower()"),
    "assert ' '.join(f(1)) == 'a b'": ("[1]", "'a b'", "==", "' '.join(result)"),
    "assert Counter(f('aa')) == Counter('aa')": (
        *("['aa']", "{'a': 2}", "==", "collections.Counter(result)"),
    ),
    "assert f(1) == 2 or f(1) == 3": ("[1]", "[2, 3]", "in", ""),
    "r = f(1)\nassert r == 2": ("[1]", "2", "==", ""),
    "r = f(1)\nassert len(r) == 2": ("[1]", "2", "==", "len(result)"),
    "r = sorted(f(1))\nwant = [1]\nassert r == want": ("[1]", "[1]", "==", "sorted(result)"),
    "a, b = f(1)\nassert b == 2": ("[1]", "2", "==", "result[1]"),
    "a = [3, 1]\nf(a)\nassert a == [1, 3]": ("[[3, 1]]", "[1, 3]", "==", "args[0]"),
    "a = [3, 1]\nr = f(a)\nassert a == [1, 3]": ("[[3, 1]]", "[1, 3]", "==", "args[0]"),
    "assert f(-2**31) == 1 / 3": ("[-2147483648]", repr(1 / 3), "==", ""),
    "assert f([i * 2 for i in range(3)]) == 10 // 3": ("[[0, 2, 4]]", "3", "==", ""),
    "assert f(float('inf')) == -math.inf": ("[1e999]", "-1e999", "==", ""),
    "with pytest.raises(ValueError):\n    f(1)": ("[1]", "ValueError", "raises", ""),
    "try:\n    f(1)\n    assert False\nexcept KeyError:\n    pass": (
        *("[1]", "KeyError", "raises", ""),
    ),
    "for a, b in [(1, 2)]:\n    assert f(a) == b": ("[1]", "2", "==", ""),
    "def check(a, b):\n    assert f(a) == b\ncheck(1, 2)": ("[1]", "2", "==", ""),
    "def check(g):\n    assert g(1) == 2\ncheck(f)": ("[1]", "2", "==", ""),
    "@pytest.mark.parametrize('a,b', [(1, 2)])\ndef test_f(a, b):\n    assert f(a) == b": (
        *("[1]", "2", "==", ""),
    ),
    "class T(TestCase):\n    def test_f(self):\n        self.assertIn(f(1), [1, 2])": (
        *("[1]", "[1, 2]", "in", ""),
    ),
    "class T(TestCase):\n    def test_f(self):\n        self.assertRaises(TypeError, f, 1)": (
        *("[1]", "TypeError", "raises", ""),
    ),
    "class T(TestCase):\n    def test_f(self):\n        self.assertCountEqual(f(1), [2, 1])": (
        *("[1]", "[1, 2]", "==", "sorted(result, key=repr)"),
    ),
    "class T(TestCase):\n    def test_f(self):\n        self.assertGreater(f(1), 2)": (
        *("[1]", "2", ">", ""),
    ),
    "assert f(*[1]) == 2": ("[1]", "2", "==", ""),
    "assert np.array_equal(f(1), np.array([1, 2]))": ("[1]", "[1, 2]", "json", ""),
    "np.testing.assert_allclose(f(1), [1, 2], atol=1)": ("[1]", "[1, 2]", "json", ""),
    ">>> a = [3, 1]\n>>> f(a)\n>>> a\n[1, 3]\n": ("[[3, 1]]", "[1, 3]", "==", "args[0]"),
    ">>> f(1)\nTraceback (most recent call last):\n    ...\nValueError: no\n": (
        *("[1]", "ValueError", "raises", ""),
    ),
}


@pytest.mark.parametrize("text", FORMS)
def test_assertions_become_cases(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "f", ("x",))
    assert not unread
    assert [(c.input, c.expected, c.compare, c.view) for c in cases] == [FORMS[text]]


def test_a_chain_and_a_loop_are_several_cases() -> None:
    cases, unread = python_tests.parse_tests("assert 0 <= f(1) < 5", "f")
    assert [(c.compare, c.expected) for c in cases] == [(">=", "0"), ("<", "5")]
    cases, more = python_tests.parse_tests("for i in range(3):\n    assert f(i) == i * i", "f")
    assert [(c.input, c.expected) for c in cases] == [("[0]", "0"), ("[1]", "1"), ("[2]", "4")]
    assert not unread + more


CHANGED = [
    "want = []\nfor i in range(4):\n    want.append(i * i)\nassert f(4) == want",
    "s = [n]\ns += [1]\nassert f(s) == 3",
    "a = [1]\na.append(3)\nassert f(a) == 6",
    "a = [3, 1]\na.sort()\nassert f([3, 1]) == a",
    "import random\na = [3, 1]\nrandom.shuffle(a)\nassert f(a) == [1, 3]",
    "a = [3, 1]\na[0] = 5\nassert f(a) == 6",
    "a = 1\nwhile a < 5:\n    a *= 2\nassert f(a) == 8",
    "a = 1\nif cond:\n    a = 2\nassert f(a) == 2",
    "a = 1\ndel a\nassert f(a) == 2",
    "a = [1]\nb = a\nb.append(2)\nassert f(a) == 3",
    "a = [1]\nb = [a, a]\na.append(2)\nassert f(b) == 3",
    "a = [1]\nfor b in [a]:\n    b.append(2)\nassert f(a) == 3",
    "a = [3, 1]\nb = a.pop()\nassert f(a) == 3",
    "a = [1]\ndef prep():\n    a.append(2)\nprep()\nassert f(a) == 3",
    "r = 1\ntry:\n    r = g(2)\nexcept ValueError:\n    r = None\nassert f(r) == 2",
]


@pytest.mark.parametrize("text", CHANGED)
def test_what_something_changed_is_not_what_it_was(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "f")
    assert not cases and len(unread) == 1


FLOW = {
    "for n in range(3):\n    if n % 2 == 0:\n        assert f(n) == 'even'\n"
    "    else:\n        assert f(n) == 'odd'": ["'even'", "'odd'", "'even'"],
    "for n in [1, -1, 2]:\n    if n < 0:\n        continue\n    assert f(n) == n": ["1", "2"],
    "for n in [1, -1, 2]:\n    if n < 0:\n        break\n    assert f(n) == n": ["1"],
    "x = 0\nfor i in range(3):\n    x = i\nassert f(x) == 4": ["4"],
    "class T:\n    def test_a(self):\n        self.check(1, 2)\n"
    "    def check(self, x, want):\n        self.assertEqual(f(x), want)": ["2"],
    "run(1, 2)\ndef run(x, want):\n    assert f(x) == want": ["2"],
    "for i in [1]:\n    pass\nelse:\n    assert f(1) == 3": ["3"],
    "r = f(1)\nif r != 2:\n    raise AssertionError('x')\nassert f(2) == 3": ["2", "3"],
    "candidate = Solution().f\nassert candidate([2, 7], 9) == 1": ["1"],
    "class T:\n    def setUp(self):\n        self.run = f\n"
    "    def test_a(self):\n        self.assertEqual(self.run(1), 2)": ["2"],
    "def test_a():\n    f = 5\ndef test_b():\n    assert f(3) == 4": ["4"],
    "def check(a, n, want):\n    assert len(a) == n\n    f(a)\n    assert a == want\n"
    "check([1, 1], 2, [1])\ncheck([5, 6, 7], 3, [5])": ["[1]", "[5]"],
}


@pytest.mark.parametrize("text", FLOW)
def test_loops_and_branches_go_as_python_goes(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "f")
    assert not unread
    assert [c.expected for c in cases] == FLOW[text]


REPORTED = [
    "@pytest.mark.xfail\ndef test_a():\n    assert f(7) == 9",
    "@unittest.skip('no')\nclass T:\n    def test_a(self):\n        self.assertEqual(f(7), 9)",
    "@pytest.mark.parametrize('x,y', [pytest.param(1, 2, marks=pytest.mark.xfail)])\n"
    "def test_a(x, y):\n    assert f(x) == y",
    "async def test_a():\n    assert f(1) == 2",
    "match 1:\n    case 1:\n        assert f(1) == 2",
    "with pytest.raises(ValueError, match='negative'):\n    f(1)",
    "try:\n    f(1)\n    assert False\nexcept ValueError as e:\n    assert str(e) == 'x'",
    "verify(f(1), 2)",
    "assert f(3).replace('hello', '') == ''",
    "assert f(1).__eq__(5)",
    "assert f(1) ^ 5 == 0",
    "assert f(1) / 120 == 1",
    "assert max(f(1), 42) == 42",
    "assert f(1) == [1, ...]",
    "ERR = ValueError\nwith pytest.raises(ERR):\n    f(1)",
    "if ready():\n    return\nassert f(1) == 2",
    "x = [1]\nassert f(x) is not x",
    "x = [1]\nassert not f(x) is x",
    "class T:\n    def test_a(self):\n        self.assertCountEqual(f(1), [{'b': 1, 'a': 2}])",
]


@pytest.mark.parametrize("text", REPORTED)
def test_what_is_not_certain_is_reported(text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "f", ("x",))
    assert not cases and len(unread) == 1


@pytest.mark.parametrize("n", [300, 700, 900, 2000, 20_000])
def test_deep_expressions_are_values_or_reported(n: int) -> None:
    try:
        cases, unread = python_tests.parse_tests("assert f(1) == " + "+".join(["1"] * n), "f")
    except ValueError as error:
        assert "no Python" in str(error)
    else:
        assert len(cases) + len(unread) == 1


def test_a_failure_within_no_bound_is_a_tolerance() -> None:
    cases, unread = python_tests.parse_tests("if abs(f(1) - 2) > 0.1:\n    raise ValueError", "f")
    assert [(c.expected, c.close) for c in cases] == [("2", Close(0.0, 0.1))] and not unread


def test_a_kind_states_its_bound() -> None:
    tests = [
        {"args": "[1]", "expected": "2.5", "kind": kind} for kind in ("approx:0.01", "approx", "eq")
    ]
    closes = [c.close for c in row(tests).problem.task.cases]
    assert closes == [Close(0.0, 0.01), Close(), None]


def test_less_than_a_bound_is_not_the_bound() -> None:
    cases, _ = python_tests.parse_tests("assert abs(f(10) - 55) < 1\nassert 1 > abs(f(1) - 5)", "f")
    assert [c.close is not None and 0.99 < c.close.abs < 1.0 for c in cases] == [True, True]


def test_an_argument_that_a_call_changed_is_no_constant_afterwards() -> None:
    cases, unread = python_tests.parse_tests("a = [1]\nf(a)\nassert f(a) == 3", "f")
    assert not cases and len(unread) == 1


def test_the_entry_point_is_found_inside_wrappers() -> None:
    text = "assert set(f(1)) == {1}\nassert set(f(2)) == {2}\nassert len(sorted(f(3))) == 3"
    assert python_tests.called_names(text).most_common(1) == [("f", 3)]


@settings(deadline=None)
@given(st.text(alphabet="f(x)=[] 1a,.'\n:asertnoi", max_size=80))
def test_the_reader_ends_on_any_text(text: str) -> None:
    try:
        python_tests.parse_tests("assert " + text, "f", ("x",))
    except ValueError as error:
        assert "no Python" in str(error)


# ---- judged --------------------------------------------------------------------------------------

# tests -> (right programs, wrong programs), each a body of `f(x)`
JUDGED = {
    "assert set(f([2, 1])) == {1, 2}": (["return x", "return (1, 2, 2)"], ["return [1]"]),
    "assert f(1) in [1, 2]": (["return 1", "return 2.0"], ["return 3", "return [1, 2]"]),
    "assert 3 in f(1)": (["return [3]", "return {3: 1}"], ["return 3", "return range(9, 10**9)"]),
    "assert f(1) > 3": (["return 4"], ["return 3", "return 'a'", "return None"]),
    "assert f(1) is not None": (["return 0"], ["return None"]),
    "assert f(2)": (["return 5", "import re; return re.match('a', 'a')"], ["return 0", "pass"]),
    "assert list(f(2)) == [0, 1]": (
        ["return range(2)", "return (i for i in range(2))", "yield 0; yield 1"],
        ["return [1, 0]", "return 5", "import itertools; return itertools.count()"],
    ),
    "a = [3, 1]\nf(a)\nassert a == [1, 3]": (["x.sort()"], ["return sorted(x)", "pass"]),
    "with raises(LookupError):\n    f(1)": (
        ["raise KeyError(1)", "class A(KeyError): pass\n    raise A", "return {}[1]"],
        ["return 1", "raise ValueError(1)", "return LookupError"],
    ),
    "with raises((ValueError, TypeError)):\n    f(1)": (["raise TypeError"], ["raise KeyError"]),
    "assert f(1) == 2 or f(1) == 3": (["return 3"], ["return 1"]),
    "assert round(f(1), 1) == 0.3": (["return 0.1 + 0.2", "return 0.34"], ["return 0.4"]),
}


@pytest.mark.parametrize("text", JUDGED)
def test_what_is_asserted_decides(sandbox: Sandbox, text: str) -> None:
    cases, unread = python_tests.parse_tests(text, "f", ("x",))
    assert cases and not unread
    task = CodeTask("python", "f", tuple(cases), head="def f(x):")
    for good, bodies in zip((True, False), JUDGED[text], strict=True):
        for body in bodies:
            found = verify(sandbox, task, f"def f(x):\n    {body}")
            assert (found.verdict == "pass") == good, (body, found)


def test_a_failure_is_told_as_a_person_reads_it(sandbox: Sandbox) -> None:
    def told(case: Case, body: str) -> str:
        return verify(sandbox, CodeTask("python", "f", (case,)), f"def f(x):\n    {body}").message

    assert told(Case("[1]", "2"), "return -0.5") == "returned -0.5, expected 2, for `f(1)`"
    assert told(Case("['a']", "True"), "return (x, None)") == (
        "returned ('a', None), expected True, for `f('a')`"
    )
    sorted_case = Case("[[2]]", "[1]", view="sorted(result)")
    assert told(sorted_case, "return x") == "returned [2], expected [1], for `sorted(f([2]))`"
    raising = Case("[1]", "ValueError", compare="raises")
    assert told(raising, "return x") == ("returned 1, expected it to raise ValueError, for `f(1)`")
    assert told(Case("[0]", "1"), "return 1 / x") == (
        "ZeroDivisionError: division by zero, for `f(0)`"
    )
    assert told(Case("[1]", "2"), "return object()") == (
        "what it returned is no plain value, for `f(1)`"
    )


def test_what_a_constant_passes_is_counted_by_comparison() -> None:
    cases = (
        *(Case("[1]", "1"), Case("[2]", "2"), Case("[3]", "0", compare="!=")),
        *(Case("[4]", "[1, 5]", compare="in"), Case("[5]", "KeyError", compare="raises")),
    )
    assert best_constant(CodeTask("python", "f", cases)) == 3  # 1: the first, != 0, in [1, 5]


# ---- records -------------------------------------------------------------------------------------


def row(tests: object, head: str = "def f(x):", **more: object) -> Row:
    prompt = f'{head}\n    """Do it."""\n'
    return parse_row({"prompt": prompt, "entry_point": "f", "tests": tests, **more}, "s:1", "a")


def inputs(found: Row) -> list[str]:
    return [case.input for case in found.problem.task.cases]


def test_values_of_json_keep_their_types() -> None:
    found = row([{"input": [12], "output": "12"}, {"input": ["1"], "output": None}])
    assert [c.expected for c in found.problem.task.cases] == ["'12'", "None"]
    assert inputs(found) == ["[12]", "['1']"]
    source = row([{"input": "[12]", "expected": "'12'"}, {"input": "['1']", "expected": "None"}])
    assert inputs(source) == inputs(found)
    assert [c.expected for c in source.problem.task.cases] == ["'12'", "None"]


@pytest.mark.parametrize(
    ("head", "solution", "want"),
    [
        ("def f(x):", "", "['12']"),
        ("def f(x: str):", "", "['12']"),
        ("def f(x: int) -> int:", "", "[12]"),
        ("def f(x):", "def f(x):\n    return x % 7", "[12]"),
        ("def f(x):", "def f(x):\n    return x.upper()", "['12']"),
        ("def f(x):", "def f(x):\n    return x[::-1]", "['12']"),
    ],
)
def test_a_bare_text_is_what_the_function_takes(head: str, solution: str, want: str) -> None:
    found = row([{"input": "12", "output": "1"}, {"input": "34", "output": "2"}], head,
                solution=solution)  # fmt: skip
    assert inputs(found)[0] == want
    assert any("text" in note for note in found.notes) == (head == "def f(x):" and not solution)


@pytest.mark.parametrize(
    ("head", "solution", "want"),
    [
        ("def f(x):", "", "[1]"),
        ("def f(x: int):", "", "[1]"),
        ("def f(x: list[int]):", "", "[[1]]"),
        ("def f(x: List[int]) -> int:", "", "[[1]]"),
        ("def f(x):", "def f(x):\n    return sum(x)", "[[1]]"),
        ("def f(x):", "def f(x):\n    return x // 2", "[1]"),
        ("def f(x):", "def f(x):\n    for y in x:\n        return y", "[[1]]"),
    ],
)
def test_a_list_of_one_is_the_argument_or_the_arguments(
    head: str, solution: str, want: str
) -> None:
    tests = [{"input": [1], "output": 1}, {"input": [5], "output": 5}]
    found = row(tests, head, solution=solution)
    assert inputs(found)[0] == want
    ambiguous = head == "def f(x):" and not solution
    assert any("inputs of one item" in note for note in found.notes) == ambiguous


def test_lists_of_other_lengths_are_the_argument() -> None:
    found = row([{"input": [1], "output": 1}, {"input": [], "output": 0}])
    assert inputs(found) == ["[[1]]", "[[]]"] and not found.notes


def test_annotations_give_tuples_and_keys_back() -> None:
    head = "def f(x: Dict[int, Tuple[int, int]], y: set[str] = None):"
    found = row([{"input": [{"1": [2, 3]}, ["a"]], "output": 1}], head)
    assert ast.literal_eval(inputs(found)[0]) == [{1: (2, 3)}, {"a"}]


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ([1, 2], "(1, 2)", "[2, 1]"),
        ({"1": 2}, "{1: 2}", "{1: 3}"),
        ({"true": [1]}, "{True: (1,)}", "{'True': [1]}"),
        ([{"a": [1]}], "[{'a': (1,)}]", "[{'a': 1}]"),
        ("12", "'12'", "12"),
        ("True", "'True'", "True"),
        (True, "True", "'True'"),
        (None, "None", "'None'"),
        (0.5, "0.5", "'0.5'"),
    ],
)
def test_json_says_lists_for_tuples_and_text_for_keys(
    sandbox: Sandbox, expected: object, good: str, bad: str
) -> None:
    tests = json.loads(json.dumps([{"input": [0], "output": expected}]))
    task = row(tests).problem.task
    assert verify(sandbox, task, f"def f(x):\n    return {good}").verdict == "pass"
    assert verify(sandbox, task, f"def f(x):\n    return {bad}").verdict == "wrong"


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text("a1 []", max_size=4),
            lambda part: (
                st.lists(part, max_size=3)
                | st.dictionaries(st.text("a1", max_size=2), part, max_size=2)
            ),
            max_leaves=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_native_arguments_of_two_come_back_as_they_are(values: list[object]) -> None:
    """With two parameters nothing is ambiguous: what JSON says is what the function gets."""
    tests = [{"input": [value, 1], "output": value} for value in values]
    cases = row(tests, "def f(x, y):").problem.task.cases
    assert [ast.literal_eval(c.input) for c in cases] == [[value, 1] for value in values]
    assert [ast.literal_eval(c.expected) for c in cases] == values


# ---- numpy ---------------------------------------------------------------------------------------


def test_numpy_is_there_where_the_user_allows_it() -> None:
    try:
        sandbox = open_sandbox(SandboxConfig(packages=("numpy",)))
    except PawlError as error:
        pytest.skip(str(error))  # no numpy for the candidates' Python here, or no sandbox
    text = "assert f(2) == [0.0, 1.0]\nassert np.allclose(f(2), [0, 1.0000001])"
    cases, unread = python_tests.parse_tests(text, "f", ("x",))
    assert len(cases) == 2 and not unread
    task = CodeTask("python", "f", tuple(cases))
    with sandbox:
        for body, verdict in {
            "return np.arange(x) * 1.0": "pass",
            "return [np.float32(0), np.int64(1)]": "pass",
            "return np.ones(x)": "wrong",
            "return np.array([object()])": "unserialisable",
            "return np.zeros(10**7, dtype='int8')": "unserialisable",
        }.items():
            found = verify(sandbox, task, f"import numpy as np\ndef f(x):\n    {body}")
            assert found.verdict == verdict, (body, found)


def test_a_package_that_candidates_cannot_have_is_refused() -> None:
    with pytest.raises(PawlError, match="does not have all of no_such_package"):
        open_sandbox(SandboxConfig(packages=("no_such_package",)))


@pytest.mark.parametrize(
    "text",
    [
        "for i in range(90000):\n    for j in range(90000):\n        x = i\nassert f(1) == 2",
        "assert f(round(5, -10**9)) == 2\nassert f(1) == 2",
        "assert f([[0] * 90000] * 90000) == 2\nassert f(1) == 2",
        "assert f([[0 for i in range(90000)] for j in range(90000)]) == 2\nassert f(1) == 2",
        "assert f(max(range(10**15))) == 2\nassert f(1) == 2",
        "assert f(9 ** 9 ** 9 ** 9) == 2\nassert f(1) == 2",
        "def g(x):\n    h(x)\n    h(x)\ndef h(x):\n    g(x)\n    g(x)\ng(1)\nassert f(1) == 2",
    ],
)
def test_what_has_no_end_is_not_computed(text: str) -> None:
    cases, _ = python_tests.parse_tests(text, "f", ("x",))
    assert [(c.input, c.expected) for c in cases] == [("[1]", "2")]


# ---- EvalPlus ------------------------------------------------------------------------------------

HELPER = """
def is_floats(x):
    return isinstance(x, float) or all(isinstance(i, float) for i in x)
def assertion(out, exp, atol):
    {first}
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if {differ} and atol != 0:
        {typed}
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert {same}, f"out: {{out}}, exp: {{exp}}"
def check(candidate):
    inputs = [[[1.0, 2.0], 0.5], [[1.0, 5.9], 0.95], [[], 1]]
    results = [True, [1.5, 2.0], ["a"]]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
check(f)
"""
LAYOUTS = [
    {"first": "pass", "differ": "out != exp", "typed": "pass", "same": "out == exp"},
    {
        "first": "exact_match = out == exp",
        "differ": "not exact_match",
        "typed": "assert type(out) == type(exp)",
        "same": "exact_match",
    },
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_evalplus_chooses_a_tolerance_by_what_is_expected(layout: dict[str, str]) -> None:
    cases, unread = python_tests.parse_tests(HELPER.format(**layout), "f", ("x", "k"))
    assert not unread
    assert [(c.input, c.expected, c.compare, c.close) for c in cases] == [
        ("[[1.0, 2.0], 0.5]", "True", "==", None),
        ("[[1.0, 5.9], 0.95]", "[1.5, 2.0]", "json", Close(1e-7, 1e-6)),
        ("[[], 1]", "['a']", "==", None),
    ]


def test_a_branch_that_is_not_taken_is_not_read() -> None:
    text = "x = 3\nif x > 5:\n    assert f(1) == 1\nelse:\n    assert f(2) == 2"
    cases, unread = python_tests.parse_tests(text, "f")
    assert [(c.input, c.expected) for c in cases] == [("[2]", "2")] and not unread
    cases, unread = python_tests.parse_tests("if f(1) > 2:\n    assert f(2) == 2", "f")
    assert not cases and unread == ["if f(1) > 2:"]


# ---- what records leave open ---------------------------------------------------------------------

RECORDS = [  # head, solution, inputs, arguments
    ("def f(s: str):", "", ["()", "[()]"], [["()"], ["[()]"]]),
    ("def f(s: str):", "", ["[1, 2]", "[2020-10-11]"], [["[1, 2]"], ["[2020-10-11]"]]),
    ("def f(s):", "def f(s):\n    return s.replace('(', '')", ["()", "[]"], [["()"], ["[]"]]),
    ("def f(s: str):", "", ["['ab']", "['c']"], [["ab"], ["c"]]),
    ("def f(s):", "", ['"abc"', '"d"'], [["abc"], ["d"]]),
    ("def f(xs, k):", "", ["[2, 7]\n9", "[3]\n6"], [[[2, 7], 9], [[3], 6]]),
    ("def f(x):", "", ["[true, null]", "[false, 1]"], [[[True, None]], [[False, 1]]]),
    ("def f(x):", "", [None, 3], [[None], [3]]),
    ("def f(c):", "", ["#ff0000", "#00ff00"], [["#ff0000"], ["#00ff00"]]),
    ("def f(d):", "", [{}, {"x": 1}], [[{}], [{"x": 1}]]),
    ("def f(d):", "", [{"d": 1}, {"x": 1}], [[{"d": 1}], [{"x": 1}]]),
    ("def f(d):", "", [{"d": 1}, {"d": 2}], [[1], [2]]),
    ("def f(d):", "", [[1, 2], {"x": 2}], [[[1, 2]], [{"x": 2}]]),
    ("def f(a, b):", "", [{"a": 1, "b": 2}], [[1, 2]]),
    ("def f(xs):", "def f(xs):\n    return ''.join(xs)", ["[['a']]", "[[]]"], [[["a"]], [[]]]),
]


@pytest.mark.parametrize(("head", "solution", "given", "wanted"), RECORDS)
def test_inputs_are_what_the_function_takes(
    head: str, solution: str, given: list[object], wanted: list[object]
) -> None:
    found = row([{"input": x, "output": 1} for x in given], head, solution=solution)
    assert [ast.literal_eval(x) for x in inputs(found)] == wanted


EXPECTED = [  # result, expected texts, what they are
    ("", ["2024-10-12", "1-2-3"], ["'2024-10-12'", "'1-2-3'"]),
    ("", ["1/2"], ["'1/2'"]),
    ("", ["1, 2", "###", ""], ["'1, 2'", "'###'", "''"]),
    ("", ["-1.5", "1e3", "(1, 2)", "[1, 2]"], ["-1.5", "1000.0", "(1, 2)", "[1, 2]"]),
    ("", ["1", "2", "Fizz"], ["'1'", "'2'", "'Fizz'"]),
    ("", ["1", "2"], ["1", "2"]),
    ("", ["true", "null"], ["True", "None"]),
    (" -> str", ["12", "7"], ["'12'", "'7'"]),
    (" -> Optional[str]", ["None", "'a'"], ["None", "'a'"]),
]


@pytest.mark.parametrize(("result", "texts", "wanted"), EXPECTED)
def test_expected_texts_are_decided_together(
    result: str, texts: list[str], wanted: list[str]
) -> None:
    tests = [{"input": "[1]", "expected": text} for text in texts]
    found = row(tests, f"def f(x){result}:")
    assert [c.expected for c in found.problem.task.cases] == wanted


def test_objects_of_arguments_have_no_gap() -> None:
    found = row([{"input": {"a": 1, "c": 3}, "output": 1}], "def f(a, b=0, c=0):")
    assert found.problem.code is None
    assert row([{"input": [1], "output": 5, "kind": "in"}]).problem.code is None


def test_one_text_for_several_parameters_is_said() -> None:
    found = row([{"input": "1 2", "output": "3"}], "def f(a, b):")
    assert any("one text for several parameters" in note for note in found.notes)


def test_arguments_by_name_stand_where_the_signature_has_them() -> None:
    tests = [{"args": [1], "kwargs": {"b": 3}, "expected": 4}]
    assert inputs(row(tests, "def f(a, b=2):")) == ["[1, 3]"]
    assert row(tests, "def f(a, c=2, b=2):").problem.code is None


def test_kinds_of_records_are_known_or_reported(sandbox: Sandbox) -> None:
    tests = [
        {"input": [1], "output": [2, 1], "kind": "set"},
        {"input": [0], "output": "ZeroDivisionError", "kind": "raises"},
    ]
    task = row(tests).problem.task
    body = "def f(x):\n    return [1, 2, 1] if 1 / x else 0"
    assert verify(sandbox, task, body).verdict == "pass"
    assert row([{"input": [1], "output": 2, "kind": "regexp"}]).problem.code is None


def test_a_method_is_called_on_a_new_object(sandbox: Sandbox) -> None:
    """Of the class that the prompt opens, with what LeetCode's judge has imported."""
    found = row([{"input": [1], "output": 2}], "class Box:\n    def f(self, x: List[int]):")
    task = found.problem.task
    assert task.entry_point == "Box().f" and inputs(found) == ["[1]"]
    right = "class Box:\n    n = []\n    def f(self, x: List[int]):\n        return x + 1"
    assert verify(sandbox, task, right).verdict == "pass"
    assert verify(sandbox, task, right.replace("+ 1", "+ 2")).message.startswith("returned 3,")
    assert verify(sandbox, task, "        return x + 1").verdict == "pass"  # under the head


def test_tests_stand_behind_their_preparation() -> None:
    found = row(["assert f(n) == 2"], test_setup_code="n = 1")
    assert inputs(found) == ["[1]"]


def test_prose_that_parses_is_no_code(sandbox: Sandbox) -> None:
    prompt = "Task: reverse\n\ndef f(s):\n    pass"
    tests = [{"input": ["ab"], "output": "ba"}]
    task = parse_row({"prompt": prompt, "tests": tests}, "s:1", "a").problem.task
    assert task.head == "def f(s):"
    assert verify(sandbox, task, "def f(s):\n    return s[::-1]").verdict == "pass"

"""The verifiers on real programs: forms of a completion, values, type errors, references."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from attack_runner import OCAML_TASK, PYTHON_TASK, limits
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import PawlError
from pawl.problems.load import open_problems
from pawl.sandbox import driver, ocaml
from pawl.sandbox.ocaml_tools import toolchain
from pawl.sandbox.python import Python
from pawl.sandbox.tiers import Sandbox, open_sandbox
from pawl.sandbox.values import decode, equal
from pawl.sandbox.verify import verify
from pawl.types import Case, Close, CodeTask

SHARED = Path(__file__).resolve().parents[2] / "shared" / "problems"
MARK = "(* END *)"
needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="no OCaml here")


BODY = "List.fold_left (fun a x -> if x mod 2 = 0 then a + x * x else a) 0 xs"
OCAML_RIGHT = {
    "body": f"  {BODY}\n",
    "whole": f"let solve (xs : int list) : int = {BODY}\n",
    "fence": f"```ocaml\nlet solve xs = {BODY}\n```\n",
    "bare fence": f"```\nlet solve xs = {BODY}\n```",
    "fenced body": f"```ocaml\n  {BODY}\n```",
    "open fence": f"```ocaml\nlet solve xs = {BODY}\n",
    "closed by a fence": f"let solve xs = {BODY}\n```\nThis sums the squares.",
    "prose around": f"Here it is:\n```ocaml\nlet solve xs = {BODY}\n```\nIt folds.",
    "marker": f"{BODY}\n{MARK}",
    "after the marker": f"{BODY}\n{MARK}\nlet solve = 1 (",
    "marker in a string": f'let s = "{MARK}"\nlet solve xs = ignore s; {BODY}',
    "fence in a string": f'let s = "\n```\n"\nlet solve xs = ignore s; {BODY}',
    "helper of the same name": "let rec solve a = function [] -> a | x :: t ->\n"
    "  solve (if x mod 2 = 0 then a + x * x else a) t in\nsolve 0 xs",
    "local let": f"let even x = x mod 2 = 0 in\nignore even; {BODY}",
    "exit": f"let die () = exit 3\nlet solve xs = if xs = [99] then die () else {BODY}",
    "Obj": f"let same x = Obj.obj (Obj.repr x)\nlet solve (xs : int list) : int = same ({BODY})",
    "assert": f"let solve xs = assert (List.length xs >= 0); {BODY}",
    "Sys": f"let solve xs = ignore Sys.word_size; {BODY}",
    "semicolons": f"let solve xs = {BODY};;\n",
}


@needs_ocaml
@pytest.mark.parametrize("name", OCAML_RIGHT)
def test_right_ocaml_in_every_form(sandbox: Sandbox, name: str) -> None:
    found = verify(sandbox, OCAML_TASK, OCAML_RIGHT[name], MARK)
    assert (found.verdict, found.types, found.compiled) == ("pass", 1.0, True), found.message


PYTHON_RIGHT = {
    "body": "    return sum(x * x for x in xs if x % 2 == 0)\n",
    "unindented body": "total = sum(x * x for x in xs if x % 2 == 0)\nreturn total\n",
    "one line": " return sum(x * x for x in xs if x % 2 == 0)",
    "whole": "def solve(xs):\n    return sum(x * x for x in xs if x % 2 == 0)\n",
    "fence": "```python\ndef solve(xs):\n    return sum(x * x for x in xs if x % 2 == 0)\n```\n",
    "prose around": "Sure!\n```py\ndef solve(xs):\n    return sum(x*x for x in xs if x%2==0)\n```",
    "after the marker": "    return sum(x * x for x in xs if x % 2 == 0)\n# END\nnothing more (",
    "exit": "import sys\ndef solve(xs):\n    if xs == [99]: sys.exit(0)\n"
    "    return sum(x * x for x in xs if x % 2 == 0)\n",
    "os": "import os\ndef solve(xs):\n    assert os.getcwd()\n"
    "    return sum(x * x for x in xs if x % 2 == 0)\n",
    "lambda": "solve = lambda xs: sum(x * x for x in xs if x % 2 == 0)",
    "set by globals": "globals()['solve'] = lambda xs: sum(x * x for x in xs if x % 2 == 0)",
    "fence in a docstring": 'def solve(xs):\n    """\n```\nx\n```\n    """\n'
    "    return sum(x * x for x in xs if x % 2 == 0)\n",
}


@pytest.mark.parametrize("name", PYTHON_RIGHT)
def test_right_python_in_every_form(sandbox: Sandbox, name: str) -> None:
    found = verify(sandbox, PYTHON_TASK, PYTHON_RIGHT[name], "# END")
    assert (found.verdict, found.types, found.compiled) == ("pass", 1.0, True), found.message


WRONG = [
    (OCAML_TASK, "let solve xs = 0", "wrong", 1.0),
    (OCAML_TASK, 'let solve xs = failwith "no"', "exception", 1.0),
    (OCAML_TASK, "let solve xs = exit 0", "exception", 1.0),
    (OCAML_TASK, "let solve xs = (", "compile", 0.0),
    (OCAML_TASK, "I cannot do this.", "compile", 0.0),
    (OCAML_TASK, "", "compile", 0.0),
    (OCAML_TASK, 'let solve xs = "a"', "compile", 0.5),
    (OCAML_TASK, 'let a = 1 + "x"\nlet b = "y" + 1\nlet solve xs = 0', "compile", 1 / 3),
    (OCAML_TASK, 'external f : int -> int = "none"\nlet solve xs = f 0', "compile", 1.0),
    (OCAML_TASK, "let solve xs = \x00", "rejected", 0.0),
    (OCAML_TASK, f"(* {'x' * 100_000} *)\nlet solve xs = 0", "rejected", 0.0),
    (PYTHON_TASK, "def solve(xs): return 0", "wrong", 1.0),
    (PYTHON_TASK, "def solve(xs): return object()", "unserialisable", 1.0),
    (PYTHON_TASK, "def solve(xs): return bytearray(1 << 40)", "memory", 1.0),
    (PYTHON_TASK, "def solve(xs): return 'x' * 5_000_000", "output", 1.0),
    (PYTHON_TASK, "import os\nos._exit(0)", "exception", 0.0),
    (PYTHON_TASK, "def other(xs): return 0", "exception", 0.0),
    (PYTHON_TASK, "42", "exception", 0.0),
    (PYTHON_TASK, "```python\n42\n```", "exception", 0.0),
    (PYTHON_TASK, "# def solve(xs): return 0", "exception", 0.0),
    (PYTHON_TASK, "import none_such\ndef solve(xs): return 0", "exception", 0.5),
    (PYTHON_TASK, "def solve(xs:", "compile", 0.0),
    (PYTHON_TASK, "x" * 200_000, "rejected", 0.0),
]


@needs_ocaml
@pytest.mark.parametrize(("task", "text", "verdict", "types"), WRONG)
def test_wrong_programs(
    sandbox: Sandbox, task: CodeTask, text: str, verdict: str, types: float
) -> None:
    found = verify(sandbox, task, text)
    accepted = {verdict, "unserialisable"} if verdict == "output" else {verdict}
    assert found.verdict in accepted, found
    assert found.types == pytest.approx(types)
    assert not any(found.passed) or verdict == "wrong"


@needs_ocaml
def test_true_type_errors_are_counted_and_cascades_are_not(sandbox: Sandbox) -> None:
    text = """
let f x = x + "a"
let g y = y ^ 1
let h = f 3 + g "x"
let undefined_used = nothing_here 1
let uses_it = undefined_used + 1
let solve (xs : int list) : int = List.map (fun x -> x +. 1.) xs
"""
    found = verify(sandbox, OCAML_TASK, text)
    assert found.verdict == "compile" and not found.syntax_error
    assert found.type_errors is not None and 4 <= found.type_errors <= 6
    assert found.types == pytest.approx(1 / (1 + found.type_errors))


STAND_IN = """#!/bin/sh
# The compiler, except for the candidates that name what to do in its place.
case $(cat sol.ml) in
*STAND_IN_COMPUTES*) while :; do :; done ;;
*STAND_IN_HOARDS*) hoard=x; while :; do hoard=$hoard$hoard; done ;;
*STAND_IN_WRITES*) while :; do cat "$0"; done ;;
*STAND_IN_ENDS*) kill -SEGV $$ ;;
esac
exec OCAMLC "$@"
"""


@pytest.fixture
def seen_by_candidates() -> Iterator[Path]:
    """A folder for programs that the sandbox shows (it has a /tmp of its own)."""
    with tempfile.TemporaryDirectory(prefix="stand-in-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@needs_ocaml
def test_a_compiler_out_of_bounds_is_no_fault(
    seen_by_candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in computes, hoards, floods or ends itself where a compiler might."""
    real = toolchain()
    text = STAND_IN.replace("OCAMLC", str(real.ocamlc))
    standing_in = program(seen_by_candidates / "ocamlc", text)
    tools = replace(real, ocamlc=standing_in, checker="")  # types are left to the compiler
    monkeypatch.setattr(ocaml, "toolchain", lambda: tools)
    wrong = []
    with open_sandbox(limits(wall_s=60.0)) as sandbox:
        for deed in ("COMPUTES", "HOARDS", "WRITES", "ENDS"):
            found = verify(sandbox, OCAML_TASK, f"{OCAML_RIGHT['whole']}(* STAND_IN_{deed} *)")
            if (found.verdict, found.retried, found.types) != ("compile", False, 0.0):
                wrong.append((deed, found))
        assert not wrong
        assert verify(sandbox, OCAML_TASK, OCAML_RIGHT["whole"]).verdict == "pass"
        assert sandbox.left_over() == ""


@needs_ocaml
def test_a_type_checker_out_of_bounds_is_no_fault(
    seen_by_candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for what counts type errors after the compiler refused."""
    wrong = []
    for deed in ("while :; do :; done", "kill -SEGV $$"):
        folder = seen_by_candidates / f"tools-{len(deed)}"
        shutil.copytree(toolchain().folder, folder)
        program(folder / "mlcheck", f"#!/bin/sh\n{deed}\n")
        tools = replace(toolchain(), folder=folder, checker="native")
        with monkeypatch.context() as patch, open_sandbox(limits(wall_s=60.0)) as sandbox:
            patch.setattr(ocaml, "toolchain", lambda tools=tools: tools)
            found = verify(sandbox, OCAML_TASK, 'let solve xs = "a"')
        if (found.verdict, found.retried, found.types) != ("compile", False, 0.0):
            wrong.append((deed, found))
    assert not wrong


@needs_ocaml
def test_results_of_many_types(sandbox: Sandbox) -> None:
    rows = [
        ("int list -> int list", "List.map succ", "solve [1; 2]", "[2; 3]"),
        ("int -> int list", "fun n -> List.init n Fun.id", "solve 3000", "List.init 3000 Fun.id"),
        ("int -> float", "fun x -> float_of_int x /. 4.", "solve 1", "0.25"),
        ("int -> float", "fun _ -> -0.", "solve 1", "0."),
        ("string -> char option", "fun s -> Some s.[0]", 'solve "\\"a"', "Some '\"'"),
        ("int -> (int * string) list", 'fun x -> [(x, "\\n")]', "solve 1", '[(1, "\\n")]'),
        ("float -> float array", "fun x -> [|x; 2.|]", "solve 1.", "[|1.; 2.|]"),
        ("int -> (int, string) result", "fun x -> Ok x", "solve 1", "Ok 1"),
        ("'a list -> 'a list", "List.rev", "solve [1; 2]", "[2; 1]"),
        ("(int -> int) -> int", "fun f -> f 1", "solve succ", "2"),
        ("unit -> bytes", 'fun () -> Bytes.of_string "x"', "solve ()", 'Bytes.of_string "x"'),
    ]
    for kind, body, call, want in rows:
        task = replace(
            OCAML_TASK, signature=f"val solve : {kind}", head="", cases=(Case(call, want),)
        )
        found = verify(sandbox, task, f"let solve x = ({body}) x")
        assert found.verdict == "pass", (kind, found)
        assert verify(sandbox, task, "let solve _ = raise Exit").verdict == "exception"


@needs_ocaml
def test_floats_may_be_close_where_the_case_says_so(sandbox: Sandbox) -> None:
    near = Case("solve [1]", "[0.1 +. 0.2; 1.]", close=Close())
    task = replace(OCAML_TASK, signature="val solve : int list -> float list", cases=(near,))
    assert verify(sandbox, task, "let solve _ = [0.3; 1.0000001]").verdict == "pass"
    assert verify(sandbox, task, "let solve _ = [0.31; 1.]").verdict == "wrong"
    exact = replace(task, cases=(replace(near, close=None),))
    assert verify(sandbox, exact, "let solve _ = [0.3; 1.]").verdict == "wrong"


@needs_ocaml
def test_a_test_that_does_not_fit_is_the_problems_error(sandbox: Sandbox) -> None:
    bad = replace(OCAML_TASK, cases=(Case("solve [1]", '"text"'),))
    with pytest.raises(PawlError, match="does not fit int"):
        verify(sandbox, bad, OCAML_RIGHT["whole"])
    bad = replace(OCAML_TASK, cases=(Case('solve "text"', "1"),))
    found = verify(sandbox, bad, OCAML_RIGHT["whole"])
    assert found.verdict == "infra_error" and "tests do not compile" in found.message


def test_a_task_without_tests_is_an_error_that_says_where(sandbox: Sandbox) -> None:
    with pytest.raises(PawlError, match="no tests") as caught:
        verify(sandbox, replace(PYTHON_TASK, cases=()), "x", place="set.jsonl:3")
    assert caught.value.where == "set.jsonl:3"


def test_an_expected_value_that_is_no_literal_is_the_problems_error(sandbox: Sandbox) -> None:
    with pytest.raises(PawlError, match="not a Python literal"):
        verify(sandbox, replace(PYTHON_TASK, cases=(Case("[1]", "f(1)"),)), PYTHON_RIGHT["whole"])


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.timedeltas()
)
hashable = st.integers() | st.text() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    ),
    max_leaves=12,
)


@given(values)
def test_values_survive_the_wire(value: object) -> None:
    text = driver.form(value, 0, [10_000])
    assert "\n" not in text and text.isascii()
    back = decode(text)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        Counter("abca"), OrderedDict([("b", 1), ("a", 2)]), defaultdict(list, {1: [2]}),
        deque([1, 2]), Decimal("1.50"), Fraction(1, 3), date(2026, 1, 2),
        datetime(2026, 1, 2, 3, 4), timedelta(days=1), range(3), bytearray(b"x"),
        "\ud800 lone", "line\nbreak", math.inf,
    ],
)  # fmt: skip
def test_exact_standard_types_survive_too(value: object) -> None:
    assert decode(driver.form(value, 0, [10_000])) == value


def test_nothing_else_has_a_form() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    deep: list[object] = []
    deep.append(deep)
    for value in (Liar(1), object(), deep, 1 << 100_000, iter([]), lambda: 0, [0] * 200_000):
        with pytest.raises(driver.Unserialisable):
            driver.form(value, 0, [driver.NODES])


def test_close_compares_floats_at_any_depth() -> None:
    assert equal({"a": [1.0000001, (2,)]}, {"a": [1.0, (2,)]}, close=Close())
    assert not equal({"a": [1.1]}, {"a": [1.0]}, close=Close())
    assert not equal([1.0000001], [1.0], close=None)
    assert not equal([1.0], (1.0,), close=Close())


SETS = [("humaneval_ocaml", 47), ("humaneval_python", 161), ("mbpp_python", 964)]


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "least"), SETS)
def test_references_of_public_sets_pass(
    sandbox: Sandbox, name: str, least: int, every: int
) -> None:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path.name} in ../shared/problems")
    if "ocaml" in name and shutil.which("ocamlc") is None:
        pytest.skip("no OCaml on this machine")
    problems = [p for p in open_problems(str(path), "") if p.reference and p.code]
    assert len(problems) >= least
    chosen = problems[::every]
    wrong = [p.id for p in chosen if verify(sandbox, p.task, p.reference).verdict != "pass"]
    assert len(chosen) - len(wrong) >= (least if every == 1 else len(chosen) - 1), wrong


def test_values_are_told_in_pythons_syntax() -> None:
    language = Python("f")
    case = Case("[1]", "[1e999, -1e999, 'a 1e999']")
    assert language.wanted(case, None) == "[inf, -inf, 'a 1e999']"
    long = str(list(range(9000)))
    assert language.shown(f'{{"t":{long}}}', case) == f"a value of {len(long) + 6} characters"
    assert language.shown('{"t":[1, 2]}', case) == "(1, 2)"

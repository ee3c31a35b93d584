"""HumanEval+ and MBPP+: inputs by the thousand, expected values beside them or from the reference.

Knows the rows of the hub (`inputs = [...]`, `results = [...]` in the text of `test`) and of the
releases (`base_input`, `plus_input`). Where results are left out, they are what the reference
returns in the sandbox: `Outputs` runs it. Left out: answers that only the sets' own evaluator
accepts beside those of the reference (Mbpp/295, 558, 581).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pawl.config.options import SandboxConfig
from pawl.errors import PawlError
from pawl.problems.cases import BadProblem
from pawl.problems.columns import text_of
from pawl.problems.python_tests import parse_tests
from pawl.problems.python_text import parse
from pawl.problems.python_values import constant, literal, value_of
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.tiers import open_sandbox
from pawl.sandbox.values import decode
from pawl.sandbox.verify import verify
from pawl.types import Case, Close, CodeTask

COLUMNS = {"base_input", "plus_input", "assertion", "contract", "atol"}
_NAMES = {"inf": float("inf"), "nan": float("nan")}
_RTOL, _ATOL = 1e-7, 1e-6  # of numbers with a fraction, as the sets' own evaluator compares
_CALLED = re.compile(r"^ *(?:assertion\(|assert _poly\(\*)(\w+)\(\*inp\), ", re.MULTILINE)
_ATOL_OF = re.compile(r"\bassertion\(.*, ([\d.e-]+)\)\s*$", re.MULTILINE)
# A root may be any: what the polynomial is there must be next to nothing.
_ROOT = "abs(sum(c * result ** k for k, c in enumerate(args[0])))"
_NOT_NONE = "result if isinstance(result, bool) else result is not None"
_LIMITS = SandboxConfig(cpu_s=30, wall_s=60, output_kb=65536)  # of a reference


class Plus(NamedTuple):
    """The tests of a row. results: one for each input, None where the reference gives them.

    entry: the function's name; atol: how far numbers may be; view: as in `Case`.
    """

    entry: str
    inputs: list[list[Any]]
    results: list[Any] | None
    atol: float
    view: str = ""


def read_plus(row: Mapping[str, object]) -> Plus | None:
    """The tests of a row of these sets, None for any other. Raises BadProblem for a broken one."""
    entry = text_of(row, "entry_point")
    if isinstance(row.get("base_input"), list) and "plus_input" in row:
        try:
            return _released(row, entry)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise BadProblem(f"the inputs cannot be read: {error}") from error
    text = row.get("test")
    called = _CALLED.search(text) if isinstance(text, str) else None
    if not isinstance(text, str) or called is None:
        return None
    try:
        found = dict(_bound(parse(text).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadProblem(f"the tests cannot be read: {error}") from error
    inputs, results = _lists(found.get("inputs")), found.get("results")
    if results is not None and (not isinstance(results, list) or len(results) != len(inputs)):
        raise BadProblem("inputs and results are no lists of one length")
    atol = _ATOL_OF.search(text)
    view = "set(result)" if "out = set(out)" in text else _NOT_NONE * ("out is not None" in text)
    entry = entry or called[1]
    if "_poly(" in text:
        return Plus(entry, inputs, None, 1e-4, _ROOT)
    return Plus(entry, inputs, results, float(atol[1]) if atol else 0.0, view)


def _lists(inputs: object) -> list[list[Any]]:
    """Inputs that are lists of arguments."""
    given = inputs if isinstance(inputs, list) else []
    found = [[*args] for args in given if isinstance(args, list | tuple)]
    if not found or len(found) < len(given):
        raise BadProblem("the inputs are no lists of arguments")
    return found


def _bound(body: Sequence[ast.stmt]) -> Iterator[tuple[str, Any]]:
    """What `inputs` and `results` are, at the top or in `check`."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "check":
            yield from _bound(node.body)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id in ("inputs", "results"):
                yield node.targets[0].id, constant(node.value, _NAMES)


def _released(row: Mapping[str, Any], entry: str) -> Plus:
    """A row of a release: of JSON, where some tasks of MBPP+ ask for tuples and sets."""
    inputs = _lists([*row["base_input"], *(row["plus_input"] or ())])  # one has {} for none
    forms = _FORMS.get(str(row.get("task_id")), "").split()
    if forms:
        make = [_AS[form] for form in forms]
        last = len(make) - 1
        inputs = [[make[min(k, last)](v) for k, v in enumerate(args)] for args in inputs]
    told = "\n".join(re.findall(r"^assert .*", str(row.get("prompt")), re.MULTILINE))
    views = {case.view for case in parse_tests(told, entry)[0]} if told else {""}
    view = views.pop() if len(views) == 1 else ""
    if "poly" in str(row.get("test")) and entry == "find_zero":
        view = _ROOT
    atol = float(row.get("atol") or 0.0)
    if not 0 <= atol < float("inf"):
        raise BadProblem(f"atol is {atol}")
    return Plus(entry, inputs, None, atol, view)


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


# What the arguments of a task are made, the last form for all that follow.
_AS: dict[str, Callable[[Any], Any]] = {
    ".": lambda v: v,
    "t": tuple,
    "lt": lambda v: [tuple(x) for x in v],
    "tt": lambda v: tuple(tuple(x) if isinstance(x, list) else x for x in v),
    "ls": lambda v: [set(x) if isinstance(x, list) and x else {} for x in v],
    "dt": lambda v: {key: tuple(x) for key, x in v.items()},
    "T": _deep,
    "f": float,
    "c": complex,
}
_TASKS = (
    ("t", "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    ("lt", "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    *(("lt .", "75 413 444 753"), (". t", "106 750"), ("ls", "115"), ("f c", "124"), ("c", "252")),
    *(("t .", "250 307 405 446 617 720 763 808"), ("tt", "259 278 401 445")),
    *(("dt .", "722"), ("T", "580 615 791")),
)
_FORMS = {f"Mbpp/{number}": forms for forms, numbers in _TASKS for number in numbers.split()}


@dataclass
class Outputs:
    """Runs references to learn what they return; opens a sandbox when it is first asked."""

    _closing: ExitStack
    _sandbox: Sandbox | None = None

    def cases(self, plus: Plus, task: CodeTask, solved: str) -> list[Case]:
        """The cases of a row; those whose values have no literal are left out.

        Raises BadProblem where the reference answers none of them.
        """
        if plus.results is not None:
            pairs = zip(plus.inputs, plus.results, strict=True)
            return [*_read((plus, a, _viewed(plus, want)) for a, want in pairs)]
        asked = [*_read((plus, args, None) for args in plus.inputs)]
        if plus.view == _ROOT:
            return [replace(case, expected="0.0", close=Close(0.0, 1e-4)) for case in asked]
        try:
            if self._sandbox is None:
                self._sandbox = self._closing.enter_context(open_sandbox(_LIMITS, warm=True))
            run = verify(self._sandbox, replace(task, cases=tuple(asked)), solved)
        except PawlError as error:
            raise BadProblem(f"the reference cannot be run: {error.what}") from error
        if not any(run.values):
            raise BadProblem(f"the reference gives no expected values: {run.message}")
        told = zip(asked, run.values, strict=True)
        return [*_read((plus, value_of(c.input), decode(text)) for c, text in told if text)]


def _viewed(plus: Plus, want: Any) -> Any:
    return set(want) if plus.view == "set(result)" else want


def _read(told: Iterable[tuple[Plus, Any, Any]]) -> Iterator[Case]:
    """A case of each input with its result."""
    for plus, args, value in told:
        want = dict(value) if isinstance(value, dict) else value  # a Counter equals it
        floats = want if isinstance(want, list | tuple) and want else [want]
        near = all(isinstance(x, float) for x in floats)
        close = Close(_RTOL, plus.atol or _ATOL) if plus.atol or near else None
        with suppress(ValueError):
            yield Case(literal(args), literal(want), close=close, view=plus.view)

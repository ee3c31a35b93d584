"""Check an OCaml candidate: compile it behind its interface, call it, compare what it returned.

Three files inside the sandbox: sol.mli (the signature), sol.ml (the candidate) and drv.ml (the
calls, through `Sol.f`), so that nothing the candidate shadows or redefines reaches the tests.
Expected values are written by a trusted build of the same kind and never enter a candidate's
sandbox. Always bytecode. Left out: the helpers' build (`ocaml_tools.py`), paying
(`pawl.rewards.pay`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pawl.errors import PawlError
from pawl.sandbox.extract import MAX_READINGS, Reading, defines_name, programs_in
from pawl.sandbox.ocaml_report import Report, not_built, read
from pawl.sandbox.ocaml_tools import toolchain
from pawl.sandbox.ocaml_values import (
    Kind,
    carrying,
    exception,
    kind,
    literal_kind,
    scalar,
    shown,
    stands,
)
from pawl.sandbox.ocaml_values import raised as is_raised
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.verdict import Verification, clean, tested
from pawl.sandbox.visible import PACKAGE
from pawl.sandbox.watch import Ended
from pawl.types import Case, CodeTask

MAX_TRIED = 2 * MAX_READINGS


def verify_ocaml(
    sandbox: Sandbox, task: CodeTask, text: str, end_marker: str, place: str
) -> tuple[Verification, Ended]:
    """Run all cases of an OCaml task against one completion; raises PawlError on a bad case."""
    expected, fault = expected_dumps(sandbox, task, place)
    if fault:
        return Verification("infra_error", message=fault), Ended(retried=True)
    name = task.entry_point
    found = _ordered(programs_in(text, task.head, end_marker, name, "ocaml"), name)
    ended = _check(sandbox, name, found, task.signature, _driver(task))
    if ended.fault:
        return Verification("infra_error", message=ended.fault), ended
    report = read(ended)
    taken = found[report.best].name if report.best < len(found) else ""
    if report.built:
        judged = tested(task.cases, expected, report.answers, _language(task, place), ended)
        return replace(judged, type_errors=0, reading=taken), ended
    trouble = _not_the_candidates(sandbox, task, report, ended)
    if trouble:
        return Verification("infra_error", message=trouble), ended
    found_not = replace(not_built(report, ended, len(task.cases)), reading=taken)
    return (found_not if found else replace(found_not, message="nothing to compile")), ended


@dataclass(frozen=True, slots=True)
class OCaml:
    """OCaml's values as the driver writes them; see `Language`. entry, result: name and type."""

    entry: str = ""
    result: str = ""
    did = "returned"
    asks = ""

    def same(self, text: str, want: Any, case: Case) -> bool | None:
        """By the dump."""
        return stands(text, str(want), case)

    def raised(self, message: str, want: Any) -> bool:
        """By the exception's text."""
        return is_raised(message, str(want))

    def call(self, case: Case) -> str:
        """The call as the test has it."""
        return case.input

    def shown(self, text: str, case: Case) -> str:
        """By the result's type, or by that of the literal that it is compared with."""
        if is_call(case.input, self.entry):
            return shown(text, kind(self.result))
        known = literal_kind(case.expected) if case.compare != "raises" else kind("")
        if case.compare in ("in", "not in"):
            known = known.of[0] if known.of else kind("")
        return shown(text, known)

    def wanted(self, case: Case, want: Any) -> str:
        """As the test has it, where that is a value written out, else what it came to."""
        if case.compare == "raises" or _is_written(case.expected):
            return case.expected
        known = kind(self.result) if is_call(case.input, self.entry) else kind("")
        if case.compare in ("in", "not in"):
            known = Kind("list", (known,))
        return shown(str(want), known)


def _language(task: CodeTask, place: str) -> OCaml:
    return OCaml(task.entry_point, _result_type(task.signature, place))


_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\[^']+|\\')'|\{(\w*)\|.*?\|\1\}", re.DOTALL)
_BRACKETS = re.compile(r"\([^()\[\]{}]*\)|\[[^()\[\]{}]*\]|\{[^()\[\]{}]*\}")
_ARGUMENTS = re.compile(r"[\w\s'.:`~?]*")
_COMPUTED = re.compile(
    r"\b(?!(?:true|false)\b)[a-z_][\w'.]*(?!\s*=|[\w'.])|[*/^@!&]|(?:[\w)\]]\s+|[0-9)\]])[-+]"
)
_INFIX = re.compile(r"::|\b(?:mod|land|lor|lxor|lsl|lsr|asr|or|in)\b")


def _is_written(text: str) -> bool:
    """Whether an expected value is written out: no name but a field's, no operator."""
    return _COMPUTED.search(_QUOTED.sub("0", text)) is None


@lru_cache(maxsize=65536)
def is_call(text: str, entry: str) -> bool:
    """Whether an input is one call of the entry point and nothing around it."""
    text = _QUOTED.sub(" 0 ", text.strip())
    if not entry or not re.match(re.escape(entry) + r"(?![\w'.])", text):
        return False
    changed = 1
    while changed:
        text, changed = _BRACKETS.subn(" 0 ", text)
    given = text[len(entry) :].replace(" !", " ")
    return _ARGUMENTS.fullmatch(given) is not None and _INFIX.search(given) is None


def constant_keys(task: CodeTask) -> list[str]:
    """One key per case; the same constant answers cases of equal keys."""
    asked = [c.expected if c.compare == "==" else f"{c.compare} {c.expected}" for c in task.cases]
    return [" ".join(text.split()) for text in asked]


def _ordered(found: Sequence[Reading], name: str) -> list[Reading]:
    """What is tried, in order; the first is compiled at once.

    Programs that seem to define the name, alone and behind earlier blocks; then bodies; then the
    rest, among it a text with blocks, whose prose is no OCaml.
    """
    tried = list[Reading]()
    for reading in found:
        tried.append(reading)
        if reading.before and reading.kind == "part":
            source = "\n".join([*reading.before, reading.source])
            tried.append(replace(reading, source=source, name=f"{reading.name}, with earlier ones"))
    whole = [r for r in tried if r.kind == "whole" and len(found) > 2 and "```" in r.source]

    def place(reading: Reading) -> int:
        if reading in whole:
            return 3
        if reading.kind == "body":
            return 1
        return 0 if defines_name(name, "ocaml", reading.source) else 2

    return sorted(tried, key=place)[:MAX_TRIED]


def expected_dumps(sandbox: Sandbox, task: CodeTask, place: str) -> tuple[tuple[str, ...], str]:
    """(expected values in the dump's form, fault): a trusted build, typed by the signature.

    An input that does more than call is typed together with what is expected of it, against a stub
    of the entry point, and never runs. Of an expected exception only the argument is evaluated.
    Raises PawlError when an expected value does not fit or has no plain form.
    """
    asked = tuple((c.expected, c.compare, _derived(task, c)) for c in task.cases)
    key = (task.signature, asked)
    known = _EXPECTED.get(key)
    if known is not None:
        return known, ""
    result = _result_type(task.signature, place)
    lines = [_wanted(i, task, case, result) for i, case in enumerate(task.cases)]
    stubbed = any(derived for _, _, derived in asked)
    if stubbed:
        lines = [f"let {task.entry_point} = Sol.{task.entry_point}", *lines]
    found, interface = ([_stub(task)], task.signature) if stubbed else ([], "")
    ended = _check(sandbox, "", found, interface, "\n".join(lines))
    report = read(ended)
    if ended.fault or not report.built and not _works(sandbox):
        return (), ended.fault or "the OCaml compiler does not work: " + report.errors
    if not report.built:
        other = " or its test" if stubbed else ""
        what = f"an expected value does not fit {result}{other}: {clean(report.errors)}"
        raise PawlError(what, place)
    out = tuple(_answer(i, case, report, place) for i, case in enumerate(task.cases))
    if len(_EXPECTED) > 20_000:
        _EXPECTED.clear()
    _EXPECTED[key] = out
    return out, ""


def _derived(task: CodeTask, case: Case) -> str:
    """The input, where it is more than a call whose result is compared."""
    plain = case.compare == "raises" or is_call(case.input, task.entry_point)
    return "" if plain else case.input


def _wanted(i: int, task: CodeTask, case: Case, result: str) -> str:
    """The line of the trusted program that writes the expected value of a case."""
    text = case.expected
    if case.compare == "raises":
        text = exception(text)[1] or "()"
    elif _derived(task, case):
        alike = f"[({case.input})]" if case.compare in ("in", "not in") else f"({case.input})"
        text = f"if true then ({text}) else {alike}"
    else:
        several = " list" if case.compare in ("in", "not in") else ""
        text = f"({text}) : ({result}){several}"
    return f"let () = Pawl_dump.run {i} (fun () -> ({text}))"


def _answer(i: int, case: Case, report: Report, place: str) -> str:
    """The expected value as it was written, or the exception that is expected."""
    what, value = report.answers.get(str(i), ("", ""))
    if what != "R":
        raise PawlError(f"expected value {case.expected[:60]!r} has no plain form", place)
    if case.compare == "raises":
        name, argument = exception(case.expected)
        return carrying(name, value) if argument else name
    if case.compare in ("<", "<=", ">", ">=") and scalar(value) is None:
        raise PawlError(f"expected value {case.expected[:60]!r} has no order", place)
    return value


def _stub(task: CodeTask) -> Reading:
    """Something of the entry point's type, whatever that is; it is never called."""
    match = _VAL.search(task.signature)
    typed = task.signature[match.end() :].strip() if match else ""
    source = f"let {task.entry_point} = Obj.magic 0"
    if match and _result_type(task.signature, "") != typed:  # labels are part of the type
        any_primitive = '"caml_int_of_string" "caml_int_of_string"'
        source = f"external {task.entry_point} : {typed} = {any_primitive}"
    return Reading(source, "whole", "stub")


_EXPECTED: dict[tuple[str, tuple[tuple[str, str, str], ...]], tuple[str, ...]] = {}


def _check(
    sandbox: Sandbox, entry: str, found: Sequence[Reading], interface: str, driver: str
) -> Ended:
    tools = toolchain()
    sandbox.add_program(tools.ocamlc)
    sandbox.add_tool("ocaml_check.sh", PACKAGE / "sandbox" / "ocaml_check.sh")
    for name in ("pawl_dump.cmi", "pawl_dump.cmo", *(["mlcheck"] if tools.checker else [])):
        sandbox.add_tool(name, tools.folder / name)
    checker = {"native": "{box}/mlcheck", "bytecode": f"{tools.ocamlrun} {{box}}/mlcheck"}
    half = str(max(1, int(sandbox.limits.cpu_s / 2)))
    argv = ["/bin/sh", "{box}/ocaml_check.sh", str(tools.ocamlc), str(tools.ocamlrun), "{box}"]
    argv += [entry, half, checker.get(tools.checker, "")]
    files = {
        f"{i:02d}{'b' if reading.kind == 'body' else 'p'}.ml": _bytes(reading.source)
        for i, reading in enumerate(found)
    }
    files |= {
        "sol.ml": _bytes(found[0].source if found else ""),
        "sol.mli": _bytes(interface + "\n"),
        "drv.ml": _bytes(driver + "\n;; Pawl_dump.finish ()"),
    }
    for module, library in tools.libraries.items():  # reading one takes as long as a compilation
        if any(module in text for text in files.values()):
            argv += library
    return sandbox.judge(argv, files)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _not_the_candidates(sandbox: Sandbox, task: CodeTask, report: Report, ended: Ended) -> str:
    """Why a failed build is not the candidate's doing, "" when it is.

    A message about the candidate names its file. Anything else (a missing standard library, a
    full disk, a test that does not compile) is settled by building a trusted stub of the same
    interface with the same tests; a candidate can forge file names, so they are no proof.
    """
    if 'File "sol.ml"' in report.errors or report.status >= 128 or ended.stop:
        return ""
    control = _check(sandbox, "", [_stub(task)], task.signature, _driver(task))
    if control.fault:
        return control.fault
    told = read(control)
    return "" if told.built else "the tests do not compile: " + told.errors


def _works(sandbox: Sandbox) -> bool:
    """True when an empty program builds."""
    control = _check(sandbox, "", [], "", "")
    return not control.fault and read(control).built


def _driver(task: CodeTask) -> str:
    name = task.entry_point
    lines = [f"let {name} = Sol.{name}"]
    for i, case in enumerate(task.cases):
        lines.append(f"let () = Pawl_dump.run {i} (fun () -> ({case.input}))")
    return "\n".join(lines)


_VAL = re.compile(r"\bval\s+[^\s:]+\s*:")


@lru_cache(maxsize=65536)
def _result_type(signature: str, where: str) -> str:
    """What is right of the last arrow that stands in no bracket of `val name : type`."""
    match = _VAL.search(signature)
    if match is None:
        raise PawlError(f"signature {signature[:60]!r} is not `val name : type`", where)
    kind = signature[match.end() :].strip()
    depth, start = 0, 0
    for i, letter in enumerate(kind):
        depth += (letter in "([{<") - (letter in ")]}")
        if letter == ">" and kind[i - 1] == "-":
            if depth == 0:
                start = i + 1
        elif letter == ">":
            depth -= 1
    return kind[start:].strip()

"""One row of anybody's data set -> `Problem`, or a reason why it cannot become one.

One path for all layouts: prompt or chat, then what a program is tested by (language, entry point,
signature and head, tests, reference). A row whose tests cannot be had becomes a problem without
`code`, which a reward of the user's can judge; `Row.untested` says why. Nothing is executed and
nothing is guessed silently: what is derived comes from the tests' calls and the prompt's own
definition, never from prose. Left out: the names of columns (`columns.py`), files
(`problem_set.py`), the executed audit (`pawl.rewards.audit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

from pawl.problems import ocaml_text, python_text
from pawl.problems.cases import BadProblem, Tests, read_cases
from pawl.problems.chat import read_turns
from pawl.problems.columns import FIELDS, OF_CODE, cell, column_of, decoded, jsonable, text_of
from pawl.problems.contest import read_contest
from pawl.problems.derive import entry_point, interface, reference
from pawl.problems.evalplus import COLUMNS, Outputs, Plus, read_plus
from pawl.problems.layouts import adapted, named
from pawl.problems.python_records import Signature
from pawl.problems.shown import mark_shown
from pawl.problems.wording import displayed, normalised
from pawl.types import CodeTask, Lang, Message, Problem

_TESTED: dict[str, Lang] = {"python": "python", "ocaml": "ocaml"}
_ALIASES = {"python3": "python", "py": "python"}
CODE = ("def ", "from ", "import ", "class ", "@")  # how a prompt begins that is code
_CHATS = (*FIELDS["messages"], "prompt")
Split = Literal["", "train", "held_out", "held_out_family"]
_SPLITS: dict[str, Split] = {"held_out_family": "held_out_family"}
_SPLITS |= dict.fromkeys(("train", "training"), "train")
_SPLITS |= dict.fromkeys(("held_out", "test", "validation", "valid", "dev", "eval"), "held_out")


@dataclass(slots=True)
class Row:
    """A problem, the split that its row names, and what had to be left aside in reading it.

    untested: why the problem has no `code`, "" where it has. origin: which of the origins of a set
    it comes from.
    """

    problem: Problem
    split: Split = ""
    notes: tuple[str, ...] = ()
    untested: str = ""
    origin: int = 0
    _wording: str = field(default="", repr=False, compare=False)

    @property
    def wording(self) -> str:
        """The normalised prompt, made once for all who compare prompts."""
        if not self._wording:
            self._wording = normalised(self.problem)
        return self._wording


def language_name(text: str) -> str:
    """A language as problems name it: lower case, `python` for its other names."""
    low = text.strip().lower()
    return _ALIASES.get(low, low)


def parse_row(
    row: Mapping[str, object],
    where: str,
    fallback_id: str,
    lang: str = "",
    fields: Mapping[str, str] | None = None,
    outputs: Outputs | None = None,
) -> Row:
    """Read one row. `lang` is the language of a row that does not state it.

    fields: where the row has what is asked for by meaning, before all names that Pawl looks for.
    Raises BadProblem with the reason when no problem can be made of it, tested or not.
    outputs: who runs references where only they say what is expected.
    """
    try:
        return _parse(named(adapted(row), fields or {}, row), where, fallback_id, lang, outputs)
    except RecursionError as error:
        raise BadProblem("values are nested too deeply") from error


def _parse(
    row: Mapping[str, object], where: str, fallback_id: str, lang: str, outputs: Outputs | None
) -> Row:
    prompt, messages, answer = _asked(row)
    stated = language_name(text_of(row, "lang") or lang)
    untested = ""
    notes: list[str] = []
    try:
        shown = displayed(prompt, messages)
        plus = read_plus(row)
        if plus is not None:
            code, solved, notes = _plus(row, shown, answer, plus, outputs)
        else:
            code, solved, notes = _code(row, shown, answer, stated)
    except BadProblem as error:
        code, untested = None, str(error)
        solved = text_of(row, "solution") or answer or text_of(row, "answer")
    problem = Problem(
        id=text_of(row, "id") or fallback_id,
        prompt=prompt,
        code=code,
        messages=messages,
        reference=solved,
        difficulty=text_of(row, "difficulty"),
        family=text_of(row, "family"),
        spec=text_of(row, "spec"),
        tags=_tags(row),
        pass_rate=_pass_rate(row),
        where=where,
        metadata=_metadata(row, prompt, answer, stated, code is not None),
    )
    require_text(problem)
    split = _SPLITS.get(text_of(row, "split").lower(), "")
    return Row(problem, split, tuple(notes), untested)


def _asked(row: Mapping[str, object]) -> tuple[str, tuple[Message, ...], str]:
    """What a row asks: a text, or chat turns and the answer that ends them.

    Raises BadProblem when it asks nothing.
    """
    messages = _messages(row)
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    if messages and not end:
        raise BadProblem("the chat holds nothing but answers")
    answer = messages[-1].content if end < len(messages) else ""
    prompt = text_of(row, "prompt") if not messages else ""
    if not displayed(prompt, messages[:end]).strip():
        raise BadProblem(f"no prompt (looked for {', '.join(FIELDS['prompt'])}, messages)")
    return prompt, messages[:end], answer


def _messages(row: Mapping[str, object]) -> tuple[Message, ...]:
    """Chat turns under `messages` or a list under `prompt`."""
    for key in _CHATS:
        turns = decoded(row.get(key))
        if not isinstance(turns, list) or not turns:
            continue
        if key == "prompt" and isinstance(row[key], str) and not isinstance(turns[0], Mapping):
            continue  # a text that happens to be a JSON list
        return read_turns(turns, key)
    return ()


def _code(
    row: Mapping[str, object], shown: str, answer: str, stated: str
) -> tuple[CodeTask, str, list[str]]:
    """(task, reference, notes). Raises BadProblem with what keeps the row from being tested.

    shown: all that the prompt displays. answer: what ends a chat.
    """
    if stated and stated not in _TESTED:
        raise BadProblem(f"language {stated!r}: Pawl verifies ocaml and python")
    values = [v for v in (decoded(cell(row, n)) for n in FIELDS["tests"]) if v]
    values = [_behind(row, v) for v in values]
    if not values:
        raise BadProblem("no tests")
    solution = text_of(row, "solution") or answer
    if stated != "ocaml":
        contest = _contest(row, shown, solution, values)
        if contest is not None:
            return contest
    lang = _TESTED[stated] if stated else _language(row, shown)
    head_given = text_of(row, "head")
    entry = entry_point(row, lang, shown, head_given, values)
    entry, signature, head, params = interface(row, lang, shown, head_given, entry)
    solved, notes = reference(solution, lang, entry, shown, head)
    if lang == "python" and not params and solved:
        defined = python_text.find_definition(solved, entry)
        params = defined.params if defined else ()
    known = Signature(params, head, solved, entry)
    cases, unread, ambiguous = _cases(values, lang, entry, known)
    notes += ambiguous
    if unread:
        notes.append(
            f"{len(unread)} of {len(unread) + len(cases)} tests not read: {unread[0][:100]}"
        )
    marked = mark_shown(cases, shown, entry, params, lang)
    return CodeTask(lang, entry, marked, signature, head), solved, notes


def _plus(
    row: Mapping[str, object], shown: str, answer: str, plus: Plus, outputs: Outputs | None
) -> tuple[CodeTask, str, list[str]]:
    """As `_code`, of a row of HumanEval+ or MBPP+."""
    entry, _, head, params = interface(row, "python", shown, text_of(row, "head"), plus.entry)
    solution = text_of(row, "solution") or answer
    solved, notes = reference(solution, "python", entry, shown, head)
    task = CodeTask("python", entry, (), "", head)
    if outputs is None and plus.results is None:
        raise BadProblem("the expected values are what the reference returns, and nobody runs it")
    cases = (outputs or Outputs(ExitStack())).cases(plus, task, solved)
    if len(cases) < len(plus.inputs):
        notes.append(f"{len(plus.inputs) - len(cases)} of {len(plus.inputs)} tests not read")
    return replace(task, cases=mark_shown(cases, shown, entry, params, "python")), solved, notes


def _contest(
    row: Mapping[str, object], shown: str, solution: str, values: list[object]
) -> tuple[CodeTask, str, list[str]] | None:
    """As `_code`, of the first field that holds tests of a contest; None where there is none."""
    head = text_of(row, "head")
    said = text_of(row, "signature")
    typed = python_text.find_definition(said) or python_text.find_definition(head)
    typed_name = typed.name if typed else said if said.isidentifier() else ""
    entry = text_of(row, "entry_point") or typed_name
    seen = python_text.find_definition(shown)
    completes = shown.lstrip().startswith(CODE)  # the prompt is a program to go on with
    if not entry and seen and completes:
        entry = seen.name
    names = (entry, entry or (seen.name if seen else ""))
    found = next((c for v in values if (c := read_contest(v, *names, shown)) is not None), None)
    if found is None:
        return None
    if not found.cases:
        raise BadProblem(f"no test could be read: {found.unread[0][:120]}")
    entry, params = found.entry, tuple[str, ...]()
    if entry:
        entry, _, head, params = interface(row, "python", shown, head, entry)
    solved, notes = reference(solution, "python", entry, shown, head)
    cases = mark_shown(found.cases, shown, entry, params, "python")
    notes += [*found.notes, *(f"a test not read: {text[:100]}" for text in found.unread[:1])]
    return CodeTask("python", entry, cases, "", head if entry else ""), solved, notes


def _behind(row: Mapping[str, object], tests: object) -> object:
    """Tests as text behind what a row has them prepared by (MBPP's `test_setup_code`)."""
    prepared = text_of(row, "setup")
    if not prepared or not isinstance(tests, str | list):
        return tests
    lines = [tests] if isinstance(tests, str) else tests
    if not all(isinstance(line, str) for line in lines):
        return tests
    return "\n".join([prepared, *map(str, lines)])


def _language(row: Mapping[str, object], shown: str) -> Lang:
    """What the definition in the prompt is written in."""
    python = python_text.find_definition(shown) is not None
    typed = ocaml_text.find_definition(shown)
    ocaml = (
        typed is not None and typed.signature != "" or text_of(row, "signature").startswith("val ")
    )
    if python == ocaml:
        raise BadProblem("the language is not stated: set problems.lang")
    return "python" if python else "ocaml"


def _cases(values: list[object], lang: Lang, entry: str, known: Signature) -> Tests:
    """The first field that holds readable tests."""
    unread: list[str] = []
    for value in values:
        found = read_cases(value, lang, entry, known)
        if found.cases:
            return found
        unread += found.unread
    if unread:
        raise BadProblem(f"no test could be read as input and expected output: {unread[0][:120]}")
    raise BadProblem("no tests")


def _metadata(
    row: Mapping[str, object], prompt: str, answer: str, stated: str, tested: bool
) -> dict[str, object]:
    """The columns that no field of the problem holds.

    Without tests also the columns that would have made them, and language, entry point, signature
    and head under these names, whatever their columns are called.
    """
    read = ["id", "solution", "difficulty", "family", "spec"]
    read += ["prompt"] if prompt else []
    read += OF_CODE if tested else []
    read += ["answer"] if not (tested or answer or text_of(row, "solution")) else []
    read += ["split"] if text_of(row, "split").lower() in _SPLITS else []
    names = {column_of(row, meaning) for meaning in read} | {*FIELDS["pass_rate"]}
    if tested:
        names |= {name.partition(".")[0] for name in FIELDS["tests"]} | COLUMNS
    if not prompt:
        names.add(next(n for n in _CHATS if isinstance(decoded(row.get(n)), list)))
    if _tags(row):
        names.add(next(n for n in FIELDS["tags"] if row.get(n)))
    left = {str(name): jsonable(value) for name, value in row.items() if name not in names}
    if not tested:
        named = {name: text_of(row, name) for name in OF_CODE} | {"lang": stated}
        left.update((name, text) for name, text in named.items() if text)
    return left


def require_text(problem: Problem, *more: str) -> None:
    """Half a character of UTF-16, which JSON can spell, is no text: no tokenizer takes it.

    Raises BadProblem.
    """
    texts = (problem.id, problem.prompt, problem.reference, *(m.content for m in problem.messages))
    try:
        "\n".join((*texts, *more)).encode()
    except UnicodeEncodeError as error:
        raise BadProblem(f"not Unicode text: {error.reason}") from error


def _tags(row: Mapping[str, object]) -> tuple[str, ...]:
    value = next((decoded(row[k]) for k in FIELDS["tags"] if row.get(k)), None)
    if isinstance(value, str):
        return tuple(t.strip() for t in value.split(",") if t.strip())
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _pass_rate(row: Mapping[str, object]) -> float | None:
    value = next((row[k] for k in FIELDS["pass_rate"] if row.get(k) is not None), None)
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadProblem(f"pass_rate is {value!r}, expected a number from 0 to 1")
    return float(value)

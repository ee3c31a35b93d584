"""One row of anybody's data set -> `Problem`, or a reason why it cannot become one.

A table of names that fields go by, then one path for all layouts: language, prompt, entry point,
signature and head, tests, reference. Nothing is executed and nothing is guessed silently: what is
derived comes from the tests' calls and the prompt's own definition, never from prose. Left out:
files and indexes (`load.py`), the executed audit (`pawl.rewards.audit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pawl.problems import ocaml_text, python_text
from pawl.problems.cases import BadProblem, decoded, read_cases
from pawl.problems.derive import FIELDS, entry_point, interface, reference, text_of
from pawl.problems.shown import mark_shown
from pawl.types import Case, Lang, Message, Problem

_LANGS: dict[str, Lang] = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "ocaml": "ocaml",
}
Split = Literal["", "train", "held_out", "held_out_family"]
_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "held_out": "held_out",
    "test": "held_out",
    "validation": "held_out",
    "valid": "held_out",
    "dev": "held_out",
    "eval": "held_out",
    "held_out_family": "held_out_family",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A problem, the split that its row names, and what had to be left aside in reading it."""

    problem: Problem
    split: Split = ""
    notes: tuple[str, ...] = ()


def parse_row(row: Mapping[str, object], where: str, fallback_id: str, lang: str = "") -> Row:
    """Read one row. `lang` is the language of a row that does not state it.

    Raises BadProblem with the reason when no problem can be made of it.
    """
    messages = _messages(row)
    prompt = text_of(row, "prompt") if not messages else ""
    shown_text = prompt or "\n".join(m.content for m in messages if m.role != "assistant")
    if not shown_text.strip():
        raise BadProblem(f"no prompt (looked for {', '.join(FIELDS['prompt'])}, messages)")
    language = _language(row, lang, shown_text)
    values = [v for v in (decoded(row.get(n)) for n in FIELDS["tests"]) if v]
    head_given = text_of(row, "head")
    entry = entry_point(row, language, shown_text, head_given, values)
    signature, head, params = interface(row, language, shown_text, head_given, entry)
    solution, notes = reference(row, messages, language, entry, shown_text, head)
    if language == "python" and not params:
        defined = python_text.find_definition(solution, entry)
        params = defined.params if defined else ()
    cases, unread = _cases(values, language, entry, params)
    if unread:
        notes.append(
            f"{len(unread)} of {len(unread) + len(cases)} tests not read: {unread[0][:100]}"
        )
    problem = Problem(
        id=text_of(row, "id") or fallback_id,
        lang=language,
        prompt=prompt,
        entry_point=entry,
        cases=mark_shown(cases, shown_text, entry, params, language),
        messages=messages,
        signature=signature,
        head=head,
        solution=solution,
        difficulty=text_of(row, "difficulty"),
        family=text_of(row, "family"),
        spec=text_of(row, "spec"),
        tags=_tags(row),
        pass_rate=_pass_rate(row),
        where=where,
    )
    return Row(problem, _SPLITS.get(text_of(row, "split").lower(), ""), tuple(notes))


def _messages(row: Mapping[str, object]) -> tuple[Message, ...]:
    """Chat turns under `messages` or a list under `prompt`; {role, content} or {from, value}."""
    for key in (*FIELDS["messages"], "prompt"):
        turns = decoded(row.get(key))
        if not isinstance(turns, list) or not turns:
            continue
        if not all(isinstance(t, Mapping) for t in turns):
            raise BadProblem(f"{key}: chat turns must be objects with role and content")
        made = []
        for t in turns:
            role, content = t.get("role") or t.get("from"), t.get("content") or t.get("value")
            if not isinstance(role, str) or not isinstance(content, str):
                raise BadProblem(f"{key}: a chat turn without role or content")
            role = {"human": "user", "gpt": "assistant"}.get(role, role)
            if role not in ("system", "user", "assistant"):
                raise BadProblem(f"{key}: unknown role {role!r}")
            made.append(Message(role, content))
        return tuple(made)
    return ()


def _language(row: Mapping[str, object], default: str, shown: str) -> Lang:
    stated = text_of(row, "lang").lower()
    if stated and stated not in _LANGS:
        raise BadProblem(f"language {stated!r}; Pawl verifies ocaml and python")
    name = stated or default
    if name:
        return _LANGS[name]
    python = python_text.find_definition(shown) is not None
    typed = ocaml_text.find_definition(shown)
    ocaml = (
        typed is not None and typed.signature != "" or text_of(row, "signature").startswith("val ")
    )
    if python == ocaml:
        raise BadProblem("the language is not stated: set problems.lang")
    return "python" if python else "ocaml"


def _cases(
    values: list[object], lang: Lang, entry: str, params: tuple[str, ...]
) -> tuple[list[Case], list[str]]:
    """The first field that holds readable tests."""
    unread: list[str] = []
    for value in values:
        cases, left = read_cases(value, lang, entry, params)
        if cases:
            return cases, left
        unread += left
    if unread:
        raise BadProblem(f"no test could be read as input and expected output: {unread[0][:120]}")
    raise BadProblem("no tests")


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

"""Chat turns of anybody's rows: {role, content} or {from, value}, content as text or as parts.

What is no text that a model can be trained on is refused with the turn and what to do, never turned
into text: a null content, an image, a role without a meaning here. Left out: templates
(`pawl.models.text`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pawl.problems.cases import BadProblem
from pawl.types import Message

ROLES = {"human": "user", "gpt": "assistant"} | {n: n for n in ("system", "user", "assistant")}
TEXT_PARTS = ("text", "input_text", "output_text")


def read_turns(rows: Sequence[object], name: str) -> tuple[Message, ...]:
    """The turns of a chat in order; raises BadProblem with the first that cannot be read.

    name: of the column, for the message.
    """
    return tuple(_turn(row, f"{name}: turn {n}") for n, row in enumerate(rows, start=1))


def _turn(row: object, place: str) -> Message:
    if not isinstance(row, Mapping):
        raise BadProblem(f"{place} is no object with role and content")
    named = next((row[key] for key in ("role", "from") if row.get(key) is not None), None)
    role = ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        hint = f"use {', '.join(sorted(set(ROLES)))}, or leave the row out"
        what = "no role" if named is None else f"the unknown role {named!r}"
        raise BadProblem(f"{place} has {what}; {hint}")
    content = next((row[key] for key in ("content", "value") if row.get(key) is not None), None)
    if content is None:
        calls = "; tool calls are not trained on" if row.get("tool_calls") else ""
        hint = "write its text, or leave the row out"
        raise BadProblem(f"{place} ({role}) has no content{calls}; {hint}")
    return Message(role, _text(content, f"{place} ({role})"))


def _text(content: object, place: str) -> str:
    """Text, or the text of parts put together without anything between, as chat templates do."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        what = f"content of type {type(content).__name__}"
        raise BadProblem(f"{place} has {what}; content is text, or a list of parts of text")
    texts = list[str]()
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind not in TEXT_PARTS or not isinstance(text, str):
            what = f"a part of type {kind!r}" if kind not in TEXT_PARTS else "a part without text"
            raise BadProblem(f"{place} has {what}; Pawl trains on text alone: leave the row out")
        texts.append(text)
    return "".join(texts)

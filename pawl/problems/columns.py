"""The names that columns of other people's rows go by, and what a row says under them.

Left out: what follows from the values (`formats.py`, `derive.py`, `cases.py`).
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from contextlib import suppress

FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "task_id", "problem_id", "question_id", "slug", "name"),
    "lang": ("lang", "language", "programming_language", "verification_info.language"),
    "messages": ("messages", "chat", "conversation", "conversations"),
    "prompt": ("prompt", "problem", "question", "instruction", "text", "description", "task"),
    "entry_point": ("entry_point", "function_name", "fn_name", "func_name", "function", "entry")
    + ("metadata.func_name",),
    "signature": ("signature", "type_signature", "interface"),
    "head": ("head", "prompt_head", "starter_code", "starter", "stub"),
    "solution": (
        "solution",
        "reference_solution",
        "canonical_solution",
        "reference",
        "solutions",
        "code",
        "completion",
        "gold_standard_solution",
    ),
    # An answer, where there are no tests of which it may be the expected value.
    "answer": ("answer", "response", "target", "reward_model.ground_truth"),
    "tests": (
        "cases",
        "tests_io",
        "tests",
        "test_cases",
        "test_list",
        "test",
        "unit_tests",
        "assertions",
        "asserts",
        "input_output",
        "reward_model.ground_truth",
        "verification_info.test_cases",
        "verification_info.ground_truth",
    ),
    # What stands before an answer: imports and classes that it may use.
    "prelude": ("prelude",),
    "setup": ("test_setup_code", "setup_code"),
    "difficulty": ("difficulty", "level", "rating"),
    "family": ("family", "category", "topic"),
    "tags": ("tags", "labels"),
    "pass_rate": ("pass_rate", "base_pass_rate"),
    "split": ("split", "subset"),
    "spec": ("spec",),
}
# What a task of code states beside its tests.
OF_CODE = ("lang", "entry_point", "signature", "head", "prelude")


def text_of(row: Mapping[str, object], meaning: str) -> str:
    """The first column of that meaning that holds text or a number, as text.

    A list of answers gives its first, one of chat turns the content of its last.
    """
    return _found(row, meaning)[1]


def column_of(row: Mapping[str, object], meaning: str) -> str:
    """The name of the column that `text_of` reads, "" if there is none."""
    return _found(row, meaning)[0]


def _found(row: Mapping[str, object], meaning: str) -> tuple[str, str]:
    for name in FIELDS[meaning]:
        value = cell(row, name)
        if value is None:
            continue
        if isinstance(value, list) and value and meaning in ("solution", "answer"):
            value = value[0] if not isinstance(value[-1], Mapping) else value[-1].get("content")
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return name, str(value)
    return "", ""


def cell(row: Mapping[str, object], path: str) -> object:
    """The column of a name, or what stands in one at a dotted path, JSON in text included."""
    value = row.get(path)
    first, dot, rest = path.partition(".")
    if value is None and dot:
        inner = decoded(row.get(first), python=True)
        return cell(inner, rest) if isinstance(inner, Mapping) else None
    return value


def jsonable(value: object) -> object:
    """The value itself where JSON can write it, else as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    return str(value)


def decoded(value: object, python: bool = False) -> object:
    """A JSON list or object that travels as text (Parquet, CSV exports) as what it is.

    python: also one in Python's spelling.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return ast.literal_eval(value) if python else value
    return value

"""Rows of public data sets whose columns do not say what they hold, under names that do.

Each layout is known by columns that stand together in no other: LiveCodeBench, CodeContests,
LeetCodeDataset, lists of solutions. Columns of the user's own names come under Pawl's in the same
way (`problems.fields`). Text that was pickled is read by its instructions, and never unpickled.
Left out: the forms of single tests (`contest.py`, `cases.py`).
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from pawl.problems.cases import BadProblem
from pawl.problems.columns import FIELDS, cell, decoded
from pawl.problems.python_text import parses

Columns = Mapping[str, object]
MOST = 1 << 28  # bytes of unpacked tests
_PYTHON3 = (3, "3", "PYTHON3", "python3", "python")
# What a pickled text needs, and nothing that makes an object.
_TEXT = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}


def adapted(row: Columns) -> Columns:
    """The row in a layout that `columns.py` can read, itself where no other layout fits.

    Raises BadProblem for a field of such a layout that cannot be read.
    """
    for needed, more, read in _LAYOUTS:
        if all(row.get(name) is not None for name in needed):
            try:
                made = read(row)
            except (TypeError, AttributeError) as error:
                raise BadProblem(f"{needed[0]} and its like cannot be read: {error}") from error
            row = {**{k: v for k, v in row.items() if k not in (*needed, *more)}, **made}
    return row


def named(row: Columns, fields: Mapping[str, str], given: Columns) -> Columns:
    """The row with the columns of `fields` (by meaning) in the place of all others of a meaning.

    given: the row before it was `adapted`, in which the columns are looked up.
    """
    made: dict[str, object] = {}
    for meaning, path in fields.items():
        value = cell(given, path)
        if value is None and path not in given and path.partition(".")[0] not in given:
            has = ", ".join(map(str, given))
            raise BadProblem(f"no column {path!r} (problems.fields.{meaning}); there are: {has}")
        made |= {} if value is None else {FIELDS[meaning][0]: value}
    asked = {"prompt", "messages"} & fields.keys()
    gone = {n for m in (*fields, *({"prompt", "messages"} if asked else ())) for n in FIELDS[m]}
    return {**{k: v for k, v in row.items() if k not in gone | {*fields.values()}}, **made}


def _livecodebench(row: Columns) -> Columns:
    metadata = decoded(row.get("metadata"))
    tests: list[object] = []
    for name in ("public_test_cases", "private_test_cases"):
        found = decoded(_unpacked(row[name]) if row.get(name) else [])
        if not isinstance(found, list) or not all(isinstance(t, Mapping) for t in found):
            raise BadProblem(f"{name} holds no list of tests")
        # the numbers of a judge without tolerance
        tests += [{**t, "shown": name.startswith("public"), "close": False} for t in found]
    called = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    starter = row.get("starter_code")
    return {
        "prompt": f"{row['question_content']}\n\n{starter}" if starter else row["question_content"],
        "tests": tests,
        **({"entry_point": called} if called else {}),
    }


def _unpacked(value: object) -> object:
    """Tests that are JSON, or a pickled text in zlib in base64; never unpickled."""
    if not isinstance(value, str) or value.lstrip()[:1] in ("[", "{"):
        return value
    try:
        packed = zlib.decompressobj()
        data = packed.decompress(base64.b64decode(value, validate=True), MOST)
        if packed.unconsumed_tail:
            raise BadProblem(f"packed tests of more than {MOST >> 20} MiB")
        found = [(op.name, arg) for op, arg, _ in pickletools.genops(data)]
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadProblem(f"packed tests that cannot be read: {error}") from error
    texts = [arg for name, arg in found if name in _TEXTS]
    if len(texts) != 1 or not {name for name, _ in found} <= _TEXT | _TEXTS:
        raise BadProblem("packed tests that are no pickled text are not read")
    return texts[0]


def _codecontests(row: Columns) -> Columns:
    for name in ("input_file", "output_file"):
        if row.get(name):
            raise BadProblem(f"the program must use the file {row[name]}")
    tests: list[object] = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        found = decoded(row.get(name))
        pairs = found if isinstance(found, Mapping) else {}
        ins, outs = pairs.get("input") or (), pairs.get("output") or ()
        same = {"type": "stdin", "shown": name == "public_tests", "close": 1e-5, "lower": True}
        tests += [{"input": a, "output": b, **same} for a, b in zip(ins, outs, strict=False)]
    return {"prompt": row["description"], "tests": tests}


def _by_language(row: Columns) -> Columns:
    """Solutions beside a list of their languages, by name or by CodeContests' numbers."""
    found: Any = row["solutions"]
    if not isinstance(found, Mapping):
        return _solutions(row)
    pairs = zip(found.get("language") or (), found.get("solution") or (), strict=False)
    return {"solution": _first_python([text for lang, text in pairs if lang in _PYTHON3])}


def _solutions(row: Columns) -> Columns:
    """The first of several answers that is Python, beside tests of other languages the first."""
    found = decoded(row["solutions"])
    texts = [s for s in found if isinstance(s, str)] if isinstance(found, list) else []
    if row.get("solution") or not texts:
        return {} if row.get("solution") else {"solutions": row["solutions"]}
    contest = row.get("input_output") is not None  # whose programs are run as Python
    return {"solution": _first_python(texts) or ("" if contest else texts[0])}


def _first_python(texts: list[str]) -> str:
    for text in texts:
        if parses(text.partition("```python\n")[2].partition("```")[0] or text):
            return text
    return ""


def _leetcode(row: Columns) -> Columns:
    """LeetCodeDataset: what is asked stands in `query`, what the answer may use in `prompt`."""
    return {
        "prompt": row["query"],
        "prelude": row["prompt"],
        "solution": row["completion"],
        "entry_point": row["entry_point"],
        "tests": row["test"],
        "lang": "python",
    }


# Columns that must be there, others that are read, and what becomes of both.
_LAYOUTS: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[Columns], Columns]], ...] = (
    (("question_content", "public_test_cases"), ("private_test_cases",), _livecodebench),
    (("description", "public_tests"), ("private_tests", "generated_tests"), _codecontests),
    (("query", "prompt", "completion", "entry_point", "test"), ("input_output",), _leetcode),
    (("solutions",), (), _by_language),
)

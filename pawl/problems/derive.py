"""What a row leaves unsaid: entry point, signature, head and a whole reference definition.

Derived from the tests' calls and the prompt's own definition only, never from prose around it; what
cannot be derived raises BadProblem with the reason. Left out: tests (`cases.py`), the names of
columns (`columns.py`) and the rest of the row (`formats.py`).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping

from pawl.problems import ocaml_tests, ocaml_text, python_tests, python_text
from pawl.problems.cases import BadProblem
from pawl.problems.columns import text_of
from pawl.types import Lang

_VALUE = re.compile(r"^\s*val\s+([a-z_][\w']*)\s*:", re.MULTILINE)
_PARTS = re.compile(
    r"^\s*(?=val\s+([a-z_][\w']*)\s*:)(val.*?)(?=^\s*(?:val|type|exception|module|open|\(\*)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_LET = re.compile(r"\blet\s+(?:rec\s+)?")
_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*", re.DOTALL)
_BLOCK = re.compile(r"^```(?:python|py|python3)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PLACEHOLDER = re.compile(
    r"""\s*(\(\)|\[\]|\[\|\|\]|-?[\d._]+|true|false|None|""|failwith\s.*)\s*"""
)


def entry_point(
    row: Mapping[str, object], lang: Lang, shown: str, head: str, tests: list[object]
) -> str:
    """Stated, else the name that the tests call most, else the last definition of the prompt."""
    stated = text_of(row, "entry_point")
    if stated:
        return stated
    declared: list[str] = _VALUE.findall(text_of(row, "signature"))
    if len(declared) == 1:
        return declared[0]
    called: Counter[str] = Counter()
    for value in tests:
        text = value if isinstance(value, str) else "\n".join(map(str, _flat(value)))
        called += (ocaml_tests if lang == "ocaml" else python_tests).called_names(text)
    reader = ocaml_text if lang == "ocaml" else python_text
    defined: list[str] = [d.name for text in (head, shown) for d in reader.definitions(text)]
    defined += declared
    known = [n for n, _ in called.most_common() if n in defined]
    if known:
        return known[0]
    if called and lang == "python":
        return called.most_common(1)[0][0]
    if defined:
        return defined[-1]
    raise BadProblem("no entry point: no definition in the prompt and no call in the tests")


def _flat(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return [x for v in value.values() for x in _flat(v)]
    return [x for v in value for x in _flat(v)] if isinstance(value, list) else [value]


# What the judges of LeetCode's problems have imported, where a row does not say it.
_STARRED = "string operator math typing collections itertools functools heapq bisect builtins"
_MODULES = "collections, datetime, functools, math, random, re, string"
PRELUDE = "\n".join([*(f"from {name} import *" for name in _STARRED.split()), f"import {_MODULES}"])
_CLASS = re.compile(r"^class[ \t]+(\w+)", re.MULTILINE)


def interface(
    row: Mapping[str, object], lang: Lang, shown: str, head: str, entry: str
) -> tuple[str, str, str, tuple[str, ...]]:
    """(entry point, signature, head, parameter names); a method's entry point is `Class().name`."""
    reader = ocaml_text if lang == "ocaml" else python_text
    owner, _, name = entry.rpartition(".")
    text = head if reader.find_definition(head, name) else shown
    given = reader.find_definition(text, name)
    if isinstance(given, python_text.Definition) and given.params[:1] == ("cls",):
        raise BadProblem(f"{name} is a method of its class, not of an object: such are not called")
    if isinstance(given, python_text.Definition) and (owner or given.params[:1] == ("self",)):
        classes = [*_CLASS.finditer(text[: given.start])]
        owner = owner.removesuffix("()") or (classes[-1][1] if classes else "Solution")
        before = text[: classes[-1].start()].strip() if classes and text == head else ""
        above = text_of(row, "prelude").strip() or before or PRELUDE
        own = "\n".join(f"    {line}" for line in given.head.split("\n"))
        return f"{owner}().{name}", "", f"{above}\n\nclass {owner}:\n{own}", given.params[1:]
    if lang == "python":
        return (entry, "", given.head, given.params) if given else (entry, "", head, ())
    # of a whole interface the value that is called: a candidate may hold what else it needs
    signature = text_of(row, "signature").strip()
    signature = next((t.strip() for n, t in _PARTS.findall(signature) if n == entry), signature)
    if given is None:
        if not signature:
            raise BadProblem(f"no signature: the prompt has no `let {entry} ... =`")
        return entry, signature, head.strip(), ()
    if not signature and not given.signature:
        raise BadProblem(
            f"no signature: `{given.head}` leaves types out; give them there or as `signature`"
        )
    return entry, signature or given.signature, given.head, given.params


def reference(text: str, lang: Lang, entry: str, shown: str, head: str) -> tuple[str, list[str]]:
    """(whole definition or "", notes) of an answer as it was found, in a fence or without.

    Of prose with blocks of Python the last one.

    A body is put under the head; a placeholder is dropped.
    """
    fenced = _FENCED.fullmatch(text)
    blocks = [fenced.group(1)] if fenced else []
    if lang == "python" and "```" in text and not python_text.parses(text):
        blocks = blocks or _BLOCK.findall(text)
    text = blocks[-1] if blocks else text
    if not text.strip():
        return "", []
    if lang == "python":
        return _python_reference(text, entry, shown, head)
    if any(ocaml_text.names(text, entry, m.end()) for m in _LET.finditer(text)):
        return text, []
    if _PLACEHOLDER.fullmatch(text):
        return "", [f"the reference is a placeholder ({text.strip()[:40]}): left out"]
    return f"{head}\n{text}", []


def _python_reference(text: str, entry: str, shown: str, head: str) -> tuple[str, list[str]]:
    if python_text.defines(text, entry):
        return text, []
    for whole in (
        shown + text,
        shown + "\n" + text,
        f"{head}\n{text}",
        f"{head}\n    {text.strip()}",
    ):
        if python_text.defines(whole, entry):
            break
    else:
        return text, []
    body = ast.unparse(python_text.parse(whole).body[-1]).split("\n")[-1].strip()
    if body in ("pass", "...", "return None", "raise NotImplementedError"):
        return "", [f"the reference is a placeholder ({body}): left out"]
    return whole, []

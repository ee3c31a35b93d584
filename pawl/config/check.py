"""Types, ranges and rules across options: every wrong value of a table, in a user's words.

Pydantic validates (strictly: the text "8" is not the number 8); this file turns its errors into
messages with place, value and range, and checks the rest again without what was wrong, so that
one pass reports everything. Left out: reading files and names (`parse`, `load`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pawl import renamed
from pawl.config.parse import Table
from pawl.config.tree import WORDS, is_map, nearest, options, range_words, type_words
from pawl.errors import PawlError, PawlErrors

Config = TypeVar("Config", bound=BaseModel)
ROUNDS = 16  # of dropping what is wrong and checking the rest again
RANGE_ERRORS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def check(model: type[Config], table: Table) -> Config:
    """The config of a table; raises PawlErrors with what parsing noted and every wrong value."""
    given = dict(table.values)
    errors = list(table.errors)
    for path in [p for p, value in given.items() if isinstance(value, str) and "\0" in value]:
        errors.append(PawlError(f"`{path}` holds a NUL character", _place(table, [path])))
    for _ in range(ROUNDS):
        try:
            cfg = model.model_validate(_tuples(_nest(given)), strict=True)
        except ValidationError as e:
            found = [_explain(model, table, detail) for detail in e.errors(include_url=False)]
            known = set(map(str, errors))
            # a union errs once for each of its types
            told = {str(error): (error, wrong) for error, wrong in found}
            new = [told[text] for text in told if text not in known]
            if not new:
                break
            for error, wrong in new:
                errors.append(error)
                for path in [p for p in given if any(_overlap(p, w) for w in wrong)]:
                    del given[path]
        else:
            if errors:
                break
            return cfg
    assert errors, "validation failed without an error"
    raise PawlErrors(errors)


def _nest(values: Mapping[str, object]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path, value in values.items():
        at: Any = root
        *sections, name = path.split(".")
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return root


def _tuples(value: object) -> object:
    """Lists as tuples, at every depth: what the strict models accept."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def _field(model: type[BaseModel], path: str) -> FieldInfo | None:
    """The option at a path; of an item of a list the list's own."""
    known = dict(options(model, items=True))
    plain = re.sub(r"\.\d+\b", "[]", path)
    return known.get(plain) or known.get(plain.removesuffix("[]"))


def _explain(
    model: type[BaseModel], table: Table, detail: ErrorDetails
) -> tuple[PawlError, list[str]]:
    """The message for one pydantic error, and the paths that it makes unusable."""
    path = ".".join(map(str, detail["loc"]))
    depth = _mapped(model, detail["loc"])
    if depth:  # by the name in the mapping, without the type that a union tried
        path = ".".join(map(str, detail["loc"][: depth + 1]))
    option = ".".join(map(str, detail["loc"][:depth])) if depth else path
    info = _field(model, option) if path else None
    if detail["type"] == "value_error" or info is None:  # a rule across options
        what = str(detail.get("ctx", {}).get("error", detail["msg"]))
        named = [p for p, _ in options(model) if re.search(rf"\b{re.escape(p)}\b", what)]
        below = [p for p in table.values if path and _overlap(p, path)]
        given = [p for p in named or below if p in table.places]
        where = _place(table, given or [path])
        return PawlError(f"`{path}`: {what}" if path else what, where), named or [path]
    what, hint = _wrong_value(path, info, detail, path in table.places)
    return PawlError(what, _place(table, [path]), hint), [path]


def _mapped(model: type[BaseModel], loc: Sequence[int | str]) -> int:
    """How many parts of an error's place name the mapping that it lies in, 0 for none."""
    maps = {p for p, info in options(model, items=True) if is_map(info.annotation)}
    named = (re.sub(r"\.\d+\b", "[]", ".".join(map(str, loc[:n]))) for n in range(1, len(loc)))
    return next((n for n, path in enumerate(named, start=1) if path in maps), 0)


def _place(table: Table, paths: list[str]) -> str:
    """The place of the first path: its own, else that of what holds it, else the config's."""
    for path in paths:
        while path:
            if path in table.places:
                return table.places[path]
            path = path.rpartition(".")[0]
    return table.places.get("", "config")


def _wrong_value(path: str, info: FieldInfo, detail: ErrorDetails, given: bool) -> tuple[str, str]:
    """(what, hint) for a value of the wrong type or outside its range."""
    kind, value = detail["type"], detail["input"]
    doc = info.description or ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"`{path}` = {value} is not a finite number", ""
    if kind in RANGE_ERRORS:
        return f"`{path}` = {value} is outside {range_words(info)}", doc
    if kind in ("string_too_short", "string_pattern_mismatch") and not given:
        return f"`{path}` is required", doc
    if kind == "string_too_short":
        return f"`{path}` must not be empty", doc
    if kind == "string_pattern_mismatch":
        return f'`{path}` = "{value}" has the wrong form', doc
    wants = _wants(path, info)
    if is_map(info.annotation) and kind != "dict_type":  # one of its values
        wants = wants.partition(": ")[2]
    if kind == "literal_error":
        choices = [c.strip() for c in wants.removeprefix("one of ").split(",")]
        meant = renamed.VALUES.get(path, {}).get(str(value)) or nearest(str(value), choices, [])
        return f'`{path}` = "{value}" is not {wants}', f'did you mean "{meant}"?' if meant else doc
    hint = doc
    if wants == "text":
        hint = "put it in quotes to make it text"
    elif isinstance(value, str) and wants in ("a number", "a whole number", "true or false"):
        hint = "take the quotes away" if _looks_plain(value) else doc
    elif wants.startswith("a list") and not isinstance(value, tuple | dict):
        hint = "write it in brackets: [a, b]"
    shown = json.dumps(value, default=str)
    return f"`{path}` wants {wants}, got {shown[:80]} ({_kind(value)})", hint


def _wants(path: str, info: FieldInfo) -> str:
    """The type in words; for an item of a list the type of the item."""
    wants = type_words(info.annotation)
    if not path.rsplit(".", 1)[-1].isdigit():
        return wants
    return wants.removeprefix("a list of ") if wants.startswith("a list of ") else "a section"


def _looks_plain(value: str) -> bool:
    return bool(re.fullmatch(r"\s*(true|false|[-+]?[0-9.]+([eE][-+]?[0-9]+)?)\s*", value))


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "a list", tuple: "a list", dict: "a section"}
    names |= {type(None): "nothing", **WORDS}
    return names.get(type(value), type(value).__name__)

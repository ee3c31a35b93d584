"""The option models as a flat table of paths: what may be set, its type in words, its range.

Used by `parse` (unknown names), `check` (ranges in messages) and `schema` (reference page,
differences). Left out: values. Paths join names with dots ("optim.lr"); the fields of a list's
items stand behind "[]" ("rules[].metric").
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def section_of(annotation: object) -> type[BaseModel] | None:
    """The model behind a section's annotation (`X` or `X | None`), None for a plain option."""
    is_list = typing.get_origin(annotation) is tuple
    kinds = () if is_list else (annotation, *typing.get_args(annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def item_of(annotation: object) -> type[BaseModel] | None:
    """The model of a list's items (`tuple[X, ...]`), None for any other annotation."""
    if typing.get_origin(annotation) is tuple:
        return section_of(typing.get_args(annotation)[0])
    return None


def is_map(annotation: object) -> bool:
    """Whether an option is a mapping whose names the user gives."""
    return typing.get_origin(annotation) is dict


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model under the names that a user writes (aliases applied)."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def options(
    model: type[BaseModel], prefix: str = "", items: bool = False
) -> Iterator[tuple[str, FieldInfo]]:
    """Every plain option below `model` in order; with `items` also the fields of list items."""
    for name, info in fields(model).items():
        path = f"{prefix}{name}"
        section, item = section_of(info.annotation), item_of(info.annotation)
        if section is not None:
            yield from options(section, f"{path}.", items)
            continue
        yield path, info
        if items and item is not None:
            yield from options(item, f"{path}[].", items)


def leaves(cfg: BaseModel) -> dict[str, object]:
    """Every option's value by path, as JSON values; an absent section stands under its own path."""
    flat: dict[str, object] = {}

    def walk(section: BaseModel, data: dict[str, object], prefix: str) -> None:
        for own, info in type(section).model_fields.items():
            name, value = info.alias or own, getattr(section, own)
            inner = data[name]
            if isinstance(value, BaseModel) and isinstance(inner, dict):
                walk(value, inner, f"{prefix}{name}.")
            else:
                flat[f"{prefix}{name}"] = inner

    walk(cfg, cfg.model_dump(mode="json", by_alias=True), "")
    return flat


def extra(info: FieldInfo, key: str) -> object:
    """What `opt` noted beside a field: "unit" or "live"; None where it noted nothing."""
    return info.json_schema_extra.get(key) if isinstance(info.json_schema_extra, dict) else None


def live_options(section: type[BaseModel]) -> list[str]:
    """Names of the options that a running trainer accepts."""
    return [name for name, info in section.model_fields.items() if extra(info, "live")]


def type_words(annotation: object) -> str:
    """An annotation in a user's words: "a whole number", "one of a, b", "a list of text"."""
    if isinstance(annotation, type) and annotation in WORDS:
        return WORDS[annotation]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(f'"{a}"' if a == "" else str(a) for a in args)
    if origin is dict:
        return "names and values: " + type_words(args[1])
    if origin is types.UnionType:
        return ", ".join(map(type_words, args[:-1])) + f" or {type_words(args[-1])}"
    if origin is tuple:
        return "a list" if section_of(args[0]) else f"a list of {type_words(args[0])}"
    return "a section"


def range_words(info: FieldInfo) -> str:
    """The range of a number as an interval, such as "[0, 1)" or ">= 1"; "" when unbounded."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [(s, getattr(rule, k, None)) for k, s in signs.items() for rule in info.metadata]
    bounds = [(sign, value) for sign, value in found if value is not None]  # the lower one first
    if len(bounds) < 2:
        return "".join(f"{sign} {value}" for sign, value in bounds)
    (above, low), (below, high) = bounds
    return f"{'[' if above == '>=' else '('}{low}, {high}{']' if below == '<=' else ')'}"


def nearest(name: str, near: list[str], anywhere: list[str]) -> str:
    """The known name that was probably meant, "" if none: siblings first, then full paths."""
    found = difflib.get_close_matches(name, near, n=1, cutoff=0.6)
    found += [p for p in anywhere if p.rsplit(".", 1)[-1] == name]
    found += difflib.get_close_matches(name, anywhere, n=1, cutoff=0.6)
    return found[0] if found else ""

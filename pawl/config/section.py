"""What every option group is made of: `Section`; `opt`, which declares one option; a check.

Left out: the options themselves (`options.py`).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue


def opt(default: Any, doc: str, unit: str = "", live: bool = False, **bounds: Any) -> Any:
    """One option: its default, one sentence, its unit, and whether a running trainer accepts it."""
    extra: dict[str, JsonValue] = {"unit": unit, "live": live}
    if isinstance(default, type) and issubclass(default, BaseModel):
        return Field(default_factory=default, description=doc, json_schema_extra=extra)
    return Field(default, description=doc, json_schema_extra=extra, **bounds)


def repeated(names: list[str]) -> str:
    """The first name, by the alphabet, that stands several times; "" for none."""
    return min((name for name in names if names.count(name) > 1), default="")


class Section(BaseModel):
    """Base of all option groups: frozen, and an unknown name is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

"""What every option group is made of: `Section`, and `opt`, which declares one option.

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


def live_options(section: type[BaseModel]) -> list[str]:
    """Names of the options that a running trainer accepts."""
    extras = {n: f.json_schema_extra for n, f in section.model_fields.items()}
    return [n for n, extra in extras.items() if isinstance(extra, dict) and extra.get("live")]


class Section(BaseModel):
    """Base of all option groups: frozen, and an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

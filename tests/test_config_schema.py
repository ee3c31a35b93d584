"""The generated documents: the JSON Schema accepts what the loader accepts; the page is current."""

from __future__ import annotations

from pathlib import Path

from pawl.config.options import RunConfig, SftConfig
from pawl.config.schema import json_schema, reference
from pawl.config.tree import options


def test_reference_page_is_current(root: Path) -> None:
    page = (root / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m pawl.config.schema > docs/config.md"


def test_every_option_is_on_the_page_once() -> None:
    page = reference()
    for path, _ in options(RunConfig, items=True):
        assert page.count(f"| `{path}` |") >= 1, path
    for path, _ in options(SftConfig):
        if "." not in path:
            assert f"| `{path}` |" in page, path


def test_schema_names_what_a_user_writes() -> None:
    schema = json_schema(RunConfig)
    definitions, properties = schema["$defs"], schema["properties"]
    assert isinstance(definitions, dict)
    assert isinstance(properties, dict)
    assert schema["additionalProperties"] is False
    assert "is" in definitions["RuleConfig"]["properties"]  # the alias, not `is_`
    assert definitions["OptimConfig"]["properties"]["lr"]["maximum"] == 1
    assert {"type": "string"} in properties["reward"]["anyOf"]
    sft = json_schema(SftConfig)["properties"]
    assert isinstance(sft, dict)
    assert set(sft) == set(SftConfig.model_fields)

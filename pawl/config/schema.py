"""What the options are, for editors and for people: JSON Schema and the reference page.

Both are made from the models in `options`, so they cannot disagree with the code. Left out: the
values of a run (`load`).

Run: `python -m pawl.config.schema > docs/config.md` writes the reference page.
"""

from __future__ import annotations

import json

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pawl.config.judge import JudgeConfig
from pawl.config.options import RunConfig, SftConfig
from pawl.config.tree import extra, fields, item_of, range_words, section_of, type_words

DRAFT = "https://json-schema.org/draft/2020-12/schema"
HEAD = """# Config reference

Generated from `pawl/config/options.py` and `sources.py` by `python -m pawl.config.schema >
docs/config.md`.

A config is one YAML 1.2 file. Values are taken from, in this order: the defaults below, the file,
environment variables (`PAWL_OPTIM__LR=1e-5` sets `optim.lr`), the command line (`optim.lr=1e-5`).
An unknown option is an error. More than 131,072 characters, 3,000 values or 12 levels are refused
before they are read. `pawl schema` prints the same as JSON Schema for editors. A *live* option may
change while a run goes on (a `patch` in `control.jsonl`).
"""


def json_schema(model: type[BaseModel]) -> dict[str, object]:
    """JSON Schema (draft 2020-12) of a config file; names are those that a user writes."""
    body = model.model_json_schema(by_alias=True)
    reward = body["properties"].get("reward")
    if reward is not None:  # `reward: path/file.py:function`
        kinds = [{"$ref": "#/$defs/RewardConfig"}, {"type": "string"}]
        told = reward.get("description", "")
        body["properties"]["reward"] = {"anyOf": kinds, "description": told}
    return {"$schema": DRAFT, **body}


def reference() -> str:
    """The reference page of every option, as Markdown."""
    lines = [HEAD, "## Training runs (`pawl train`)", ""]
    lines += _section(RunConfig, "")
    lines += ["## Supervised runs (`pawl sft`)", ""]
    lines += ["`model`, `prompt` and `optim` are the sections described above.", ""]
    lines += _table(SftConfig, "")
    lines += ["## Judges (`pawl.config.judge`)", "", JudgeConfig.__doc__ or "", ""]
    lines += _table(JudgeConfig, "judge.")
    return "\n".join(lines)


def _section(model: type[BaseModel], prefix: str) -> list[str]:
    lines = _table(model, prefix)
    for name, info in fields(model).items():
        section, item = section_of(info.annotation), item_of(info.annotation)
        inner = section or item
        if inner is None:
            continue
        path = f"{prefix}{name}" + ("[]" if item is not None else "")
        doc = " ".join((inner.__doc__ or "").split())
        lines += [f"### `{path}`", "", doc, ""]
        lines += _section(inner, f"{path}.")
    return lines


def _table(model: type[BaseModel], prefix: str) -> list[str]:
    rows = [
        f"| `{prefix}{name}` | `{json.dumps(info.default)}` | {_type(info)} | {_meaning(info)} |"
        for name, info in fields(model).items()
        if section_of(info.annotation) is None
    ]
    if not rows:
        return []
    return ["| option | default | type and range | meaning |", "|---|---|---|---|", *rows, ""]


def _type(info: FieldInfo) -> str:
    unit, span = extra(info, "unit"), range_words(info)
    words = type_words(info.annotation)
    words += f" {span}" if span else ""
    return _cell(words + (f", {unit}" if unit else ""))


def _meaning(info: FieldInfo) -> str:
    return _cell((info.description or "") + (" *Live.*" if extra(info, "live") else ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")

"""What a judge is asked: a rubric of criteria with anchored levels and weights, in one TOML file.

    name = "mine"
    version = "3"                      # change it with the text: answers are kept by it
    [[criteria]]
    name = "clarity"
    weight = 1.0
    question = "Is the answer clear?"
    levels = ["no", "partly", "yes"]   # from worst to best, 2 to 10
    languages = {ocaml = "..."}        # added to the question for that language

A level's value is its place: 0 for the worst, 1 for the best. Left out: how questions travel
(`contract.py`).
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from pawl.config.section import Section, repeated
from pawl.errors import PawlError, PawlErrors

SHIPPED = Path(__file__).parent / "rubrics"
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]


class Criterion(Section):
    """One question with its levels, from worst to best."""

    name: Name
    weight: float = Field(gt=0, le=100)
    question: Text
    levels: tuple[Text, ...] = Field(min_length=2, max_length=10)
    languages: dict[str, Text] = {}

    def asked(self, lang: str) -> str:
        """The question for one language ("" for none)."""
        note = self.languages.get(lang)
        return f"{self.question} {note}" if note else self.question


class Rubric(Section):
    """Criteria and their weights, with a version."""

    name: Text
    version: Text
    criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _names(self) -> Rubric:
        twice = repeated([c.name for c in self.criteria])
        if twice:
            raise ValueError(f"two criteria are called {twice}")
        taken = {"total", "id"} & {c.name for c in self.criteria}
        if taken:
            raise ValueError(f"a criterion may not be called {min(taken)}")
        return self

    @property
    def digest(self) -> str:
        """Hash of everything that it says."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_total(self, values: Mapping[str, float]) -> dict[str, float]:
        """The criteria's values with their weighted mean as `total`, 0 to 1."""
        weights = sum(c.weight for c in self.criteria)
        return {"total": sum(c.weight * values[c.name] for c in self.criteria) / weights, **values}


def load_rubric(name: str) -> Rubric:
    """A shipped rubric by name, or a TOML file. Raises PawlError for what is wrong with it."""
    path = SHIPPED / f"{name}.toml" if name.isidentifier() else Path(name)
    try:
        return Rubric.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as e:
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        hint = f"give a TOML file, or one of: {names}"
        raise PawlError(f"no rubric {name}: {e.strerror or e}", "judge.rubric", hint) from e
    except ValidationError as e:
        wrong = [(".".join(map(str, row["loc"])), row["msg"]) for row in e.errors()]
        raise PawlErrors(
            [PawlError(f"{at}: {m}".lstrip(": "), str(path)) for at, m in wrong]
        ) from e
    except ValueError as e:  # not TOML, or not UTF-8
        raise PawlError(str(e), str(path), "see docs/teacher.md for the format") from e

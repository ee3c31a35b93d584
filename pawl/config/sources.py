"""Options of what a run is made from: the model, its prompts, its problems.

Left out: how it samples, learns and is judged (`options.py`, which holds the config of a run).
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import field_validator, model_validator

from pawl.config.section import Section, opt, repeated


class LoraConfig(Section):
    """Low-rank adapters on the linear layers (arXiv 2106.09685)."""

    r: int = opt(0, "Rank of the adapters; 0 trains all weights.", ge=0, le=1024)
    alpha: float = opt(64.0, "Scale: the update is multiplied by alpha / r.", gt=0, le=4096)
    dropout: float = opt(
        0.0, "Adapter dropout; RL needs 0 (the first-pass ratio would not be 1).", ge=0, lt=1
    )
    targets: tuple[str, ...] = opt(
        ("all-linear",), "Module names to adapt, or all-linear (the output head is never adapted)."
    )


class ModelConfig(Section):
    """The policy: a base model and how its weights are held and trained."""

    path: str = opt("bundled", "bundled, a folder in Hugging Face format, or a hub name.")
    revision: str = opt("", "Hub revision to pin; empty takes the newest.")
    dtype: Literal["fp32", "bf16", "fp16"] = opt(
        "fp32", "Forward precision; trained weights and optimiser state stay fp32."
    )
    device: str = opt("auto", "auto, cpu, cuda or cuda:N.")
    quantise: Literal["none", "nf4"] = opt(
        "none", "nf4: base weights in 4 bits under LoRA (arXiv 2305.14314); needs the extra 4bit."
    )
    gradient_checkpointing: bool = opt(False, "Recompute activations to save memory.")
    added_tokens: tuple[str, ...] = opt(
        (), "Special tokens to add; their embeddings are trained and saved with the adapter."
    )
    lora: LoraConfig = opt(LoraConfig, "Low-rank adapters.")

    @model_validator(mode="after")
    def _four_bits_under_adapters(self) -> ModelConfig:
        if self.quantise != "none" and not self.lora.r:
            why = "4-bit weights cannot be trained themselves; set lora.r above 0"
            raise ValueError(f"quantise = {self.quantise}: {why}")
        return self


class PromptConfig(Section):
    """From a problem to the tokens that the model continues."""

    template: str = opt(
        "", "File with {prompt} and {head}, or a shipped name (plain, few-shot-ocaml, ...)."
    )
    chat: Literal["auto", "always", "never"] = opt(
        "auto", "Use the tokenizer's chat template; auto: where it has one."
    )
    system: str = opt("", "System message put before chat prompts that have none.")
    template_args: dict[str, bool | int | float | str] = opt(
        {}, "Arguments of the chat template by name, such as {enable_thinking: false}."
    )
    date: str = opt(
        "",
        "What chat templates print as today, YYYY-MM-DD; empty: the day on which the run began.",
        pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$",
    )
    max_tokens: int = opt(
        704, "Longest prompt; a longer one is refused.", "tokens", ge=8, le=131072
    )

    @field_validator("template_args")
    @classmethod
    def _arguments(cls, value: dict[str, object]) -> dict[str, object]:
        for name, given in value.items():
            if not name.isidentifier():
                raise ValueError(f'"{name}" is not the name of an argument')
            if str(given).lower() in ("yes", "no", "on", "off") and isinstance(given, str):
                raise ValueError(
                    f"{name}: {given} is text, which counts as true; write true or false"
                )
        return value

    @field_validator("date")
    @classmethod
    def _day(cls, value: str) -> str:
        if value:
            date.fromisoformat(value)
        return value


class FilterConfig(Section):
    """Which problems to keep; the audit prints how many each condition removed."""

    lang: str = opt("", "Only this language.")
    difficulty: tuple[str, ...] = opt((), "Only these difficulty labels.")
    tags: tuple[str, ...] = opt((), "Only problems with at least one of these tags.")
    max_prompt_chars: int = opt(0, "Longest prompt; 0 is no limit.", "characters", ge=0)
    max_solution_lines: int = opt(0, "Longest reference; 0 is no limit.", "non-empty lines", ge=0)
    min_pass_rate: float = opt(0.0, "Lowest measured base pass rate.", ge=0, le=1)
    max_pass_rate: float = opt(1.0, "Highest measured base pass rate.", ge=0, le=1)


class FieldsConfig(Section):
    """What the columns of the sets are called, by meaning; a dotted path goes into one.

    As in `problems.fields={prompt: question_text, tests: reward_model.ground_truth}`. What is not
    named here is looked for under the names of docs/problems.md.
    """

    id: str = opt("", "Unique name of a problem.")
    prompt: str = opt("", "What is asked, as text.")
    messages: str = opt("", "What is asked, as chat turns.")
    tests: str = opt("", "Tests in any form that can be read.")
    solution: str = opt("", "A right answer.")
    answer: str = opt("", "A right answer of a problem without tests.")
    lang: str = opt("", "Programming language.")
    entry_point: str = opt("", "Name of the function that the tests call.")
    signature: str = opt("", "OCaml's interface.")
    head: str = opt("", "Opening of the definition, or starter code.")
    prelude: str = opt("", "Imports and classes that an answer may use.")
    setup: str = opt("", "Code that stands before the tests.")
    difficulty: str = opt("", "A label.")
    family: str = opt("", "Problems of one kind.")
    tags: str = opt("", "Labels, a list or divided by commas.")
    pass_rate: str = opt("", "Measured pass@1 of a base model, 0 to 1.")
    split: str = opt("", "train, held_out, test, validation, ...")
    spec: str = opt("", "What the set is split by.")

    def given(self) -> dict[str, str]:
        """Column by meaning, of those that are named."""
        return {name: path for name, path in self.model_dump().items() if path}


class MixConfig(Section):
    """One training set among several."""

    set: str = opt("", "As problems.train.", min_length=1)
    weight: float = opt(1.0, "Its share of the prompts, relative to the others.", gt=0, le=1000)


class ProblemsConfig(Section):
    """Training and held-out problems."""

    train: str = opt(
        "starter-ocaml",
        "starter-ocaml, starter-python, a JSONL or Parquet file, or a hub data set.",
    )
    mix: tuple[MixConfig, ...] = opt((), "Several training sets; replaces `train` when given.")
    held_out: str = opt(
        "", "The same for evaluation; empty takes the set's own held-out split, or splits it off."
    )
    held_out_frac: float = opt(
        0.1, "Share split off by specification when the set has no split.", ge=0, lt=1
    )
    lang: str = opt("", "Language of rows that do not state it; ocaml and python can be tested.")
    fields: FieldsConfig = opt(FieldsConfig, "What columns of the sets are called.")
    filter: FilterConfig = opt(FilterConfig, "Which problems to keep.")
    limit: int = opt(0, "Keep this many of a set, drawn by seed; 0 keeps all.", "problems", ge=0)
    audit: bool = opt(True, "Run the executed audit before training and leave bad problems out.")

    @model_validator(mode="after")
    def _mixed(self) -> ProblemsConfig:
        twice = repeated([row.set for row in self.mix])
        if twice:
            raise ValueError(f"problems.mix names {twice} twice; give it one row and one weight")
        return self

"""Options of what a run is made from: model, prompt, problems, rollouts, reward, sandbox.

Part of `options.py`, which says what the fields hold. Left out: how it learns (`learning.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from pawl.config.section import Section, opt


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
            raise ValueError(
                f"quantise = {self.quantise}: 4-bit weights cannot be trained themselves; set "
                "lora.r above 0"
            )
        return self


class PromptConfig(Section):
    """From a problem to the tokens that the model continues."""

    template: str = opt(
        "", "File with {prompt} and {head}, or a shipped name (plain, few-shot-ocaml, ...)."
    )
    chat: Literal["auto", "always", "never"] = opt(
        "auto", "Use the tokenizer's chat template; auto: where it has one."
    )
    system: str = opt("", "System message put before chat prompts.")
    max_tokens: int = opt(
        704, "Longest prompt; a longer one is refused.", "tokens", ge=8, le=131072
    )


class FilterConfig(Section):
    """Which problems to keep; the audit prints how many each condition removed."""

    lang: str = opt("", "Only this language.")
    difficulty: tuple[str, ...] = opt((), "Only these difficulty labels.")
    tags: tuple[str, ...] = opt((), "Only problems with at least one of these tags.")
    max_prompt_chars: int = opt(0, "Longest prompt; 0 is no limit.", "characters", ge=0)
    max_solution_lines: int = opt(0, "Longest reference; 0 is no limit.", "non-empty lines", ge=0)
    min_pass_rate: float = opt(0.0, "Lowest measured base pass rate.", ge=0, le=1)
    max_pass_rate: float = opt(1.0, "Highest measured base pass rate.", ge=0, le=1)


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
    filter: FilterConfig = opt(FilterConfig, "Which problems to keep.")
    limit: int = opt(0, "Keep this many of a set, drawn by seed; 0 keeps all.", "problems", ge=0)
    audit: bool = opt(True, "Run the executed audit before training and leave bad problems out.")

    @model_validator(mode="after")
    def _mixed(self) -> ProblemsConfig:
        names = [row.set for row in self.mix]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"problems.mix names {twice[0]} twice; give it one row and one weight")
        return self


class RolloutConfig(Section):
    """Sampling during training. Every warp but the temperature is replayed by the trainer."""

    engine: Literal["auto", "local", "hf"] = opt(
        "auto", "local: fast decoding (Qwen, Llama, Mistral); hf: generate; auto: local if it can."
    )
    prompts: int = opt(16, "Prompts in a step (P).", "problems", ge=1, le=65536)
    group_size: int = opt(8, "Completions for each prompt (G).", "samples", ge=1, le=1024)
    temperature: float = opt(1.0, "Sampling temperature, also used for scoring.", gt=0, le=5)
    temperature_end: float = opt(
        0.0, "Temperature of the last step, reached linearly; 0 keeps it.", ge=0, le=5
    )
    top_p: float = opt(
        1.0, "Nucleus share; the trainer scores among the tokens that it kept.", gt=0, le=1
    )
    top_k: int = opt(0, "Most probable tokens to keep, replayed likewise. 0 is off.", ge=0)
    max_tokens: int = opt(512, "Longest completion.", "tokens", ge=1, le=131072)
    stop: tuple[str, ...] = opt((), "Strings that end a completion (kept in its text).")
    batch: int = opt(0, "Rows decoded at once; 0 is all of a step.", "samples", ge=0)


class ComponentConfig(Section):
    """One reward among several: total = sum of weight * value, gates and caps applied."""

    name: str = opt("", "Name in scores and metrics.", min_length=1, pattern=r"^[a-z0-9_]+$")
    use: str = opt("code", "code, path/file.py:function, or an entry point's name.")
    weight: float = opt(1.0, "Weight in the mix.", ge=0, le=100)
    gate: Literal["none", "pass"] = opt("none", "pass: pays only when all tests pass.")
    cap: float = opt(1.0, "Most that it can add, after its weight.", ge=0, le=100)
    relative: Literal["none", "mean", "rank"] = opt(
        "none", "Pay its distance from the group's mean, or its rank in the group (0 to 1)."
    )


class StagesConfig(Section):
    """Weights of the staged code reward; they must sum to 1."""

    end_marker: float = opt(0.05, "The completion ends with the end marker.", ge=0, le=1)
    types: float = opt(0.20, "Type check, graded by the number of true errors.", ge=0, le=1)
    compile: float = opt(0.10, "It compiles.", ge=0, le=1)
    tests: float = opt(0.65, "Tests above the best constant answer.", ge=0, le=1)

    @model_validator(mode="after")
    def _sum(self) -> StagesConfig:
        total = self.end_marker + self.types + self.compile + self.tests
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the four weights sum to {total:.6g}, not 1")
        return self


class RewardConfig(Section):
    """What is paid for. `reward: path/file.py:function` is short for `reward: {use: ...}`."""

    use: str = opt("code", "code (compiler and tests), path/file.py:function, or an entry point.")
    components: tuple[ComponentConfig, ...] = opt((), "A mix; replaces `use` when given.")
    stages: StagesConfig = opt(StagesConfig, "Weights of the staged code reward.")
    end_marker: str = opt("(* END *)", "The end marker; empty removes that stage (others rescale).")
    runaway_multiplier: float = opt(
        0.3, "Factor on a completion cut at max_tokens without end marker.", ge=0, le=1
    )
    min_lines: int = opt(
        0, "Fewer non-empty lines are penalised; at most the shortest reference.", "lines", ge=0
    )
    short_multiplier: float = opt(0.3, "Factor on a completion below min_lines.", ge=0, le=1)
    overlong_penalty: float = opt(
        0.0,
        "Taken off in full at rollout.max_tokens, from 80% of it on in part (arXiv 2503.14476).",
        ge=0,
        le=10,
    )
    clip: tuple[float, ...] = opt((), "[low, high] of a reward in training; empty is off.")
    normalise: Literal["none", "running"] = opt(
        "none", "running: rewards over the standard deviation of all so far."
    )
    missing: Literal["sample", "group"] = opt(
        "sample", "What a missing score takes out of training: its sample, or its whole group."
    )
    in_flight: int = opt(64, "Calls of an async reward at a time.", "calls", ge=1, le=4096)
    max_missing_frac: float = opt(
        0.1, "Missing share of a step at which the run stops.", ge=0, le=1
    )
    cache: bool = opt(True, "Keep measurements that repeat, by content hash.")

    @field_validator("clip")
    @classmethod
    def _range(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError(f"{list(value)} is not [low, high] with low below high")
        return value


class SandboxConfig(Section):
    """Where candidate programs run and what they may use."""

    tier: Literal["auto", "bubblewrap", "landlock", "unsafe"] = opt(
        "auto", "auto takes the strongest tier that passes its canary attacks."
    )
    allow_unsafe: bool = opt(False, "Run candidates with resource limits only. Dangerous.")
    workers: int = opt(0, "Parallel scorers; 0 is one per core.", ge=0, le=1024)
    cpu_s: float = opt(4.0, "CPU time of one candidate.", "s", gt=0, le=600)
    wall_s: float = opt(10.0, "Wall clock of one candidate.", "s", gt=0, le=3600)
    memory_mb: int = opt(1024, "Address space of one candidate.", "MiB", ge=64, le=65536)
    output_kb: int = opt(1024, "Output of one candidate.", "KiB", ge=1, le=65536)

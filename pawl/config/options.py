"""Every option of a run, once: name, default, meaning, unit, range, and whether it can be live.

Pydantic models without behaviour; unknown keys are errors. `docs/config.md` and `pawl schema` are
generated from these fields. The groups stand in `inputs.py` and `learning.py`; everybody imports
them from here. Left out: reading files (`load.py`), checks that need the data or the model
(`pawl check`). A rule across two options stands in a validator beside them.
"""

from __future__ import annotations

from pydantic import field_validator, model_validator

from pawl.config.inputs import (
    ComponentConfig,
    FilterConfig,
    LoraConfig,
    MixConfig,
    ModelConfig,
    ProblemsConfig,
    PromptConfig,
    RewardConfig,
    RolloutConfig,
    SandboxConfig,
    StagesConfig,
)
from pawl.config.learning import (
    AlgoConfig,
    CheckpointConfig,
    Comparison,
    EvalConfig,
    OptimConfig,
    RuleConfig,
    SamplingConfig,
    StageConfig,
    TargetConfig,
    TrainConfig,
)
from pawl.config.section import Section, live_options, opt

__all__ = [
    "AlgoConfig",
    "CheckpointConfig",
    "Comparison",
    "ComponentConfig",
    "EvalConfig",
    "FilterConfig",
    "LoraConfig",
    "MixConfig",
    "ModelConfig",
    "OptimConfig",
    "ProblemsConfig",
    "PromptConfig",
    "RewardConfig",
    "RolloutConfig",
    "RuleConfig",
    "RunConfig",
    "SamplingConfig",
    "SandboxConfig",
    "SftConfig",
    "StageConfig",
    "StagesConfig",
    "TargetConfig",
    "TrainConfig",
    "live_options",
]


class RunConfig(Section):
    """One run. `pawl train CONFIG key=value ...`."""

    name: str = opt("", "Name of the run folder; empty takes the config file's.")
    runs_dir: str = opt("runs", "Folder that holds run folders.")
    seed: int = opt(0, "Seed of sampling, data order and initial adapters.", ge=0)
    model: ModelConfig = opt(ModelConfig, "The policy.")
    prompt: PromptConfig = opt(PromptConfig, "From problem to tokens.")
    problems: ProblemsConfig = opt(ProblemsConfig, "Training and held-out problems.")
    rollout: RolloutConfig = opt(RolloutConfig, "Sampling during training.")
    reward: RewardConfig = opt(RewardConfig, "What is paid for.")
    sandbox: SandboxConfig = opt(SandboxConfig, "Where candidates run.")
    algo: AlgoConfig = opt(AlgoConfig, "Advantage, loss, KL.")
    optim: OptimConfig = opt(OptimConfig, "Optimiser and schedule.")
    curriculum: tuple[StageConfig, ...] = opt((), "Stages in order; empty is one for all.")
    train: TrainConfig = opt(TrainConfig, "Length and memory.")
    eval: EvalConfig = opt(EvalConfig, "Held-out evaluation.")
    checkpoint: CheckpointConfig = opt(CheckpointConfig, "Saving.")
    target: TargetConfig | None = opt(None, "What the run is for.")
    rules: tuple[RuleConfig, ...] = opt((), "What must hold on the way.")

    @field_validator("reward", mode="before")
    @classmethod
    def _reward_short_form(cls, value: object) -> object:
        return {"use": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _across(self) -> RunConfig:
        if self.rollout.group_size < 2 and self.algo.advantage != "reinforce_pp":
            raise ValueError(
                f"rollout.group_size = {self.rollout.group_size}: {self.algo.advantage} compares "
                "the members of a group and needs at least 2"
            )
        if self.model.lora.r and self.model.lora.dropout > 0:
            raise ValueError(
                f"model.lora.dropout = {self.model.lora.dropout}: with dropout the first-pass "
                "ratio is not 1; RL needs 0"
            )
        if self.algo.advantage == "pass_at_k" and self.algo.pass_k > self.rollout.group_size:
            raise ValueError(
                f"algo.pass_k = {self.algo.pass_k} exceeds rollout.group_size = "
                f"{self.rollout.group_size}"
            )
        self._check_curriculum()
        if self.rollout.prompts % self.algo.minibatches:
            raise ValueError(
                f"algo.minibatches = {self.algo.minibatches} must divide rollout.prompts = "
                f"{self.rollout.prompts}: a mini-batch holds whole groups"
            )
        return self

    def _check_curriculum(self) -> None:
        names = [stage.name for stage in self.curriculum]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two stages of the curriculum are called {twice[0]}")
        weighted = next((stage for stage in self.curriculum if stage.weights), None)
        if weighted is None:
            return
        parts = self.reward.components
        if "code" not in [c.use for c in parts] + [self.reward.use] * (not parts):
            raise ValueError(
                f"stage {weighted.name} of the curriculum weighs the stages of the code reward, "
                "which reward.use and reward.components do not pay"
            )
        taken = sorted({"penalty", *StagesConfig.model_fields} & {c.name for c in parts})
        if taken:
            raise ValueError(
                f"stage {weighted.name} of the curriculum needs the name {taken[0]} for the code "
                "reward's own part; call that one of reward.components otherwise"
            )


class SftConfig(Section):
    """One supervised run: `pawl sft CONFIG key=value ...`. Loss on completions only."""

    data: str = opt("", "JSONL with prompt and completion, or chat messages.", min_length=1)
    out: str = opt("", "Folder to write the model to.", min_length=1)
    seed: int = opt(0, "Seed of data order and initial weights.", ge=0)
    model: ModelConfig = opt(ModelConfig, "The model to continue from.")
    init: str = opt("", "JSON architecture file: train from random weights instead of model.path.")
    tokenizer: str = opt("", "Tokenizer folder for `init`; empty trains a byte-level BPE.")
    vocab_size: int = opt(1024, "Size of the tokenizer trained for `init`.", ge=259, le=262144)
    prompt: PromptConfig = opt(PromptConfig, "From example to tokens.")
    steps: int = opt(0, "Optimiser steps; 0 leaves it to epochs.", ge=0)
    epochs: float = opt(1.0, "Passes over the data, when steps is 0.", ge=0)
    batch_tokens: int = opt(8192, "Packed tokens in one optimiser step.", "tokens", ge=16)
    seq_len: int = opt(512, "Length of a packed row.", "tokens", ge=16)
    packing: bool = opt(True, "Pack examples into rows; attention never crosses an example.")
    optim: OptimConfig = opt(OptimConfig, "Optimiser and schedule.")

"""Every option of a run, once: name, default, meaning, unit, range, and whether it can be live.

Pydantic models without behaviour; unknown keys are errors. `docs/config.md` and `pawl schema` are
generated from these fields. First how a run learns and is judged, then the run itself; what it is
made from stands in `sources.py`. Left out: reading files (`load.py`), checks that need the data or
the model (`pawl check`). A rule across two options stands in a validator beside them.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pawl.config.judge import JudgeConfig
from pawl.config.section import Section, opt, repeated
from pawl.config.sources import ModelConfig, ProblemsConfig, PromptConfig
from pawl.config.tree import live_options

MAX_SEED = 2**63 - 1  # what every generator takes
NAME_BYTES = 200  # of a run's name; file systems take 255, and forks add to it


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
    use: str = opt("code", "code, judge, path/file.py:function, or an entry point's name.")
    weight: float = opt(1.0, "Weight in the mix.", ge=0, le=100)
    gate: Literal["none", "pass"] = opt("none", "pass: pays only when all tests pass.")
    cap: float = opt(1.0, "Most that it can add, after its weight.", ge=0, le=100)
    relative: Literal["none", "mean", "rank", "difference", "ratio"] = opt(
        "none", "To the group: mean or rank; to the judge's grade of the reference: the other two."
    )
    floor: float = opt(0.1, "Least grade of a reference that a ratio divides by.", gt=0, le=1)


class StagesConfig(Section):
    """Weights of the staged code reward; they must sum to 1."""

    end_marker: float = opt(0.05, "The completion ends with the end marker.", ge=0, le=1)
    types: float = opt(0.20, "Type check, graded by the number of true errors.", ge=0, le=1)
    compile: float = opt(0.10, "It compiles.", ge=0, le=1)
    tests: float = opt(0.65, "Tests above the best constant answer.", ge=0, le=1)

    @model_validator(mode="after")
    def _sum(self) -> StagesConfig:
        total = sum(dict(self).values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the four weights sum to {total:.6g}, not 1")
        return self


class RewardConfig(Section):
    """The reward function. `reward: path/file.py:function` is short for `reward: {use: ...}`."""

    use: str = opt(
        "code",
        "code (compiler and tests), judge (a teacher), path/file.py:function, or an entry point.",
    )
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
    normalise: Literal["none", "running", "strata"] = opt(
        "none", "Rewards over the running deviation of all, or standardised by language and label."
    )
    missing: Literal["sample", "group", "common"] = opt(
        "sample",
        "A missing score takes out its sample or its group; common: its component, of the group.",
    )
    in_flight: int = opt(64, "Calls of an async reward at a time.", "calls", ge=1, le=4096)
    wall_s: float = opt(
        45.0,
        "Wall clock of one call of your function; beyond it, it hangs.",
        "s",
        gt=0,
        le=3600,
    )
    max_missing_frac: float = opt(
        0.1, "Share of a step with something missing at which the run stops.", ge=0, le=1
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
    memory_mb: int = opt(
        1024, "Address space of each process; memory of all.", "MiB", ge=64, le=65536
    )
    output_kb: int = opt(1024, "Output of one candidate.", "KiB", ge=1, le=65536)
    packages: tuple[str, ...] = opt(
        (), "Packages of the system's Python that candidates may import, such as numpy."
    )


class AlgoConfig(Section):
    """Advantage, loss, KL and normaliser; docs/algorithms.md has the formulas."""

    preset: Literal[
        "", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "raft"
    ] = opt("", "Named settings for what is not set here.")
    advantage: Literal[
        "grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "raft", "pass_at_k"
    ] = opt("grpo", "Advantage estimator, from the rewards of a group or batch.")
    pass_k: int = opt(4, "k of pass_at_k.", "samples", ge=1, le=1024)
    std_floor: float = opt(1e-4, "Added to the standard deviation.", gt=0, le=1)
    std_shrink: float = opt(
        0.0, "grpo: the batch's variance counts as this many members.", "samples", ge=0, le=1000
    )
    noise: Literal["none", "floor", "shrink"] = opt(
        "none", "What the measured noise of a judge does to advantages (docs/algorithms.md)."
    )
    loss: Literal["clip", "gspo", "cispo"] = opt("clip", "What the ratio does in the loss.")
    clip_low: float = opt(0.2, "Lower clip of the ratio: 1 - clip_low.", ge=0, le=1)
    clip_high: float = opt(0.2, "Upper clip of the ratio: 1 + clip_high.", ge=0, le=10)
    dual_clip: float = opt(0.0, "Bounds the loss of negative advantages; 0 is off.", ge=0, le=100)
    normaliser: Literal["token", "sequence", "constant"] = opt(
        "token", "Loss aggregation: mean over tokens, over samples, or sum over rollout.max_tokens."
    )
    kl: Literal["k1", "k2", "k3"] = opt("k3", "k1 in the reward; k2 or k3 in the loss.")
    kl_coef: float = opt(0.0, "Weight of the KL to the reference; 0 is off.", ge=0, le=10)
    kl_target: float = opt(0.0, "Adapts kl_coef to this KL; 0 keeps it.", "nat/sequence", ge=0)
    entropy_coef: float = opt(0.0, "Weight of the entropy bonus.", ge=0, le=1)
    epochs: int = opt(1, "Passes over a batch of rollouts.", ge=1, le=16)
    max_k3: float = opt(0.0, "Ends the passes when k3(old, new) exceeds it; 0 is off.", "nat", ge=0)
    minibatches: int = opt(1, "Optimiser steps a pass; divides rollout.prompts.", ge=1, le=64)
    zero_variance_groups: Literal["keep", "drop", "resample"] = opt(
        "keep", "Groups of equal rewards: train on them, leave them out, or draw others instead."
    )
    resample_max: int = opt(3, "Most extra batches for one step.", "batches", ge=1, le=64)
    filter: str = opt(
        "",
        "`value X`: train on samples that score X or more; `share X`: without the worst share X.",
        pattern=r"^((value|share) -?[0-9]*\.?[0-9]+)?$",
    )
    correction: Literal["none", "truncate", "drop"] = opt(
        "none", "Weight of tokens that sampler and trainer see differently."
    )
    correction_cap: float = opt(2.0, "Largest such weight.", gt=1, le=100)

    @field_validator("filter")
    @classmethod
    def _share(cls, value: str) -> str:
        if value.startswith("share") and not 0 <= float(value.split()[1]) < 1:
            raise ValueError(f'"{value}": a share is 0 or more and below 1')
        return value

    @model_validator(mode="after")
    def _fits(self) -> AlgoConfig:
        if 0 < self.dual_clip <= 1:
            raise ValueError(f"dual_clip = {self.dual_clip} must be above 1, or 0 for off")
        if self.dual_clip and self.loss != "clip":
            raise ValueError(f"dual_clip belongs to the loss clip, not {self.loss}")
        if self.noise == "floor" and self.advantage != "grpo":
            raise ValueError(f"noise: floor is of a standard deviation; {self.advantage} has none")
        if self.noise == "shrink" and self.advantage == "reinforce_pp":
            raise ValueError("noise: shrink weighs groups; reinforce_pp compares none")
        if self.kl_target and not self.kl_coef:
            raise ValueError("kl_target adapts kl_coef, which must start above 0")
        return self


class OptimConfig(Section):
    """AdamW (arXiv 1711.05101) and its schedule, counted in optimiser steps."""

    lr: float = opt(5e-6, "Peak learning rate.", live=True, ge=0, le=1)
    schedule: Literal["constant", "linear", "cosine", "restarts"] = opt(
        "constant", "After the warm-up; restarts is cosine, several times."
    )
    cycles: int = opt(4, "How often `restarts` falls from the peak.", ge=1, le=1000)
    warmup: float = opt(0.0, "Below 1 a share of the run, else optimiser steps.", ge=0)
    min_lr_ratio: float = opt(0.0, "Last learning rate / peak, for linear and cosine.", ge=0, le=1)
    beta1: float = opt(0.9, "Decay of the first moment.", ge=0, lt=1)
    beta2: float = opt(0.999, "Decay of the second moment.", ge=0, lt=1)
    eps: float = opt(1e-8, "Added to the root of the second moment.", gt=0, le=1e-2)
    weight_decay: float = opt(0.0, "Decoupled decay; never on norms and biases.", ge=0, le=1)
    max_grad_norm: float = opt(1.0, "Gradient norm is clipped to this; 0 is off.", live=True, ge=0)


class TrainConfig(Section):
    """Length of the run and memory of a step."""

    steps: int = opt(0, "Length in steps; 0 leaves it to samples or epochs.", ge=0)
    samples: int = opt(0, "Length in samples; 0 leaves it to steps or epochs.", ge=0)
    epochs: float = opt(0.0, "Length in passes over the problems, fractions allowed.", ge=0)
    micro_batch: int = opt(
        0, "Samples in one forward; gradients accumulate. 0 is a whole mini-batch.", ge=0
    )
    threads: int = opt(0, "torch threads on CPU; 0 is one per core.", ge=0, le=1024)
    override: tuple[str, ...] = opt((), "Preflight checks that may fail, by name; recorded.")

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        given = [n for n in ("steps", "samples", "epochs") if getattr(self, n)]
        if len(given) > 1:
            raise ValueError(f"give one length of the run, not {' and '.join(given)}")
        return self


class SamplingConfig(Section):
    """Sampling in evaluation; stands beside every figure that it gave."""

    temperature: float = opt(1.0, "0 is greedy.", ge=0, le=5)
    top_p: float = opt(1.0, "Nucleus share.", gt=0, le=1)
    top_k: int = opt(0, "0 is off.", ge=0)
    max_tokens: int = opt(0, "0 takes rollout.max_tokens.", "tokens", ge=0)
    repetition_penalty: float = opt(1.0, "1 is off.", gt=0, le=5)
    no_repeat_ngram_size: int = opt(0, "0 is off.", ge=0)


class EvalConfig(Section):
    """Held-out evaluation on a fixed probe set, paired with the start."""

    every: int = opt(20, "Steps between evaluations; 0 only at start and end.", "steps", ge=0)
    problems: int = opt(200, "Problems at start and end, drawn once; 0 is all.", "problems", ge=0)
    probe: int = opt(64, "The first so many of them in between; 0 is all.", "problems", ge=0)
    samples: int = opt(1, "Completions for each problem.", ge=1, le=1024)
    seed: int = opt(0, "Seed of the probe and of its samples.", ge=0, le=MAX_SEED)
    success: str = opt(
        "auto",
        "What is to rise: pass, reward, or a component's name; auto: pass where tests run, else "
        "reward. Best checkpoint, gain, target and curriculum follow it.",
        pattern=r"^[a-z0-9_]+$",
    )
    judge: bool = opt(True, "Ask the judge too; without it the other components are paid.")
    patience: int = opt(0, "Stop after this many evaluations without a new best; 0 is off.", ge=0)
    sampling: SamplingConfig = opt(SamplingConfig, "How to sample.")


class CheckpointConfig(Section):
    """When to save and what to keep."""

    every: int = opt(20, "Steps between checkpoints; 0 only at the end.", "steps", ge=0)
    keep_last: int = opt(2, "Newest checkpoints to keep; 0 keeps all.", ge=0)
    keep_best: int = opt(1, "Best checkpoints by held-out score to keep.", ge=0)


class StageConfig(Section):
    """One stage of a curriculum: which problems, which reward weights, when to move on.

    The weights replace reward.stages in training when any of them is set; then they must sum to 1.
    A stage lasts until the mean success of training (eval.success: verifier/pass_frac, reward/mean,
    or a component) over its last `over` steps reaches `advance_at`; it falls back to the one before
    when that mean is below `back_at`.
    """

    name: str = opt("", "Name in events.", min_length=1, pattern=r"^[a-z0-9_-]+$")
    min_pass_rate: float = opt(0.0, "Lowest measured pass rate of its problems.", ge=0, le=1)
    max_pass_rate: float = opt(1.0, "Highest measured pass rate of its problems.", ge=0, le=1)
    difficulty: tuple[str, ...] = opt((), "Only problems with these labels; empty is all.")
    end_marker: float = opt(0.0, "Weight of the end marker.", ge=0, le=1)
    types: float = opt(0.0, "Weight of the type check.", ge=0, le=1)
    compile: float = opt(0.0, "Weight of compiling.", ge=0, le=1)
    tests: float = opt(0.0, "Weight of the tests.", ge=0, le=1)
    over: int = opt(10, "Steps that are averaged, and that a stage lasts at least.", "steps", ge=1)
    advance_at: float = opt(0.5, "Success in training that opens the next stage.")
    back_at: float | None = opt(None, "Success below which the stage before returns; null: never.")

    @property
    def weights(self) -> dict[str, float]:
        """Its own weights of the staged code reward; empty when reward.stages hold."""
        own = {name: float(getattr(self, name)) for name in StagesConfig.model_fields}
        return own if any(own.values()) else {}

    @property
    def restricts(self) -> bool:
        """Whether it draws only problems of some measured pass rate."""
        return self.min_pass_rate > 0 or self.max_pass_rate < 1

    @model_validator(mode="after")
    def _holds_together(self) -> StageConfig:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"stage {self.name}: min_pass_rate is above max_pass_rate")
        if self.back_at is not None and self.back_at >= self.advance_at:
            raise ValueError(
                f"stage {self.name}: back_at = {self.back_at:g} must be below advance_at = "
                f"{self.advance_at:g}, or the stages would flip to and fro"
            )
        total = sum(self.weights.values())
        if self.weights and abs(total - 1.0) > 1e-9:
            raise ValueError(f"stage {self.name}: the four weights sum to {total:.6g}, not 1")
        if self.weights and not self.tests:
            raise ValueError(
                f"stage {self.name}: tests = 0 pays nobody who fails the tests, because form alone "
                "never earns more than half of one test; give tests a small weight"
            )
        return self


Comparison = Literal["<", "<=", ">", ">="]


class TargetConfig(Section):
    """What the run is for; missing it exits with 1."""

    metric: str = opt("eval/success", "Canonical metric name.")
    is_: Comparison = Field(">=", alias="is", description="Comparison.")
    value: float = opt(1.0, "Value to reach.")
    at: Literal["any", "end"] = opt(
        "any", "any: ends the run when reached; end: judged at the end."
    )


LIVE_OPTIM = tuple(live_options(OptimConfig))
FACTOR = re.compile(r"x[0-9]*\.?[0-9]+")


class RuleConfig(Section):
    """What must hold at a step or epoch; when it does not, the action follows.

    A rule is judged once. One with `action: patch` is judged from there on, until it fails for the
    first time; then live options take the values of `set`, or their present ones times a factor.
    """

    when: str = opt("", "`step N` or `epoch X`.", pattern=r"^(step [0-9]+|epoch [0-9]*\.?[0-9]+)$")
    metric: str = opt("", "Canonical metric name.", min_length=1)
    is_: Comparison = Field(">=", alias="is", description="Comparison that must hold.")
    value: float = opt(0.0, "Value to compare with.")
    over: int = opt(1, "Mean over this many last steps.", "steps", ge=1)
    action: Literal["note", "pause", "stop", "patch"] = opt(
        "note", "What follows when it does not hold."
    )
    set: dict[str, float | str] = opt(
        {}, "patch: live options and their values, or factors such as {optim.lr: x0.5}."
    )

    @model_validator(mode="after")
    def _patches(self) -> RuleConfig:
        if (self.action == "patch") != bool(self.set):
            raise ValueError("action: patch goes with set, such as set: {optim.lr: x0.5}")
        for name, value in self.set.items():
            live = [f"optim.{own}" for own in LIVE_OPTIM]
            if name not in live:
                raise ValueError(f"set: {name} is not live; live options are {', '.join(live)}")
            if isinstance(value, str) and not FACTOR.fullmatch(value):
                raise ValueError(f'set: {name}: "{value}" is no number and no factor such as x0.5')
        return self


def run_name_fault(name: str) -> str:
    """Why a text cannot name a run folder below `runs_dir`, "" when it can."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        return "a run's name is one folder's: no slash, no control character, not empty, no `..`"
    if len(name.encode()) > NAME_BYTES:
        return f"a run's name has at most {NAME_BYTES} bytes, got {len(name.encode())}"
    return ""


class RunConfig(Section):
    """One run. `pawl train CONFIG key=value ...`."""

    name: str = opt("", "Name of the run folder; empty takes the config file's.")
    runs_dir: str = opt("runs", "Folder that holds run folders.")
    seed: int = opt(0, "Seed of sampling, data order and initial adapters.", ge=0, le=MAX_SEED)
    model: ModelConfig = opt(ModelConfig, "The policy.")
    prompt: PromptConfig = opt(PromptConfig, "From problem to tokens.")
    problems: ProblemsConfig = opt(ProblemsConfig, "Training and held-out problems.")
    rollout: RolloutConfig = opt(RolloutConfig, "Sampling during training.")
    reward: RewardConfig = opt(RewardConfig, "The reward function.")
    judge: JudgeConfig = opt(JudgeConfig, "The teacher model of `use: judge`.")
    sandbox: SandboxConfig = opt(SandboxConfig, "Where candidates run.")
    algo: AlgoConfig = opt(AlgoConfig, "Advantage, loss, KL.")
    optim: OptimConfig = opt(OptimConfig, "Optimiser and schedule.")
    curriculum: tuple[StageConfig, ...] = opt((), "Stages in order; empty is one for all.")
    train: TrainConfig = opt(TrainConfig, "Length and memory.")
    eval: EvalConfig = opt(EvalConfig, "Held-out evaluation.")
    checkpoint: CheckpointConfig = opt(CheckpointConfig, "Saving.")
    target: TargetConfig | None = opt(None, "What the run is for.")
    rules: tuple[RuleConfig, ...] = opt((), "What must hold on the way.")

    @field_validator("name")
    @classmethod
    def _name_of_a_folder(cls, value: str) -> str:
        if value and (fault := run_name_fault(value)):
            raise ValueError(fault)
        return value

    @field_validator("reward", mode="before")
    @classmethod
    def _reward_short_form(cls, value: object) -> object:
        return {"use": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _across(self) -> RunConfig:
        algo, lora = self.algo, self.model.lora
        prompts, group = self.rollout.prompts, self.rollout.group_size
        if group < 2 and algo.advantage != "reinforce_pp":
            raise ValueError(
                f"rollout.group_size = {group}: {algo.advantage} compares the members of a group "
                "and needs at least 2"
            )
        if lora.r and lora.dropout > 0:
            why = "with dropout the first-pass ratio is not 1; RL needs 0"
            raise ValueError(f"model.lora.dropout = {lora.dropout}: {why}")
        if algo.advantage == "pass_at_k" and algo.pass_k > group:
            raise ValueError(f"algo.pass_k = {algo.pass_k} exceeds rollout.group_size = {group}")
        uses = [c.use for c in self.reward.components] or [self.reward.use]
        if algo.noise != "none" and self.reward.normalise == "strata":
            raise ValueError("algo.noise and reward.normalise: strata each set the scale; take one")
        if algo.noise != "none" and ("judge" not in uses or not self.judge.repeats):
            what = "needs a judge in the reward and judge.repeats above 0"
            raise ValueError(f"algo.noise = {algo.noise} {what}: its noise is measured on them")
        self._check_curriculum()
        if prompts % algo.minibatches:
            raise ValueError(
                f"algo.minibatches = {algo.minibatches} must divide rollout.prompts = {prompts}: "
                "a mini-batch holds whole groups"
            )
        return self

    def _check_curriculum(self) -> None:
        twice = repeated([stage.name for stage in self.curriculum])
        if twice:
            raise ValueError(f"two stages of the curriculum are called {twice}")
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
    seed: int = opt(0, "Seed of data order and initial weights.", ge=0, le=MAX_SEED)
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

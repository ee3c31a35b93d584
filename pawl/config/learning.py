"""Options of how a run learns and is judged: algorithm, optimiser, length, evaluation, rules.

Part of `options.py`, which says what the fields hold. Left out: what it is made from (`inputs.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pawl.config.section import Section, opt


class AlgoConfig(Section):
    """Advantage, loss, KL and normaliser; docs/algorithms.md has the formulas."""

    preset: Literal[
        "", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "raft"
    ] = opt("", "Named settings for what is not set here.")
    advantage: Literal[
        "grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "raft", "pass_at_k"
    ] = opt("grpo", "What a sample is worth, from the rewards of its group or batch.")
    pass_k: int = opt(4, "k of pass_at_k.", "samples", ge=1, le=1024)
    std_floor: float = opt(1e-4, "Added to the standard deviation.", gt=0, le=1)
    std_shrink: float = opt(
        0.0, "grpo: the batch's variance counts as this many members.", "samples", ge=0, le=1000
    )
    loss: Literal["clip", "gspo", "cispo"] = opt("clip", "What the ratio does in the loss.")
    clip_low: float = opt(0.2, "Lower clip of the ratio: 1 - clip_low.", ge=0, le=1)
    clip_high: float = opt(0.2, "Upper clip of the ratio: 1 + clip_high.", ge=0, le=10)
    dual_clip: float = opt(0.0, "Bounds the loss of negative advantages; 0 is off.", ge=0, le=100)
    normaliser: Literal["token", "sequence", "constant"] = opt(
        "token", "What counts alike: tokens, samples, or tokens over rollout.max_tokens."
    )
    kl: Literal["k1", "k2", "k3"] = opt("k3", "k1 in the reward; k2 or k3 in the loss.")
    kl_coef: float = opt(0.0, "Weight of the KL to the reference; 0 is off.", ge=0, le=10)
    kl_target: float = opt(0.0, "Adapts kl_coef to this KL; 0 keeps it.", "nat/sequence", ge=0)
    entropy_coef: float = opt(0.0, "Weight of the entropy bonus.", ge=0, le=1)
    epochs: int = opt(1, "Passes over a batch of rollouts.", ge=1, le=16)
    max_k3: float = opt(0.0, "Ends the passes when k3(old, new) exceeds it; 0 is off.", "nat", ge=0)
    minibatches: int = opt(1, "Optimiser steps a pass; divides rollout.prompts.", ge=1, le=64)
    zero_signal: Literal["keep", "skip", "refill"] = opt(
        "keep", "Groups of equal rewards: train on them, leave them out, or draw others instead."
    )
    refill_max: int = opt(3, "Most extra batches for one step.", "batches", ge=1, le=64)
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
    seed: int = opt(0, "Seed of the probe and of its samples.", ge=0)
    success: str = opt(
        "auto",
        "What is to rise: pass, reward, or a component's name; auto: pass where tests run, else "
        "reward. Best checkpoint, gain, target and curriculum follow it.",
        pattern=r"^[a-z0-9_]+$",
    )
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
        names = ("end_marker", "types", "compile", "tests")
        own = {name: float(getattr(self, name)) for name in names}
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


class RuleConfig(Section):
    """What must hold at a step or epoch; when it does not, the action follows."""

    when: str = opt("", "`step N` or `epoch X`.", pattern=r"^(step [0-9]+|epoch [0-9]*\.?[0-9]+)$")
    metric: str = opt("", "Canonical metric name.", min_length=1)
    is_: Comparison = Field(">=", alias="is", description="Comparison that must hold.")
    value: float = opt(0.0, "Value to compare with.")
    over: int = opt(1, "Mean over this many last steps.", "steps", ge=1)
    action: Literal["note", "pause", "stop"] = opt("note", "What follows when it does not hold.")

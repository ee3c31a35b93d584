"""What is refused before a model is read: lengths beyond its positions, steps beyond the memory."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, MambaConfig, Qwen2Config

from pawl.config.options import RunConfig, SftConfig
from pawl.config.sources import ModelConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models import limits

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "rope_theta": 5e5, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (Qwen2Config(max_position_embeddings=1024), 1024),
        (GPT2Config(n_positions=512), 512),
        (MambaConfig(), None),
        (Qwen2Config(max_position_embeddings=1024, rope_parameters=YARN), 4096),
        (LlamaConfig(max_position_embeddings=131072, rope_parameters=LLAMA3), 131072),
    ],
    ids=["qwen2", "gpt2", "mamba", "yarn", "llama3"],
)
def test_positions_follow_the_config_and_its_scaling(config: Any, tokens: int | None) -> None:
    assert limits.positions(config) == tokens


def run(**options: Any) -> RunConfig:
    return RunConfig.model_validate(options)


def test_each_length_beyond_the_positions_is_an_error() -> None:
    config = Qwen2Config(max_position_embeddings=600)
    limits.require_positions(config, run())  # 704 of prompt.max_tokens is nobody's claim
    limits.require_positions(config, run(rollout={"max_tokens": 600}))
    long = run(
        rollout={"max_tokens": 601},
        prompt={"max_tokens": 900},
        eval={"sampling": {"max_tokens": 4000}},
    )
    with pytest.raises(PawlErrors) as caught:
        limits.require_positions(config, long)
    places = {error.where for error in caught.value.errors}
    assert places == {"rollout.max_tokens", "prompt.max_tokens", "eval.sampling.max_tokens"}
    with pytest.raises(PawlErrors, match="`seq_len` = 700"):
        limits.require_positions(config, SftConfig(data="a", out="b", seq_len=700))
    limits.require_positions(MambaConfig(), long)


def test_a_step_beyond_the_memory_is_refused_unless_it_is_overridden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = limits.require_model(ModelConfig())
    small = run(rollout={"max_tokens": 96})
    limits.require_memory(config, small)
    monkeypatch.setattr(limits, "memory_of", lambda device: 1 << 20)
    with pytest.raises(PawlError, match="16 prompts x 8 completions of 96 tokens need") as caught:
        limits.require_memory(config, small)
    assert "rollout.batch" in caught.value.hint
    limits.require_memory(config, run(train={"override": ["memory"]}))
    limits.require_memory(MambaConfig(), small)  # no formula: an unknown figure is no large one

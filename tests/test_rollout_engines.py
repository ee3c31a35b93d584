"""Both engines: `local` equals `hf`, no sample depends on its batch, log-probs are the policy's.

Rows are random prompts of different lengths; several EOS ids make some rows end early, others run
to the limit.
"""

from __future__ import annotations

from typing import Any

import pytest
import tiny_models
import torch

from pawl.errors import PawlError
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.hf import HfEngine
from pawl.rollout.local import LocalEngine
from pawl.rollout.sampling import finish_of
from pawl.rollout.select import make_engine
from pawl.types import Group, Prompt, Sample

LENGTHS = (5, 9, 1, 17)
PARAMS = SamplingParams(temperature=0.9, max_tokens=24)


def prompts(lengths: tuple[int, ...] = LENGTHS) -> list[Prompt]:
    return [group.prompt for group in tiny_models.groups([(n, [1]) for n in lengths])]


def policy(early: bool = True, **kwargs: Any) -> Policy:
    made = tiny_models.policy(**kwargs)
    made.eos_ids = tuple(range(1, 24)) if early else ()
    return made


def run(
    engine: Engine, asked: list[Prompt], group: int, params: SamplingParams = PARAMS, step: int = 1
) -> list[Sample]:
    made = list(engine.generate(asked, group, params, seed=3, step=step))
    return sorted(made, key=lambda sample: (sample.group, sample.member))


def gaps(first: list[Sample], second: list[Sample]) -> torch.Tensor:
    """Differences of log-probs over the rows whose tokens agree."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.tokens == b.tokens]
    rows = [torch.tensor(a.logps) - torch.tensor(b.logps) for a, b in pairs]
    return torch.cat(rows).abs()


CASES: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", {}),
    ("qwen2", {"tied": False, "kv_heads": 1}),
    ("qwen2", {"lora": 4}),
    ("llama", {}),
    ("llama", {"kv_heads": 4, "early": False}),
    ("llama", {"lora": 4, "tied": False}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "lora": 4}),
    ("qwen3", {}),
    ("qwen3", {"head_dim": 32, "kv_heads": 1, "tied": False, "lora": 4}),
    ("qwen3", {"attention_bias": True, "kv_heads": 4}),
    ("mistral", {"head_dim": 10}),
    ("mistral", {"sliding_window": 41, "tied": False, "lora": 4}),
]
LONGEST = 41  # the longest prompt and completion of these tests


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize(("family", "options"), CASES)
def test_local_equals_hf_in_float64(family: str, options: dict[str, Any], group: int) -> None:
    made = policy(family=family, dtype=torch.float64, **options)
    plain, fast = run(HfEngine(made), prompts(), group), run(LocalEngine(made), prompts(), group)
    assert [s.tokens for s in plain] == [s.tokens for s in fast]
    assert [(s.finish, s.text) for s in plain] == [(s.finish, s.text) for s in fast]
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(
            torch.tensor(a.logps, dtype=torch.float64),
            torch.tensor(b.logps, dtype=torch.float64),
            atol=1e-9,
            rtol=0,
        )
    finishes = {sample.finish for sample in plain}
    assert finishes == {"length"} if not options.get("early", True) else "stop" in finishes


@pytest.mark.parametrize(("family", "options"), CASES)
def test_local_equals_hf_in_fp32(family: str, options: dict[str, Any]) -> None:
    made = policy(family=family, **options)
    plain, fast = run(HfEngine(made), prompts(), 8), run(LocalEngine(made), prompts(), 8)
    same = sum(a.tokens == b.tokens for a, b in zip(plain, fast, strict=True))
    assert same >= 31
    assert gaps(plain, fast).mean() < 1e-6
    assert gaps(plain, fast).max() < 1e-4


LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 4.0},
        {**LLAMA3, "original_max_position_embeddings": 32},
    ],
)
def test_static_rope_scaling_is_followed(rope: dict[str, Any]) -> None:
    made = policy(family="llama", dtype=torch.float64)
    scaled = policy(family="llama", dtype=torch.float64)
    config = scaled.core.config
    config.rope_parameters = {**config.rope_parameters, **rope}
    scaled.core.base_model.rotary_emb = type(scaled.core.base_model.rotary_emb)(config)
    plain, fast = run(HfEngine(scaled), prompts(), 2), run(LocalEngine(scaled), prompts(), 2)
    assert [s.tokens for s in plain] == [s.tokens for s in fast]
    assert [s.tokens for s in plain] != [s.tokens for s in run(HfEngine(made), prompts(), 2)]


@pytest.mark.parametrize("kind", [HfEngine, LocalEngine])
def test_samples_do_not_depend_on_the_batch(kind: Any) -> None:
    made = policy(dtype=torch.float64)
    together = run(kind(made), prompts(), 4)
    alone = [s for prompt in reversed(prompts()) for s in run(kind(made), [prompt], 4)]
    alone.sort(key=lambda sample: (sample.group, sample.member))
    for other in (alone, run(kind(made, 4), prompts(), 4), run(kind(made, 8), prompts(), 4)):
        assert [s.tokens for s in other] == [s.tokens for s in together]
        for a, b in zip(other, together, strict=True):
            assert max(abs(x - y) for x, y in zip(a.logps, b.logps, strict=True)) < 1e-10


@pytest.mark.parametrize("kind", [HfEngine, LocalEngine])
def test_streams_differ_by_step_member_and_block(kind: Any) -> None:
    made = policy(early=False)
    first, other = prompts()[0], prompts()[0]
    repeated = Prompt(other.problem_id, 1, other.tokens, stream=1)
    samples = run(kind(made), [first, repeated], 4)
    assert len({sample.tokens for sample in samples}) == 8
    again = run(kind(made), [first], 4, step=2)
    assert not {s.tokens for s in again} & {s.tokens for s in samples}
    block = run(kind(made), [first], 8)  # members 4..7 are the second block of 4
    assert [s.tokens for s in block] == [s.tokens for s in samples]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neo"])
def test_recorded_logps_are_the_policys(family: str, temperature: float) -> None:
    made = policy(family=family, dtype=torch.float64)
    engine, _ = make_engine(made, "auto")
    params = SamplingParams(temperature=temperature, max_tokens=24)
    samples = run(engine, prompts(), 3, params)
    asked = tiny_models.groups([(n, [1]) for n in LENGTHS])
    scored = [
        Group(g.problem, g.prompt, tuple(s for s in samples if s.group == g.prompt.group))
        for g in asked
    ]
    result = token_logprobs(made, scored, temperature)
    recorded = torch.tensor([logp for s in samples for logp in s.logps], dtype=torch.float64)
    gap = result.logp_ST[result.mask_ST].detach() - recorded
    assert gap.abs().max() < 1e-6  # GPT-Neo narrows its attention to fp32


@pytest.mark.parametrize("lora", [0, 4])
def test_local_uses_new_weights_only_after_sync(lora: int) -> None:
    made = policy(dtype=torch.float64, lora=lora)
    engine = LocalEngine(made)
    before = run(engine, prompts(), 2)
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    assert run(engine, prompts(), 2) == before
    longer = [*prompts(), Prompt("long", 4, (5,) * 60)]  # more positions, still the old weights
    again = run(engine, longer, 2)[: len(before)]
    assert [s.tokens for s in again] == [s.tokens for s in before]
    engine.sync_weights(made, 7)
    after = run(engine, prompts(), 2)
    assert [s.tokens for s in after] == [s.tokens for s in run(HfEngine(made), prompts(), 2)]
    assert {s.weight_version for s in after} == {7}
    assert [s.tokens for s in after] != [s.tokens for s in before]


def test_local_streams_samples_as_they_end() -> None:
    made = policy(dtype=torch.float64)
    order = list(LocalEngine(made).generate(prompts(), 8, PARAMS, seed=3, step=1))
    lengths = [len(sample.tokens) for sample in order]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    stream = LocalEngine(made).generate(prompts(), 8, PARAMS, seed=3, step=1)
    next(stream)
    assert torch.ones(1, requires_grad=True).add(1).requires_grad  # no leaked inference mode
    stream.close()


@pytest.mark.parametrize("kind", [HfEngine, LocalEngine])
def test_the_models_own_generation_config_has_no_say(kind: Any) -> None:
    made = policy(dtype=torch.float64)
    plain = run(kind(made), prompts(), 2)
    config = made.core.generation_config
    config.repetition_penalty, config.top_k, config.do_sample = 5.0, 1, True
    assert run(kind(made), prompts(), 2) == plain
    assert made.core.generation_config is config


WARPS = [
    SamplingParams(0.0, 20),
    SamplingParams(0.8, 20, top_k=5, top_p=0.9),
    SamplingParams(1.0, 20, repetition_penalty=1.3),
    SamplingParams(1.0, 20, no_repeat_ngram_size=2, top_k=4),
    SamplingParams(1.0, 20, stop=("a", "1")),
]


@pytest.mark.parametrize("params", WARPS)
def test_engines_agree_on_warps_and_stops(params: SamplingParams) -> None:
    made = policy(dtype=torch.float64)
    plain, fast = (
        run(HfEngine(made), prompts(), 3, params),
        run(LocalEngine(made), prompts(), 3, params),
    )
    assert [(s.tokens, s.finish) for s in plain] == [(s.tokens, s.finish) for s in fast]
    for sample in plain:
        if params.stop and sample.finish == "stop" and sample.tokens[-1] not in made.eos_ids:
            assert any(stop in sample.text for stop in params.stop)


def test_greedy_equals_generate() -> None:
    made = policy(dtype=torch.float64, early=False)
    for prompt in prompts():
        sample = run(LocalEngine(made), [prompt], 1, SamplingParams(0.0, 12))[0]
        ids = torch.tensor([prompt.tokens])
        wanted = made.core.generate(
            input_ids=ids, max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None
        )
        assert list(sample.tokens) == wanted[0, len(prompt.tokens) :].tolist()


def test_selection_says_why() -> None:
    assert isinstance(make_engine(policy(), "auto")[0], LocalEngine)
    assert isinstance(make_engine(policy(), "hf")[0], HfEngine)
    engine, note = make_engine(policy(family="gpt_neo"), "auto")
    assert isinstance(engine, HfEngine)
    assert "gpt_neo" in note
    dynamic = policy(family="llama")
    dynamic.core.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert "rope scaling dynamic" in make_engine(dynamic, "auto")[1]
    with pytest.raises(PawlError, match="gpt_neo"):
        make_engine(policy(family="gpt_neo"), "local")


def test_a_window_that_cuts_a_row_is_refused_with_its_size() -> None:
    made = policy(family="mistral", sliding_window=LONGEST)
    assert isinstance(make_engine(made, "auto", longest=LONGEST)[0], LocalEngine)
    for longest in (LONGEST + 1, 0):
        engine, note = make_engine(made, "auto", longest=longest)
        assert isinstance(engine, HfEngine)
        assert f"window attention over {LONGEST} tokens" in note
    layered = policy(family="qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1)
    assert "over 8 tokens" in make_engine(layered, "auto", longest=9)[1]
    assert isinstance(make_engine(layered, "auto", longest=8)[0], LocalEngine)


def test_half_precision_stays_close() -> None:
    made = policy()
    made.dtype = torch.bfloat16
    samples = run(LocalEngine(made), prompts(), 4)
    asked = tiny_models.groups([(n, [1]) for n in LENGTHS])
    scored = [
        Group(g.problem, g.prompt, tuple(s for s in samples if s.group == g.prompt.group))
        for g in asked
    ]
    result = token_logprobs(made, scored, 0.9)
    recorded = torch.tensor([logp for s in samples for logp in s.logps])
    gap = (result.logp_ST[result.mask_ST].detach() - recorded).abs()
    assert gap.mean() < 0.02


def test_a_special_token_may_be_a_stop_string() -> None:
    """It is no part of the text, and ends the completion all the same."""
    made = policy(early=False)
    made.tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>"]})
    end, other = made.tokenizer.convert_tokens_to_ids("<|im_end|>"), 40
    for stop in ("<|im_end|>", "<|im_end|>\n"):
        params = SamplingParams(1.0, 20, stop=("zz", stop))
        tail = [made.tokenizer.convert_tokens_to_ids("\u010a")] if stop.endswith("\n") else []
        assert finish_of([other, end, *tail], params, made.eos_ids, made.tokenizer) == "stop"
        assert finish_of([end, other][1:], params, made.eos_ids, made.tokenizer) is None
    plain = SamplingParams(1.0, 20, stop=("zz",))
    assert finish_of([other, end], plain, made.eos_ids, made.tokenizer) is None

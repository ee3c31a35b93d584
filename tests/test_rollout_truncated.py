"""Top-p and top-k in training: what a token was drawn from is recorded and scored again.

The reference is plain float64 arithmetic on the model's logits. The gradient of the truncated
policy is enumerated in test_algo_exact.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import AlgoConfig, EvalConfig, RolloutConfig
from pawl.errors import PawlError
from pawl.models import flat, logprobs
from pawl.models.logprobs import score_logits, token_logprobs
from pawl.models.policy import Policy, freeze_reference
from pawl.rollout.engine import SamplingParams
from pawl.rollout.hf import HfEngine
from pawl.rollout.local import LocalEngine
from pawl.rollout.sampling import choose, require_kept
from pawl.train.evaluate import sampling_params
from pawl.train.logprob_pass import log_prob_pass
from pawl.train.record import id_ranges
from pawl.train.update import update
from pawl.types import Group, Prompt, Sample

PROMPTS = [g.prompt for g in tiny_models.groups([(5, [1]), (9, [1]), (1, [1])])]
BLANK = tiny_models.groups([(1, [1])])[0].problem
TRUNCATED = [
    SamplingParams(0.9, 10, top_p=0.8, replay=True),
    SamplingParams(1.0, 10, top_k=7, replay=True),
    SamplingParams(1.3, 10, top_p=0.6, top_k=40, replay=True),
]


def generated(engine: Any, params: SamplingParams) -> list[Group]:
    """Groups of four samples each, in order."""
    samples = list(engine.generate(PROMPTS, 4, params, seed=2, step=1))
    samples.sort(key=lambda s: (s.group, s.member))
    own = [tuple(s for s in samples if s.group == p.group) for p in PROMPTS]
    return [Group(BLANK, p, s) for p, s in zip(PROMPTS, own, strict=True)]


def all_of(groups: list[Group]) -> list[Sample]:
    return [s for g in groups for s in g.samples]


def plain(policy: Policy, prompt: Prompt, sample: Sample, temperature: float) -> list[list[float]]:
    """[log-prob, entropy] of each token by hand, one row alone, in float64."""
    ids = torch.tensor([[*prompt.tokens, *sample.tokens]])
    with torch.no_grad():
        logits = policy.core(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1].double()
    found = []
    kept = sample.kept or ((),) * len(sample.tokens)
    for token, ids_K, row in zip(sample.tokens, kept, logits / temperature, strict=True):
        own = list(ids_K) or list(range(len(row)))
        p = torch.softmax(row[own], 0)
        found.append([float(p[own.index(token)].log()), float(-(p * p.log()).sum())])
    return found


@pytest.mark.parametrize("params", TRUNCATED)
@pytest.mark.parametrize("lora", [0, 4])
def test_both_engines_record_the_same_kept_sets(params: SamplingParams, lora: int) -> None:
    policy = tiny_models.policy(dtype=torch.float64, lora=lora)
    slow, fast = generated(HfEngine(policy), params), generated(LocalEngine(policy), params)
    for a, b in zip(all_of(slow), all_of(fast), strict=True):
        assert (a.tokens, a.kept, a.finish) == (b.tokens, b.kept, b.finish)
        assert max(abs(x - y) for x, y in zip(a.logps, b.logps, strict=True)) < 1e-9
        assert all(list(ids) == sorted(set(ids)) for ids in a.kept)
        if params.top_k:
            assert max(len(ids) for ids in a.kept) <= params.top_k
    for p, group in zip(PROMPTS, fast, strict=True):
        for s in group.samples:
            wanted = plain(policy, p, s, params.temperature)
            assert [w[0] for w in wanted] == pytest.approx(list(s.logps), abs=1e-6)


@pytest.mark.parametrize("family", ["qwen2", "gpt_neo"])
@pytest.mark.parametrize("pieces", [False, True])
def test_the_trainer_scores_the_truncated_distribution(
    family: str, pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny_models.policy(family, dtype=torch.float64)
    assert flat.supports(policy) == (family == "qwen2")  # both layouts
    groups = generated(HfEngine(policy), TRUNCATED[0])
    if pieces:
        monkeypatch.setattr(logprobs, "CHUNK", 7 * 300)
    out = token_logprobs(policy, groups, 0.9, entropy_grad=True)
    rows = [plain(policy, g.prompt, s, 0.9) for g in groups for s in g.samples]
    wanted = torch.tensor([v for row in rows for v in row], dtype=torch.float64)
    tolerance = 1e-6 if family == "gpt_neo" else 1e-10
    torch.testing.assert_close(out.logp_ST[out.mask_ST], wanted[:, 0], atol=tolerance, rtol=0)
    torch.testing.assert_close(out.entropy_ST[out.mask_ST], wanted[:, 1], atol=tolerance, rtol=0)
    (out.logp_ST.sum() + out.entropy_ST.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for _, p in policy.trainable() if p.grad is not None)
    bare = [replace(g, samples=tuple(replace(s, kept=()) for s in g.samples)) for g in groups]
    assert (token_logprobs(policy, bare, 0.9).logp_ST - out.logp_ST)[out.mask_ST].max() < -1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 8), max_size=9), min_size=1, max_size=5),
    st.integers(0, 999),
    st.sampled_from([1.0, 0.7]),
)
def test_scoring_among_random_kept_sets(sets: list[set[int]], seed: int, heat: float) -> None:
    g = torch.Generator().manual_seed(seed)
    logits_NV = torch.randn(len(sets), 9, generator=g, dtype=torch.float64).mul_(4)
    kept_N = [tuple(sorted(ids)) for ids in sets]
    own_N = [list(ids) or list(range(9)) for ids in kept_N]
    target_N = torch.tensor([ids[seed % len(ids)] for ids in own_N])
    found = logits_NV.clone().requires_grad_()
    logp_N, entropy_N = score_logits(found, target_N, heat, True, kept_N)
    (logp_N + 0.3 * entropy_N).sum().backward()
    by_hand = logits_NV.clone().requires_grad_()
    for row, (ids, target) in enumerate(zip(own_N, target_N.tolist(), strict=True)):
        log_K = torch.log_softmax(by_hand[row, ids] / heat, 0)
        own_entropy = -(log_K.exp() * log_K).sum()
        assert float(logp_N[row].detach()) == pytest.approx(
            float(log_K.detach()[ids.index(target)])
        )
        assert float(entropy_N[row].detach()) == pytest.approx(
            float(own_entropy.detach()), abs=1e-12
        )
        (log_K[ids.index(target)] + 0.3 * own_entropy).backward()
    torch.testing.assert_close(found.grad, by_hand.grad, atol=1e-12, rtol=1e-10)
    plain_N = score_logits(logits_NV, target_N, heat)
    empty_N = score_logits(logits_NV, target_N, heat, False, [()] * len(sets))
    assert all(torch.equal(a, b) for a, b in zip(plain_N, empty_N, strict=True))  # all is all


@settings(max_examples=60)
@given(
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.05, 1),
    st.integers(0, 7),
)
def test_a_choice_says_what_it_was_drawn_from(
    row: list[float], uniform: float, top_p: float, top_k: int
) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    draw = torch.tensor([uniform], dtype=torch.float64)
    params = SamplingParams(0.8, 4, top_p=top_p, top_k=top_k, replay=True)
    (token,), (logp,), (kept,) = choose(logits, draw, params)
    if not params.truncates:
        assert kept is None
        return
    assert kept is not None
    ids = list(kept) or list(range(6))
    p = torch.softmax(logits[0] / 0.8, 0)
    assert int(token) in ids
    assert float(logp) == pytest.approx(float((p[token] / p[ids].sum()).log()), abs=1e-9)
    outside = [i for i in range(6) if i not in ids]
    assert not outside or float(p[outside].max()) <= float(p[ids].min())
    assert not kept or len(kept) < 6  # nothing left out is written as nothing
    same, other, nothing = choose(logits, draw, replace(params, replay=False))
    assert int(same) == int(token) and nothing == [None]
    assert float(other) == pytest.approx(float(p[token].log()), abs=1e-9)  # as evaluation does


def test_a_run_without_truncation_records_as_before() -> None:
    policy = tiny_models.policy()
    off = generated(LocalEngine(policy), SamplingParams(0.9, 10, replay=True))
    assert off == generated(LocalEngine(policy), SamplingParams(0.9, 10))
    assert all(s.kept == () for s in all_of(off))
    held_out = sampling_params(EvalConfig(sampling={"top_p": 0.5}), RolloutConfig(), False)
    assert not held_out.replay
    assert all(s.kept == () for s in all_of(generated(LocalEngine(policy), held_out)))


def test_what_cannot_be_replayed_is_not_sampled_in_training() -> None:
    with pytest.raises(AssertionError, match="replayed"):
        SamplingParams(repetition_penalty=1.2, replay=True)


def test_an_engine_that_does_not_say_is_refused() -> None:
    asked = SamplingParams(top_k=2, replay=True)
    good = Sample("p", 0, 0, (3, 4), (-0.1, -0.2), "", "length", 0, ((3, 5), ()))
    require_kept(good, asked)
    require_kept(replace(good, kept=()), SamplingParams(top_k=2))
    wrong = [(good, SamplingParams(replay=True))]
    wrong += [(replace(good, kept=k), asked) for k in ((), ((3, 5),), ((4, 5), (4,)))]
    for sample, params in wrong:
        with pytest.raises(PawlError, match="drawn from"):
            require_kept(sample, params)


@pytest.mark.parametrize("family", ["qwen2", "gpt_neo"])
@pytest.mark.parametrize("lora", [0, 4])
def test_the_first_pass_ratio_is_one_and_the_sampler_agrees(family: str, lora: int) -> None:
    policy = tiny_models.policy(family, lora=lora)
    freeze_reference(policy)
    engine = HfEngine(policy) if family == "gpt_neo" else LocalEngine(policy)
    groups = generated(engine, TRUNCATED[0])
    cfg = AlgoConfig(kl_coef=0.1, entropy_coef=0.01)
    for micro in (0, 3):
        scored = log_prob_pass(policy, groups, 0.9, 1, micro, with_reference=True)
        assert scored.sampler_diff / scored.tokens < 1e-5
        if not lora:  # the reference is the policy: the KL is that of equal distributions
            assert scored.kl_seq == 0.0
        advantage_S = torch.linspace(-1, 1, 12, dtype=torch.float64)
        advantage_ST = advantage_S[:, None].expand(-1, 10)
        batch = tiny_models.batch_of(scored, advantage_ST, torch.ones(12).bool(), 0.9, 0.1, 10)
        stats = update(policy, tiny_models.learner(policy), batch, [0.0], cfg, 1.0)
        assert stats.ratio_max == 1.0


def test_ids_are_written_as_ranges() -> None:
    assert id_ranges((3, 7, 8, 9, 14, 15)) == "3 7-9 14-15"
    assert id_ranges(()) == ""

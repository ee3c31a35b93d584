"""The update: first-pass ratio, mismatch of a shifted log-prob, and how a batch is cut."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import AlgoConfig, OptimConfig
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import freeze_reference
from pawl.train.logprob_pass import log_prob_pass, split
from pawl.train.update import update

SIZES = [(7, [3, 9, 1, 5]), (4, [2, 2, 8, 6]), (11, [4, 7, 3, 3])]


def sampled(policy, groups, shift=0):
    """Groups whose recorded log-probs are the policy's own, optionally off by some tokens."""
    logp_ST = token_logprobs(policy, groups, 1.0).logp_ST.detach()
    rows = iter(logp_ST.roll(shift, dims=1))
    made = []
    for group in groups:
        samples = tuple(
            replace(s, logps=tuple(next(rows)[: len(s.tokens)].tolist())) for s in group.samples
        )
        made.append(replace(group, samples=samples))
    return made


def run(policy, groups, advantage_S, known_S=None, micro=0, minibatches=1, lr=0.0, **algo):
    known_S = torch.ones(len(advantage_S), dtype=torch.bool) if known_S is None else known_S
    cfg = AlgoConfig(minibatches=minibatches, **algo)
    scored = log_prob_pass(policy, groups, 1.0, minibatches, micro, cfg.kl_coef > 0)
    width = max(m.mask_ST.shape[1] for m in scored.micros)
    advantage_ST = advantage_S[:, None].expand(-1, width)
    batch = tiny_models.batch_of(scored, advantage_ST, known_S, 1.0, cfg.kl_coef, 10)
    lrs = [lr] * minibatches * cfg.epochs
    learner = tiny_models.learner(policy)
    stats = update(policy, learner, batch, lrs, cfg, OptimConfig().max_grad_norm)
    return SimpleNamespace(**asdict(scored) | asdict(stats))


def advantages(n=12, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_mini_batch_that_the_filter_emptied_takes_no_step():
    policy = tiny_models.policy()
    groups = sampled(policy, tiny_models.groups(SIZES))
    kept_S = torch.arange(12) >= 4  # nothing of the first group
    cut = run(policy, groups, advantages(), kept_S, minibatches=3, filter="value 1")
    assert len(cut.grad_norms) == 2
    rest = run(policy, groups[1:], advantages()[4:], minibatches=2)
    assert cut.grad_norms == rest.grad_norms
    assert cut.loss == rest.loss


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neo"])
@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("micro", [0, 4, 3])
def test_first_pass_ratio_is_exactly_one(family, lora, micro):
    policy = tiny_models.policy(family, lora=lora)
    stats = run(policy, sampled(policy, tiny_models.groups(SIZES)), advantages(), micro=micro)
    assert stats.ratio_max == 1.0
    assert stats.clipped == 0
    assert stats.sampler_diff / stats.tokens < 1e-5


def test_log_probs_shifted_by_one_token_are_seen():
    policy = tiny_models.policy()
    groups = tiny_models.groups(SIZES)
    right = run(policy, sampled(policy, groups), advantages())
    wrong = run(policy, sampled(policy, groups, shift=1), advantages())
    assert right.sampler_diff / right.tokens < 1e-5
    assert wrong.sampler_diff / wrong.tokens > 0.1


def test_the_second_minibatch_is_off_policy():
    policy = tiny_models.policy()
    groups = sampled(policy, tiny_models.groups(SIZES * 2))
    stats = run(policy, groups, advantages(24), minibatches=2, lr=1e-2)
    assert len(stats.grad_norms) == 2
    assert stats.ratio_max == 1.0  # measured on the first mini-batch, before any update


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lora", [0, 4])
def test_micro_batches_give_the_same_gradient(dtype, lora):
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    weights = []
    for micro in (0, 5, 1):
        policy = tiny_models.policy(dtype=dtype, lora=lora)
        groups = sampled(policy, tiny_models.groups(SIZES))
        losses = run(policy, groups, advantages(), micro=micro, lr=1e-3)
        moments = torch.cat([p.detach().flatten().double() for _, p in policy.trainable()])
        weights.append((losses.loss, losses.grad_norms[0], moments))
    for loss, norm, _ in weights[1:]:
        assert loss == pytest.approx(weights[0][0], abs=tolerance)
        # Transformers' RMSNorm works in fp32 even in a float64 model.
        assert norm == pytest.approx(weights[0][1], abs=max(20 * tolerance, 1e-7))


def test_missing_scores_leave_no_trace():
    known_S = torch.tensor([True] * 8 + [False] * 4)
    whole = tiny_models.policy(dtype=torch.float64)
    groups = sampled(whole, tiny_models.groups(SIZES))
    a = run(whole, groups, advantages(), known_S, lr=1e-3)
    short = tiny_models.policy(dtype=torch.float64)
    b = run(short, groups[:2], advantages()[:8], lr=1e-3)
    assert a.loss == pytest.approx(b.loss, abs=1e-12)
    for (_, p), (_, q) in zip(whole.trainable(), short.trainable(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-9, rtol=0)


def test_kl_pulls_towards_the_reference():
    policy = tiny_models.policy()
    freeze_reference(policy)
    with torch.no_grad():
        for _, p in policy.trainable():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    groups = sampled(policy, tiny_models.groups(SIZES))
    first = run(policy, groups, torch.zeros(12), kl_coef=1.0, lr=1e-3)
    for _ in range(5):
        last = run(policy, groups, torch.zeros(12), kl_coef=1.0, lr=1e-3)
    assert 0 < last.kl_ref < first.kl_ref
    assert run(policy, groups, torch.zeros(12)).kl_ref is None


def test_a_gradient_that_is_not_finite_stops_before_the_weights_move():
    policy = tiny_models.policy()
    groups = sampled(policy, tiny_models.groups(SIZES))
    before = [p.detach().clone() for _, p in policy.trainable()]
    with pytest.raises(Exception, match="gradient norm is nan"):
        run(policy, groups, torch.full((12,), float("nan"), dtype=torch.float64), lr=1.0)
    assert all(torch.equal(a, p) for a, (_, p) in zip(before, policy.trainable(), strict=True))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 9))
def test_split_keeps_every_sample_once_and_in_order(sizes, rows):
    groups = tiny_models.groups([(2, [1] * n) for n in sizes])
    pieces = list(split(groups, rows))
    flat = [(s.group, s.member) for piece in pieces for g in piece for s in g.samples]
    assert flat == [(s.group, s.member) for g in groups for s in g.samples]
    if rows:
        assert all(sum(len(g.samples) for g in piece) <= rows for piece in pieces)

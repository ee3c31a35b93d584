"""Policy losses: closed forms, gradients, masks, and independence of how a batch is split."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pawl.algo import losses
from pawl.algo.kl import k1, k2, k3
from pawl.algo.losses import cispo, clipped_surrogate, correction, log_ratio

NORMALISERS = ["token", "sequence", "constant"]


def batch(seed, s=6, t=5):
    g = torch.Generator().manual_seed(seed)
    logp_ST = -torch.rand(s, t, generator=g, dtype=torch.float64) * 3
    old_ST = logp_ST + 0.4 * torch.randn(s, t, generator=g, dtype=torch.float64)
    advantage_ST = torch.randn(s, 1, generator=g, dtype=torch.float64).expand(s, t)
    length_S = torch.randint(1, t + 1, (s,), generator=g)
    return logp_ST, old_ST, advantage_ST, torch.arange(t)[None] < length_S[:, None]


def surrogate(kind, logp_ST, old_ST, advantage_ST, mask_ST):
    if kind == "gspo":
        ratio_ST = losses.sequence_log_ratio(logp_ST, old_ST, mask_ST)
        return clipped_surrogate(ratio_ST, advantage_ST, mask_ST, 0.2, 0.28)
    ratio_ST = log_ratio(logp_ST, old_ST, mask_ST)
    if kind == "cispo":
        return cispo(logp_ST, ratio_ST, advantage_ST, mask_ST, 0.2, 0.28)
    return clipped_surrogate(ratio_ST, advantage_ST, mask_ST, 0.2, 0.28, 1.5)


def test_each_branch_of_the_clip_by_hand():
    # ratio 2 and 0.5 with advantage +1 and -1, clip [0.8, 1.2]; then ratio 5 against dual clip 3
    ratio_ST = torch.log(torch.tensor([[2.0], [2.0], [0.5], [0.5], [5.0]], dtype=torch.float64))
    advantage_ST = torch.tensor([[1.0], [-1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
    mask_ST = torch.ones(5, 1, dtype=torch.bool)
    loss_ST, active_ST = clipped_surrogate(ratio_ST, advantage_ST, mask_ST, 0.2, 0.2)
    assert loss_ST[:, 0].tolist() == pytest.approx([-1.2, 2.0, -0.5, 0.8, 5.0])
    assert active_ST[:, 0].tolist() == [True, False, False, True, False]
    loss_ST, active_ST = clipped_surrogate(ratio_ST, advantage_ST, mask_ST, 0.2, 0.2, 3.0)
    assert loss_ST[:, 0].tolist() == pytest.approx([-1.2, 2.0, -0.5, 0.8, 3.0])
    assert active_ST[:, 0].tolist() == [True, False, False, True, True]


def test_clip_higher_lets_the_ratio_rise_further():
    ratio_ST = torch.log(torch.tensor([[1.25]]))
    one = torch.ones(1, 1)
    for high, value in ((0.2, -1.2), (0.28, -1.25)):
        loss_ST, _ = clipped_surrogate(ratio_ST, one, one.bool(), 0.2, high)
        assert float(loss_ST) == pytest.approx(value)


@pytest.mark.parametrize("kind", ["clip", "cispo"])
def test_on_policy_gradient_is_the_policy_gradient(kind):
    logp_ST, _, advantage_ST, mask_ST = batch(0)
    logp_ST.requires_grad_()
    loss_ST, active_ST = surrogate(kind, logp_ST, logp_ST.detach(), advantage_ST, mask_ST)
    loss_ST.sum().backward()
    torch.testing.assert_close(logp_ST.grad, torch.where(mask_ST, -advantage_ST, 0.0))
    assert not active_ST.any()


def test_cispo_keeps_the_gradient_where_the_clip_takes_it():
    logp_ST = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    old_ST, one = torch.full((1, 1), -1.0), torch.ones(1, 1)
    for kind, gradient in (("clip", 0.0), ("cispo", -1.28)):
        loss_ST, active_ST = surrogate(kind, logp_ST, old_ST, one, one.bool())
        (found,) = torch.autograd.grad(loss_ST.sum(), logp_ST)
        assert float(found) == pytest.approx(gradient) and active_ST.all()


@pytest.mark.parametrize("kind", ["clip", "gspo", "cispo"])
@pytest.mark.parametrize("normaliser", NORMALISERS)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 5))
def test_splitting_a_batch_changes_nothing(kind, normaliser, seed, cut):
    tensors = batch(seed)
    mask_ST = tensors[3]

    def total(rows):
        part = [t[rows] for t in tensors]
        loss_ST, active_ST = surrogate(kind, *part)
        value = losses.reduce(loss_ST, part[3], normaliser, 7)
        return value, active_ST.sum(), losses.count(part[3], normaliser)

    whole = total(slice(None))
    pieces = [total(slice(0, cut)), total(slice(cut, None))]
    torch.testing.assert_close(whole[0], pieces[0][0] + pieces[1][0], atol=1e-12, rtol=0)
    assert whole[1] == pieces[0][1] + pieces[1][1]
    assert (
        whole[2] == pieces[0][2] + pieces[1][2] == (mask_ST.sum() if normaliser == "token" else 6)
    )


@pytest.mark.parametrize("kind", ["clip", "gspo", "cispo"])
@given(seed=st.integers(0, 10_000), junk=st.floats(-50, 50), more=st.integers(0, 3))
def test_tokens_outside_the_mask_and_padding_change_nothing(kind, seed, junk, more):
    logp_ST, old_ST, advantage_ST, mask_ST = batch(seed)
    wide = [torch.nn.functional.pad(t, (0, more)) for t in (logp_ST, old_ST, advantage_ST, mask_ST)]
    dirty_ST = torch.where(wide[3], wide[0], junk)
    a_ST, _ = surrogate(kind, logp_ST, old_ST, advantage_ST, mask_ST)
    b_ST, _ = surrogate(kind, dirty_ST, *wide[1:])
    for normaliser in NORMALISERS:
        a = losses.reduce(a_ST, mask_ST, normaliser, 9)
        torch.testing.assert_close(a, losses.reduce(b_ST, wide[3], normaliser, 9))
    for kl in (k1, k2, k3):
        assert torch.equal(kl(logp_ST, old_ST, mask_ST), kl(dirty_ST, wide[1], wide[3])[:, :5])


def test_normalisers_by_hand():
    loss_ST = torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    mask_ST = torch.tensor([[True, False, False], [True, True, True]])
    values = [
        float(losses.reduce(loss_ST, mask_ST, n, 10)) / losses.count(mask_ST, n)
        for n in NORMALISERS
    ]
    assert values == pytest.approx([9 / 4, (3 + 2) / 2, 9 / 10 / 2])


@given(st.floats(-3, 3), st.floats(1.1, 10))
def test_corrections_stay_within_their_bounds(mismatch, cap):
    log_ST, mask_ST = torch.full((1, 1), mismatch), torch.ones(1, 1, dtype=torch.bool)
    weight = float(log_ST.exp())
    truncated = float(correction(log_ST, mask_ST, cap, drop=False))
    dropped = float(correction(log_ST, mask_ST, cap, drop=True))
    assert truncated == pytest.approx(min(weight, cap))
    assert dropped == pytest.approx(weight if 1 / cap <= weight <= cap else 0.0)
    assert float(correction(log_ST, ~mask_ST, cap, drop=True)) == 1.0


@given(st.integers(0, 10_000))
def test_k3_is_not_negative_and_all_are_zero_for_equal_policies(seed):
    logp_ST, old_ST, _, mask_ST = batch(seed)
    assert (k3(logp_ST, old_ST, mask_ST) >= 0).all()
    for kl in (k1, k2, k3):
        assert kl(logp_ST, logp_ST, mask_ST).abs().sum() == 0


def test_k1_and_k3_estimate_the_exact_kl():
    g = torch.Generator().manual_seed(1)
    p, q = (torch.randn(7, generator=g, dtype=torch.float64).log_softmax(0) for _ in range(2))
    exact = (p.exp() * (p - q)).sum()
    # Expectation by enumeration: every token once, weighted by its probability.
    everyone = torch.ones(7, 1, dtype=torch.bool)
    for kl in (k1, k3):
        terms = kl(p[:, None], q[:, None], everyone)[:, 0] * p.exp()
        torch.testing.assert_close(terms.sum(), exact)

"""Policy losses: closed forms, gradients, masks, and independence of how a batch is split."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pawl.algo.losses import clipped_surrogate, kl_k1, kl_k3


def batch(seed, s=6, t=5):
    g = torch.Generator().manual_seed(seed)
    logp_ST = -torch.rand(s, t, generator=g, dtype=torch.float64) * 3
    old_ST = logp_ST + 0.4 * torch.randn(s, t, generator=g, dtype=torch.float64)
    advantage_S = torch.randn(s, generator=g, dtype=torch.float64)
    length_S = torch.randint(1, t + 1, (s,), generator=g)
    return logp_ST, old_ST, advantage_S, torch.arange(t)[None] < length_S[:, None]


def test_each_branch_of_the_clip_by_hand():
    # ratio 2 and 0.5 with advantage +1 and -1, clip [0.8, 1.2]
    logp_ST = torch.log(torch.tensor([[2.0], [2.0], [0.5], [0.5]], dtype=torch.float64))
    old_ST = torch.zeros(4, 1, dtype=torch.float64)
    advantage_S = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    mask_ST = torch.ones(4, 1, dtype=torch.bool)
    values = []
    for i in range(4):
        one = slice(i, i + 1)
        loss, active = clipped_surrogate(
            logp_ST[one], old_ST[one], advantage_S[one], mask_ST[one], 0.2, 0.2
        )
        values.append((round(float(loss), 9), int(active)))
    assert values == [(-1.2, 1), (2.0, 0), (-0.5, 0), (0.8, 1)]


def test_on_policy_gradient_is_the_policy_gradient():
    logp_ST, _, advantage_S, mask_ST = batch(0)
    logp_ST.requires_grad_()
    loss, active = clipped_surrogate(logp_ST, logp_ST.detach(), advantage_S, mask_ST, 0.2, 0.2)
    loss.backward()
    torch.testing.assert_close(logp_ST.grad, torch.where(mask_ST, -advantage_S[:, None], 0.0))
    assert active == 0


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_splitting_a_batch_changes_nothing(seed, cut):
    logp_ST, old_ST, advantage_S, mask_ST = batch(seed)
    whole, active = clipped_surrogate(logp_ST, old_ST, advantage_S, mask_ST, 0.2, 0.28)
    parts = [slice(0, cut), slice(cut, None)]
    pieces = [
        clipped_surrogate(logp_ST[p], old_ST[p], advantage_S[p], mask_ST[p], 0.2, 0.28)
        for p in parts
    ]
    torch.testing.assert_close(whole, pieces[0][0] + pieces[1][0], atol=1e-12, rtol=0)
    assert active == pieces[0][1] + pieces[1][1]


@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_tokens_outside_the_mask_change_nothing(seed, junk):
    logp_ST, old_ST, advantage_S, mask_ST = batch(seed)
    dirty_ST = torch.where(mask_ST, logp_ST, junk)
    for f in (kl_k1, kl_k3):
        assert torch.equal(f(logp_ST, old_ST, mask_ST), f(dirty_ST, old_ST, mask_ST))
    a, _ = clipped_surrogate(logp_ST, old_ST, advantage_S, mask_ST, 0.2, 0.2)
    b, _ = clipped_surrogate(dirty_ST, old_ST, advantage_S, mask_ST, 0.2, 0.2)
    assert torch.equal(a, b)


@given(st.integers(0, 10_000))
def test_k3_is_not_negative_and_zero_for_equal_policies(seed):
    logp_ST, old_ST, _, mask_ST = batch(seed)
    assert kl_k3(logp_ST, old_ST, mask_ST) >= 0
    assert kl_k3(logp_ST, logp_ST, mask_ST) == 0
    assert kl_k1(logp_ST, logp_ST, mask_ST) == 0


def test_k1_and_k3_estimate_the_exact_kl():
    g = torch.Generator().manual_seed(1)
    p, q = (torch.randn(7, generator=g, dtype=torch.float64).log_softmax(0) for _ in range(2))
    exact = (p.exp() * (p - q)).sum()
    # Expectation by enumeration: every token once, weighted by its probability.
    everyone = torch.ones(1, 1, dtype=torch.bool)
    for f in (kl_k1, kl_k3):
        terms = [f(p[i].view(1, 1), q[i].view(1, 1), everyone) * p[i].exp() for i in range(7)]
        torch.testing.assert_close(sum(terms), exact)

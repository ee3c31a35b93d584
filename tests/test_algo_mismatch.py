"""Statistics of sampler against trainer: exact expectations, the right sign, and paddings."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.algo.mismatch import mismatch_ess, nll_minus_entropy, nonfinite


def completions(seed):
    """Every completion of a world of three tokens (0 ends) and three places, with its probability.

    The distribution of a place depends on the token before it.
    """
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logp_VV = torch.log_softmax(2 * logits, -1)
    found = {}
    for tokens in product(range(3), repeat=3):
        end = tokens.index(0) + 1 if 0 in tokens else 3
        found[tokens[:end]] = [3, *tokens[: end - 1]]
    rows = []
    for tokens, before in found.items():
        logp_T = logp_VV[before, list(tokens)]
        entropy_T = -(logp_VV[before].exp() * logp_VV[before]).sum(-1)
        rows.append((float(logp_T.sum().exp()), logp_T, entropy_T))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_completions_surprise_is_its_entropy_in_expectation(seed):
    rows = completions(seed)
    assert math.fsum(p for p, _, _ in rows) == pytest.approx(1.0)
    gap = math.fsum(p * float((-logp_T - entropy_T).sum()) for p, logp_T, entropy_T in rows)
    assert gap == pytest.approx(0.0, abs=1e-12)


def drawn(seed, temperature, top_k=0, samples=400, tokens=6, vocab=20, shift=0):
    """logp_ST and entropy_ST at temperature 1 of tokens that were drawn otherwise."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, tokens, vocab, generator=draw)
    cut = logits / temperature
    if top_k:
        least = cut.topk(top_k).values[..., -1:]
        cut = cut.masked_fill(cut < least, -math.inf)
    chosen = torch.multinomial(cut.softmax(-1).view(-1, vocab), 1, generator=draw)
    logp = torch.log_softmax(logits, -1).roll(shift, 1)
    entropy_ST = -(logp.exp() * logp).sum(-1)
    return logp.gather(-1, chosen.view(samples, tokens, 1))[..., 0], entropy_ST


@pytest.mark.parametrize("seed", range(5))
def test_the_z_score_tells_the_faults_apart(seed):
    def z(**how):
        logp_ST, entropy_ST = drawn(seed, **({"temperature": 1.0} | how))
        return nll_minus_entropy(logp_ST, entropy_ST, torch.ones_like(logp_ST, dtype=torch.bool))[1]

    assert abs(z()) < 4
    assert z(temperature=0.7) < -8
    assert z(temperature=1.4) > 8
    assert z(top_k=5) < -8
    assert z(shift=1) > 8


def test_too_few_samples_have_no_z_score():
    logp_ST, mask_ST = torch.tensor([[-1.0, -2.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert nll_minus_entropy(logp_ST, torch.full((1, 2), 0.5), mask_ST) == (1.0, None)
    same_ST, both_ST = logp_ST.expand(2, 2), mask_ST.expand(2, 2)
    assert nll_minus_entropy(same_ST, torch.full((2, 2), 0.5), both_ST) == (1.0, None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(0, 4))
def test_padding_and_order_change_nothing(seed, lengths, more):
    draw = torch.Generator().manual_seed(seed)
    mask_ST = torch.arange(5)[None] < torch.tensor(lengths)[:, None]
    logp_ST, sampler_ST = -torch.rand(2, *mask_ST.shape, generator=draw)
    entropy_ST = torch.rand(mask_ST.shape, generator=draw)
    order = torch.randperm(len(lengths), generator=draw)

    def padded(value_ST, fill):
        return torch.nn.functional.pad(value_ST[order], (0, more), value=fill)

    wide = padded(mask_ST, 0).bool()
    trainer, sampler = padded(logp_ST, math.nan), padded(sampler_ST, -math.inf)
    assert nll_minus_entropy(trainer, padded(entropy_ST, 7.0), wide) == pytest.approx(
        nll_minus_entropy(logp_ST, entropy_ST, mask_ST)
    )
    ess = mismatch_ess(logp_ST, sampler_ST, mask_ST)
    assert mismatch_ess(trainer, sampler, wide) == pytest.approx(ess)
    assert 0 < ess <= 1
    assert mismatch_ess(logp_ST, logp_ST, mask_ST) == 1.0
    assert nonfinite(trainer, sampler, wide) == 0


def test_effective_size_of_known_weights():
    mask_ST = torch.ones(1, 4, dtype=torch.bool)
    logp_ST = torch.tensor([[3.0, 3.0, 1.0, 1.0]]).log()
    assert mismatch_ess(logp_ST, torch.zeros(1, 4), mask_ST) == pytest.approx(64 / (4 * 20))
    far_ST = torch.tensor([[0.0, -1e4, -1e4, -1e4]])
    assert mismatch_ess(far_ST, torch.zeros(1, 4), mask_ST) == pytest.approx(0.25)


def test_numbers_that_are_not_finite_are_counted_where_tokens_are():
    mask_ST = torch.tensor([[True, True, True, False]])
    logp_ST = torch.tensor([[-1.0, math.nan, -1.0, math.nan]])
    sampler_ST = torch.tensor([[-math.inf, -1.0, -1.0, math.inf]])
    assert nonfinite(logp_ST, sampler_ST, mask_ST) == 2

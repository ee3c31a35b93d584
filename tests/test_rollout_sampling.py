"""Choosing a token: the inverse CDF, its edge cases, and warps against transformers' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pawl.rollout.engine import SamplingParams, uniforms
from pawl.rollout.sampling import choose, warp

LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=40)


@given(LOGITS, st.floats(0, 1, exclude_max=True), st.floats(0.1, 3))
def test_token_is_the_one_whose_interval_holds_the_uniform(
    row: list[float], uniform: float, temperature: float
) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    params = SamplingParams(temperature=temperature)
    token, logp, _ = choose(logits, torch.tensor([uniform], dtype=torch.float64), params)
    wanted = torch.log_softmax(logits / temperature, -1)[0]
    assert abs(float(wanted[token]) - float(logp)) < 1e-9
    cdf = wanted.exp().cumsum(0)
    assert float(cdf[token]) > uniform * float(cdf[-1]) - 1e-12
    assert float(cdf[token] - wanted[token].exp()) <= uniform * float(cdf[-1]) + 1e-12


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_greedy_takes_the_largest(row: list[float], uniform: float) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    token, _, _ = choose(logits, torch.tensor([uniform]).double(), SamplingParams(temperature=0))
    assert row[int(token)] == max(row)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_impossible_tokens_are_never_chosen(dtype: torch.dtype) -> None:
    logits = torch.full((3, 6), -torch.inf, dtype=dtype)
    logits[:, 2] = 0.0
    edges = torch.tensor([0.0, 0.5, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    token, logp, _ = choose(logits, edges, SamplingParams())
    assert token.tolist() == [2, 2, 2]
    assert logp.tolist() == [0.0, 0.0, 0.0]


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0]).expand(20000, 4)
    draws = torch.tensor(uniforms(0, 0, "p", 0, 20000))
    token, _, _ = choose(logits, draws, SamplingParams(temperature=2.0))
    share = torch.bincount(token, minlength=4) / 20000
    torch.testing.assert_close(share, torch.softmax(logits[0] / 2, 0), atol=0.015, rtol=0)


def test_streams_are_reproducible_and_prefixes_agree() -> None:
    long, short = uniforms(1, 2, "p", 3, 64), uniforms(1, 2, "p", 3, 16)
    assert np.array_equal(long[:16], short)
    keys = [(1, 2, "p", 3), (2, 2, "p", 3), (1, 3, "p", 3), (1, 2, "q", 3), (1, 2, "p", 4)]
    assert len({tuple(uniforms(*key, 4)) for key in keys}) == len(keys)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=8, max_size=8), min_size=1, max_size=3),
    st.integers(1, 8),
    st.sampled_from([0.3, 0.7, 0.95]),
    st.sampled_from([1.0, 1.3, 0.8]),
    st.integers(1, 3),
)
def test_warps_equal_transformers(
    rows: list[list[float]], top_k: int, top_p: float, penalty: float, ngram: int
) -> None:
    logits = torch.tensor(rows, dtype=torch.float64) + torch.arange(8) * 1e-3  # no ties
    past = [[1, 2, 1, 2, 3, 1] for _ in rows]
    ids = torch.tensor(past)
    wanted = logits.clone()
    if penalty != 1:
        wanted = RepetitionPenaltyLogitsProcessor(penalty)(ids, wanted)
    wanted = NoRepeatNGramLogitsProcessor(ngram)(ids, wanted) / 0.8
    wanted = TopKLogitsWarper(top_k)(ids, wanted)
    wanted = TopPLogitsWarper(top_p)(ids, wanted)
    params = SamplingParams(
        temperature=0.8,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=penalty,
        no_repeat_ngram_size=ngram,
    )
    torch.testing.assert_close(warp(logits, params, past), wanted.log_softmax(-1))

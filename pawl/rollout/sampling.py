"""How rows of tokens are drawn: streams, warps, inverse CDF, stop strings; for both engines.

Token t of a completion is the first whose cumulative probability exceeds the t-th uniform of
its own stream, so a sample depends on its logits and its stream alone, never on its neighbours.
Warps (top-k, top-p, repetition penalty, no-repeat n-grams) act in the order of transformers.

Legend: S rows, V vocabulary, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch

from pawl.errors import PawlError
from pawl.models.policy import Policy
from pawl.models.text import decode
from pawl.rollout.engine import SamplingParams, uniforms
from pawl.types import Finish, Prompt, Sample

STOP_WINDOW = 8  # tokens decoded beyond the length of the longest stop string


@dataclass(slots=True)
class Row:
    """One completion while it is being written."""

    prompt: Prompt
    member: int
    stream: int
    tokens: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    kept: list[tuple[int, ...]] = field(default_factory=list)
    finish: Finish | None = None

    def sample(self, tokenizer: Any, version: int) -> Sample:
        """The finished record."""
        assert self.finish is not None, "the row has not ended"
        text = decode(tokenizer, self.tokens)
        place = (self.prompt.problem_id, self.prompt.group, self.member)
        tokens, logps = tuple(self.tokens), tuple(self.logps)
        return Sample(*place, tokens, logps, text, self.finish, version, tuple(self.kept))


def batches(
    prompts: Sequence[Prompt],
    group_size: int,
    longest: int,
    seed: int,
    step: int,
    size: int,
) -> Iterator[tuple[list[Row], torch.Tensor]]:
    """The rows of a call, `size` at a time (0: all), with the uniforms (S, T) of their streams."""
    rows = [Row(p, m, p.stream * group_size + m) for p in prompts for m in range(group_size)]
    size = size or len(rows) or 1
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        drawn = [uniforms(seed, step, r.prompt.problem_id, r.stream, longest) for r in part]
        yield part, torch.tensor(np.stack(drawn))


def add_token(
    policy: Policy,
    rows: Sequence[Row],
    logits_SV: torch.Tensor,
    uniform_S: torch.Tensor,
    params: SamplingParams,
) -> torch.Tensor:
    """Choose one more token for each row (S), and write it down in those that go on."""
    past = [[*r.prompt.tokens, *r.tokens] for r in rows] if params.looks_back else []
    token_S, logp_S, kept_S = choose(logits_SV, uniform_S, params, past)
    chosen = zip(rows, token_S.tolist(), logp_S.tolist(), kept_S, strict=True)
    for row, token, logp, kept in chosen:
        if row.finish is None:
            row.tokens.append(token)
            row.logps.append(logp)
            row.kept += [] if kept is None else [kept]
            row.finish = finish_of(row.tokens, params, policy.eos_ids, policy.tokenizer)
    return token_S


def choose(
    logits_SV: torch.Tensor,
    uniform_S: torch.Tensor,
    params: SamplingParams,
    history: Sequence[Sequence[int]] = (),
) -> tuple[torch.Tensor, torch.Tensor, Sequence[tuple[int, ...] | None]]:
    """Next tokens (S), their log-probs (S) at the sampling temperature, and their kept ids.

    logits in fp32 or float64; uniform_S float64 in [0, 1); history: prompt and completion so far
    of each row, needed by the repetition warps only. Greedy (temperature 0) records log-probs at
    temperature 1. Log-probs are those before any warp; when `params.truncates` those after it, and
    the ids that were left to draw from are given for each row (else None), empty for all.
    """
    scaled_SV = logits_SV / params.temperature if params.temperature not in (0, 1) else logits_SV
    prob_SV = torch.softmax(scaled_SV, -1)
    score_SV = warp(logits_SV, params, history) if params.warped else None
    if params.temperature == 0:
        token_S1 = (logits_SV if score_SV is None else score_SV).argmax(-1, keepdim=True)
    else:
        drawn_SV = prob_SV if score_SV is None else score_SV.exp()
        cdf_SV = drawn_SV.cumsum(-1, dtype=torch.float64)
        total_S1 = cdf_SV[:, -1:]
        below_S1 = torch.nextafter(total_S1, torch.zeros_like(total_S1))
        point_S1 = torch.minimum(uniform_S[:, None] * total_S1, below_S1)
        token_S1 = torch.searchsorted(cdf_SV, point_S1, right=True)
    token_S, nothing = token_S1[:, 0], [None] * len(token_S1)
    if score_SV is None:
        return token_S, prob_SV.gather(-1, token_S1)[:, 0].log(), nothing
    if params.truncates:
        return token_S, score_SV.gather(-1, token_S1)[:, 0], kept_ids(score_SV)
    logp_SV = torch.log_softmax(scaled_SV, -1)  # a warp may pick what would underflow above
    return token_S, logp_SV.gather(-1, token_S1)[:, 0], nothing


def kept_ids(score_SV: torch.Tensor) -> list[tuple[int, ...]]:
    """The ids of each row with a finite score, ascending; empty for a row without a loss."""
    kept_SV = score_SV > -torch.inf
    full_S = kept_SV.all(1)
    kept_SV[full_S] = False
    ids = iter(kept_SV.nonzero()[:, 1].tolist())
    return [tuple(islice(ids, n)) for n in kept_SV.sum(1).tolist()]


def require_kept(sample: Sample, params: SamplingParams) -> None:
    """Raise PawlError when a sample does not say what it was drawn from as `params` asks."""
    if params.truncates:
        fits = len(sample.kept) == len(sample.tokens) and all(
            not ids or token in ids for token, ids in zip(sample.tokens, sample.kept, strict=True)
        )
    else:
        fits = not sample.kept
    if not fits:
        raise PawlError(
            "the engine did not say which tokens a truncated sample was drawn from",
            "rollout.engine",
            "the ratio would be wrong: use another engine, or rollout.top_p=1 rollout.top_k=0",
        )


def warp(
    logits_SV: torch.Tensor, params: SamplingParams, history: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probs (S, V) after repetition penalty, n-gram ban, temperature, top-k and top-p."""
    score_SV = logits_SV.clone()
    for row, past in enumerate(history):
        if params.repetition_penalty != 1:
            seen = torch.tensor(sorted(set(past)), device=score_SV.device)
            value = score_SV[row, seen]
            penalty = params.repetition_penalty
            score_SV[row, seen] = torch.where(value < 0, value * penalty, value / penalty)
        banned = _closing_tokens(past, params.no_repeat_ngram_size)
        score_SV[row, banned] = -torch.inf
    if params.temperature:
        score_SV /= params.temperature
    if 0 < params.top_k < score_SV.shape[1]:
        floor_S1 = score_SV.topk(params.top_k, dim=-1).values[:, -1:]
        score_SV[score_SV < floor_S1] = -torch.inf
    if params.top_p < 1:
        sorted_SV, order_SV = score_SV.sort(descending=True, stable=True)
        mass_SV = sorted_SV.softmax(-1).cumsum(-1)
        drop_SV = mass_SV - sorted_SV.softmax(-1) >= params.top_p
        score_SV[torch.zeros_like(drop_SV).scatter(1, order_SV, drop_SV)] = -torch.inf
    return torch.log_softmax(score_SV, -1)


def _closing_tokens(past: Sequence[int], size: int) -> list[int]:
    """Tokens that would complete an n-gram of this size seen before."""
    if size == 0 or len(past) < size:
        return []
    key = tuple(past[len(past) - size + 1 :])
    starts = range(len(past) - size + 1)
    return sorted({past[i + size - 1] for i in starts if tuple(past[i : i + size - 1]) == key})


@lru_cache(maxsize=8)
def spells_special(tokenizer: Any, stop: tuple[str, ...]) -> bool:
    """Whether a stop string holds a special token, which is then to be looked for by its name."""
    tokens = tokenizer.added_tokens_decoder.values()
    return any(token.content in text for token in tokens if token.special for text in stop)


def finish_of(
    tokens: Sequence[int], params: SamplingParams, ends: Sequence[int], tokenizer: Any
) -> Finish | None:
    """Why a completion ends after its last token, None when it goes on."""
    if tokens[-1] in ends:
        return "stop"
    if params.stop:
        window = max(len(stop) for stop in params.stop) + STOP_WINDOW
        tail = decode(tokenizer, tokens[-window:], spells_special(tokenizer, params.stop))
        if any(stop in tail for stop in params.stop):
            return "stop"
    return "length" if len(tokens) >= params.max_tokens else None

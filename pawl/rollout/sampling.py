"""How the next token is chosen: warps, inverse CDF, stop strings; the same for both engines.

Token t of a completion is the first whose cumulative probability exceeds the t-th uniform of
its own stream, so a sample depends on its logits and its stream alone, never on its neighbours.
Warps (top-k, top-p, repetition penalty, no-repeat n-grams) act in the order of transformers.

Legend: S rows, V vocabulary, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pawl.models.text import decode
from pawl.rollout.engine import SamplingParams, uniforms
from pawl.types import Finish, Prompt, Sample

STOP_WINDOW = 8  # tokens decoded beyond the length of the longest stop string


@dataclass(slots=True)
class Row:
    """One completion while it is being written."""

    prompt: Prompt
    member: int
    tokens: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)

    def sample(self, tokenizer: Any, finish: Finish, version: int) -> Sample:
        """The finished record."""
        text = decode(tokenizer, self.tokens)
        place = (self.prompt.problem_id, self.prompt.group, self.member)
        return Sample(*place, tuple(self.tokens), tuple(self.logps), text, finish, version)


def open_rows(prompts: Sequence[Prompt], group_size: int) -> list[Row]:
    """Rows of a batch in (prompt, member) order."""
    return [Row(prompt, member) for prompt in prompts for member in range(group_size)]


def streams(
    rows: Sequence[Row], group_size: int, params: SamplingParams, seed: int, step: int
) -> np.ndarray:
    """Uniforms (S, max_tokens) of the rows' own streams; zeros for greedy decoding."""
    if params.temperature == 0:
        return np.zeros((len(rows), params.max_tokens))
    drawn = [
        uniforms(
            seed,
            step,
            row.prompt.problem_id,
            row.prompt.stream * group_size + row.member,
            params.max_tokens,
        )
        for row in rows
    ]
    return np.stack(drawn)


def choose(
    logits_SV: torch.Tensor,
    uniform_S: torch.Tensor,
    params: SamplingParams,
    history: Sequence[Sequence[int]] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens (S) and their log-probs (S) at the sampling temperature, before any warp.

    logits in fp32 or float64; uniform_S float64 in [0, 1); history: prompt and completion so far
    of each row, needed by the repetition warps only. Greedy (temperature 0) records log-probs at
    temperature 1.
    """
    scaled_SV = logits_SV / params.temperature if params.temperature not in (0, 1) else logits_SV
    prob_SV = torch.softmax(scaled_SV, -1)
    score_SV = warp(logits_SV, params, history) if is_warped(params) else None
    if params.temperature == 0:
        token_S1 = (logits_SV if score_SV is None else score_SV).argmax(-1, keepdim=True)
    else:
        drawn_SV = prob_SV if score_SV is None else score_SV.exp()
        cdf_SV = drawn_SV.cumsum(-1, dtype=torch.float64)
        total_S1 = cdf_SV[:, -1:]
        below_S1 = torch.nextafter(total_S1, torch.zeros_like(total_S1))
        point_S1 = torch.minimum(uniform_S[:, None] * total_S1, below_S1)
        token_S1 = torch.searchsorted(cdf_SV, point_S1, right=True)
    if score_SV is None:
        return token_S1[:, 0], prob_SV.gather(-1, token_S1)[:, 0].log()
    logp_SV = torch.log_softmax(scaled_SV, -1)  # a warp may pick what would underflow above
    return token_S1[:, 0], logp_SV.gather(-1, token_S1)[:, 0]


def is_warped(params: SamplingParams) -> bool:
    """Whether anything besides the temperature changes the distribution."""
    return (
        params.top_p < 1
        or params.top_k > 0
        or params.repetition_penalty != 1
        or params.no_repeat_ngram_size > 0
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


def finish_of(
    tokens: Sequence[int], params: SamplingParams, ends: Sequence[int], tokenizer: Any
) -> Finish | None:
    """Why a completion ends after its last token, None when it goes on."""
    if tokens[-1] in ends:
        return "stop"
    if params.stop:
        window = max(len(stop) for stop in params.stop) + STOP_WINDOW
        tail = decode(tokenizer, tokens[-window:])
        if any(stop in tail for stop in params.stop):
            return "stop"
    return "length" if len(tokens) >= params.max_tokens else None

"""Reference answers before training, measured in tokens and nats.

They show whether right answers fit below the generation limit, and whether the model reads problems
in a form that it knows. Left out: what the reward pays for them (`pawl.rewards.calibrate`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from pawl.models.logprobs import token_logprobs
from pawl.models.text import PromptEncoder, completion_ids
from pawl.rewards.probes import end, reference_shapes
from pawl.train.session import Session
from pawl.types import Group, Problem, Prompt, Sample

MEASURED, LENGTHS = 8, 500  # problems that are weighed, counted in tokens


def reference_problems(s: Session) -> tuple[list[Problem], list[Problem]]:
    """Seeded choices of training problems that have a reference: many to count, few to weigh."""
    rng = random.Random(f"{s.cfg.seed}/known answers")
    places = rng.sample(range(len(s.train)), min(len(s.train), LENGTHS))
    solved = [p for p in (s.train[i] for i in sorted(places)) if p.reference]
    return solved, rng.sample(solved, min(len(solved), MEASURED))


def reference_lengths(s: Session, problems: Sequence[Problem]) -> list[int]:
    """Tokens of each reference with end marker and EOS."""
    texts = [references(p, s)[0] for p in problems]
    ids = completion_ids(s.policy.tokenizer, texts) if texts else []
    return [len(tokens) + bool(s.policy.eos_ids) for tokens in ids]


def references(problem: Problem, s: Session) -> list[str]:
    """The reference in every form that is asked for, with its end marker."""
    marker = s.cfg.reward.end_marker if s.grader.has_verdicts or problem.code else ""
    return [end(text, marker) for _, text in reference_shapes(problem)]


def mean_nll(s: Session, encoder: PromptEncoder, problems: Sequence[Problem]) -> float | None:
    """Mean `nll` of the problems that have one; None when none has."""
    found = [x for p in problems if (x := nll(s, encoder, p)) is not None]
    return sum(found) / len(found) if found else None


def nll(s: Session, encoder: PromptEncoder, problem: Problem) -> float | None:
    """Mean -log-prob of a reference's tokens after its prompt, nat; of its likeliest form.

    None when no form fits below the generation limit: the model may have no positions for it.
    """
    prompt = Prompt(problem.id, 0, encoder.encode(problem))
    ids = [tuple(x) for x in completion_ids(s.policy.tokenizer, references(problem, s))]
    ids = [x for x in ids if 0 < len(x) <= s.cfg.rollout.max_tokens]
    if not ids:
        return None
    samples = tuple(
        Sample(problem.id, 0, m, tokens, (0.0,) * len(tokens), "", "stop")
        for m, tokens in enumerate(ids)
    )
    with torch.no_grad():
        out = token_logprobs(s.policy, [Group(problem, prompt, samples)], 1.0)
    return float((-out.logp_ST.double().sum(1) / out.mask_ST.sum(1)).min())

"""Known answers before training: reference solutions, scored, swapped, measured in tokens and nats.

They show whether the reward looks at the problem, whether right answers fit below the generation
limit, and whether the model reads problems in a form that it knows. Left out: proving the reward
on each kind of probe (`pawl.rewards.calibrate`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pawl.models.logprobs import token_logprobs
from pawl.models.text import PromptEncoder, completion_ids
from pawl.rewards.probes import end, reference_shapes
from pawl.train.session import Session
from pawl.types import Completion, Group, Problem, Prompt, Sample, Score

SWAPPED, MEASURED, LENGTHS = 8, 8, 500  # problems that are scored, weighed, counted in tokens

GARBAGE = "((( no program"


@dataclass(slots=True)
class Known:
    """own, swapped: scores of references under their own and under another problem. poor: of a
    reference without its end marker, of nothing, and of text that is no program.

    lengths: tokens of references with end marker and EOS. surprise: mean nat a token of a
    reference that fits, one for each problem, in the form that suits the model best; plain: the
    mean of the same without the chat template, None where none is used.
    """

    own: list[Score] = field(default_factory=list)
    swapped: list[Score] = field(default_factory=list)
    poor: list[Score] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    surprise: list[float] = field(default_factory=list)
    plain: float | None = None


def known_answers(s: Session) -> Known:
    """Measure a seeded choice of the training problems that have a reference."""
    rng = random.Random(f"{s.cfg.seed}/known answers")
    places = rng.sample(range(len(s.train)), min(len(s.train), LENGTHS))
    solved = [p for p in (s.train[i] for i in sorted(places)) if p.solution]
    if not solved:
        return Known()
    marker, found = s.cfg.reward.end_marker, Known()
    texts = [end(reference_shapes(p)[0][1], marker) for p in solved]
    eos = bool(s.policy.eos_ids)
    found.lengths = [len(ids) + eos for ids in completion_ids(s.policy.tokenizer, texts)]
    few = rng.sample(solved, min(len(solved), SWAPPED))
    found.own = s.pool.score_all([_job(p, p, marker, s) for p in few])
    pairs = [(p, q) for p, q in zip(few, few[1:] + few[:1], strict=True) if p.lang == q.lang]
    pairs = [(p, q) for p, q in pairs if p.id != q.id and p.solution != q.solution]
    found.swapped = s.pool.score_all([_job(p, q, marker, s) for p, q in pairs])
    bare = (reference_shapes(few[0])[0][1], "", GARBAGE)
    found.poor = s.pool.score_all([(few[0], Completion(few[0].id, text, 1)) for text in bare])
    found.surprise = surprises(s, s.encoder, few[:MEASURED])
    if s.encoder.chat:
        plain = PromptEncoder(
            s.encoder.tokenizer, s.cfg.prompt.model_copy(update={"chat": "never"})
        )
        values = surprises(s, plain, [p for p in few[:MEASURED] if not p.messages])
        found.plain = sum(values) / len(values) if values else None
    return found


def _job(asked: Problem, answered: Problem, marker: str, s: Session) -> tuple[Problem, Completion]:
    """The reference of `answered` as a completion of `asked`."""
    text = end(reference_shapes(answered)[0][1], marker)
    n = len(completion_ids(s.policy.tokenizer, [text])[0])
    return asked, Completion(asked.id, text, n)


def surprises(s: Session, encoder: PromptEncoder, problems: Sequence[Problem]) -> list[float]:
    """`surprise` of each problem that has one."""
    found = [surprise(s, encoder, p) for p in problems]
    return [x for x in found if x is not None]


def surprise(s: Session, encoder: PromptEncoder, problem: Problem) -> float | None:
    """Mean -log-prob of a reference's tokens after its prompt, nat; of its likeliest form.

    None when no form fits below the generation limit: the model may have no positions for it.
    """
    shapes = [text for _, text in reference_shapes(problem)]
    texts = [end(text, s.cfg.reward.end_marker) for text in shapes]
    prompt = Prompt(problem.id, 0, encoder.encode(problem))
    ids = [tuple(x) for x in completion_ids(s.policy.tokenizer, texts)]
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

"""Reference answers before training: scored, swapped, measured in tokens and nats.

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
class ReferenceAnswers:
    """own, swapped: scores of references under their own and under another problem. poor: of a
    reference without its end marker, of nothing, and of text that is no program.

    lengths: tokens of references with end marker and EOS. nll: mean nat a token of a
    reference that fits, one for each problem, in the form that suits the model best; plain: the
    mean of the same without the chat template, None where none is used.
    """

    own: list[Score] = field(default_factory=list)
    swapped: list[Score] = field(default_factory=list)
    poor: list[Score] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    plain: float | None = None


def measure_references(s: Session) -> ReferenceAnswers:
    """Measure a seeded choice of the training problems that have a reference."""
    rng = random.Random(f"{s.cfg.seed}/known answers")
    places = rng.sample(range(len(s.train)), min(len(s.train), LENGTHS))
    solved = [p for p in (s.train[i] for i in sorted(places)) if p.reference]
    if not solved:
        return ReferenceAnswers()
    found = ReferenceAnswers()
    texts = [_reference(p, s) for p in solved]
    eos = bool(s.policy.eos_ids)
    found.lengths = [len(ids) + eos for ids in completion_ids(s.policy.tokenizer, texts)]
    few = rng.sample(solved, min(len(solved), SWAPPED))
    _score(s, few, found)
    found.nll = reference_nlls(s, s.encoder, few[:MEASURED])
    if s.encoder.chat:
        plain = PromptEncoder(
            s.encoder.tokenizer, s.cfg.prompt.model_copy(update={"chat": "never"})
        )
        values = reference_nlls(s, plain, [p for p in few[:MEASURED] if not p.messages])
        found.plain = sum(values) / len(values) if values else None
    return found


def _score(s: Session, few: Sequence[Problem], found: ReferenceAnswers) -> None:
    """Scores of references under their own and the next problem, and of poor answers to the first.

    What answers one problem is one group, as a reward that compares would see it.
    """
    groups: list[tuple[Problem, list[Completion]]] = []
    for i, p in enumerate(few):
        other, answers = few[i - 1], [_completion(p, _reference(p, s), s)]
        alien = p.lang == other.lang and p.id != other.id and p.reference != other.reference
        answers += [_completion(p, _reference(other, s), s)] if alien else []
        if not i:
            bare = (reference_shapes(p)[0][1], "", GARBAGE)
            answers += [Completion(p.id, text, 1) for text in bare]
        groups.append((p, answers))
    for i, scores in enumerate(s.grader.score(groups)):
        found.own.append(scores[0])
        rest = scores[1:-3] if not i else scores[1:]
        found.swapped += rest
        found.poor += scores[-3:] if not i else []


def _reference(problem: Problem, s: Session) -> str:
    """The reference in the first form that is asked for, with its end marker."""
    marker = s.cfg.reward.end_marker if s.grader.has_verdicts or problem.code else ""
    return end(reference_shapes(problem)[0][1], marker)


def _completion(asked: Problem, text: str, s: Session) -> Completion:
    n = len(completion_ids(s.policy.tokenizer, [text])[0])
    return Completion(asked.id, text, n)


def reference_nlls(s: Session, encoder: PromptEncoder, problems: Sequence[Problem]) -> list[float]:
    """`nll` of each problem that has one."""
    found = [nll(s, encoder, p) for p in problems]
    return [x for x in found if x is not None]


def nll(s: Session, encoder: PromptEncoder, problem: Problem) -> float | None:
    """Mean -log-prob of a reference's tokens after its prompt, nat; of its likeliest form.

    None when no form fits below the generation limit: the model may have no positions for it.
    """
    shapes = [text for _, text in reference_shapes(problem)]
    marker = s.cfg.reward.end_marker if s.grader.has_verdicts or problem.code else ""
    texts = [end(text, marker) for text in shapes]
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

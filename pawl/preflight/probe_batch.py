"""The trial: groups sampled, scored and credited as in a step, and everything noted for preflight.

Sampling has streams of its own and no global random number is drawn, so a run goes on as if there
had been no trial. Shapes: P problems, G group members, S samples, T tokens. Left out: the trial
updates (`trial_update.py`) and judging (`check_samples.py`, `check_base.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pawl.algo.shaping import Spread, kept, shaped
from pawl.models.logprobs import token_logprobs
from pawl.rewards.compose import components_of
from pawl.rewards.pool import ScorerPool
from pawl.train.credit import credit, scores
from pawl.train.data import draw
from pawl.train.rollouts import Rollouts, collect, completion_of, joined
from pawl.train.scoring import Scored, score_batch, split
from pawl.train.session import Session
from pawl.types import Case, Completion, Group, Problem, Sample, Score, missing

STEP = -1  # the streams of no training step and of no evaluation
SAMPLES, PROMPTS = 256, 32  # at most, for what the base model can do
ALONE = 2  # prompts sampled without neighbours


class Witness:
    """The pool, with a note of what it was given."""

    def __init__(self, pool: ScorerPool) -> None:
        self._pool = pool
        self.given: dict[tuple[int, int], Completion] = {}

    def submit(self, key: tuple[int, int], problem: Problem, completion: Completion) -> None:
        """Note and hand on."""
        self.given[key] = completion
        self._pool.submit(key, problem, completion)

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, Score]]:
        """Whatever the pool has."""
        return self._pool.poll(timeout)


@dataclass(slots=True)
class Sampled:
    """Groups as the loop collects them, and what the trainer sees of them.

    drift_S: sum over a sample's tokens of -log-prob - entropy, of expectation 0 when the sampler
    draws from the policy. alone: (sample among others, sample by itself). rescored: totals of
    (the batch, scored again, and again).
    """

    rollouts: Rollouts
    given: dict[tuple[int, int], Completion]
    masked: int = 0
    nonfinite: int = 0
    drift_S: list[float] = field(default_factory=list)
    gap_sum: float = 0.0
    gap_max: float = 0.0
    alone: list[tuple[Sample, Sample]] = field(default_factory=list)
    alone_gap: float = 0.0
    repeat_gap: float = 0.0
    rescored: list[tuple[float | None, float | None, float | None]] = field(default_factory=list)
    unjudgeable: Score | None = None


@dataclass(slots=True)
class Credited:
    """reward, known and advantage (of the last token) of the sampled groups, flat.

    hole_*: of the first sample with its score taken away. kept: samples that pass algo.filter.
    """

    reward_S: list[float]
    known_S: list[bool]
    advantage_S: list[float]
    hole_known: bool
    hole_advantage: float
    hole_masked: bool
    kept: int


def drawn_next(s: Session, stage: int, first: int) -> list[tuple[Problem, int]]:
    """The problems that training draws next, at most PROMPTS of them and SAMPLES completions."""
    n = max(2, min(PROMPTS, SAMPLES // s.cfg.rollout.group_size, len(s.train)))
    return [(s.train[i], stream) for i, stream in draw(first, n, s.pools[stage], s.cfg.seed)]


def sample(s: Session, drawn: Sequence[tuple[Problem, int]]) -> Sampled:
    """Sample and score the drawn problems, twice where it tells something."""
    g, where = s.cfg.rollout.group_size, (s.params, s.cfg.seed, STEP)
    rollouts, given = Rollouts((), (), 0.0, 0.0), dict[tuple[int, int], Completion]()
    for start in range(0, len(drawn), s.cfg.rollout.prompts):  # no more at once than in a step
        witness = Witness(s.pool)
        part = drawn[start : start + s.cfg.rollout.prompts]
        rollouts = joined(rollouts, collect(s.engine, witness, s.encoder, part, g, *where))
        given |= {(start + i, m): x for (i, m), x in witness.given.items()}
    found = Sampled(rollouts, given)
    _forward(s, found)
    sizes = [len(group.prompt.tokens) for group in rollouts.groups]
    for index in sorted({sizes.index(min(sizes)), sizes.index(max(sizes))})[:ALONE]:
        group = rollouts.groups[index]
        single = {x.member: x for x in s.engine.generate([group.prompt], g, *where)}
        found.alone += [(x, single[x.member]) for x in group.samples]
    _alone_forward(s, found)
    _rescore(s, found)
    return found


def rows_at_once(s: Session) -> int:
    """Samples in one forward of training, so that a preflight needs no more memory than a step."""
    r = s.cfg.rollout
    return s.cfg.train.micro_batch or r.prompts // s.cfg.algo.minibatches * r.group_size


def _forward(s: Session, found: Sampled) -> None:
    """The trainer's view of every sampled token, in the loop's own micro-batches."""
    for piece in split(found.rollouts.groups, rows_at_once(s)):
        with torch.no_grad():
            out = token_logprobs(s.policy, piece, s.params.temperature)
        found.masked += int(out.mask_ST.sum())
        found.nonfinite += int((~out.logp_ST.isfinite()).sum() + (~out.entropy_ST.isfinite()).sum())
        drift_ST = torch.where(out.mask_ST, -out.logp_ST.double() - out.entropy_ST, 0.0)
        found.drift_S += drift_ST.sum(1).tolist()
        for row, x in enumerate(x for group in piece for x in group.samples):
            logp_T = out.logp_ST[row, : len(x.logps)].double().cpu()
            gap_T = (logp_T - torch.tensor(x.logps[: len(logp_T)], dtype=torch.float64)).abs()
            found.gap_sum += float(gap_T.sum())
            found.gap_max = max(found.gap_max, float(gap_T.max()))


def _alone_forward(s: Session, found: Sampled) -> None:
    """How much a sample's log-probs depend on the rows beside it."""
    rows = [(group, x) for group in found.rollouts.groups for x in group.samples]
    rows.sort(key=lambda row: len(row[0].prompt.tokens) + len(row[1].tokens))
    pair = [replace(group, samples=(x,)) for group, x in (rows[0], rows[-1])]
    temperature = s.params.temperature
    with torch.no_grad():
        both_ST = token_logprobs(s.policy, pair, temperature).logp_ST
        again_ST = token_logprobs(s.policy, pair, temperature).logp_ST
        found.repeat_gap = float((both_ST - again_ST).abs().max())
        for row, group in enumerate(pair):
            own_T = token_logprobs(s.policy, [group], temperature).logp_ST[0]
            gap = float((both_ST[row, : len(own_T)] - own_T).abs().max())
            found.alone_gap = max(found.alone_gap, gap)


def _rescore(s: Session, found: Sampled) -> None:
    """Score two groups twice more without the cache, and a problem that nobody can judge."""
    rollouts, g = found.rollouts, s.cfg.rollout.group_size
    totals = [x.total for x in rollouts.scores_S]
    spread = sorted(range(len(rollouts.groups)), key=lambda i: -len(set(totals[i * g :][:g])))
    rows = [(i, m) for i in sorted(spread[:2]) for m in range(g)]
    jobs = [
        (rollouts.groups[i].problem, completion_of(rollouts.groups[i].samples[m])) for i, m in rows
    ]
    again = s.pool.score_all(jobs + jobs, fresh=True)
    pairs = zip(rows, again[: len(jobs)], again[len(jobs) :], strict=True)
    found.rescored = [(totals[i * g + m], a.total, b.total) for (i, m), a, b in pairs]
    problem = rollouts.groups[0].problem
    if any(part.use == "code" for part in components_of(s.cfg.reward)):
        broken = replace(problem, id=f"{problem.id}/unjudgeable", cases=(Case("(", "("),))
        found.unjudgeable = s.pool.score_all([(broken, jobs[0][1])], fresh=True)[0]


def credited(s: Session, found: Sampled, kl_coef: float) -> Credited:
    """The loop's own way from scores to advantages, as it is and with one score missing."""
    groups, g = found.rollouts.groups, s.cfg.rollout.group_size
    whole = scored_groups(s, groups, kl_coef)
    reward_PG, known_PG = _paid(s, found.rollouts, g)
    advantage_ST, _ = credit(s.cfg.algo, whole, reward_PG, known_PG, 0.0)
    gone = (missing("preflight takes this score away"), *found.rollouts.scores_S[1:])
    less = replace(found.rollouts, scores_S=gone)
    hole_PG, hole_known_PG = _paid(s, less, g)
    hole_ST, hole_mask_ST = credit(s.cfg.algo, whole, hole_PG, hole_known_PG, 0.0)
    first_T = advantage_ST.gather(1, _last(whole)[:, None])[:, 0]
    return Credited(
        reward_PG.flatten().tolist(),
        known_PG.flatten().tolist(),
        first_T.tolist(),
        bool(hole_known_PG[0, 0]),
        float(hole_ST[0].abs().max()),
        not bool(hole_mask_ST[0].any()),
        int(kept(s.cfg.algo.filter, scores(found.rollouts, g)[0], known_PG).sum()),
    )


def _paid(s: Session, rollouts: Rollouts, g: int) -> tuple[Tensor, Tensor]:
    """The rewards that training sees, and which are known."""
    score_PG, known_PG, length_PG = scores(rollouts, g)
    longest = s.cfg.rollout.max_tokens
    return shaped(s.cfg.reward, score_PG, known_PG, length_PG, longest, Spread())[0], known_PG


def _last(scored: Scored) -> Tensor:
    """Place of each sample's last token, (S,)."""
    lengths = [len(x.tokens) for micro in scored.micros for g in micro.groups for x in g.samples]
    return torch.tensor(lengths, device=scored.micros[0].mask_ST.device) - 1


def scored_groups(s: Session, groups: Sequence[Group], kl_coef: float) -> Scored:
    """The loop's scoring pass of some groups."""
    args = (s.params.temperature, 1, rows_at_once(s), kl_coef > 0)
    return score_batch(s.policy, groups, *args)

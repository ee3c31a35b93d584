"""The probe batch: groups sampled and scored as in a step, and everything noted for preflight.

Sampling has streams of its own and no global random number is drawn, so a run goes on as if there
had been none. Shapes: P problems, G group members, S samples, T tokens. Left out: the probe
updates (`probe_update.py`) and judging (`samples.py`, `base.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pawl.algo.shaping import Spread, kept, shaped
from pawl.errors import PawlError
from pawl.models.logprobs import token_logprobs
from pawl.rewards.grader import Grader
from pawl.rewards.pay import Row, pay
from pawl.train.batch import Rewards, compute_advantages, rewards_of
from pawl.train.data import draw
from pawl.train.logprob_pass import BatchLogprobs, log_prob_pass, split
from pawl.train.rollouts import Payment, Rollouts, collect, completion_of, joined, payment_of
from pawl.train.session import Session
from pawl.types import Case, Completion, Group, Problem, Sample, Score

STEP = -1  # the streams of no training step and of no evaluation
SAMPLES, PROMPTS = 128, 32  # at most: the wiring faults are seen with as many
ALONE = 2  # prompts sampled without neighbours
RESCORED = 4  # members of two groups that are scored twice more


class Recorder:
    """The grader, with a note of what it was given."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self.given: dict[tuple[int, int], Completion] = {}

    def submit(
        self,
        group: Hashable,
        member: int,
        size: int,
        problem: Problem,
        completion: Completion | None,
        reason: str = "",
    ) -> None:
        """Note and hand on."""
        assert isinstance(group, int), "groups are numbered"
        if completion is not None:
            self.given[group, member] = completion
        self._grader.submit(group, member, size, problem, completion, reason)

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Row]]]:
        """Whatever the grader has."""
        return self._grader.poll(timeout)


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
class ComputedAdvantages:
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


def next_prompts(s: Session, stage: int, first: int) -> list[tuple[Problem, int]]:
    """The problems that training draws next, at most PROMPTS of them and SAMPLES completions."""
    n = max(2, min(PROMPTS, SAMPLES // s.cfg.rollout.group_size, len(s.train)))
    return [(s.train[i], stream) for i, stream in draw(first, n, s.pools[stage], s.cfg.seed)]


def sample(s: Session, drawn: Sequence[tuple[Problem, int]], stage: int) -> Sampled:
    """Sample and score the drawn problems as `stage` pays them, twice where it tells something."""
    g, where = s.cfg.rollout.group_size, (s.params, s.cfg.seed, STEP)
    payment = payment_of(s, stage)
    rollouts, given = Rollouts((), (), 0.0, 0.0), dict[tuple[int, int], Completion]()
    for start in range(0, len(drawn), s.cfg.rollout.prompts):  # no more at once than in a step
        recorder = Recorder(s.grader)
        part = drawn[start : start + s.cfg.rollout.prompts]
        found = collect(s.engine, recorder, s.encoder, part, g, *where, payment)
        rollouts = joined(rollouts, found)
        given |= {(start + i, m): x for (i, m), x in recorder.given.items()}
    lost = next((x for x in rollouts.samples_S if x.finish == "error"), None)
    if lost is not None:
        hint = "see what the engine reports; nothing was trained"
        raise PawlError(f"the engine failed: {lost.error}", "rollout.engine", hint)
    probe = Sampled(rollouts, given)
    _forward(s, probe)
    sizes = [len(group.prompt.tokens) for group in rollouts.groups]
    for index in sorted({sizes.index(min(sizes)), sizes.index(max(sizes))})[:ALONE]:
        group = rollouts.groups[index]
        single = {x.member: x for x in s.engine.generate([group.prompt], g, *where)}
        probe.alone += [(x, single[x.member]) for x in group.samples]
    _alone_forward(s, probe)
    _rescore(s, probe, payment)
    return probe


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


def _rescore(s: Session, found: Sampled, payment: Payment) -> None:
    """Score members of two groups twice more without the cache, and a problem nobody can judge."""
    rollouts, g = found.rollouts, s.cfg.rollout.group_size
    totals = [x.total for x in rollouts.scores_S]
    spread = sorted(range(len(rollouts.groups)), key=lambda i: -len(set(totals[i * g :][:g])))
    chosen = sorted(spread[:2])
    n = g if s.grader.whole_group else min(g, RESCORED)
    groups = [
        (rollouts.groups[i].problem, [completion_of(x) for x in rollouts.groups[i].samples[:n]])
        for i in chosen
    ]
    paid = [
        pay(problem, completions, rows, payment.reward, payment.stage)
        for (problem, completions), rows in zip(
            groups + groups, s.grader.measure(groups + groups, fresh=True), strict=True
        )
    ]
    once, again = paid[: len(chosen)], paid[len(chosen) :]
    for i, a_G, b_G in zip(chosen, once, again, strict=True):
        own = totals[i * g : i * g + n]
        found.rescored += [(was, a.total, b.total) for was, a, b in zip(own, a_G, b_G, strict=True)]
    problem, completions = groups[0]
    if s.grader.has_verdicts:
        code = replace(problem.task, cases=(Case("(", "("),))
        broken = replace(problem, id=f"{problem.id}/unjudgeable", code=code)
        found.unjudgeable = s.grader.score([(broken, completions[:1])], fresh=True)[0][0]


def computed_advantages(s: Session, found: Sampled, kl_coef: float) -> ComputedAdvantages:
    """The loop's own way from scores to advantages, as it is and with one score missing."""
    groups, g = found.rollouts.groups, s.cfg.rollout.group_size
    logprobs = logprobs_of(s, groups, kl_coef)
    rewards = rewards_of(found.rollouts, g)
    advantage_ST, reward_PG = _advantages(s, logprobs, rewards)
    gone = Score("missing", None, None, "missing", reason="preflight takes this score away")
    less = replace(found.rollouts, scores_S=(gone, *found.rollouts.scores_S[1:]))
    hole = rewards_of(less, g)
    scored_UG = hole.scored_PG
    hole_ST, mask_ST = compute_advantages(s.cfg.algo, logprobs, _shaped(s, hole), scored_UG, 0.0)
    last_T = advantage_ST.gather(1, _last(logprobs)[:, None])[:, 0]
    return ComputedAdvantages(
        reward_PG.flatten().tolist(),
        rewards.scored_PG.flatten().tolist(),
        last_T.tolist(),
        bool(scored_UG[0, 0]),
        float(hole_ST[0].abs().max()),
        not bool(mask_ST[0].any()),
        int(kept(s.cfg.algo.filter, rewards.score_PG, rewards.scored_PG).sum()),
    )


def _advantages(s: Session, logprobs: BatchLogprobs, rewards: Rewards) -> tuple[Tensor, Tensor]:
    """(advantage_ST, reward_PG) of all sampled groups."""
    reward_PG = _shaped(s, rewards)
    found = compute_advantages(s.cfg.algo, logprobs, reward_PG, rewards.scored_PG, 0.0)
    return found[0], reward_PG


def _shaped(s: Session, rewards: Rewards) -> Tensor:
    """The rewards that training sees, (P, G)."""
    parts = (rewards.score_PG, rewards.scored_PG, rewards.length_PG)
    return shaped(s.cfg.reward, *parts, s.cfg.rollout.max_tokens, Spread())[0]


def _last(logprobs: BatchLogprobs) -> Tensor:
    """Place of each sample's last token, (S,)."""
    micros = logprobs.micros
    lengths = [len(x.tokens) for micro in micros for g in micro.groups for x in g.samples]
    return torch.tensor(lengths, device=micros[0].mask_ST.device) - 1


def logprobs_of(s: Session, groups: Sequence[Group], kl_coef: float) -> BatchLogprobs:
    """The loop's log-prob pass over some groups."""
    args = (s.params.temperature, 1, rows_at_once(s), kl_coef > 0)
    return log_prob_pass(s.policy, groups, *args)

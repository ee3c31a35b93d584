"""What one step trains on: rewards, the selection of samples, log-probs, advantages; typed.

    scores -> reward_PG -> selected -> log-prob pass -> advantage_ST -> TrainBatch

Shapes: P prompts, U of them with a sample to train on, G group members, S samples (P * G, or U * G
in a TrainBatch), T tokens. The loop and preflight both call these functions, so what is proved is
what runs. Left out: the formulas (`pawl.algo`), the update (`update.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pawl.algo.advantages import TINY, estimate
from pawl.algo.kl import k1
from pawl.algo.shaping import Spread, Strata, kept, shaped, standardised, with_signal
from pawl.config.options import AlgoConfig, RunConfig
from pawl.judge.health import Repeats
from pawl.train.logprob_pass import BatchLogprobs, whole
from pawl.train.rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class Rewards:
    """Scores of a batch as tensors. score_PG: float64, 0 where missing; scored_PG: which are
    known; length_PG: tokens. strata_P: strata of each group's problem, outermost first.
    """

    score_PG: Tensor
    scored_PG: Tensor
    length_PG: Tensor
    strata_P: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which samples of a batch the loss sees. trained_PG: bool; groups: places of the U groups
    with one, in batch order. What the log-prob pass and the update see are these groups. scored:
    samples with a score in the groups that may teach something, whether they pass or not.
    """

    trained_PG: Tensor
    groups: list[int]
    scored: int


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """All that an update reads. Rows of *_S and *_ST are samples of the U selected groups in order.

    scored_S: bool, samples with a score. trained_S: bool, samples in the loss. advantage_ST: 0
    outside the loss. longest: the generation limit, for the `constant` normaliser.
    """

    logprobs: BatchLogprobs
    scored_S: Tensor
    trained_S: Tensor
    advantage_ST: Tensor
    temperature: float
    kl_coef: float
    longest: int

    @property
    def mask_ST(self) -> Tensor:
        """Sampled tokens, whether they are trained on or not."""
        return whole([m.mask_ST for m in self.logprobs.micros]).bool()

    @property
    def scored_ST(self) -> Tensor:
        """Tokens of samples with a score."""
        mask_ST = self.mask_ST
        return mask_ST & self.scored_S.to(mask_ST.device)[:, None]

    @property
    def trained_ST(self) -> Tensor:
        """Tokens in the loss."""
        mask_ST = self.mask_ST
        return mask_ST & self.trained_S.to(mask_ST.device)[:, None]


def rewards_of(rollouts: Rollouts, g: int) -> Rewards:
    """The scores of a batch with groups of g."""
    totals = [s.total for s in rollouts.scores_S]
    scored_PG = torch.tensor([t is not None for t in totals]).view(-1, g)
    score_PG = torch.tensor([0.0 if t is None else t for t in totals], dtype=torch.float64)
    length_PG = torch.tensor([len(s.tokens) for s in rollouts.samples_S]).view(-1, g)
    problems = [group.problem for group in rollouts.groups]
    strata_P = tuple((f"level {p.lang} {p.difficulty}", f"problem {p.id}") for p in problems)
    return Rewards(score_PG.view(-1, g), scored_PG, length_PG, strata_P)


def shaped_rewards(
    cfg: RunConfig, rewards: Rewards, spread: Spread, strata: Strata
) -> tuple[Tensor, Spread, Strata]:
    """The rewards as training sees them, (P, G); the spread and the strata after them."""
    parts = (rewards.score_PG, rewards.scored_PG, rewards.length_PG)
    reward_PG, spread = shaped(cfg.reward, *parts, cfg.rollout.max_tokens, spread)
    if cfg.reward.normalise == "strata":
        reward_PG, strata = standardised(reward_PG, rewards.scored_PG, rewards.strata_P, strata)
    return reward_PG, spread, strata


def filtered_by(cfg: RunConfig, rewards: Rewards, reward_PG: Tensor) -> Tensor:
    """What algo.filter compares, (P, G): scores, or what was standardised within strata.

    A threshold of scores across languages would train on the easy ones alone.
    """
    return reward_PG if cfg.reward.normalise == "strata" else rewards.score_PG


def noise_of(cfg: RunConfig, repeats: Repeats, spread: Spread) -> float:
    """Standard deviation of the noise of rewards as training sees them, 0 while it is not known.

    spread: the one that normalised this batch. A penalty or a clip is left out of account.
    """
    normalised = cfg.reward.normalise == "running" and spread.std > TINY
    return repeats.reward_sd / (spread.std if normalised else 1.0)


def select(algo: AlgoConfig, rewards: Rewards, most: int, value_PG: Tensor) -> Selection:
    """The samples to train on: of at most `most` groups that may teach something, those that pass.

    algo.zero_variance_groups decides about groups of equal rewards, algo.filter about samples. A
    filter that nothing passes leaves nothing. value_PG: what it compares (`filtered_by`).
    """
    group_P = torch.ones(len(rewards.score_PG), dtype=torch.bool)
    if algo.zero_variance_groups != "keep":
        group_P = with_signal(rewards.score_PG, rewards.scored_PG)
        group_P &= group_P.cumsum(0) <= most
    seen_PG = rewards.scored_PG & group_P[:, None]
    trained_PG = kept(algo.filter, value_PG, seen_PG)
    groups = trained_PG.any(1).nonzero()[:, 0].tolist()
    return Selection(trained_PG, groups, int(seen_PG.sum()))


def train_batch(
    algo: AlgoConfig,
    logprobs: BatchLogprobs,
    reward_PG: Tensor,
    rewards: Rewards,
    selection: Selection,
    temperature: float,
    kl_coef: float,
    longest: int,
    noise: float = 0.0,
) -> TrainBatch:
    """The batch of the selected groups, whose log-probs are given, with its advantages.

    reward_PG: of all groups, as training sees them. noise: standard deviation of theirs.
    """
    used = selection.groups
    scored_UG, trained_S = rewards.scored_PG[used], selection.trained_PG[used].flatten()
    given = (logprobs, reward_PG[used], scored_UG, kl_coef, noise)
    advantage_ST, _ = compute_advantages(algo, *given)
    in_loss_S1 = trained_S.to(advantage_ST.device)[:, None]
    return TrainBatch(
        logprobs,
        scored_UG.flatten(),
        trained_S,
        torch.where(in_loss_S1, advantage_ST, 0.0),
        temperature,
        kl_coef,
        longest,
    )


def compute_advantages(
    algo: AlgoConfig,
    logprobs: BatchLogprobs,
    reward_UG: Tensor,
    scored_UG: Tensor,
    kl_coef: float,
    noise: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(advantage_ST, mask_ST) of some groups; the mask leaves out samples without a score."""
    mask_ST = whole([m.mask_ST for m in logprobs.micros]).bool()
    mask_ST = mask_ST & scored_UG.flatten().to(mask_ST.device)[:, None]
    penalty_ST = torch.zeros(mask_ST.shape, dtype=torch.float64, device=mask_ST.device)
    if algo.kl == "k1" and kl_coef:
        parts = [(m.old_logp_ST, m.ref_logp_ST) for m in logprobs.micros]
        old_ST = whole([old.double() for old, _ in parts])
        ref_ST = whole([ref.double() for _, ref in parts if ref is not None])
        penalty_ST = kl_coef * k1(old_ST, ref_ST, mask_ST)
    return estimate(algo, reward_UG, scored_UG, penalty_ST, mask_ST, noise), mask_ST

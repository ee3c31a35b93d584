"""The catalogue of metrics: every name that a run records, defined once.

A canonical name is `group/name`. Readers (reports, plots, docs) take unit, meaning and direction
from here; the code that computes a metric carries the same name, and a test holds that every name
in a step record is catalogued. Names under `host` depend on machine and clock and never take part
in a comparison of two runs. What a metric tells and what it does not stands in `metrics.toml`,
values of healthy runs, written by `bench/healthy.py`, in `healthy.toml`. No torch, no numpy.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Direction = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. direction: which way is better; host: depends on machine or clock."""

    name: str
    formula: str
    unit: str = "1"
    direction: Direction = "none"
    low: float | None = 0.0
    high: float | None = None
    host: bool = False


def _frac(name: str, formula: str, direction: Direction = "none") -> Metric:
    return Metric(name, formula, "share", direction, 0.0, 1.0)


def _time(name: str, formula: str) -> Metric:
    return Metric(name, formula, "s", "down", host=True)


_ALL = (
    Metric("step", "batches of rollouts trained on so far; 0 is before training", "steps"),
    Metric("epoch", "prompts drawn so far / problems in the training set", "epochs"),
    Metric("samples", "completions generated for training so far", "samples"),
    Metric("sampled_prompts", "prompts drawn so far, repeats counted", "prompts"),
    Metric("prompts_seen", "distinct problems drawn so far", "problems"),
    Metric("tokens", "completion tokens generated for training so far", "tokens"),
    Metric("batch_samples", "completions of this step, also of groups not trained on", "samples"),
    Metric("batch_tokens", "completion tokens of this step", "tokens"),
    Metric("reward/mean", "mean total over scored samples", "reward", "up"),
    Metric("reward/mean_se", "standard deviation of the group means / sqrt(groups)", "reward"),
    Metric("reward/std", "standard deviation (n - 1) over scored samples", "reward"),
    Metric("reward/within_std", "mean over groups of the standard deviation in a group", "reward"),
    Metric(
        "reward/trained_mean",
        "mean of the rewards as trained on, before a KL",
        "reward",
        "up",
        low=None,
    ),
    Metric(
        "reward/kl_penalty",
        "mean over samples of what the KL to the reference takes off the reward, summed",
        "reward",
        low=None,
    ),
    Metric("reward/between_std", "standard deviation (n - 1) of the group means", "reward"),
    _frac("reward/within_share", "squares around the group means / squares around the mean"),
    Metric(
        "reward/spread",
        "standard deviation of rewards, in groups or over the batch: the source hides which",
        "reward",
    ),
    Metric("reward/best_of_n", "mean over groups of the best total in a group", "reward", "up"),
    Metric(
        "reward/best_of_n_se", "standard deviation of the groups' best / sqrt(groups)", "reward"
    ),
    _frac("reward/end_marker", "mean of the end-marker component", "up"),
    _frac("reward/types", "mean of the type-check component", "up"),
    _frac("reward/compile", "mean of the compile component", "up"),
    _frac("reward/tests", "mean of the tests component (above the best constant)", "up"),
    _frac("reward/penalty", "mean share taken off by length penalties (0 is none)", "down"),
    Metric(
        "component/*",
        "mean of the user's reward component of that name, before its weight",
        low=None,
    ),
    Metric("component_std/*", "standard deviation of that component over the step's samples"),
    Metric("within/*", "mean over groups of that component's standard deviation in a group"),
    Metric("between/*", "standard deviation of that component's group means"),
    _frac("group/zero_std_frac", "groups whose known rewards are all equal / groups", "down"),
    _frac("group/tied_wrong_frac", "groups with equal rewards of 0 or less / groups", "down"),
    _frac("group/tied_right_frac", "groups with equal rewards in which all pass / groups"),
    _frac("group/tied_partial_frac", "other groups with equal rewards / groups", "down"),
    Metric("group/trained", "groups that the update saw", "groups"),
    _frac("group/all_wrong_frac", "groups in which no sample passes / groups", "down"),
    _frac("group/all_right_frac", "groups in which every sample passes / groups"),
    _frac("group/mixed_frac", "groups with both passing and failing samples / groups", "up"),
    _frac("group/distinct_frac", "distinct completions in a group / G, mean over groups"),
    _frac(
        "group/distinct_norm_frac",
        "distinct programs without comments and layout / G, mean over groups",
    ),
    _frac("group/edit_distance", "token edits between two members / the longer, mean over pairs"),
    _frac("verifier/pass_frac", "samples that pass every test / scored samples", "up"),
    _frac("verifier/compile_frac", "samples that compile / scored samples", "up"),
    _frac("verifier/exception_frac", "samples that end in an exception / scored samples", "down"),
    _frac("verifier/limit_frac", "samples cut off at time, memory or output / scored", "down"),
    _frac("verifier/missing_frac", "samples without a score / samples", "down"),
    _frac("filter/kept_frac", "samples that pass algo.filter / scored samples of the batch"),
    Metric("filter/emptied", "1 when no scored sample passes algo.filter, else 0", "1", "down"),
    Metric("mix_share/*", "prompts of this step from the set of that name / prompts", "share"),
    Metric("mix_reward/*", "mean total over its scored samples in this step", "reward", "up"),
    Metric("mix_pass/*", "its samples that pass every test / its scored samples", "share", "up"),
    Metric("curriculum/stage", "stage of the curriculum that this step was drawn from, from 0"),
    Metric("policy/temperature", "temperature of this step's sampling and scoring", "1"),
    Metric(
        "policy/entropy",
        "mean over tokens of the entropy of what they were drawn from",
        "nat",
        "none",
        0.0,
    ),
    Metric("policy/kl_ref", "mean over tokens of k3(policy, reference)", "nat", "down"),
    Metric(
        "policy/kl_ref_sequence",
        "mean over samples of the summed k1 to the reference",
        "nat",
        low=None,
    ),
    Metric("policy/kl_coef", "weight of the KL to the reference in this step", "1"),
    Metric("policy/kl_old", "mean over the last pass's tokens of k3(before, after)", "nat", "down"),
    Metric(
        "policy/ratio_max_first_pass",
        "max over tokens of |exp(trainer - its own log-prob pass) - 1| + 1 before the first update",
        "ratio",
    ),
    Metric(
        "policy/sampler_logp_mean", "mean over tokens of the sampler's log-prob", "nat", low=None
    ),
    Metric(
        "policy/trainer_logp_mean",
        "mean over tokens of the log-prob pass's log-prob",
        "nat",
        low=None,
    ),
    Metric(
        "policy/nll_minus_entropy",
        "-policy/trainer_logp_mean - policy/entropy",
        "nat",
        low=None,
    ),
    Metric(
        "policy/nll_minus_entropy_z",
        "mean over samples of the summed (-log-prob - entropy) / its standard error",
        "standard errors",
        low=None,
    ),
    _frac("policy/mismatch_ess", "(sum w)^2 / (tokens * sum w^2), w = p_trainer / p_sampler", "up"),
    Metric("policy/ratio_mean", "mean over tokens of the ratio that the loss takes", "ratio"),
    _frac("policy/clip_low_frac", "tokens clipped from below / tokens"),
    _frac("policy/clip_high_frac", "tokens clipped from above / tokens"),
    Metric("value/loss", "mean over tokens of the critic's loss", "1", "down"),
    _frac("value/clip_frac", "tokens whose value was clipped / tokens"),
    Metric(
        "value/explained_variance",
        "1 - Var(return - value) / Var(return)",
        "1",
        "up",
        None,
        1.0,
    ),
    _frac("preference/accuracy", "pairs whose chosen answer scores higher / pairs", "up"),
    Metric("preference/margin", "mean over pairs of chosen - rejected score", "1", "up", low=None),
    Metric("preference/pairs", "pairs behind the accuracy", "pairs"),
    _frac("preference/tie_frac", "pairs with equal scores / pairs", "down"),
    Metric("preference/chosen_reward", "mean score of the chosen answers", "1", low=None),
    Metric("preference/rejected_reward", "mean score of the rejected answers", "1", low=None),
    Metric("preference/chosen_logp", "mean summed log-prob of the chosen", "nat", low=None),
    Metric("preference/rejected_logp", "mean summed log-prob of the rejected", "nat", low=None),
    Metric("policy/nonfinite", "tokens with a log-prob that is not finite", "tokens", "down"),
    Metric(
        "policy/staleness",
        "mean over samples of the optimiser steps since the weights that sampled",
        "steps",
        "down",
    ),
    Metric("policy/sampler_diff_mean", "mean |trainer - sampler log-prob| over tokens", "nat"),
    Metric("policy/sampler_diff_max", "max |trainer - sampler log-prob| over tokens", "nat"),
    Metric("policy/sampler_prob_diff_mean", "mean |trainer - sampler probability| over tokens"),
    Metric(
        "policy/mismatch_kl",
        "mean over tokens of a KL between sampler and trainer; the source says which estimator",
        "nat",
        low=None,
    ),
    Metric("policy/mismatch_factor", "mean over tokens of exp |trainer - sampler log-prob|"),
    _frac("policy/clip_frac", "tokens whose clip was active / tokens, over all passes"),
    Metric(
        "loss/total",
        "surrogate + KL - entropy bonus, by algo.normaliser, mean over updates",
        "1",
        low=None,
    ),
    Metric("advantage/std", "standard deviation (n - 1) over tokens of the advantage", "1"),
    Metric("advantage/abs_max", "largest |advantage| of a token", "1"),
    Metric("optim/grad_norm", "global gradient norm before clipping, mean over updates", "1"),
    Metric("optim/lr", "learning rate of the last update", "1"),
    _frac("optim/lr_frac", "optim/lr / the peak learning rate"),
    Metric("optim/update_norm", "norm of the change of the trained weights in the step", "1"),
    Metric("optim/update_ratio", "optim/update_norm / norm of the weights before", "ratio"),
    _frac("optim/unchanged_frac", "trained numbers that kept their exact value / all", "down"),
    Metric("optim/steps", "optimiser steps so far", "steps"),
    Metric("length/mean", "mean tokens of a completion", "tokens"),
    Metric("length/max", "most tokens of a completion", "tokens"),
    Metric("length/min", "fewest tokens of a completion", "tokens"),
    Metric("length/terminated_mean", "mean tokens of the completions that ended", "tokens"),
    _frac("length/repetition_frac", "completions that repeat themselves / samples", "down"),
    _frac("length/truncated_frac", "completions cut at max_tokens / samples", "down"),
    _frac("length/eos_frac", "completions whose last token is an end-of-sequence / samples"),
    Metric("length/prompt_mean", "mean tokens of a prompt", "tokens"),
    _frac("length/prompt_eos_frac", "prompts whose last token ends completions / prompts", "down"),
    _frac("eval/pass_at_1", "mean over probe problems of passes / samples", "up"),
    Metric("eval/pass_at_1_se", "standard error of eval/pass_at_1 over problems", "share"),
    Metric(
        "eval/success", "mean over probe problems of what eval.success names", "1", "up", low=None
    ),
    Metric("eval/success_se", "standard error of eval/success over problems"),
    Metric("eval/gain", "eval/success - the same problems at the start", "1", "up", low=None),
    Metric(
        "eval/gain_low",
        "lower end of the paired 95% interval of eval/gain",
        "share",
        "up",
        low=None,
    ),
    Metric(
        "eval/gain_high",
        "upper end of the paired 95% interval of eval/gain",
        "share",
        "up",
        low=None,
    ),
    Metric("eval/reward_mean", "mean total over held-out samples", "reward", "up", low=None),
    Metric("eval/reward_mean_se", "standard error of eval/reward_mean over problems", "reward"),
    Metric("eval/loss", "the loss on held-out data", "1", "down", low=None),
    _frac("eval/preference_accuracy", "preference/accuracy on held-out pairs", "up"),
    Metric("eval/preference_margin", "preference/margin on held-out pairs", "1", "up", low=None),
    Metric("eval/preference_pairs", "held-out pairs behind eval/preference_accuracy", "pairs"),
    _frac("eval/greedy_pass_at_1", "problems whose greedy completion passes / problems", "up"),
    _frac("eval/families_pass_at_1", "eval/pass_at_1 on the held-out families", "up"),
    Metric("eval/greedy_success", "eval/success of greedy completions", "1", "up", low=None),
    Metric("eval/families_success", "eval/success on the held-out families", "1", "up", low=None),
    _frac(
        "eval/trained_frac",
        "problems of the newest evaluation that recent training samples stand for / problems",
        "down",
    ),
    _frac("eval/missing_frac", "evaluation samples without a score / samples", "down"),
    Metric("eval/problems", "problems evaluated", "problems"),
    Metric("epoch/reward_mean", "mean of reward/mean over the epoch's steps", "reward", "up"),
    Metric(
        "epoch/reward_mean_se", "standard error of epoch/reward_mean from the steps' own", "reward"
    ),
    Metric("epoch/best_of_n", "mean of reward/best_of_n over the epoch's steps", "reward", "up"),
    Metric("epoch/best_of_n_se", "standard error of epoch/best_of_n from the steps' own", "reward"),
    Metric("epoch/loss", "mean of loss/total over the epoch's steps", "1", low=None),
    Metric("epoch/emptied_steps", "steps of the epoch with filter/emptied", "steps", "down"),
    Metric("epoch/samples", "samples of the epoch", "samples"),
    Metric("epoch/tokens", "completion tokens of the epoch", "tokens"),
    Metric(
        "epoch/gain_per_1000_samples",
        "(eval/pass_at_1 now - at the epoch's start) / samples of the epoch * 1000",
        "share",
        "up",
        low=None,
    ),
    _time("time/step_s", "wall clock of the step, evaluation and checkpoint aside"),
    _time("time/generate_s", "wall clock of generation"),
    _time("time/score_wait_s", "wall clock waiting for scores after generation ended"),
    _time("time/update_s", "wall clock of log-prob pass, forward, backward and optimiser"),
    _time("time/eval_s", "wall clock of evaluation"),
    _time("epoch/generate_s", "wall clock of generation in the epoch"),
    _time("epoch/score_wait_s", "wall clock waiting for scores in the epoch"),
    _time("epoch/update_s", "wall clock of updates in the epoch"),
    _time("epoch/eval_s", "wall clock of evaluation in the epoch"),
    Metric("speed/tokens_per_s", "completion tokens / time/step_s", "tokens/s", "up", host=True),
    Metric("verifier/cached_frac", "scores taken from the cache / scores", "share", host=True),
    Metric("verifier/time_ms_mean", "mean wall clock of a check", "ms", "down", host=True),
    Metric("memory/peak_mb", "peak resident memory of the trainer", "MiB", "down", host=True),
    Metric("memory/resident_mb", "resident memory after the step", "MiB", "down", host=True),
    Metric(
        "memory/slope_mb",
        "least-squares slope of memory/resident_mb over this process's last 20 steps",
        "MiB/step",
        "down",
        low=None,
        host=True,
    ),
)

CATALOGUE: dict[str, Metric] = {m.name: m for m in _ALL}
"""Canonical name -> definition."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a metric tells, and the mistake that it invites."""

    tells: str
    trap: str


@dataclass(frozen=True, slots=True)
class HealthyRun:
    """Values in one healthy run: medians of its first and last (at most ten), and the extremes."""

    source: str
    first: float
    last: float
    low: float
    high: float


@cache
def words() -> dict[str, Words]:
    """Canonical name -> words, for every catalogued metric."""
    return {name: Words(**row) for name, row in _table("metrics.toml").items()}


@cache
def healthy_runs() -> dict[str, tuple[HealthyRun, ...]]:
    """Canonical name -> values of healthy runs; names that none of them recorded are left out."""
    found: dict[str, tuple[HealthyRun, ...]] = {}
    for source, rows in _table("healthy.toml").items():
        for name, values in rows.items():
            found[name] = (*found.get(name, ()), HealthyRun(source, *values))
    return found


def _table(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))

"""Everything that a run needs, opened in the order in which it can fail cheapest.

Problems and prompts first, then the model, the scorers, and the calibration of the reward; nothing
is generated before the reward is proved. Left out: the loop itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain

import torch

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models.optim import make_optimizer
from pawl.models.policy import Policy, freeze_reference, load_policy, trainable
from pawl.models.text import PromptEncoder
from pawl.problems.load import Prepared, ProblemSet, labels, prepare
from pawl.rewards.audit import audit_prepared
from pawl.rewards.calibrate import Repaid, allowed, calibrate, require
from pawl.rewards.compose import components_of
from pawl.rewards.pool import ScorerPool
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.select import make_engine
from pawl.store.display import Display
from pawl.store.parent import Origin, parent_of
from pawl.store.run import RunFolder
from pawl.store.versions import data_version, reward_version
from pawl.train.companion import Companion
from pawl.train.curriculum import described, pools_of, stage_reward
from pawl.train.data import Pool, chosen, total_steps
from pawl.train.rules import check_names
from pawl.types import Problem


@dataclass(slots=True)
class Session:
    """The open parts of one run. total: its length in steps, counted from origin.

    pools: what each stage draws, at least one. sets: short names of a mix, empty without one.
    """

    cfg: RunConfig
    run: RunFolder
    display: Display
    policy: Policy
    engine: Engine
    encoder: PromptEncoder
    pool: ScorerPool
    train: ProblemSet
    pools: tuple[Pool, ...]
    sets: tuple[str, ...]
    held_out: Sequence[Problem]
    families: Sequence[Problem]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    total: int
    origin: Origin
    companion: Companion

    @property
    def total_updates(self) -> int:
        """Length of the run in optimiser steps, for the learning-rate schedule."""
        n = self.cfg.algo.minibatches * self.cfg.algo.epochs
        return self.origin.updates + (self.total - self.origin.step) * n

    @property
    def params(self) -> SamplingParams:
        """Training's sampling at its first temperature; the trainer replays what it truncates."""
        r = self.cfg.rollout
        return SamplingParams(r.temperature, r.max_tokens, r.stop, r.top_p, r.top_k, replay=True)


@contextmanager
def open_session(cfg: RunConfig, run: RunFolder, display: Display) -> Iterator[Session]:
    """Open all parts of a run; raises PawlError before any work when one cannot be had."""
    check_names(cfg.rules, cfg.target)
    parent = parent_of(run.facts())
    origin = parent.origin if parent else Origin()
    torch.set_num_threads(cfg.train.threads or os.cpu_count() or 1)
    display.phase("problems")
    data = prepare(cfg.problems, cfg.seed)
    for line in data.report:
        display.note(line)
    if cfg.problems.audit and any(c.use == "code" for c in components_of(cfg.reward)):
        data = audited(data, cfg, run, display)
    pools = pools_of(data.train, cfg)
    sets = tuple(labels([row.set for row in cfg.problems.mix]))
    for line in described(cfg, pools, sets):
        display.note(line)
    display.phase("model")
    policy = load_policy(cfg.model, cfg.seed)
    for note in policy.notes:
        display.note(note)
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt)
    check_prompts(encoder, chain(data.train, data.held_out, data.held_out_families))
    if cfg.algo.kl_coef > 0 and not policy.lora:
        freeze_reference(policy)
    engine, note = make_engine(policy, cfg.rollout.engine, cfg.rollout.batch, longest_row(cfg))
    if note:
        display.note(note)
    display.phase("reward")
    cache = run.path / "scores.sqlite" if cfg.reward.cache else None
    with (
        ScorerPool(cfg.reward, cfg.sandbox, cache, cfg.sandbox.workers) as pool,
        closing(Companion(run, display)) as companion,
    ):
        run.event("sandbox", **pool.describe())
        record_versions(run, data, cfg)
        run.update(sandbox=pool.describe())
        rows = allowed(calibrated(pool, data.train, cfg), cfg.train.override)
        run.preflight([asdict(row) for row in rows])
        require(rows)
        yield Session(
            cfg=cfg,
            run=run,
            display=display,
            policy=policy,
            engine=engine,
            encoder=encoder,
            pool=pool,
            train=data.train,
            pools=pools,
            sets=sets,
            held_out=chosen(data.held_out, cfg.eval.problems, cfg.eval.seed),
            families=chosen(data.held_out_families, cfg.eval.problems, cfg.eval.seed),
            optimizer=make_optimizer(trainable(policy), cfg.optim),
            scaler=torch.amp.GradScaler("cuda", enabled=policy.dtype == torch.float16),
            total=total_steps(cfg, len(data.train), origin),
            origin=origin,
            companion=companion,
        )


def longest_row(cfg: RunConfig) -> int:
    """The most tokens that a prompt and its completion can have, in training or evaluation."""
    return cfg.prompt.max_tokens + max(cfg.rollout.max_tokens, cfg.eval.sampling.max_tokens)


def audited(data: Prepared, cfg: RunConfig, run: RunFolder, display: Display) -> Prepared:
    """The problems without those that the executed audit found bad; names each in the events."""
    display.phase("audit")
    left, reports = audit_prepared(data, cfg.sandbox, display.note)
    for report in reports:
        run.event("audit", **report.json())
        for line in report.text().splitlines():
            display.note(line)
    return left


def calibrated(pool: ScorerPool, train: Sequence[Problem], cfg: RunConfig) -> list[Check]:
    """The reward's calibration, and that of each stage of the curriculum that pays otherwise."""
    rows = calibrate(pool, train, cfg)
    for k, stage in enumerate(cfg.curriculum):
        reward = stage_reward(cfg, k)
        if reward is not None:
            own = cfg.model_copy(update={"reward": reward})
            found = calibrate(Repaid(pool, reward, stage.name), train, own)
            rows += [replace(row, name=f"{row.name} (stage {stage.name})") for row in found]
    return rows


def record_versions(run: RunFolder, data: Prepared, cfg: RunConfig) -> None:
    """Versions of problems and reward into run.json; refuses to resume a run on other ones."""
    held_out = chain(data.held_out, data.held_out_families)
    versions: dict[str, object] = {
        "data": {"train": data_version(data.train), "held_out": data_version(held_out)},
        "reward": reward_version(cfg.reward),
    }
    known = run.facts()
    for name, version in versions.items():
        if name in known and known[name] != version:
            raise PawlError(
                f"the {name} is not what this run began with: {known[name]} is now {version}",
                str(run.path),
                "put the old files back, or start a new run",
            )
    run.update(**versions)


def check_prompts(encoder: PromptEncoder, problems: Iterable[Problem]) -> None:
    """Encode every prompt once; raises all errors (too long, no chat template) together."""
    errors = []
    for problem in problems:
        try:
            encoder.encode(problem)
        except PawlError as e:
            errors.append(e)
            if len(errors) == 5:
                break
    if errors:
        raise PawlErrors(errors)

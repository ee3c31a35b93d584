"""Everything that a run needs, opened in the order in which it can fail cheapest.

First what needs no work: names of metrics, device, model folder, lengths, prompt template, the
reward's file. Then problems and their audit. Then, side by side, the model with every prompt, and
the grader with its calibration: the reward is proved in worker processes while the model is read.
Nothing is generated before both are there. Left out: the loop itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice

import torch

from pawl.checks import overridden, require_checks
from pawl.config.options import RunConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models import limits
from pawl.models.learner import POLICY, Learner, make_learner
from pawl.models.policy import Policy, freeze_reference, load_policy
from pawl.models.text import PromptEncoder, read_template
from pawl.problems.load import Prepared, ProblemSet, labels, prepare
from pawl.rewards.calibrate import CALIBRATION, Calibration, require
from pawl.rewards.grader import Grader, has_tests, open_rewards
from pawl.rewards.user import UserReward
from pawl.rollout.engine import Engine, SamplingParams
from pawl.rollout.select import make_engine
from pawl.store.display import Display
from pawl.store.facts import data_version, reward_version
from pawl.store.manifest import Origin, date_of, parent_of
from pawl.store.run import RunFolder
from pawl.train.companion import Companion
from pawl.train.curriculum import described, pools_of
from pawl.train.data import Pool, chosen, total_steps
from pawl.train.judge_health import JudgeHealth
from pawl.train.proved import Basis, Proved, audited, calibrated
from pawl.train.rules import check_names
from pawl.train.success import Success, require_success, success_of
from pawl.train.teacher import ledger_name, opened_judge, require_judge, require_references
from pawl.types import Problem

TOGETHER = 512  # prompts that are encoded in one call
FIRST_S = 3.0  # for a user's reward to be calibrated before the model is read beside it


@dataclass(slots=True)
class Session:
    """The open parts of one run. total: its length in steps, counted from origin.

    pools: what each stage draws, at least one. sets: short names of a mix, empty without one.
    learners: what trains, the policy first. calibration: scores of known answers. health: of the
    judge, where there is one.
    """

    cfg: RunConfig
    run: RunFolder
    display: Display
    policy: Policy
    learners: tuple[Learner, ...]
    engine: Engine
    encoder: PromptEncoder
    grader: Grader
    calibration: Calibration
    success: Success
    train: ProblemSet
    pools: tuple[Pool, ...]
    sets: tuple[str, ...]
    held_out: Sequence[Problem]
    families: Sequence[Problem]
    total: int
    origin: Origin
    companion: Companion
    health: JudgeHealth | None

    @property
    def learner(self) -> Learner:
        """The policy's."""
        return self.learners[0]

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
def open_session(
    cfg: RunConfig,
    run: RunFolder,
    display: Display,
    function: Callable[..., object] | None = None,
) -> Iterator[Session]:
    """Open all parts of a run; raises PawlError before any work when one cannot be had.

    function: a callable in place of reward.use.
    """
    tested = has_tests(cfg.reward)
    rewards, room = before_work(cfg, function)
    parent = parent_of(run.facts())
    origin = parent.origin if parent else Origin()
    torch.set_num_threads(cfg.train.threads or os.cpu_count() or 1)
    display.phase("problems")
    data = prepare(cfg.problems, cfg.seed, tested=tested)
    for line in data.report:
        display.note(line)
    require_references(cfg, data.train, chain(data.held_out, data.held_out_families))
    proved = Proved(run, display)
    if cfg.problems.audit and tested:
        data = audited(data, cfg, run, display, proved)
    pools = pools_of(data.train, cfg)
    sets = tuple(labels([row.set for row in cfg.problems.mix]))
    for line in described(cfg, pools, sets):
        display.note(line)
    cache = run.path / "measurements.sqlite" if cfg.reward.cache else None
    with ExitStack() as stack:
        display.phase("model and reward")
        judge = stack.enter_context(opened_judge(cfg, ledger_name(run, cfg), display))
        background = stack.enter_context(ThreadPoolExecutor(1, "calibration"))

        def graded() -> tuple[Grader, tuple[Calibration, Basis | None, bool]]:
            opened = Grader(cfg.reward, cfg.sandbox, cache, function, rewards, judge)
            grader = stack.enter_context(opened)
            return grader, calibrated(grader, data, cfg, proved)

        grading = background.submit(graded)
        if rewards and wait([grading], FIRST_S).done:  # its mistakes show in its first calls
            grading.result()
        policy = load_policy(cfg.model, cfg.seed)
        for note in policy.notes:
            display.note(note)
        encoder = opened_encoder(policy, cfg, run)
        longest = check_prompts(encoder, chain(data.train, data.held_out, data.held_out_families))
        note_room(longest + cfg.rollout.max_tokens, room, display)
        if cfg.algo.kl_coef > 0 and not policy.lora:
            freeze_reference(policy)
        engine = opened_engine(policy, cfg, display)
        grader, (calibration, basis, anew) = grading.result()
        run.event("sandbox", **grader.describe())
        record_versions(run, data, cfg)
        run.update(sandbox=grader.describe())
        require_calibration(calibration, basis, anew, cfg, run, proved)
        yield Session(
            cfg=cfg,
            run=run,
            display=display,
            policy=policy,
            learners=(make_learner(POLICY, policy, cfg.optim, policy.dtype),),
            engine=engine,
            encoder=encoder,
            grader=grader,
            calibration=calibration,
            success=success_of(cfg, grader),
            train=data.train,
            pools=pools,
            sets=sets,
            held_out=chosen(data.held_out, cfg.eval.problems, cfg.eval.seed),
            families=chosen(data.held_out_families, cfg.eval.problems, cfg.eval.seed),
            total=total_steps(cfg, len(data.train), origin),
            origin=origin,
            companion=stack.enter_context(closing(Companion(run, display))),
            health=JudgeHealth(judge, cfg, data.train) if judge else None,
        )


def require_calibration(
    calibration: Calibration,
    basis: Basis | None,
    anew: bool,
    cfg: RunConfig,
    run: RunFolder,
    proved: Proved,
) -> None:
    """Raise PawlError for a reward that is refused; what was proved anew is recorded and kept."""
    rows = overridden(calibration.checks, cfg.train.override, CALIBRATION)
    if anew:
        run.preflight([asdict(row) for row in rows])
    require(rows)
    if anew:
        proved.keep(CALIBRATION, basis, asdict(calibration))


def before_work(
    cfg: RunConfig, function: Callable[..., object] | None
) -> tuple[dict[str, UserReward], int | None]:
    """What can be refused at no cost, cheapest first -> the user's rewards, the model's positions.

    Raises PawlError.
    """
    check_names(cfg.rules, cfg.target)
    require_checks(cfg.train.override)
    require_success(cfg)
    require_judge(cfg)
    if cfg.prompt.template:
        read_template(cfg.prompt.template)
    limits.require_device(cfg.model)
    rewards = open_rewards(cfg.reward, function)
    model = limits.require_model(cfg.model)
    limits.require_positions(model, cfg)
    limits.require_memory(model, cfg)
    return rewards, limits.positions(model)


def opened_encoder(policy: Policy, cfg: RunConfig, run: RunFolder) -> PromptEncoder:
    """The encoder of a run, with the day that its chat template prints on the record."""
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt, date_of(run.facts()))
    if encoder.reads_date:
        run.update(date=encoder.date.isoformat())
    return encoder


def opened_engine(policy: Policy, cfg: RunConfig, display: Display) -> Engine:
    """The engine, with room for the longest prompt and completion of training and evaluation."""
    longest = cfg.prompt.max_tokens + max(cfg.rollout.max_tokens, cfg.eval.sampling.max_tokens)
    engine, note = make_engine(policy, cfg.rollout.engine, cfg.rollout.batch, longest)
    if note:
        display.note(note)
    return engine


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


def note_room(most: int, room: int | None, display: Display) -> None:
    """Say when a prompt and its completion may need more positions than the model has."""
    if room is not None and most > room:
        what = f"the longest prompt and completion may have {most} tokens together"
        display.note(f"{what}, more than the model's {room} positions")


def check_prompts(encoder: PromptEncoder, problems: Iterable[Problem]) -> int:
    """Encode every prompt once -> tokens of the longest.

    Raises the first errors (too long, no chat template) together.
    """
    rest, longest = iter(problems), 0
    while part := list(islice(rest, TOGETHER)):
        try:
            longest = max(longest, *map(len, encoder.encode_many(part)))
        except PawlError:
            raise PawlErrors(list(islice(prompt_errors(encoder, chain(part, rest)), 5))) from None
    return longest


def prompt_errors(encoder: PromptEncoder, problems: Iterable[Problem]) -> Iterator[PawlError]:
    """What is wrong with each prompt that cannot be encoded."""
    for problem in problems:
        try:
            encoder.encode(problem)
        except PawlError as e:
            yield e

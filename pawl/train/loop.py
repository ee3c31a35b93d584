"""The loop: sample, measure and pay, advantage, update; then what is due after the step.

    problems_P -> engine.generate -> score -> reward_PG -> advantage_ST -> update

P prompts, G group members, S samples, T tokens. There is one loop for every estimator. Left out:
opening the parts (`session.py`), what is recorded of a step (`step.py`), what is due between
steps (`after_step.py`), evaluation (`evaluate.py`). Run: `pawl train CONFIG`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pawl.config.options import RunConfig
from pawl.errors import Exit, PawlError
from pawl.models.optim import lr_at
from pawl.store.display import Display
from pawl.store.manifest import differences
from pawl.store.run import RunFolder
from pawl.train.after_step import after_step, finish, save
from pawl.train.batch import (
    filtered_by,
    noise_of,
    rewards_of,
    select,
    shaped_rewards,
    train_batch,
)
from pawl.train.control import interrupts
from pawl.train.data import temperature_at
from pawl.train.logprob_pass import log_prob_pass
from pawl.train.plan import plan
from pawl.train.progress import Progress, TrainResult
from pawl.train.rollouts import gather, payment_of
from pawl.train.session import Session, open_session
from pawl.train.start import evaluate_baseline, newest, restore
from pawl.train.step import StepResult, record_step
from pawl.train.update import update

Prove = Callable[[Session, Progress], object]


def train(
    cfg: RunConfig,
    run: RunFolder,
    display: Display,
    resume: bool,
    prove: Prove,
    reward: Callable[..., object] | None = None,
) -> TrainResult:
    """Run to the end, a target, a rule, an interrupt or an error; always leaves a resumable run.

    prove: the preflight (`pawl.preflight.prove`), called once before anything is trained. reward:
    a callable in place of reward.use.
    """
    found = newest(run) if resume else None
    with open_session(cfg, run, display, reward) as s, interrupts() as seen:
        display.start(cfg, s.total, differences(cfg, {}))
        progress = restore(s, found)
        display.note(plan(s).text())
        prove(s, progress)
        if not progress.records:
            evaluate_baseline(s, progress)
        with resumable():
            while progress.state.step < s.total and progress.outcome is None:
                try:
                    result = train_step(s, progress)
                except PawlError as e:
                    if cfg.algo.minibatches * cfg.algo.epochs == 1:
                        run.event("stopped", step=progress.state.step, reason=e.what)
                        save(s, progress)  # no update of this step was applied: keep what was won
                    raise
                after_step(s, progress, record_step(s, progress, result), seen)
            return finish(s, progress)


@contextmanager
def resumable() -> Iterator[None]:
    """Whatever a person can cure leaves a run that has begun resumable, a broken reward too."""
    try:
        yield
    except PawlError as e:
        e.code = Exit.STOPPED
        raise


def train_step(s: Session, progress: Progress) -> StepResult:
    """One step: P prompts, G samples each, one batch of optimiser updates."""
    began, step = time.perf_counter(), progress.state.step + 1
    algo, rollout, coef = s.cfg.algo, s.cfg.rollout, progress.state.kl_coef
    temperature = temperature_at(step, s.total, rollout.temperature, rollout.temperature_end)

    s.display.phase("sampling")
    if s.health is not None:
        s.health.ask(step)
    rollouts = gather(
        s, progress.stage, progress.prompts_by_stage[progress.stage], step, temperature
    )
    if s.health is not None:
        s.health.repeat(step, rollouts.measured)
    rewards = rewards_of(rollouts, rollout.group_size)
    state = progress.state
    reward_PG, spread, strata = shaped_rewards(s.cfg, rewards, state.spread, state.strata)
    value_PG = filtered_by(s.cfg, rewards, reward_PG)
    selection = select(algo, rewards, rollout.prompts, value_PG)

    s.display.phase("updating")
    updating = time.perf_counter()
    groups = [rollouts.groups[i] for i in selection.groups]
    micro_batch, reference = s.cfg.train.micro_batch, coef > 0
    logprobs = log_prob_pass(
        s.policy, groups, temperature, algo.minibatches, micro_batch, reference
    )
    noise = noise_of(s.cfg, progress.state.repeats, spread)
    given = (reward_PG, rewards, selection, temperature, coef, rollout.max_tokens, noise)
    batch = train_batch(algo, logprobs, *given)
    checked = None  # before the update: a judge that fails here leaves a step to be done anew
    if s.health is not None:
        paid = payment_of(s, progress.stage)
        found = (rollouts.measured, progress.state.repeats)
        checked = s.health.finish(step, *found, paid.reward, paid.stage)
    n, done = algo.minibatches * algo.epochs, progress.state.updates
    lrs = [lr_at(done + i, s.total_updates, progress.optim) for i in range(n)]
    stats = update(s.policy, s.learner, batch, lrs, algo, progress.optim.max_grad_norm)
    s.engine.sync_weights(s.policy, done + stats.updates)
    now = time.perf_counter()
    lr = lrs[max(0, stats.updates - 1)]
    return StepResult(
        step, rollouts, reward_PG, spread, strata, selection, batch, stats, lr, now - updating,
        now - began, checked,
    )  # fmt: skip

"""Preflight: every run is proved before its first step, at start, resume and fork.

Data, scores, groups, text, rows, log-probs, update, engine and schedule are each held against what
any healthy run must show; `checks.CAUSES` names what a violation points to. Exact invariants refuse
the run; statistics warn, and refuse past a stated limit; `train.override` lets a run start by the
name of a check, and says so in its record. A run is bit-identical with and without. Left out: the
reward's own probes (`pawl.rewards.calibrate`), which run when the session opens.

Run: `pawl check CONFIG`, or any `pawl train`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict

import torch

from pawl.checks import Check, overridden, require_passed
from pawl.preflight import base, data, samples, update
from pawl.train.progress import Progress
from pawl.train.session import Session
from pawl.types import Problem

PROMPTS = 500  # training problems whose prompts are read


def prove(s: Session, progress: Progress) -> list[str]:
    """Check everything and write preflight.jsonl; raises PawlError (exit 2) when refused.

    Returns what to do about a weak base, nothing for a good one.
    """
    began = time.perf_counter()
    s.display.phase("preflight")
    rows, able = run_checks(s, progress)
    checks = overridden(rows, s.cfg.train.override)
    s.run.preflight([asdict(check) | {"step": progress.state.step} for check in checks])
    seconds = time.perf_counter() - began
    failed = [c for c in checks if c.passed is False]
    s.run.event(
        "preflight",
        step=progress.state.step,
        held=sum(c.passed is True for c in checks),
        failed=[c.name for c in failed if not c.overridden],
        overridden=[c.name for c in failed if c.overridden],
        host={"time_s": seconds},
    )
    require_passed(checks)
    for check in failed:
        word = "overridden" if check.overridden else "warning"
        s.display.note(f"preflight, {word}: {check.name}: {check.observed} ({check.meaning})")
    if able is not None:
        s.display.note(able.text())
    advice = [] if able is None else able.advice()
    for line in advice:
        s.display.note(f"the base is weak for these problems: {line}")
    return advice


def run_checks(s: Session, progress: Progress) -> tuple[list[Check], base.Capability | None]:
    """All checks, causes before their consequences, and what the base can do."""
    cfg, half = s.cfg, s.policy.dtype in (torch.bfloat16, torch.float16)
    held_out = [*s.held_out, *s.families]
    s.engine.sync_weights(s.policy, progress.state.updates)
    asked = rendered(s, held_out)
    checks = [*data.of_data(s.train, held_out, s.pools, cfg.seed, asked)]
    checks.append(update.of_load(s, progress))
    found = samples.sample(s, progress)
    checks.append(base.of_disk(s, found, progress.state.step))
    if s.health is not None:
        checks += s.health.checks(progress.records[-1] if progress.records else {})
    checks.append(samples.of_mask(found))
    if not found.logprobs.tokens:  # of none nothing further can be measured
        return checks, None
    prompts = s.encoder.encode_many([group.problem for group in found.rollouts.groups])
    checks += samples.of_scores(s, found)
    checks += samples.of_reward(found)
    checks += samples.of_groups(s, found, prompts)
    checks += samples.of_text(s, found, prompts)
    checks += samples.of_engine(s)
    checks += samples.of_rows(s, found, half)
    checks += samples.of_policy(found, half)
    checks += update.of_update(s, found, progress, half)
    checks.append(update.of_schedule(cfg, s.total_updates))
    able = base.capability(found.rollouts, cfg.rollout.group_size)
    checks += base.of_base(s, found, able)
    return checks, able


def rendered(s: Session, held_out: Sequence[Problem]) -> list[tuple[str, Problem]]:
    """What the model reads of a seeded choice of training problems, and of all held-out ones."""
    places = random.Random(f"{s.cfg.seed}/prompts").sample(
        range(len(s.train)), min(len(s.train), PROMPTS)
    )
    chosen = [s.train[i] for i in sorted(places)]
    return [(s.encoder.render(p), p) for p in (*chosen, *held_out)]

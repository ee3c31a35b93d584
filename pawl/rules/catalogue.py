"""Every rule of the doctor, by code.

Left out: the rules themselves, which stand with their kin in the other files of this folder, and
what a diagnosis makes of their findings (`pawl.doctor.diagnose`).
"""

from __future__ import annotations

from pawl.rules import (
    components,
    data,
    diversity,
    entropy,
    evaluation,
    events,
    gradient,
    groups,
    held_out,
    kl,
    length,
    log,
    loss,
    margins,
    mismatch,
    misread_metrics,
    optim,
    pairs,
    policy,
    ppo,
    preference,
    progress,
    reward,
    reward_distribution,
    reward_regression,
    samples,
    schedule,
    series,
    system,
    text,
    value,
    wiring,
    zero_variance,
)
from pawl.rules.rule import Rule

MODULES = (
    series,
    log,
    wiring,
    samples,
    reward,
    components,
    reward_distribution,
    reward_regression,
    progress,
    misread_metrics,
    zero_variance,
    groups,
    diversity,
    policy,
    kl,
    entropy,
    mismatch,
    length,
    text,
    schedule,
    optim,
    gradient,
    loss,
    value,
    ppo,
    preference,
    pairs,
    margins,
    held_out,
    data,
    evaluation,
    events,
    system,
)
RULES: tuple[Rule, ...] = tuple(
    sorted(
        (value for module in MODULES for value in vars(module).values() if isinstance(value, Rule)),
        key=lambda rule: rule.code,
    )
)

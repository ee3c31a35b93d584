"""Every rule of the doctor, by code.

Left out: the rules themselves, which stand with their kin in the other files of this folder, and
what a diagnosis makes of their findings (`pawl.doctor.diagnose`).
"""

from __future__ import annotations

from pawl.rules import (
    data,
    evaluation,
    groups,
    kl,
    length,
    log,
    loss,
    mismatch,
    optimisation,
    policy,
    ppo,
    preference,
    progress,
    reward,
    reward_distribution,
    samples,
    series,
    system,
    text,
    wiring,
)
from pawl.rules.rule import Rule

MODULES = (
    series,
    log,
    wiring,
    samples,
    reward,
    reward_distribution,
    progress,
    groups,
    policy,
    kl,
    mismatch,
    length,
    text,
    loss,
    optimisation,
    ppo,
    preference,
    data,
    evaluation,
    system,
)
RULES: tuple[Rule, ...] = tuple(
    sorted(
        (value for module in MODULES for value in vars(module).values() if isinstance(value, Rule)),
        key=lambda rule: rule.code,
    )
)

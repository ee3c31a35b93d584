"""Rules about what stands in a group: one completion many times, rows of several prompts.

Codes D305 and D309. Left out: the rewards of groups (`groups`), entropy (`entropy`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from pawl.rules import prescribe
from pawl.rules.finding import Finding
from pawl.rules.rule import found, rule
from pawl.rules.run_features import gains, high
from pawl.rules.signals import Signals

FEW, HARDLY = 0.5, 0.3  # distinct completions of a group, as a share
FALLEN = 0.75  # of the share at first: less is a collapse


@rule(
    "D305", "collapse-within-a-prompt", "group/distinct_norm_frac|group/distinct_frac", proof="real"
)
def collapse_within_a_prompt(s: Signals) -> Iterator[Finding]:
    """The completions of one prompt became the same.

    What: distinct completions in a group fell significantly and by a quarter, to below half; with
    fewer than 30% distinct and no gain it is a fault, beside a gain it is sharpening.
    Why it matters: equal completions explore nothing and tie.
    Evidence needed: the share of distinct completions of the same prompt.
    Traps: short answers repeat in health; solved problems have few ways to be right; similarity
    between different prompts, and ties of rewards, say nothing about it.
    Fix: back to the last checkpoint with spread; a lower learning rate, or a higher temperature.
    Source: DAPO (Yu et al. 2025), section 3.1; Cui et al. 2025 (entropy is spent for reward).
    Causes: policy-collapsed, premature-convergence.
    """
    names = ("group/distinct_norm_frac", "group/distinct_frac")
    name = next(n for n in names if s.has(n))
    t, now = s.trend(name), s.late(name)
    if t.direction != "down" or now.value >= FEW or now.value > FALLEN * t.first:
        return
    won = gains(s) or high(s)
    critical = now.value < HARDLY and not won
    yield found(
        "critical" if critical else "info" if won else "warning",
        "fault" if not won else "unusual" if now.value < HARDLY else "nothing",
        name,
        f"{now.value:.0%} of a group's completions are distinct, {t.first:.0%} at first"
        + (": sharpening, with a reward that rises" if won else ""),
        *(
            [f"token edits between members: {s.late('group/edit_distance').value:.2f}"]
            if s.has("group/edit_distance")
            else []
        ),
        causes=()
        if won
        else (
            ("policy-collapsed", 0.85, "one completion for a prompt"),
            ("premature-convergence", 0.4, "and the reward does not rise"),
        ),
        fix=None
        if won
        else prescribe.scaled(
            s,
            "optim.lr",
            1 / 3,
            why="the policy became deterministic before it was good",
            expected="distinct share no longer falling within 30 steps",
            risk="slower learning",
            verify="distinct share above 0.7, held-out result not lower",
        ),
        series=(name, "group/edit_distance", "reward/mean"),
    )


@rule("D309", "group-integrity", proof="real")
def group_integrity(s: Signals) -> Iterator[Finding]:
    """Rows of a group are not independent completions of one prompt.

    What: rows of one group and step name different problems; or every completion of every group is
    the same from the first step on, at an entropy above 0.1 nat.
    Why it matters: an advantage is the difference to others of the same prompt. Mixed prompts make
    it the difference of problems; one seed for all rows makes it 0.
    Evidence needed: samples with step, group and problem, or distinct completions and entropy.
    Traps: greedy sampling repeats itself by design; very short answers coincide by chance.
    Fix: keep the rows of a prompt together through shuffling; a seed for each row.
    Source: TRL, RepeatSampler; GRPO (Shao et al. 2024), section 4.1.
    Causes: group-integrity.
    """
    groups = defaultdict[tuple[str, str, str], set[str]](set)
    for row in s.log.samples:
        if row.get("group") is not None and row.get("problem_id"):
            key = (str(row.get("set", "")), str(row.get("step")), str(row["group"]))
            groups[key].add(str(row["problem_id"]))
    mixed = [key for key, problems in groups.items() if len(problems) > 1]
    if mixed:
        _, step, group = mixed[0]
        yield found(
            "critical",
            "invalid",
            f"samples, step {step}, group {group}",
            f"{len(mixed)} of {len(groups)} groups hold completions of several problems",
            f"in the first: {', '.join(sorted(groups[mixed[0]])[:4])}",
            causes=(("group-integrity", 0.95, "rows of several prompts share a baseline"),),
            early=True,
        )
    name = "group/distinct_frac"
    size = s.option("rollout.group_size")
    x_N, h_N = s.paired(name, "policy/entropy")
    same = 1.0 / size + 1e-9 if size else 0.26
    if len(x_N) >= 5 and x_N.max() <= same and np.median(h_N) > 0.1 and (size or 4.0) > 1:
        yield found(
            "critical",
            "invalid",
            name,
            "all completions of a group are one and the same from the start",
            f"distinct share at most {x_N.max():.2f}, entropy {np.median(h_N):.2f} nat a token",
            causes=(("group-integrity", 0.9, "one seed for all rows"),),
            series=(name, "policy/entropy"),
            early=True,
        )

"""Rules about lengths: the token limit, and lengths that grow, shrink or vanish.

Codes D501 to D505 and D512. Left out: endings and texts (`text`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules import prescribe
from pawl.rules.completions import texts
from pawl.rules.finding import Prescription
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import best_window, row_rewards
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, mean_of, rank_correlation, wilson

CUT = "length/truncated_frac"
TRUNCATED = 0.5  # share of completions that end at the limit, from which it decides


@rule("D501", "truncation-bound", f"{CUT}|length/mean", "reward/mean", proof="real")
def truncation_bound(s: Signals) -> Findings:
    """Most completions are cut at the token limit, and the reward does not rise.

    What: over half of the recent completions end at the limit (or the mean length lies within 15%
    of it), and the reward shows no significant rise.
    Why it matters: the limit decides the reward, not the task.
    Evidence needed: the truncated share, or lengths and a limit that can be read off them.
    Traps: answers may fit before the limit, so that even 100% truncation is healthy: a rising
    reward says so. Without the share, the mean length against the limit is only a hint.
    Fix: raise the limit to 1.25 times the length of right answers, or stop thinking mode.
    Source: DAPO (Yu et al. 2025), section 3.4.
    Causes: completion-cap (the limit decides the reward).
    """
    share_N, how = s.truncated()
    now = float(np.mean(share_N[-20:])) if len(share_N) >= 5 else 0.0
    if now < TRUNCATED:
        return
    reward = s.trend("reward/mean")
    rho = rank_correlation(*s.paired("length/mean", "reward/mean"))
    evidence = (
        f"truncated share of the last {min(20, len(share_N))} points: {now:.0%} ({how})",
        f"rank correlation of length and reward over steps: {rho:+.2f}",
        f"reward: {reward.first:.3g} to {reward.last:.3g}, p {reward.p:.2g}",
    )
    series = [name for name in (CUT, "length/mean", "reward/mean") if s.has(name)]
    text = f"{now:.0%} of the completions are cut "
    if reward.direction == "up":
        text += "and the reward rises all the same: the answer fits before the limit"
        yield found("info unusual", text, *evidence, series=series)
        return
    begins = reward.difference > 0 and min(reward.p, reward.confirm_p) < 0.1
    yield found(
        "warning fault" if begins else "critical fault",
        text + "at the limit and the reward does not rise",
        *evidence,
        causes={"completion-cap": 0.9},
        fix=_double(s),
        series=series,
    )


@rule("D512", "cut-answers-fail", CUT, "samples", proof="real")
def cut_answers_fail(s: Signals) -> Findings:
    """From the first step on the limit cut most completions, and what it cut failed.

    What: over half of the first samples were cut, those that ended passed significantly more often,
    and no held-out gain is seen since (a note where the held-out result gains or is not measured).
    Why it matters: the limit decides the reward: what can be learned is to be short. The reward
    then rises with the share that ends, and not with what the policy can do.
    Evidence needed: samples that say how they ended and whether they passed; held-out results.
    Traps: long reasoning starts cut too and learns to fit, in health: its held-out result gains.
    Fix: raise the limit to 1.25 times the length of right answers.
    Source: DAPO (Yu et al. 2025), section 3.4.
    Causes: completion-cap (the limit decides who passes).
    """
    rows = s.log.first_samples or s.log.samples
    passes: dict[object, list[bool]] = {"length": [], "stop": []}
    for row, sample in zip(rows, row_rewards(rows), strict=True):
        if row.get("finish") in passes and sample.status == "scored":
            passes[row["finish"]].append(sample.verdict == "pass")
    cut, ended = ((sum(side), len(side)) for side in passes.values())
    share = cut[1] / max(cut[1] + ended[1], 1)
    if min(cut[1], ended[1]) < 8 or share <= TRUNCATED or wilson(*cut)[1] >= wilson(*ended)[0]:
        return
    held = s.values("eval/gain_low")
    yield found(
        "critical fault" if len(held) > 1 and held[-1] <= 0.0 else "info unusual",
        f"{share:.0%} of the first completions were cut and {cut[0]} of {cut[1]} passed; of those "
        f"that ended {ended[0]} of {ended[1]}",
        f"cut now: {s.late(CUT).value:.0%}",
        *([f"held-out gain at least {held[-1]:+.3g}, at 95%"] if len(held) else []),
        causes={"completion-cap": 0.9},
        fix=_double(s),
        series=("samples", CUT, "verifier/pass_frac"),
    )


def _double(s: Signals) -> Prescription | None:
    """Twice the limit on completions."""
    cap = s.cap()
    return prescribe.scaled(
        s,
        "rollout.max_tokens",
        2.0,
        why="the limit ends completions before their answers",
        expected="truncated share below 20% within 5 steps",
        risk="up to twice the time and memory of generation",
        verify="truncated share falls and the reward is higher than in an unchanged fork",
        cost=f"20 steps with a limit of {2 * cap:g}" if cap else "20 steps",
    )


@rule("D502", "truncation-returns", CUT, points=40)
def truncation_returns(s: Signals) -> Findings:
    """Completions had learned to end before the limit, and run into it again.

    What: the cut share fell by 0.15 or more, and rose by as much again beyond noise.
    Why it matters: it comes with a reward that was won and lost: runaway texts, or drift.
    Evidence needed: the truncated share over 40 points.
    Traps: a lower limit or harder problems from some step on do it too: look for an event there.
    Fix: go back to the checkpoint before the rise; read the cut completions.
    Source: truncation and reward of public GRPO runs move together (rank correlation -0.7 to -0.9).
    Causes: completion-cap (the limit decides the reward again), regression-after-peak (endings were
    learned and lost).
    """
    x_N, now = s.values(CUT), s.late(CUT)
    width = max(10, len(x_N) // 10)
    _, middle = best_window(-x_N, width)
    at = middle - width // 2
    low, first = mean_of(x_N[at : at + width]), mean_of(x_N[:width])
    if min(first.value, now.value) - low.value < 0.15 or not fell(now, low):
        return
    if at + 2 * width > len(x_N):
        return
    before = s.around("reward/mean", int(s.rows(CUT)[at + width]))
    lost = before is not None and fell(before[0], s.late("reward/mean")) and not s.staged
    yield found(
        "critical fault" if lost else "warning fault",
        f"the cut share fell from {first.value:.0%} to {low.value:.0%} and is {now.value:.0%} again"
        + (", and the reward fell with it" if lost else ""),
        f"lowest around point {middle} of {len(x_N)}; now {now.words}",
        causes={"regression-after-peak": 0.7, "completion-cap": 0.5},
        series=(CUT, "reward/mean"),
    )


@rule("D503", "length-grows-with-reward", "length/mean", "reward/mean", kinds=("policy",))
def length_grows(s: Signals) -> Findings:
    """Reward and length rise together: longer answers may be what is rewarded.

    What: the length rises by over 30% and the reward rises, both beyond noise.
    Why it matters: rewards that like long texts, and losses that divide by length, pay for words.
    Evidence needed: both series; a held-out measure decides.
    Traps: longer reasoning that solves more is health: the held-out measure then rises too.
    Fix: compare rewards at equal length; take a loss that does not divide by a text's own length.
    Source: Singhal et al. 2023 (length in RLHF); Dr. GRPO (Liu et al. 2025).
    Causes: reward-bug (length may be what is rewarded).
    """
    length, reward = s.trend("length/mean"), s.trend("reward/mean")
    if length.direction != "up" or reward.direction != "up" or length.last < 1.3 * length.first:
        return
    held = s.trend(s.held_out)
    if held.direction == "up":
        return
    known = held.n >= 6 and held.high < 0.2 * abs(held.first)
    yield found(
        "warning fault" if known else "info unusual",
        f"the length grows by {length.last / length.first - 1:.0%} with the reward"
        + (", and the held-out measure does not rise" if known else ""),
        f"length: {length.words}",
        f"reward: {reward.words}",
        causes={"reward-bug": 0.5},
        fix="mean reward within length quarters of the samples rises too, early against late",
    )


@rule("D504", "length-collapse", "length/mean", kinds=("policy",))
def length_collapse(s: Signals) -> Findings:
    """Completions became less than half as long.

    What: the length falls to under half of what it was, beyond noise.
    Why it matters: reasoning that disappears, or answers that give up, shorten texts first.
    Evidence needed: lengths; the goal metric decides what it means.
    Traps: a rising reward with shorter texts is health: fewer are cut, or they come to the point.
    Fix: weaken penalties on length; see that short wrong answers earn no more than long ones.
    Source: per-sequence loss means favour short right answers (Dr. GRPO, Liu et al. 2025).
    Causes: policy-collapsed (short answers of one kind), reward-bug (short answers may earn more
    than they should).
    """
    length, goal = s.trend("length/mean"), s.goal
    if length.direction != "down" or length.last > 0.5 * length.first:
        return
    text = f"completions shrink to {length.last / length.first:.0%} of their length and {goal} "
    evidence, series = f"length: {length.words}", ("length/mean", goal)
    if s.better:
        yield found("info unusual", text + "gets better: no fault then", evidence, series=series)
    else:
        yield found(
            "critical fault" if s.worse else "warning fault",
            text + ("falls" if s.worse else "does not gain"),
            evidence,
            causes={"policy-collapsed": 0.5, "reward-bug": 0.4},
            series=series,
        )


@rule("D505", "empty-answers", "length/mean|samples", kinds=("policy",))
def empty_answers(s: Signals) -> Findings:
    """Completions are empty, or end with their first tokens.

    What: the recent mean length is 3 tokens or less after 10 or more, or over a fifth of the
    sampled texts are blank.
    Why it matters: an end token at once is a strategy that no further step leaves.
    Evidence needed: lengths, or samples.
    Traps: tasks answered by a letter have lengths of 2 to 5 from the start, in health.
    Fix: see what an empty answer earns; look for an end token in the prompt's template.
    Source: a template that ends the turn itself leaves nothing to write.
    Causes: policy-collapsed (ending at once became the strategy), reward-bug (an empty answer may
    earn more than a wrong one), template-or-eos (a template that ends the turn leaves nothing to
    write).
    """
    rows = texts(s)[-100:]
    blank = sum(not row.text.strip() for row in rows)
    share = blank / len(rows) if len(rows) >= 10 else 0.0
    first = now = 0.0
    if s.has("length/mean"):
        first, now = s.early("length/mean").value, s.late("length/mean").value
    gone = first >= 10.0 and now <= 3.0
    if not gone and share <= 0.2:
        return
    yield found(
        "critical fault" if not s.better and (gone or share >= 0.5) else "warning fault",
        f"completions are {now:.2g} tokens long by now"
        if gone
        else f"{blank} of {len(rows)} sampled completions are blank",
        *([f"{first:.3g} tokens at the start"] if gone else []),
        causes={"policy-collapsed": 0.6, "template-or-eos": 0.5, "reward-bug": 0.3},
        series=("length/mean", "length/min") if gone else ("samples", "length/min"),
        early=True,
    )

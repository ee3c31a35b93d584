"""Rules about lengths: the token limit, and lengths that grow, shrink or vanish.

Codes D501 to D505 and D512. Left out: endings and texts (`text`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules import prescribe
from pawl.rules.completions import texts
from pawl.rules.finding import Prescription
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import paid
from pawl.rules.signals import Signals
from pawl.rules.statistics import fell, mean_of, moving_mean, rank_correlation, wilson

TRUNCATED = 0.5
BEGINS = 0.1  # p of a rise that may be beginning
RETURNED = 0.15  # share of completions that are cut again
GROWN, SHRUNK = 1.3, 0.5  # last over first length


@rule("D501", "truncation-bound", "length/truncated_frac|length/mean", "reward/mean", proof="real")
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
    if not how or len(share_N) < 5:
        return
    now = float(np.mean(share_N[-20:]))
    trend = s.trend("reward/mean")
    if now < TRUNCATED:
        return
    rho = rank_correlation(*s.paired("length/mean", "reward/mean"))
    evidence = (
        f"truncated share of the last {min(20, len(share_N))} points: {now:.0%} ({how})",
        f"rank correlation of length and reward over steps: {rho:+.2f}",
        f"reward: {trend.first:.3g} to {trend.last:.3g}, p {trend.p:.2g}",
    )
    if trend.direction == "up":
        yield found(
            "info unusual",
            f"{now:.0%} of the completions are cut and the reward rises all the same: the answer "
            "fits before the limit",
            *evidence,
            series=("length/truncated_frac", "reward/mean"),
        )
        return
    begins = trend.difference > 0 and min(trend.p, trend.confirm_p) < BEGINS
    yield found(
        "warning fault" if begins else "critical fault",
        f"{now:.0%} of the completions are cut at the limit and the reward does not rise",
        *evidence,
        causes={"completion-cap": 0.9},
        fix=_double(s),
        series=("length/truncated_frac", "length/mean", "reward/mean"),
    )


@rule("D512", "cut-answers-fail", "length/truncated_frac", "samples", proof="real")
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
    cut, ended = [0, 0], [0, 0]  # passed, all
    for row, paid_ in zip(rows, paid(rows), strict=True):
        if row.get("finish") in ("length", "stop") and paid_.status == "scored":
            side = cut if row["finish"] == "length" else ended
            side[0], side[1] = side[0] + (paid_.verdict == "pass"), side[1] + 1
    if min(cut[1], ended[1]) < 8 or cut[1] <= TRUNCATED * (cut[1] + ended[1]):
        return
    if wilson(*cut)[1] >= wilson(*ended)[0]:
        return
    held = s.values("eval/gain_low")
    flat = len(held) > 1 and float(held[-1]) <= 0.0
    yield found(
        "critical fault" if flat else "info unusual",
        f"{cut[1] / (cut[1] + ended[1]):.0%} of the first completions were cut and {cut[0]} of "
        f"{cut[1]} passed; of those that ended {ended[0]} of {ended[1]}",
        f"cut now: {s.late('length/truncated_frac').value:.0%}",
        *((f"held-out gain at least {held[-1]:+.3g}, at 95%",) if len(held) else ()),
        causes={"completion-cap": 0.9},
        fix=_double(s),
        series=("length/truncated_frac", "verifier/pass_frac"),
    )


def _double(s: Signals) -> Prescription | None:
    """Twice the limit on completions."""
    cap = s.cap()
    return prescribe.scaled(
        s,
        "rollout.max_tokens",
        2.0,
        expected="truncated share below 20% within 5 steps",
        risk="up to twice the time and memory of generation",
        verify="truncated share falls and the reward is higher than in an unchanged fork",
        cost=f"20 steps with a limit of {2 * cap:g}" if cap else "20 steps",
    )


@rule("D502", "truncation-returns", "length/truncated_frac")
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
    x_N = s.values("length/truncated_frac")
    if len(x_N) < 40:
        return
    width = max(10, len(x_N) // 10)
    means = moving_mean(x_N, width)
    at = int(np.argmin(means))
    low, first = mean_of(x_N[at : at + width]), mean_of(x_N[:width])
    now = s.late("length/truncated_frac")
    if first.value - low.value < RETURNED or now.value - low.value < RETURNED:
        return
    if not fell(now, low) or at + 2 * width > len(x_N):
        return
    before = s.around("reward/mean", int(s.series("length/truncated_frac").row_N[at + width]))
    lost = before is not None and fell(before[0], s.late("reward/mean")) and not s.staged
    yield found(
        "critical fault" if lost else "warning fault",
        f"the cut share fell from {first.value:.0%} to {low.value:.0%} and is {now.value:.0%} again"
        + (", and the reward fell with it" if lost else ""),
        f"lowest around point {at + width // 2} of {len(x_N)}; now {now.words}",
        causes={"regression-after-peak": 0.7, "completion-cap": 0.5},
        series=("length/truncated_frac", "reward/mean"),
    )


@rule("D503", "length-grows-with-reward", "length/mean", "reward/mean", kinds=("policy",))
def length_grows(s: Signals) -> Findings:
    """Reward and length rise together: longer answers may be what is paid.

    What: the length rises by over 30% and the reward rises, both beyond noise.
    Why it matters: rewards that like long texts, and losses that divide by length, pay for words.
    Evidence needed: both series; a held-out measure decides.
    Traps: longer reasoning that solves more is health: the held-out measure then rises too.
    Fix: compare rewards at equal length; take a loss that does not divide by a text's own length.
    Source: Singhal et al. 2023 (length in RLHF); Dr. GRPO (Liu et al. 2025).
    Causes: reward-bug (length may be what is paid).
    """
    length, reward = s.trend("length/mean"), s.trend("reward/mean")
    if length.direction != "up" or reward.direction != "up" or length.last < GROWN * length.first:
        return
    held = s.trend(s.held_out) if s.held_out else None
    if held is not None and held.direction == "up":
        return
    known = held is not None and held.n >= 6 and held.high < 0.2 * abs(held.first)
    yield found(
        "warning fault" if known else "info unusual",
        f"the length grows by {length.last / length.first - 1:.0%} with the reward"
        + (", and the held-out measure does not rise" if known else ""),
        f"length: {length.words}",
        f"reward: {reward.words}",
        causes={"reward-bug": 0.5},
        fix="mean reward within length quarters of the samples, early against late",
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
    length = s.trend("length/mean")
    if length.direction != "down" or length.last > SHRUNK * length.first:
        return
    text = f"length: {length.words}"
    if s.better:
        yield found(
            "info unusual",
            f"completions shrink to {length.last / length.first:.0%} while {s.goal} gets better: "
            "shorter is no fault then",
            text,
            series=("length/mean", s.goal),
        )
        return
    yield found(
        "critical fault" if s.worse else "warning fault",
        f"completions shrink to {length.last / length.first:.0%} of their length and {s.goal} "
        + ("falls" if s.worse else "does not gain"),
        text,
        causes={"policy-collapsed": 0.5, "reward-bug": 0.4},
        series=("length/mean", s.goal),
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
    gone = s.has("length/mean") and s.early("length/mean").value >= 10.0
    gone = gone and s.late("length/mean").value <= 3.0
    if not gone and share <= 0.2:
        return
    critical = not s.better and (gone or share >= 0.5)
    yield found(
        "critical fault" if critical else "warning fault",
        f"completions are {s.late('length/mean').value:.2g} tokens long by now"
        if gone
        else f"{blank} of {len(rows)} sampled completions are blank",
        *((f"{s.early('length/mean').value:.3g} tokens at the start",) if gone else ()),
        causes={"policy-collapsed": 0.6, "template-or-eos": 0.5, "reward-bug": 0.3},
        series=("length/mean", "length/min"),
        early=True,
    )

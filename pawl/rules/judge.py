"""Rules about a judge: what it pays for beside the answer, whether it changed, what it can tell.

Codes D231 to D237, from the figures that a run measures of its judge (docs/teacher.md). Left out:
scores that are missing (`wiring`), rewards that do not vary (`groups`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals

LEAST, SURE = 0.05, 4.0  # points of a scale of 0 to 1, and standard errors
PAIRS = 30  # completions graded twice before a noise is judged
TOLD = 0.01  # what answers tell, of all that the levels could


def _beyond(value: float, error: float) -> bool:
    return abs(value) >= LEAST and abs(value) > SURE * error


@rule("D231", "judge-pays-canaries", "judge/canary_margin")
def pays_canaries(s: Signals) -> Findings:
    """The judge pays a text that answers nothing as much as a right answer.

    What: at a check of the judge some canary (empty, a colon, an opening, code for another task, a
    request for marks) came within 0.05 of what the right answers scored, on average.
    Why it matters: the policy finds such texts; what it then learns is to write them.
    Evidence needed: judge/canary_margin, measured every judge.check_every steps.
    Traps: where the judge pays right answers alone (gate: pass) a canary earns nothing all the
    same; a request for marks beside a right answer still may.
    Fix: another judge or rubric; gate the judge by tests; keep the samples of the steps before.
    Source: one token to fool a judge (arXiv 2507.08794).
    Causes: judge-biased (it pays for form).
    """
    x_N = s.values("judge/canary_margin")
    if x_N.min() <= LEAST:
        at = int(np.argmin(x_N))
        yield found(
            "critical fault",
            "the judge pays a canary as much as a right answer",
            f"margin {x_N[at]:+.3g} at step {s.steps('judge/canary_margin')[at]:g}, "
            f"{x_N[0]:+.3g} at the first of {len(x_N)} checks",
            causes={"judge-biased": 0.95},
            fix="a margin above 0.05 for all canaries at the next check",
            series=("judge/canary_margin", "judge/canary"),
            early=True,
        )


@rule("D232", "judge-pays-padding", "judge/padding_gain", "judge/padding_gain_se")
def pays_padding(s: Signals) -> Findings:
    """The judge pays for length: praise behind a wrong answer earns points.

    What: the same wrong answers score higher with comments behind them that say nothing of the
    task, by at least 0.05 and by over 4 standard errors.
    Why it matters: length is the cheapest thing to learn; the reward rises and the answers do not.
    Evidence needed: judge/padding_gain, measured every judge.check_every steps.
    Traps: a rubric that asks for comments may give some points to any.
    Fix: say in the rubric that length and comments earn nothing by themselves; weigh the judge
    below tests; reward.overlong_penalty against the rest.
    Source: length bias of judges (arXiv 2404.04475).
    Causes: judge-biased (it pays for length).
    """
    gain, error = (float(s.values(f"judge/padding_gain{end}").mean()) for end in ("", "_se"))
    if gain > 0 and _beyond(gain, error):
        yield found(
            "warning fault",
            f"the judge pays {gain:.2g} points for padding a wrong answer",
            f"{gain:+.3f} +- {error:.3f}, mean of {len(s.values('judge/padding_gain'))} checks",
            causes={"judge-biased": 0.8},
            fix="a gain within 4 standard errors of 0 at the next check",
            series=("judge/padding_gain", "length/mean"),
        )


@rule("D233", "judge-favours-a-place", "judge/position_slope", "judge/position_slope_se")
def favours_a_place(s: Signals) -> Findings:
    """What a candidate earns depends on where it is shown.

    What: the same completions score otherwise at the front than at the end, by at least 0.05 from
    first to last and by over 4 standard errors.
    Why it matters: orders are random, so that it favours nobody, but all of it is noise in every
    advantage.
    Evidence needed: groups graded in two orders (judge.repeats).
    Traps: none known; the two orders are each other's reverse, so that worth cancels.
    Fix: an even judge.passes shows both orders and averages them; or mode: pointwise.
    Source: position bias of judges (arXiv 2305.17926).
    Causes: judge-biased (it pays for place).
    """
    slope, error = (float(s.values(f"judge/position_slope{end}")[-1]) for end in ("", "_se"))
    if _beyond(slope, error):
        place = "first" if slope > 0 else "last"
        yield found(
            "warning fault",
            f"the judge pays {abs(slope):.2g} points for being shown {place}",
            f"{slope:+.3f} +- {error:.3f} from first to last",
            causes={"judge-biased": 0.8},
            fix="judge.passes=2 in a fork: the slope is no longer in the scores",
        )


@rule("D234", "judge-drifts", "judge/anchor_shift", "judge/anchor_shift_se")
def drifts(s: Signals) -> Findings:
    """The judge grades the same answers otherwise than before training.

    What: at the last check the anchors' mean lies at least 0.05 and over 4 standard errors from
    where it was at the start.
    Why it matters: a reward that rises by the judge's change shows no learning; kept verdicts of
    the old judge stand beside those of the new one.
    Evidence needed: judge/anchor_shift, measured every judge.check_every steps.
    Traps: a provider may serve another model under the same name for a while only.
    Fix: pin the model's version; go back to the last checkpoint before the shift.
    Source: definition: the anchors never change.
    Causes: judge-drift (the anchors' scores moved).
    """
    x_N = s.values("judge/anchor_shift")
    error = float(s.values("judge/anchor_shift_se")[-1])
    if _beyond(float(x_N[-1]), error):
        moved = s.steps("judge/anchor_shift")[np.abs(x_N) >= LEAST]
        yield found(
            "warning fault",
            f"the judge scores the same answers {x_N[-1]:+.2g} from where they were at the start",
            f"{x_N[-1]:+.3f} +- {error:.3f} at the last check, first seen at step {moved[0]:g}",
            causes={"judge-drift": 0.9},
            fix="a shift within 4 standard errors of 0 at the next check",
            series=("judge/anchor_shift", "reward/mean"),
        )


@rule("D235", "judge-noisy", "judge/reliability", "judge/repeat_pairs")
def noisy(s: Signals) -> Findings:
    """Most of what the judge tells members of a group apart by is noise.

    What: of the variance of totals within groups less than half is confirmed by a second look, over
    30 completions or more.
    Why it matters: the advantage divides by that spread and trains on noise at full strength.
    Evidence needed: groups graded twice (judge.repeats).
    Traps: completions that are alike leave nothing to tell apart: any judge then looks noisy.
    Fix: algo.noise: floor or shrink; more judge.passes; larger groups.
    Source: reliability as the intraclass correlation (Shrout and Fleiss 1979).
    Causes: judge-noisy (a second look does not confirm the first), noise-only (the completions may
    be alike).
    """
    value, pairs = (float(s.values(f"judge/{n}")[-1]) for n in ("reliability", "repeat_pairs"))
    if value < 0.5 and pairs >= PAIRS:
        yield found(
            "warning nothing",
            f"{1 - value:.0%} of the judge's variance within groups is noise",
            f"reliability {value:.2f} from {pairs:.0f} completions graded twice",
            causes={"judge-noisy": 0.7, "noise-only": 0.3},
            fix="judge/reliability above 0.5 with more judge.passes",
        )


@rule("D236", "judge-says-one-level", "judge/level_entropy", "judge/answer_entropy", points=5)
def says_one_level(s: Signals) -> Findings:
    """The judge says the same of everything.

    What: the entropy of all answers of a step exceeds that of a single one by under 1% of what the
    levels allow, in the median of the last 20 steps.
    Why it matters: answers that do not depend on the completion carry no signal.
    Evidence needed: judge/level_entropy and judge/answer_entropy.
    Traps: completions that are all as good or as bad get one level from any judge: read some.
    Fix: score a right answer and a wrong one; a finer rubric; problems that are sometimes solved.
    Source: mutual information of answer and completion.
    Causes: dead-component (its levels never change), reward-floor (all completions may be alike).
    """
    together_N, single_N = s.paired("judge/level_entropy", "judge/answer_entropy")
    told = float(np.median((together_N - single_N)[-20:])) if len(together_N) else 1.0
    if told < TOLD:
        yield found(
            "warning nothing",
            "the judge gives every completion the same levels",
            f"an answer tells {told:.2%} of what the levels could",
            causes={"dead-component": 0.6, "reward-floor": 0.4},
            fix="levels that differ between a right answer and a wrong one",
        )


@rule("D237", "simulated-teacher", "judge/simulated_frac", points=1)
def simulated(s: Signals) -> Findings:
    """The teacher was simulated.

    What: some verdicts of the run came from a fake teacher.
    Why it matters: what such a run shows is the machinery; it says nothing of a real teacher.
    Evidence needed: judge/simulated_frac.
    Traps: a run that changed its judge on the way is a mixture of two.
    Fix: none: name it wherever the run's figures are quoted.
    Source: the server's own word, kept with each verdict.
    Causes: none.
    """
    share_N = s.values("judge/simulated_frac")
    if share_N.max() > 0:
        yield found(
            "info nothing",
            "the teacher was simulated: this run says nothing of a real one",
            f"{float(np.mean(share_N > 0)):.0%} of {len(share_N)} steps",
        )

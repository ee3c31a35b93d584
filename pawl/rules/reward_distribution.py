"""Rules about the scores of single samples: fixed totals, branches, failures that earn.

Codes D206, D207 and D210. The samples of a log are its newest; without them the spread of the
rewards still bounds how many samples can have earned much. Left out: reading samples aloud.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from pawl.rules import run_features as run
from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import rank_correlation

ENOUGH = 30  # scored samples
FAILS = 0.6  # share of samples of one low score
AUDIT = "a syntax error, an empty answer and the prompt again score less than a right solution"


@rule("D206", "reward-distribution", "reward/mean", proof="real")
def reward_distribution(s: Signals) -> Findings:
    """A few fixed scores between nothing and full score carry the reward.

    What: with samples: over 30% of them have one total between the lowest and the highest. Without:
    rewards within 0..1 have a spread below half of what passes and failures of that mean would
    have, so that nearly all samples earn small partial amounts.
    Why it matters: a policy settles on a branch that is easy to earn; and a constant partial reward
    is the commonest sign of a reward that credits what it should not.
    Evidence needed: 30 scored samples, or reward and its spread over the whole batch.
    Traps: staged rewards give partial credit by design, so this is a question to the reward, not
    proof; a spread within groups says nothing here, because problems differ.
    Fix: list totals with counts and branches; score known-good and known-broken answers.
    Source: variance of a reward of 0 or 1 with mean p is p (1 - p); Markov's inequality.
    Causes: reward-bug (partial credit carries the mean).
    """
    totals = [p.total for p in run.row_rewards(s.log.samples) if p.total is not None]
    if len(totals) >= ENOUGH:
        low, top = min(totals), max(totals)
        inner = ((v, share) for v, share in run.shares(totals) if low < v < top)
        value, share = next(inner, (0.0, 0.0))
        if share > 0.3:
            critical = share > FAILS and not run.gains(s)
            yield found(
                "critical fault" if critical else "warning fault",
                f"{share:.0%} of the samples score exactly {value:g}",
                "totals: " + ", ".join(f"{v:g} ({n:.0%})" for v, n in run.shares(totals)),
                causes={"reward-bug": 0.7},
                fix=AUDIT,
                at="total",
            )
        return
    name, x_N = run.spread_of_batch(s), s.values("reward/mean")
    if not name or run.full_mark(s) is None or len(x_N) < 4:
        return
    mean, spread = float(np.mean(x_N[-20:])), float(np.mean(s.values(name)[-20:]))
    if not 0.0 < mean < 0.3 or spread > 0.5 * run.all_or_nothing(mean):
        return
    most = min(1.0, (spread**2 + mean**2) / 0.25)
    yield found(
        "warning nothing",
        f"at most {most:.0%} of the samples can earn half of the full score: partial credit "
        f"carries the mean of {mean:.3g}",
        f"spread over the batch {spread:.3g}; passes and failures of that mean would have "
        f"{run.all_or_nothing(mean):.3g}",
        "which branches give it? audit the reward before touching any option",
        causes={"reward-bug": 0.5},
        fix=AUDIT,
        series=("reward/mean", "reward/std"),
    )


@rule("D207", "failures-paid", "reward/mean", proof="real")
def failures_paid(s: Signals) -> Findings:
    """Failures of the machinery earn more than wrong answers.

    What: a sample that could not be scored has a number all the same; or samples that ended in a
    timeout or the like, without a test passed, mostly earn one fixed amount of 0.25 or more and
    above the mean of wrong answers; or the reward rises and falls with the share of missing scores
    (rank correlation above 0.7).
    Why it matters: the policy learns to break its judge.
    Evidence needed: samples with verdicts, or the share of missing scores over 20 steps.
    Traps: partial credit for tests that passed before a timeout is no reward for an error.
    Fix: a missing score is None and enters neither baseline nor loss; retry, then leave it out.
    Source: NeMo-Gym issue 2552; TRL, reward functions may return None.
    Causes: error-as-reward (an error earns more than a wrong answer), reward-bug (the reward
    credits what it should not).
    """
    rows = run.row_rewards([*s.log.first_samples, *s.log.samples])
    failed = [p for p in rows if p.status == "missing" or p.verdict == "infra_error"]
    ghosts = [p for p in failed if p.total is not None]
    seen = f"{len(ghosts)} samples that were not judged score {ghosts[0].total:g}" if ghosts else ""
    seen = seen or _rewarded_above(rows) or _rises_with_missing(s)
    if seen:
        yield found(
            "critical fault",
            f"failures are scored: {seen}",
            causes={"error-as-reward": 0.95, "reward-bug": 0.4},
            fix="let the judge fail once: the sample's score is missing",
            series=("reward/mean", "verifier/missing_frac"),
            at="samples" if ghosts else "",
        )


def _rewarded_above(rows: list[run.RowReward]) -> str:
    """Whether failures without a passed test mostly earn one amount above that of wrong answers."""
    late = [p for p in rows if p.verdict in ("timeout", "memory", "output") and not p.passed]
    broken = [p.total or 0.0 for p in late]
    wrong = [p.total for p in rows if p.verdict in ("wrong", "exception")]
    usual = [total for total in wrong if total is not None]
    if len(broken) < 5 or len(usual) < 5:
        return ""
    value, share = run.shares(broken)[0]
    if share < 0.6 or value < max(0.25, float(np.mean(usual)) + 0.1):
        return ""
    return f"{len(broken)} failures score {value:g}, wrong answers {np.mean(usual):.3g}"


def _rises_with_missing(s: Signals) -> str:
    told = (_follows(s, n) for n in ("verifier/missing_frac", "judge/missing_frac"))
    return next(filter(None, told), "")


def _follows(s: Signals, name: str) -> str:
    share, reward = s.paired(name, "reward/mean")
    if len(share) < 20 or np.ptp(share) < 0.1:
        return ""
    rho, local = rank_correlation(share, reward), rank_correlation(np.diff(share), np.diff(reward))
    if min(rho, local) < 0.7:
        return ""
    return f"the reward follows the share of missing scores (rank correlation {rho:+.2f})"


@rule("D210", "stuck-in-a-branch", "reward/mean")
def stuck_in_a_branch(s: Signals) -> Findings:
    """Most samples end in one low branch of the reward, and nothing rises.

    What: over 60% of the samples are scored by one branch that is not the best, at less than half
    of the highest total; or over 60% of them end before their tests run. The reward does not rise.
    Why it matters: within such a branch rewards are equal, so groups have no variance and the
    policy stays.
    Evidence needed: 30 samples with branches, or verifier figures; 30 points of the reward.
    Traps: early in healthy runs most samples fail at one stage: a rising reward says so.
    Fix: read samples of that branch; grade within the branch; easier problems or examples first.
    Source: reward staging; DAPO (Yu et al. 2025), section 3.2, on zero-variance groups.
    Causes: reward-floor (one branch scores nearly all), zero-signal-groups (equal rewards give no
    advantage).
    """
    if run.gains(s):
        return
    rows = [p for p in run.row_rewards(s.log.samples) if p.total is not None and p.branch]
    place, share = "", 0.0
    if len(rows) >= ENOUGH:
        name, n = Counter(p.branch for p in rows).most_common(1)[0]
        totals = [p.total or 0.0 for p in rows if p.branch == name]
        top = max(p.total or 0.0 for p in rows)
        if float(np.mean(totals)) < 0.5 * max(top, 1e-9):
            place, share = name, n / len(rows)
    elif s.has("verifier/compile_frac"):
        place, share = "does not compile", 1.0 - s.late("verifier/compile_frac").value
    if share > FAILS:
        yield found(
            "warning fault",
            f"{share:.0%} of the samples end in one low branch: {place}",
            f"reward {s.late('reward/mean').value:.3g}, without a rise",
            causes={"reward-floor": 0.5, "zero-signal-groups": 0.4},
            fix=AUDIT,
            series=("reward/mean", "verifier/compile_frac"),
        )

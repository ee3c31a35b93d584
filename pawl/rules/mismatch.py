"""Rules about sampler and trainer: log-probs that disagree, policies that lag, clips that bite.

Codes D110, D412 to D416. Left out: what holds before any update (`wiring`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import from_the_start, single_precision
from pawl.rules.signals import Signals

DIFFERENCE, ESS = "policy/sampler_diff_mean", "policy/mismatch_ess"
CLIPPED = "policy/clip_frac"


@rule("D110", "sampler-trainer-difference", f"{DIFFERENCE}|{ESS}", proof="real")
def sampler_difference(s: Signals) -> Findings:
    """Sampler and trainer give the same tokens different log-probs.

    What: they differ by 0.2 nat a token in the median recent step (0.001 in single precision), or
    the weights' effective sample size is below 0.3; from 0.05 nat or below 0.5 on it is a warning.
    Why it matters: the gradient is taken for a policy that did not write the samples.
    Evidence needed: the mean difference of log-probs, or the effective sample size.
    Traps: half precision and another engine give 0.005 to 0.03, experts in 8 bits more; with
    samples from older weights the difference is what staleness says.
    Fix: equal temperature, top-p, top-k and penalties; sync the weights; the head in fp32; weights
    for the ratio, cut at 2.
    Source: verl, docs/algo/rollout_corr.md (ESS 0.3 and above); arXiv 2510.26788.
    Causes: sampler-mismatch (there from the first step), stale-weights (it grows with every
    update).
    """
    x_N, ess = s.values(DIFFERENCE), s.values(ESS)
    now = s.level(DIFFERENCE) if len(x_N) >= 2 else 0.0
    share = s.level(ESS) if len(ess) >= 2 else 1.0
    stale = s.level("policy/staleness") > 0
    far = 1e-3 if single_precision(s) and not stale else 0.2
    if now <= min(far, 0.05) and share >= 0.5:
        return
    grows = len(x_N) >= 8 and s.level(DIFFERENCE, 4) > 5.0 * max(float(x_N[0]), 1e-7)
    critical = now > far or share < 0.3
    by = f" by {now:.3g} nat a token" if len(x_N) else f": effective sample size {share:.2f}"
    yield found(
        "warning fault" if not critical else "critical fault" if stale else "critical invalid",
        "sampler and trainer disagree" + by,
        *([f"at the first point {x_N[0]:.3g}, now {now:.3g}"] if len(x_N) else []),
        *([f"effective share of the samples: {share:.2f}"] if len(ess) else []),
        causes={
            "stale-weights": 0.85 if grows or stale else 0.4,
            "sampler-mismatch": 0.5 if grows else 0.85,
        },
        series=filter(s.has, (DIFFERENCE, ESS)),
        early=critical,
    )


@rule("D412", "mismatch-without-updates", f"policy/kl_old|{CLIPPED}", "optim/lr", proof="real")
def mismatch_without_updates(s: Signals) -> Findings:
    """The distance between old and new policy does not follow the learning rate.

    What: the learning rate varies fourfold or more, and KL to the old policy (or the clip fraction)
    at the lowest third of the rates is over half of what it is at the highest third. A clip
    fraction below 5% is a warning only.
    Why it matters: updates make this distance, and it shrinks with them (as the square of the rate,
    for the KL). What stays when the rate goes is no update: the two passes disagree.
    Evidence needed: 20 points of the distance and of the learning rate.
    Traps: distances below 0.003 nat (or 1% clipped) may be rounding; stale samples keep a distance
    of their own.
    Fix: score one batch before any update by both passes: the ratio must be 1; then compare
    temperature, warpers and padding.
    Source: PPO (Schulman et al. 2017), eq. 6; seen in public PPO runs.
    Causes: padding-side (rows scored beside other neighbours), sampler-mismatch (a distance that no
    update makes).
    """
    if s.values("policy/staleness").any():
        return
    for name, least in (("policy/kl_old", 0.003), (CLIPPED, 0.01)):
        x_N, lr_N = s.paired(name, "optim/lr")
        if len(x_N) < 20 or lr_N.max() <= 0:
            continue
        order, third = np.argsort(lr_N, kind="stable"), len(x_N) // 3
        slow, fast = (float(np.median(lr_N[rows])) for rows in (order[:third], order[-third:]))
        low, top = (float(np.median(x_N[rows])) for rows in (order[:third], order[-third:]))
        if fast < 4.0 * slow or low < least or low < 0.5 * top:
            continue
        sure = name == "policy/kl_old" or low >= 0.05
        yield found(
            "critical invalid" if sure else "warning fault",
            f"{name} is {low:.3g} at learning rates around {slow:.2g} and {top:.3g} around "
            f"{fast:.2g}: it does not come from updates",
            f"{len(x_N)} points; medians of the lowest and highest third of the rates",
            causes={"sampler-mismatch": 0.95, "padding-side": 0.3}
            if sure
            else {"sampler-mismatch": 0.3, "padding-side": 0.1},
            series=(name, "optim/lr"),
        )
        return


@rule("D413", "clipped-at-first", CLIPPED)
def clipped_at_first(s: Signals) -> Findings:
    """A large share of the tokens is clipped before the policy can have moved.

    What: the first point's clip fraction is above 0.3, or above 0.05 at a learning rate below 5% of
    its peak.
    Why it matters: before an update the ratio is 1 and nothing is clipped.
    Evidence needed: the clip fraction from the first steps on.
    Traps: several passes over a batch clip some tokens from the first step on: up to 0.2 is usual.
    Fix: score one batch before any update by both passes; compare temperature and top-p.
    Source: PPO (Schulman et al. 2017), eq. 6; a public run sampled at 1.3 and scored at 1.0 had
    0.56 at its first step.
    Causes: sampler-mismatch (the ratio is not 1 before an update), stale-weights (another policy
    wrote the samples).
    """
    x_N, lr = s.values(CLIPPED)[:3], s.values("optim/lr")
    cold = len(lr) > 3 and float(lr[0]) < 0.05 * float(lr.max())
    if from_the_start(s, CLIPPED) and float(x_N.min()) > (0.05 if cold else 0.3):
        yield found(
            "critical invalid",
            f"{x_N[0]:.0%} of the tokens are clipped before the policy can have moved",
            f"first values: {', '.join(f'{v:.3g}' for v in x_N)}",
            causes={"sampler-mismatch": 0.9, "stale-weights": 0.3},
            at="first points",
        )


@rule("D414", "clip-rests-at-zero", CLIPPED, points=10, proof="real")
def clip_rests(s: Signals) -> Findings:
    """Nothing was ever clipped: normal with one update a batch.

    What: the clip fraction is 0 at every point.
    Why it matters: with one pass and one mini-batch the ratio is 1 when the loss is taken, so the
    clip cannot act, and changing its range changes nothing.
    Evidence needed: ten points of the clip fraction.
    Traps: with several passes, a warm learning rate and differing rewards it is no longer normal.
    Fix: none; with several passes compare the log-probs before and after an update.
    Source: PPO (Schulman et al. 2017), eq. 7; TRL documents num_iterations.
    Causes: lr-too-low (the ratio stays at 1 over several updates).
    """
    if s.values(CLIPPED).any():
        return
    if s.updates > 1 and not s.values("policy/kl_old").any():
        text = f"nothing is clipped in {s.updates:g} updates a batch"
        yield found("warning fault", text, causes={"lr-too-low": 0.4})
    else:
        text = "nothing is ever clipped, as it must be with one update a batch"
        yield found("info nothing", text)


@rule("D415", "stale-samples", "policy/staleness")
def stale_samples(s: Signals) -> Findings:
    """The samples come from weights of many updates ago.

    What: the lag grows by about one with every update and never falls (fault), or lies above 4
    updates (warning).
    Why it matters: a lag that only grows means that the sampler never gets the trained weights.
    Evidence needed: policy/staleness.
    Traps: asynchronous runs have a lag of a few updates by design.
    Fix: compare the sampler's weights with the trainer's after a sync; fewer updates a batch.
    Source: AReaL (Fu et al. 2025), section on staleness; verl's trajectory_staleness metrics.
    Causes: stale-weights (old weights write the samples).
    """
    x_N, now = s.values("policy/staleness"), s.level("policy/staleness", 5)
    grows = len(x_N) >= 8 and bool((np.diff(x_N) >= 0).all())
    never = grows and float(x_N[-1] - x_N[0]) >= max(10.0, 0.5 * len(x_N))
    if never or now > 4.0:
        yield found(
            "critical invalid" if never else "warning fault",
            "the sampler never gets the trained weights"
            if never
            else f"samples are {now:g} updates old",
            f"from {x_N[0]:g} to {x_N[-1]:g} over {len(x_N)} points",
            causes={"stale-weights": 0.95 if never else 0.6},
            fix="the lag falls, to 0 where sampler and trainer share their weights",
        )


@rule("D416", "negative-kl", "policy/kl_ref|policy/kl_ref_sequence")
def negative_kl(s: Signals) -> Findings:
    """The KL to the reference is below 0, by more than its noise.

    What: the mean of the recent KL, with its whole interval, lies below 0.
    Why it matters: a KL cannot be negative. Its plain estimate is, when the samples do not come
    from the policy whose log-probs enter it: other weights, temperature, or tokens off by one.
    Evidence needed: ten points of the KL.
    Traps: single batches of the plain estimate (k1) are negative by chance while the KL is small.
    Fix: score one batch by sampler and trainer and compare token by token.
    Source: J. Schulman, "Approximating KL divergence" (2020).
    Causes: loss-covers-prompt (tokens that nobody sampled enter the mean), sampler-mismatch (the
    samples are not the scored policy's).
    """
    for name, least in (("policy/kl_ref", -0.01), ("policy/kl_ref_sequence", -0.5)):
        if len(s.values(name)) < 10:
            continue
        now = s.late(name)
        if now.high < 0 and now.value < least:
            yield found(
                "critical invalid",
                f"the KL is {now.value:.3g} nat, below 0",
                f"95% interval {now.low:.3g} to {now.high:.3g} over {now.n} points",
                causes={"sampler-mismatch": 0.8, "loss-covers-prompt": 0.3},
                series=(name,),
            )
            return

"""Rules about the policy: KL at the start, KL without gain, destruction, entropy.

Codes D401 to D403 and D408 to D411. No threshold in nat for the entropy: healthy runs lie anywhere
from 0.02 to 1.3 nat a token. Left out: the KL over a run (`kl`), the sampler (`mismatch`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules import prescribe
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import at_best, from_the_start, gains, silent, single_precision
from pawl.rules.signals import TO_REFERENCE, Signals
from pawl.rules.statistics import noise_of, trend

OFFSET = 0.05  # nat a token of KL at the first point, above what a first update can give
EXACT = 1e-4  # nat a token that rounding in fp32 leaves, as in preflight


@rule("D401", "kl-at-start", TO_REFERENCE, proof="real")
def kl_at_start(s: Signals) -> Findings:
    """The KL to the reference is not 0 before the policy moved.

    What: the first KL is above 0.05 nat a token (1 nat a completion; 0.3 where the first row is
    step 0 or 1 and the next ones are no larger), and the first three are of the same size. Above
    0.3 nat a token, or 1 a completion, the run is invalid, below it is a fault.
    In a run of Pawl in fp32 anything above 1e-4 in the first step is invalid.
    Why it matters: the policy starts at its reference, so the first KL is 0. Another value means
    another reference, or log-probs of sampler and trainer that disagree.
    Evidence needed: a KL from the first steps on.
    Traps: a log that begins at a resume starts later; units differ (token or completion); rounding
    of half precision gives up to 0.01 a token, quantised weights or caches up to about 0.3.
    Fix: measure the KL before any update: the same weights must give 0.
    Source: KL(p, p) = 0.
    Causes: reference-mismatch (the reference is not the start: another template, adapter or other
    weights), sampler-mismatch (two passes that should agree do not: another precision, template or
    temperature in one).
    """
    name = s.first(TO_REFERENCE)
    x_N, first_step = s.values(name)[:5], float(s.steps(name)[0])
    middle, a_token = float(np.median(x_N)), name == "policy/kl_ref"
    if a_token and first_step <= 1 and x_N[0] > EXACT and _exact(s):
        yield found(
            "critical invalid",
            f"the KL is {x_N[0]:.2g} nat a token in the first log-prob pass, before any update",
            f"in fp32 policy and reference agree within {EXACT:g} where they are one",
            causes={"reference-mismatch": 0.95},
            at="step 1",
        )
        return
    limit, beyond = OFFSET, 0.3
    if not a_token:
        rests = first_step <= 1 and len(s.values(name)) >= 10 and x_N[0] >= 0.8 * middle
        limit, beyond = 0.3 if rests else 1.0, 1.0
    if len(x_N) < 3 or min(x_N[0], middle) <= limit or x_N[0] < 0.2 * middle:
        return
    far = middle > beyond
    if from_the_start(s, name):
        yield found(
            "critical invalid" if far else "critical fault",
            f"the KL is {x_N[0]:.3g} nat before the policy can have moved",
            f"first values: {', '.join(f'{v:.3g}' for v in x_N)}",
            *([] if far else ["of a size that quantised weights or another precision can explain"]),
            causes={"reference-mismatch": 0.75, "sampler-mismatch": 0.45}
            if a_token and middle > 0.8  # more than any precision explains
            else {"sampler-mismatch": 0.6, "reference-mismatch": 0.5},
            at=f"step {first_step:g}",
            early=True,
        )


def _exact(s: Signals) -> bool:
    """Whether a run of Pawl in fp32 began anew: its KL is taken before the step's updates."""
    return single_precision(s) and not any(e.kind in ("fork", "resume") for e in s.log.events)


@rule("D402", "kl-grows-alone", "policy/kl_ref", "reward/mean", points=30, proof="real")
def kl_grows_alone(s: Signals) -> Findings:
    """The policy moves away from its reference and the reward does not move.

    What: the KL rises significantly, by more than fourfold and to 0.01 nat a token or more, while
    the reward shows no trend.
    Why it matters: steps are spent on a walk without direction.
    Evidence needed: 30 points of both.
    Traps: the first updates raise any KL from 0; a rise of the reward below what could be seen
    looks the same.
    Fix: read samples of the last steps; lower the learning rate; wait for more points.
    Source: KL as distance travelled (Gao et al. 2022).
    Causes: random-walk (distance without gain).
    """
    kl, reward = s.trend("policy/kl_ref"), s.trend("reward/mean")
    tiny = kl.last < 0.01 or kl.last < 4.0 * max(kl.first, 1e-6)
    if kl.direction == "up" and not tiny and not reward.significant:
        yield found(
            "warning nothing",
            f"the KL grows from {kl.first:.2g} to {kl.last:.2g} and the reward shows no trend",
            f"a change of the reward below {reward.detectable:.3g} could not have been seen",
            causes={"random-walk": 0.5},
        )


@rule("D403", "destroyed", "reward/mean", "policy/kl_ref|policy/entropy|optim/grad_norm")
def destroyed(s: Signals) -> Findings:
    """A few updates destroyed the policy.

    What: over the run's second half the KL is above 10 nat a token, or the entropy below 1% of its
    start, while the reward rests at its lowest, or rises no more and is not at its best.
    Why it matters: nothing comes back from there; every further step is lost.
    Evidence needed: reward and one of KL, entropy, gradient norm.
    Traps: single spikes of KL or gradient that recover are harmless (five of five public ones did).
    Fix: start again, not on, at a tenth of the learning rate with warm-up.
    Source: observed at learning rates of 5e-4 and above with LoRA.
    Causes: lr-too-high (an update of that size), policy-collapsed (nothing is explored any more).
    """
    x_N, kl, late = s.values("reward/mean"), s.values("policy/kl_ref"), s.late("reward/mean")
    level = float(np.median(kl[len(kl) // 2 :])) if len(kl) > 4 else 0.0
    if len(x_N) < 5 or not (level > 10.0 or silent(s)) or at_best(s):
        return
    fallen = late.value <= float(x_N.min() + 0.2 * np.ptp(x_N))
    if not fallen and (len(x_N) < 12 or trend(x_N[len(x_N) // 2 :]).direction == "up"):
        return
    seen = f"KL {level:.3g} nat a token" if level > 10.0 else "entropy near 0"
    yield found(
        "critical fault",
        f"the policy is destroyed: {seen} and the reward at {late.value:.3g}",
        causes={"lr-too-high": 0.9, "policy-collapsed": 0.5},
        fix=prescribe.slower(
            s,
            "the first updates were far too large",
            "KL below 0.1 nat a token after 20 steps",
            0.1,
            verify="reward above its start after 50 steps",
            cost="a new start: the weights cannot be saved",
        ),
        series=("reward/mean", "policy/kl_ref", "policy/entropy"),
        early=True,
    )


@rule("D408", "entropy-collapse", "policy/entropy", "reward/mean", points=20, proof="real")
def entropy_collapse(s: Signals) -> Findings:
    """The entropy is spent and nothing was bought for it.

    What: the entropy falls to below a quarter of its first ten points, and stays low, while neither
    reward nor held-out result rises and the reward is not near its maximum.
    Why it matters: a policy without entropy explores nothing; what it does not do now it will not
    find.
    Evidence needed: 20 points of entropy and reward.
    Traps: with a rising reward this is sharpening, the usual price of reward; low values as such
    mean nothing, and an entropy at a low sampling temperature is low by definition.
    Fix: back to a checkpoint with entropy; a third of the learning rate; an upper clip of 0.28
    where clips act; harder problems only if these are solved.
    Source: Cui et al. 2025 (R = -a exp(H) + b); DAPO (Yu et al. 2025), section 3.1.
    Causes: lr-too-high (updates that large spend the entropy), policy-collapsed (exploration
    is gone).
    """
    x_N = s.values("policy/entropy")
    start, now = float(np.median(x_N[:10])), s.level("policy/entropy")
    fast = float(np.median(x_N[10:20])) < 0.25 * float(x_N[0])
    start = max(start, float(x_N[0])) if fast else start
    # A decay is no line, so no slope is asked for: the last quarter has to stay low.
    stays = float(np.mean(x_N[-(len(x_N) // 4) :] < 0.5 * start)) > 0.9
    if start <= 0 or not 0 <= now < 0.25 * start or not stays:
        return
    reward = s.trend("reward/mean")
    fell = f"the entropy fell to {now / start:.0%} of its start "
    evidence = (
        f"median of the first ten points {start:.3g}, of the last 20 {now:.3g}",
        f"reward: {reward.first:.3g} to {reward.last:.3g}",
    )
    if at_best(s) or (gains(s) and not silent(s)):
        yield found("info unusual", f"{fell}while the reward rose: sharpening", *evidence)
        return
    yield found(
        "critical fault",
        f"{fell}without a gain",
        *evidence,
        causes={"policy-collapsed": 0.85, "lr-too-high": 0.8 if fast else 0.4},
        fix=prescribe.slower(
            s,
            "the policy became deterministic before it was good",
            "entropy no longer falling within 50 steps from an earlier checkpoint",
            verify="slope of the entropy within its noise, held-out result not lower",
        ),
    )


@rule("D409", "entropy-explosion", "policy/entropy", "reward/mean", proof="real")
def entropy_explosion(s: Signals) -> Findings:
    """The entropy grows and the reward does not: the policy turns to noise.

    What: the entropy rises significantly to over twice its start while the reward falls (fault) or
    does not rise (warning).
    Why it matters: gibberish has high entropy; so has a policy under an entropy bonus that won.
    Evidence needed: 30 points of both.
    Traps: answers that grow into new territory raise it for a while in health.
    Fix: no entropy bonus; check temperature in sampling and scoring; a third of the learning rate.
    Source: verl issue 1051; a public run whose bonus made 95% of the gradient.
    Causes: lr-too-high (updates that scatter the policy), sampler-mismatch (another temperature in
    sampling than in scoring).
    """
    t, reward = s.trend("policy/entropy"), s.trend("reward/mean")
    if t.direction != "up" or t.last < 2.0 * t.first or t.first <= 0 or gains(s):
        return
    falls = reward.direction == "down"
    back = "entropy back to its start within 50 steps from an earlier checkpoint"
    fix = prescribe.slower(s, "updates push the policy into noise", back)
    if s.option("algo.entropy_coef"):
        change = {"why": "the bonus rewards noise", "expected": back, "risk": "less exploration"}
        fix = prescribe.at(s, "algo.entropy_coef", 0.0, "down", **change)
    yield found(
        "critical fault" if falls else "warning fault",
        f"the entropy rose from {t.first:.3g} to {t.last:.3g} nat"
        + (" and the reward fell" if falls else " without a gain"),
        f"reward: {reward.first:.3g} to {reward.last:.3g}",
        causes={"lr-too-high": 0.7, "sampler-mismatch": 0.4},
        fix=fix,
    )


@rule("D410", "entropy-unstable", "policy/entropy", points=4, proof="real")
def entropy_unstable(s: Signals) -> Findings:
    """The entropy jumps from step to step: noise of small batches, or growing unrest.

    What: noise of one point above 20% of the level. If the noise of the second half is over three
    times that of the first without a trend of the level, it is a warning.
    Why it matters: a mean over few completions jumps by itself; that is no instability of training.
    Evidence needed: four points; 40 for the comparison of halves.
    Traps: entropy scales with how open the prompts are: another prompt, another entropy.
    Fix: none for noise; for growing unrest a lower learning rate.
    Source: variance of a mean over few prompts.
    Causes: lr-too-high (updates that overshoot).
    """
    x_N = s.values("policy/entropy")
    level, noise, half = float(x_N.mean()), noise_of(x_N), len(x_N) // 2
    if level <= 0:
        return
    grows = noise_of(x_N[half:]) > 3.0 * noise_of(x_N[:half]) > 0
    seen = f"noise of one point {noise:.3g} at a level of {level:.3g}"
    if len(x_N) >= 40 and grows and not s.trend("policy/entropy").significant:
        text = "the entropy grows restless: its noise tripled"
        yield found("warning nothing", text, seen, causes={"lr-too-high": 0.3})
    elif noise / level > 0.2:
        yield found(
            "info nothing",
            f"the entropy jumps by {noise / level:.0%} from point to point: noise of few prompts, "
            "no instability",
            seen,
        )


@rule("D411", "entropy-negative", "policy/entropy")
def entropy_negative(s: Signals) -> Findings:
    """The entropy is below 0, which no distribution over tokens has: an artefact of padding.

    What: entropies below 0.
    Why it matters: it says nothing about the policy: masked places entered the sum with a filler.
    Evidence needed: the entropy.
    Traps: it is a fault of the metric, not of the run.
    Fix: leave the column out, or upgrade the library.
    Source: TRL's PPOTrainer up to 1.12 (INVALID_LOGPROB = 1.0 in padded places).
    Causes: none.
    """
    x_N = s.values("policy/entropy")
    below = x_N < 0
    if below.mean() > 0.1:
        text = f"the entropy reads {np.median(x_N):.3g}: padding, not the policy"
        yield found("info unusual", text, f"below 0 at {below.sum()} of {len(x_N)} points")

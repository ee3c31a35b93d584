"""Rules about the wiring of a run: what preflight refused, ratios, gradients, weights, scores.

Codes D107 to D113: invariants that hold in every sound run, whatever it learns. Left out: the KL to
the reference (`policy`) and how far the sampler is from the trainer (`mismatch`).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pawl.checks import CAUSES
from pawl.rules.rule import Findings, found, rule
from pawl.rules.run_features import single_precision
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats

NLL = "policy/nll_minus_entropy"
MOVED = "optim/update_ratio|optim/update_norm|optim/unchanged_frac"
RATIO_FP32, RATIO_HALF = 1.001, 2.0  # largest ratio before an update that rounding explains
JUDGED = (  # why a judge gave no verdict
    *("judge/unavailable_frac", "judge/rejected_frac", "judge/refusal_frac"),
    *("judge/truncated_frac", "judge/malformed_frac"),
)
RESTING = 5  # updates without any effect


@rule("D107", "preflight-failed", proof="real")
def preflight_failed(s: Signals) -> Findings:
    """A check before the first step failed, and the run started all the same.

    What: the last row of a check in preflight.jsonl says that it did not hold.
    Why it matters: what it guards is broken from the first step on; no metric can be read as usual.
    Evidence needed: the run's preflight rows.
    Traps: statistics (checks that only warn) are questions; an overridden check is as broken as
    another, somebody only decided to go on.
    Fix: mend what the check names and start again.
    Source: docs/preflight.md.
    Causes: any.
    """
    last = {(str(c.get("name")), str(c.get("problem", ""))): c for c in s.log.checks}
    failed = defaultdict[str, list[dict[str, object]]](list)
    for (name, _), row in last.items():
        if row.get("passed") is False:
            failed[name].append(row)
    for name, (row, *others) in failed.items():
        refuses = row.get("refuses") is not False
        cause = str(row.get("cause", "none"))
        known = cause in CAUSES and cause != "none"
        yield found(
            "critical invalid" if refuses else "warning nothing",
            f"the check {name} failed before the first step"
            + (" and was overridden" if row.get("overridden") else ""),
            f"expected {row.get('expected', '?')}, observed {row.get('observed', '?')}",
            *([f"on {1 + len(others)} problems"] if others else []),
            *([str(row["meaning"])] if row.get("meaning") else []),
            causes={cause: 0.95 if refuses else 0.4} if known else {},
            fix="`pawl check` on the same config",
            at=f"preflight, {name}",
        )


@rule("D108", "first-pass-ratio", "policy/ratio_max_first_pass", points=2, proof="real")
def first_pass_ratio(s: Signals) -> Findings:
    """The ratio of new to old policy is not 1 before the first update of a batch.

    What: the largest ratio before an update lies above 1.001 in single precision, or above 2 in
    half precision, in the median step.
    Why it matters: the two passes see the same weights and tokens. A ratio other than 1 means that
    they do not compute the same thing: dropout, positions, padding, temperature, stale weights.
    Evidence needed: policy/ratio_max_first_pass.
    Traps: half precision moves single rare tokens by up to half a nat.
    Fix: turn dropout off; score one batch twice, alone and padded; compare token by token.
    Source: PPO (Schulman et al. 2017), eq. 6 at equal policies.
    Causes: padding-side (neighbours in the batch change a row), sampler-mismatch (two passes of
    equal weights disagree).
    """
    x_N = s.values("policy/ratio_max_first_pass")
    middle = float(np.median(x_N))
    limit = RATIO_FP32 if single_precision(s) else RATIO_HALF
    if middle > limit:
        yield found(
            "critical invalid",
            f"before any update of the batch the ratio already reaches {middle:.4g}",
            f"median over {len(x_N)} points; {limit:g} is what rounding explains",
            causes={"sampler-mismatch": 0.8, "padding-side": 0.4},
        )


@rule("D109", "nll-off-entropy", f"{NLL}_z|{NLL}", proof="real")
def nll_off_entropy(s: Signals) -> Findings:
    """The samples are not drawn from the distribution that the trainer scores them by.

    What: the mean NLL of the tokens differs from the mean entropy, on the same side in nearly all
    steps: by more than 2 standard errors in the median step (1 in the mean step and 10 over the
    run), or, without them, by 10% of the entropy with six standard errors over the run.
    Why it matters: for samples of a policy the mean of -log p is its entropy. A lower NLL means a
    sharper sampler (temperature below 1, top-k); more means other weights or shifted tokens.
    Evidence needed: NLL and entropy of the same tokens, over all tokens.
    Traps: an entropy of a subset of the tokens, or of the untruncated distribution under top-p.
    Groups that are chosen for their mixed results hold rarer tokens than all samples do.
    Fix: give sampler and scoring the same temperature, top-p and top-k; check the shift by one.
    Source: definition of entropy; measured on injected faults.
    Causes: sampler-mismatch (sampler and trainer differ in temperature, truncation or token shift),
    stale-weights (another policy wrote them).
    """
    z_N = s.values(f"{NLL}_z")
    if len(z_N) >= 3:
        middle, mean = float(np.median(z_N)), float(z_N.mean())
        pooled = abs(mean) * np.sqrt(len(z_N))
        seen = f"median {middle:+.1f} standard errors a step, {pooled:.0f} over the run"
        steady = abs(mean) > 1.0 and pooled > 10.0 and _same_side(z_N, 0.8)
        broken = steady or (abs(middle) > 2.0 and _same_side(z_N, 0.9))
        broken = broken and (middle < 0 or not _selected(s) or middle > 6.0)
    else:
        x_N, h_N = s.paired(NLL, "policy/entropy")
        if len(x_N) < 5:
            return
        middle = float(x_N.mean())
        error = float(x_N.std(ddof=1)) / np.sqrt(len(x_N))
        broken = abs(middle) > max(6.0 * error, 0.1 * abs(float(h_N.mean())), 0.01)
        seen = f"mean {middle:+.3g} nat, entropy {h_N.mean():.3g} nat"
    if not broken:
        return
    sharper = middle < 0
    yield found(
        "critical invalid",
        f"the tokens are {'likelier' if sharper else 'more surprising'} than samples of the scored "
        "distribution",
        seen,
        causes={"sampler-mismatch": 0.9, "stale-weights": 0.2 if sharper else 0.5},
        series=(NLL, f"{NLL}_z", "policy/entropy"),
    )


def _selected(s: Signals) -> bool:
    """Whether groups are trained on, and looked at, only where their rewards differ."""
    groups = s.log.config.get("algo.zero_variance_groups")
    return groups in ("resample", "drop") or bool(s.log.config.get("algo.filter"))


def _same_side(x_N: Floats, share: float) -> bool:
    return max(float(np.mean(x_N > 0)), float(np.mean(x_N < 0))) > share


@rule("D111", "gradient-zero", "optim/grad_norm", proof="real")
def gradient_zero(s: Signals) -> Findings:
    """The gradient is exactly 0 although rewards differ within groups.

    What: at five or more steps with a spread of rewards the gradient norm is exactly 0, and so it
    is at nine of ten such steps.
    Why it matters: advantages that differ give a gradient, unless it does not reach the weights.
    Evidence needed: the gradient norm, and the spread within groups or the share of zero-variance
    groups.
    Traps: zero-variance groups alone give 0 in healthy runs; a norm written with few digits reads 0
    and the KL moves all the same, and then the rule is silent.
    Fix: list the tensors with a gradient after one backward pass; look for a detached graph.
    Source: AllZero and UnchangedTensor of the SageMaker Debugger rules, for what is trained.
    Causes: algebraic-identity (advantages cancel by construction), optimiser-detached (no gradient
    arrives at the weights).
    """
    equal = "group/zero_std_frac"
    name = s.first("reward/within_std|group/mixed_frac") or equal
    spread, norm = s.paired(name, "optim/grad_norm")
    live = norm[spread < 1 if name == equal else spread > 0]
    moved = s.has("policy/kl_ref") and float(s.values("policy/kl_ref")[-1]) > 1e-4
    rests = len(live) >= RESTING and float(np.mean(live == 0.0)) >= 0.9
    if not rests or moved or s.trend(s.goal or "optim/grad_norm").direction == "up":
        return
    lr = s.values("optim/lr")
    yield found(
        "critical invalid",
        "the gradient is exactly 0 at steps whose rewards differ within groups",
        f"{int(np.sum(live == 0.0))} of {len(live)} such steps"
        + (f"; learning rate up to {lr.max():.2g}" if len(lr) else ""),
        causes={"optimiser-detached": 0.9, "algebraic-identity": 0.4},
        series=("optim/grad_norm", name),
    )


@rule("D112", "weights-rest", MOVED, proof="real")
def weights_rest(s: Signals) -> Findings:
    """Updates with a gradient and a learning rate leave every weight where it was.

    What: at five or more steps with a learning rate above 0 and a gradient above 0 the update is
    exactly 0, or every trained number keeps its exact value; so at nine of ten such steps.
    Why it matters: the optimiser holds other tensors than those that are used, or their type is too
    coarse for the update. Nothing is learned, whatever the curves do.
    Evidence needed: the size of the update, or the share of unchanged numbers.
    Traps: a step without a group to train on, and a warm-up that starts at 0, move nothing.
    Fix: compare the optimiser's tensors with the model's by identity, after every load.
    Source: UnchangedTensor of the SageMaker Debugger rules; weights in fp32 for small steps.
    Causes: optimiser-detached (a gradient, a learning rate, and no movement).
    """
    name = s.first(MOVED)
    moved, norm = s.paired(name, "optim/grad_norm")
    rate = s.paired(name, "optim/lr")[1]
    rests = moved >= 1.0 if name == "optim/unchanged_frac" else moved == 0.0
    usable = norm > 0 if len(norm) else np.ones(len(moved), bool)
    if len(rate) == len(usable):
        usable = usable & (rate > 0)
    if int(usable.sum()) < RESTING or float(np.mean(rests[usable])) < 0.9:
        return
    yield found(
        "critical invalid",
        "updates do not move the weights",
        f"{int(rests[usable].sum())} of {int(usable.sum())} updates changed nothing",
        causes={"optimiser-detached": 0.95},
        series=(name, "optim/grad_norm"),
    )


@rule("D113", "scores-missing", "verifier/missing_frac|judge/missing_frac")
def scores_missing(s: Signals) -> Findings:
    """Scores cannot be had for a share of the samples.

    What: over 5% (warning) or 20% (fault) of the recent samples have no score; or over 1%, and the
    share rises beyond noise (warning).
    Why it matters: what is left is a selection, by chance or by length; and where errors are scored
    as zeros they count as wrong answers. A share that rises is an outage that builds up.
    Evidence needed: verifier/missing_frac, or judge/missing_frac where a mix is paid without its
    judge.
    Traps: a single bad step is an outage that is over; completions that time out are verdicts.
    Fix: look at the reasons in the samples; retry, never substitute a number.
    Source: NeMo-Gym issue 2552 (session failures entered training as zeros).
    Causes: judge-outage (sandbox, judge or reward fails).
    """
    both = [n for n in ("verifier/missing_frac", "judge/missing_frac") if s.has(n)]
    name = max(both, key=lambda n: s.late(n).value)
    now = s.late(name)
    rises = now.value > 0.01 and s.trend(name).direction == "up"
    if now.value <= 0.05 and not rises:
        return
    fails = now.value > 0.2 and now.low > 0.05
    by = {n.removeprefix("judge/").removesuffix("_frac"): s.late(n) for n in JUDGED if s.has(n)}
    reasons = ", ".join(f"{x.value:.1%} {why}" for why, x in by.items() if x.value > 0)
    yield found(
        "critical fault" if fails else "warning fault",
        f"{now.value:.1%} of the recent samples have no score" + (", and more do" if rises else ""),
        f"mean of {now.n} points; over the run {s.values(name).mean():.1%}",
        *([f"by the judge: {reasons}"] if reasons else []),
        causes={"judge-outage": 0.9},
        fix="under 1% of the samples without a score",
    )

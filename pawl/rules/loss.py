"""Rules about the loss: when it says something, and when it cannot.

Codes D609 to D611. Left out: where a preference loss starts (`preference`).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pawl.logs.table import number
from pawl.rules import prescribe
from pawl.rules.rule import Findings, Grade, found, rule
from pawl.rules.run_features import single_precision
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, rank_correlation

KL_TERM = ("policy/kl_ref", "k3", "token")  # the KL whose mean stands in the loss as it is logged


@rule("D609", "loss-instability", "loss/total", proof="real")
def loss_instability(s: Signals) -> Findings:
    """The loss rises or scatters.

    What: of a preference or supervised loss, a rise beyond noise. Of a policy loss a rise or a
    scatter says nothing by itself; it is a fault when its spread grows fivefold or more and the
    reward gets worse.
    Why it matters: a policy loss is no measure of progress: its sign and size come from the
    batch's advantages and lengths and from the KL term. Lowering the learning rate because of it
    mends nothing.
    Evidence needed: the loss; for a policy also the reward.
    Traps: a policy loss that rises is often the coefficient times the KL, in health. Means over a
    few batches differ by more than their size.
    Fix: for preference and supervised losses a lower learning rate; for a policy none by the loss.
    Source: policy gradient theorem: the loss's gradient has a meaning, its value has none.
    Causes: lr-too-high (a loss that is minimised must not rise; of a policy, updates grow out of
    proportion).
    """
    x_N, t = s.values("loss/total"), s.trend("loss/total")
    if s.log.kind != "policy":
        if t.direction == "up" and t.first > 0:
            sure = t.sure and (s.worse or not s.has("preference/accuracy"))
            fix = prescribe.slower(
                s,
                "the loss that is minimised rises",
                "a falling loss within 50 steps",
                verify="the loss is below that of an unchanged fork",
            )
            grade: Grade = "critical fault" if sure else "warning fault"
            yield found(grade, f"the loss rises: {t.words}", causes={"lr-too-high": 0.7}, fix=fix)
        return
    quarter = max(2, len(x_N) // 4)
    ends = x_N[:quarter], x_N[-quarter:]
    before, now = (float(np.ptp(np.quantile(part, (0.1, 0.9)))) for part in ends)
    wider = now / max(before, 1e-9)
    if len(x_N) >= 40 and wider > 5.0 and s.worse:
        yield found(
            "warning fault",
            f"the loss scatters {wider:.0f} times as much as at the start and the reward falls",
            causes={"lr-too-high": 0.6},
            series=("loss/total", "reward/mean"),
        )
        return
    rise = len(x_N) >= 2 and x_N[0] > 0 and x_N[-1] > 1.3 * x_N[0]
    if t.direction == "up" or (len(x_N) < 30 and rise):
        first, last = (t.first, t.last) if t.significant else (x_N[0], x_N[-1])
        kl = rank_correlation(*s.paired("loss/total", "policy/kl_ref"))
        yield found(
            "info nothing",
            f"the policy loss goes from {first:.3g} to {last:.3g}: no instability, it has no level "
            "that means anything",
            *([f"rank correlation with the KL: {kl:+.2f}"] if kl > 0.5 else []),
            *([] if len(x_N) < 4 else [f"one point scatters by {t.noise:.3g}"]),
            series=("loss/total", "policy/kl_ref"),
        )


@rule("D610", "loss-near-zero", "loss/total", "reward/mean", kinds=("policy",), proof="real")
def loss_near_zero(s: Signals) -> Findings:
    """The policy loss is 0, tiny or negative: so it must be.

    What: half of the first ten losses are below 0.001 in size, or a fifth of all are negative.
    Why it matters: advantages of a group add up to 0, so that the first loss of a batch is 0
    whatever will be learned from it. Nothing is to be mended.
    Evidence needed: the loss.
    Traps: a loss of exactly 0 beside a KL of exactly 0 from first to last is another matter (D102).
    Fix: none: judge by the gradient norm, the KL and a held-out measure.
    Source: GRPO (Shao et al. 2024), eq. 3 at equal policies; TRL issue 2703.
    Causes: none.
    """
    x_N = s.values("loss/total")
    below = float(np.mean(x_N < 0.0))
    text = ""
    if len(x_N) >= 4 and float(np.mean(np.abs(x_N[:10]) < 1e-3)) >= 0.5:
        text = "a policy loss near 0 is exact algebra, not a sign that nothing is learned"
    elif below > 0.2:
        text = f"{below:.0%} of the policy losses are negative, which means nothing"
    if text:
        yield found("info nothing", text, series=("loss/total",))


@rule("D611", "loss-identity", "loss/total", "samples", kinds=("policy",), proof="real")
def loss_identity(s: Signals) -> Findings:
    """The logged loss is not the one that advantages and lengths of its own samples give.

    What: with one update a batch and no entropy bonus the ratio is 1, and the loss is minus the
    advantages' mean by the normaliser's weights, plus coefficient times KL; two of three whole
    steps, and two or more, differ by over 0.5% (4% in half precision).
    Why it matters: other tokens than the sampled ones stand in the loss: prompt, padding, or a
    count that is not theirs; or the KL has the wrong sign. The policy is trained on that.
    Evidence needed: samples with advantage and tokens of whole steps, and the loss's options (Pawl
    records them).
    Traps: any other term in the loss breaks the identity by design, as a KL does whose mean by
    sequences is not recorded: the rule is silent then, and where trainer and log-prob pass already
    disagree (D108).
    Fix: sum the loss's mask: it must equal the sampled tokens.
    Source: GRPO (Shao et al. 2024), eq. 3 at equal policies; docs/algorithms.md.
    Causes: algebraic-identity (or advantages cancel where they must not), loss-covers-prompt
    (tokens that were not sampled stand in the loss), reference-mismatch (the KL pushes away from
    the reference).
    """
    first = s.values("policy/ratio_max_first_pass")
    if s.log.library != "pawl" or not _plain_loss(s) or (len(first) and float(first.max()) > 1.01):
        return
    logged, sizes, pull = (_at_steps(s, n) for n in ("loss/total", "batch_samples", KL_TERM[0]))
    coef = s.option("algo.kl_coef") or 0.0
    share, least = (0.005, 1e-4) if single_precision(s) else (0.04, 1e-3)
    whole, bad = 0, []
    for step, rows in _by_step(s).items():
        if step not in logged or len(rows) != sizes.get(step) or any(None in r for r in rows):
            continue
        credit, tokens = np.array(rows, np.float64).T
        term = coef * pull.get(step, 0.0)
        expected = _expected(s, credit, tokens) + term
        within = max(share * abs(expected), least * float(np.abs(credit).mean()))
        gap = logged[step] - expected
        whole += 1
        if abs(gap) > within:
            bad.append((step, logged[step], expected, abs(gap + 2 * term) <= within))
    if len(bad) < 2 or 3 * len(bad) < 2 * whole:
        return
    turned = coef > 0.0 and all(wrong_sign for *_, wrong_sign in bad)
    yield found(
        "critical invalid",
        "the KL enters the loss with the wrong sign: distance from the reference is rewarded"
        if turned
        else "the loss is not that of its samples: other tokens take part in it",
        *(f"step {step:g}: logged {a:.4g}, by the samples {b:.4g}" for step, a, b, _ in bad[:3]),
        causes={"reference-mismatch": 0.99}
        if turned
        else {"loss-covers-prompt": 0.99, "algebraic-identity": 0.2},
        series=("loss/total",),
        at=f"steps {bad[0][0]:g} to {bad[-1][0]:g}",
    )


def _plain_loss(s: Signals) -> bool:
    """Whether the loss is the surrogate at ratio 1, with no term that the log does not hold."""
    plain: dict[str, object] = {"algo.epochs": 1, "algo.minibatches": 1, "algo.entropy_coef": 0}
    plain |= {"algo.correction": "none", "algo.filter": "", "algo.zero_variance_groups": "keep"}
    config = s.log.config
    kind = config.get("algo.kl"), config.get("algo.normaliser")
    known = s.option("algo.kl_coef") == 0 or (kind == KL_TERM[1:] and s.has(KL_TERM[0]))
    plain_terms = all(value in (s.option(n), config.get(n)) for n, value in plain.items())
    return config.get("algo.loss") in ("clip", "gspo") and known and plain_terms


def _at_steps(s: Signals, name: str) -> dict[float, float]:
    """A metric's values by step."""
    return dict(zip(s.steps(name).tolist(), s.values(name).tolist(), strict=True))


def _by_step(s: Signals) -> dict[float, list[tuple[object, object]]]:
    """(advantage, tokens) of the samples of each step."""
    found_ = defaultdict[float, list[tuple[object, object]]](list)
    for row in s.log.samples:
        step = number(row.get("step"))
        if step is not None:
            found_[step].append((row.get("advantage"), row.get("n_tokens")))
    return found_


def _expected(s: Signals, credit: Floats, tokens: Floats) -> float:
    """Minus the mean advantage by the weights of the configured normaliser."""
    kind = s.log.config.get("algo.normaliser")
    if kind == "sequence":
        return -float(credit.mean())
    full = len(credit) * (s.option("rollout.max_tokens") or 1.0)
    return -float(credit @ tokens) / (full if kind == "constant" else max(float(tokens.sum()), 1.0))

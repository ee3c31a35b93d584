"""Rules about which problems are sampled: their order, problems that repeat or are held out.

Codes D906, D907, D914 and D915. Left out: held-out results (`evaluation`).
"""

from __future__ import annotations

import numpy as np

from pawl.rules.completions import words
from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals
from pawl.rules.statistics import Floats, rank_correlation, t_p

BINS = 12
MOST = 200  # epochs that are compared


@rule("D906", "order-shows", "epoch", "reward/mean|length/mean")
def order_shows(s: Signals) -> Findings:
    """The curve repeats itself with every epoch: it shows the order of the data.

    What: reward or length, by place in the epoch, has the same profile in each of two epochs or
    more (correlation of 0.7, p below 0.001).
    Why it matters: rises and falls within an epoch are then problems, not the policy; sorted data
    also trains on one kind at a time.
    Evidence needed: the epoch as a fraction, two whole epochs with 24 points each.
    Traps: one fixed random order shows too: harmless, but curves must be read epoch by epoch.
    Fix: shuffle with another order in each epoch; compare whole epochs.
    Source: sawtooth of problems sorted by difficulty or length.
    Causes: data-order (problems come in the same order in every epoch).
    """
    hits, ordered = {}, []
    for name in ("reward/mean", "length/mean"):
        profiles = _profiles(*s.paired("epoch", name))
        if len(profiles) < 2:
            continue
        first, rest = profiles[0], np.mean(profiles[1:], axis=0)
        r = float(np.corrcoef(first, rest)[0, 1]) if first.std() and rest.std() else 0.0
        slope = rank_correlation(np.arange(BINS, dtype=np.float64), np.mean(profiles, axis=0))
        if r > 0.7 and _chance(r, BINS) < 1e-3:
            ordered += [name] if abs(slope) > 0.8 else []
            hits[name] = (
                f"{name}: profiles of {len(profiles)} epochs correlate by {r:+.2f}, with the "
                f"place by {slope:+.2f}"
            )
    if hits:
        yield found(
            "warning fault" if ordered else "warning unusual",
            "the curve repeats itself with every epoch"
            + (f": {' and '.join(ordered)} goes one way within each" if ordered else ""),
            *hits.values(),
            causes={"data-order": 0.8 if ordered else 0.4},
            fix="the sampled ids of two epochs differ in order",
            series=hits,
        )


def _profiles(epoch: Floats, x_N: Floats) -> list[Floats]:
    """Each whole epoch's means by place, less the drift of the run through the epochs' own means.

    A run that rises steadily would else repeat its rise in every epoch.
    """
    whole, means = list[int](), list[Floats]()
    for k in range(int(np.clip(np.ceil(epoch.max(initial=0.0)), 0, MOST))):
        inside = (epoch > k) & (epoch <= k + 1)
        place = np.minimum(((epoch[inside] - k) * BINS).astype(int), BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        if len(place) >= 2 * BINS and counts.min() > 0 and epoch[inside].max() >= k + 0.95:
            whole.append(k)
            means.append(np.bincount(place, x_N[inside], minlength=BINS) / counts)
    if len(whole) < 2:
        return []
    levels = np.mean(means, axis=1)
    inner = (np.arange(BINS) + 0.5) / BINS - 0.5
    drifts = np.outer(np.gradient(levels, whole), inner)
    return list(np.array(means) - levels[:, None] - drifts)


@rule("D907", "problems-again", "epoch|prompts_seen", proof="real")
def problems_again(s: Signals) -> Findings:
    """The same problems come again and again.

    What: more than three epochs without a held-out gain; or problems sampled twice before all were
    sampled once (a tenth fewer distinct problems than samples in the first epoch).
    Why it matters: after a few epochs answers are memorised; early repeats mean that sampling does
    not go through the set as it should.
    Evidence needed: epochs, or the counts of sampled and of distinct prompts.
    Traps: a weighted mix, and sampling with replacement, repeat some problems by design: critical
    only where neither is used (Pawl without a mix).
    Fix: more problems instead of more epochs; a sampler without replacement.
    Source: gains of repeated data fade after about four epochs (Muennighoff et al. 2023).
    Causes: data-order (problems are repeated before all were sampled).
    """
    epoch = s.values("epoch")
    drawn, distinct = s.paired("sampled_prompts", "prompts_seen")
    if len(drawn) and len(epoch):
        of = s.paired("epoch", "prompts_seen")[0]
        size = float(drawn[-1] / of[-1]) if len(of) and of[-1] > 0 else 0.0
        first = (drawn >= 20) & (drawn <= size)
        if first.any() and float(distinct[first][-1]) < 0.9 * float(drawn[first][-1]):
            plain = s.log.library == "pawl" and not s.family("mix_share/")
            yield found(
                "critical fault" if plain and not s.staged else "warning fault",
                f"{drawn[first][-1]:g} prompts of the first epoch hold {distinct[first][-1]:g} "
                f"distinct problems of {size:g}",
                causes={"data-order": 0.8},
                fix="the ids of the first epoch are all different",
                series=("prompts_seen", "sampled_prompts"),
                early=True,
            )
    gained = s.trend(s.held_out).direction == "up"
    if len(epoch) and float(epoch.max()) > 3.0 and not gained and s.log.kind == "policy":
        yield found(
            "info nothing",
            f"every problem was trained on {epoch.max():.1f} times"
            + ("" if s.held_out else ", and no held-out measure says what that gained"),
            series=("epoch",),
        )


@rule("D914", "evaluated-on-trained", "eval/trained_frac", proof="real")
def evaluated_on_trained(s: Signals) -> Findings:
    """Problems of the evaluation are among those that are trained on.

    What: one problem or more of the newest evaluation also has training samples.
    Why it matters: the held-out measure is then a training measure; nothing says what was learned.
    Evidence needed: ids of problems in the samples of training and of evaluation.
    Traps: a trailing window of training samples misses problems that were sampled before it.
    Fix: split by problem before training; score the first and the last checkpoint on a new set.
    Source: definition of held-out.
    Causes: leakage (evaluation problems stand in the training set).
    """
    share = float(s.values("eval/trained_frac")[-1])
    if share > 0.0:
        yield found(
            "critical fault",
            f"{share:.0%} of the evaluated problems are trained on",
            causes={"leakage": 0.95},
            fix="ids and normalised texts of both sets have nothing in common",
            early=True,
        )


@rule("D915", "prompts-sorted", "length/prompt_mean|samples", proof="real")
def prompts_sorted(s: Signals) -> Findings:
    """Problems are sampled in order of length.

    What: prompts get longer (or shorter) through every epoch: the mean length follows the place in
    it (rank correlation over 0.6 in each, p below 1e-6 in one); or, among the newest samples of 16
    problems or more, 93% of the prompts are longer (shorter) than the one before.
    Why it matters: each stretch of training sees one kind of problem; curves show the order.
    Evidence needed: length/prompt_mean with the epoch as a fraction, or samples with their prompts
    in the order in which they were sampled.
    Traps: a curriculum sorts on purpose; a file may list samples by length, whatever the order of
    sampling; agents whose prompts hold their own earlier turns grow with the policy, over epochs.
    Fix: shuffle the problems, with another order in each epoch.
    Source: a shuffled list rises in half of its steps, with variance n / 12; the rank correlation
    of n shuffled values has a deviation of 1 / sqrt(n - 1).
    Causes: data-order (problems come sorted by length).
    """
    said = _by_epoch(s) or _by_sample(s)
    if said:
        yield found(
            "warning unusual" if s.staged else "critical fault",
            *said,
            causes={"data-order": 0.9},
            fix="the sampled ids of two epochs differ in order",
            early=True,
        )


def _by_epoch(s: Signals) -> tuple[str, ...]:
    """Summary and evidence where every epoch goes by length; () where one does not."""
    epoch, length = s.paired("epoch", "length/prompt_mean")
    inside = np.ceil(epoch)
    parts = [(epoch[inside == k], length[inside == k]) for k in np.unique(inside)[:MOST]]
    parts = [part for part in parts if len(part[0]) >= 12]
    rho = np.array([rank_correlation(*part) for part in parts])
    if not len(rho) or min(np.sign(rho[0]) * rho) <= 0.6:
        return ()
    if min(_chance(r, len(part[0])) for r, part in zip(rho, parts, strict=True)) > 1e-6:
        return ()
    return (
        f"prompts get {'longer' if rho[0] > 0 else 'shorter'} through "
        f"{'the' if len(rho) == 1 else 'every'} epoch",
        "rank correlation of place and length: " + ", ".join(f"{r:+.2f}" for r in rho[:4]),
        f"mean lengths of {length.min():.4g} to {length.max():.4g} tokens",
    )


def _chance(r: float, n: int) -> float:
    """P-value of a rank correlation of n shuffled values."""
    return t_p(r * np.sqrt((n - 2) / max(1.0 - r * r, 1e-9)), n - 2)


def _by_sample(s: Signals) -> tuple[str, ...]:
    """The same of the newest samples' prompts, each against the one before."""
    prompts = dict.fromkeys(filter(None, (words(row.get("prompt")) for row in s.log.samples)))
    lengths = np.array([float(len(prompt)) for prompt in prompts])
    steps = np.diff(lengths)
    steps = steps[steps != 0.0]
    up = float(np.mean(steps > 0.0)) if len(steps) >= 12 else 0.5  # of shuffled prompts: one half
    if max(up, 1 - up) < 0.93:
        return ()
    return (
        f"the newest {len(lengths)} problems were sampled by length: {max(up, 1 - up):.0%} of the "
        f"prompts are {'longer' if up > 0.5 else 'shorter'} than the one before",
        f"prompts of {lengths.min():g} to {lengths.max():g} characters",
    )

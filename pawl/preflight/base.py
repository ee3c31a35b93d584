"""What is likely of a healthy run, and what the base model can do: statistics that mostly warn.

Each check states a limit up to which it only warns; past it the run is refused. Left out: exact
invariants (`samples.py`, `update.py`), measuring references (`reference_answers.py`).
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pawl.algo.shaping import kept
from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.models.text import PromptEncoder
from pawl.preflight.reference_answers import mean_nll, reference_lengths, reference_problems
from pawl.preflight.samples import Sampled, judged
from pawl.rewards.calibrate import Calibration
from pawl.rewards.grader import components_of, has_tests
from pawl.store.files import dumps
from pawl.train.batch import Rewards, filtered_by
from pawl.train.plan import MIB, plan, room
from pawl.train.record import judged_in, sample_rows
from pawl.train.rollouts import Rollouts
from pawl.train.session import Session
from pawl.types import Problem, Score

ATOM_WARN, ATOM_REFUSE = 0.3, 0.6  # share of samples at one value between the extremes
MIXED_WARN = 0.1  # share of problems that are sometimes solved
SURPRISING = 1.5  # nat a token of reference solutions, from which the form is doubted
CAP_WARN, CAP_REFUSE = 0.8, 0.9  # of max_tokens for 95% of references; share that does not fit
SWAPPED_WARN, SWAPPED_REFUSE = 0.2, 0.6  # of full marks for another problem's solution
GROUP_SIZES = (4, 8, 16, 32)
UNTESTED = "never refused for a reward without tests"
MANY = 64  # samples from which a constant reward is no chance


@dataclass(frozen=True, slots=True)
class Capability:
    """What the base does on n problems with g samples each: shares, and zero-variance groups.

    mixed: problems with passes and failures. zero_variance: group size -> expected share of groups
    in which all pass or all fail.
    """

    n: int
    g: int
    pass_at_1: float
    pass_at_g: float
    mixed: float
    zero_variance: dict[int, float]

    def text(self) -> str:
        """One line for a person."""
        equal = ", ".join(f"{share:.0%} in {size}" for size, share in self.zero_variance.items())
        return (
            f"base on {self.n} training problems: pass@1 {self.pass_at_1:.2f}, "
            f"pass@{self.g} {self.pass_at_g:.2f}, sometimes solved {self.mixed:.0%}; "
            f"groups that all pass or all fail, expected by group size: {equal}"
        )

    def advice(self) -> list[str]:
        """What follows when there is little to learn from, cheapest first; empty when there is."""
        if self.mixed >= MIXED_WARN:
            return []
        if self.pass_at_1 > 0.5:
            return ["the base solves nearly all: take harder problems"]
        wider, least = min(self.zero_variance.items(), key=lambda row: row[1])
        return [
            "take an easier subset: pawl eval MODEL --split train --pass-rates FILE, then "
            "problems.train=FILE problems.filter.min_pass_rate=0.05",
            f"sample more: with rollout.group_size={wider} {least:.0%} of groups have no variance",
            "warm-start with pawl sft on solutions, or take a larger base model",
        ]


def capability(rollouts: Rollouts, g: int) -> Capability | None:
    """From the sampled groups; None when no test was run."""
    counts = []
    for start in range(0, len(rollouts.scores_S), g):
        known = judged_in(rollouts.scores_S[start : start + g])
        if known:
            counts.append((sum(x.passed for x in known), len(known)))
    if not counts:
        return None
    mean = np.mean
    return Capability(
        len(counts),
        g,
        float(mean([c / n for c, n in counts])),
        float(mean([c > 0 for c, _ in counts])),
        float(mean([0 < c < n for c, n in counts])),
        {size: expected_zero_variance(counts, size) for size in GROUP_SIZES},
    )


def expected_zero_variance(counts: Sequence[tuple[int, int]], size: int) -> float:
    """Share of groups of `size` new samples that all pass or all fail; counts: (passes, n) each.

    Unbiased up to the smallest n: the share of subsets of the samples seen that agree. Beyond, the
    mean under a Beta distribution of pass rates with the mean and the spread of those seen (method
    of moments for the beta-binomial), but never more than for smaller groups.
    """
    n = min(n for _, n in counts)
    if size <= n:
        return float(np.mean([zero_variance(c, of, size) for c, of in counts]))
    rates = [c / of for c, of in counts]
    mean, bound = float(np.mean(rates)), expected_zero_variance(counts, n)
    if n < 2 or mean in (0.0, 1.0):
        return bound
    spread = float(np.var(rates, ddof=1)) if len(rates) > 1 else 0.0
    alike = (n * spread / (mean * (1.0 - mean)) - 1.0) / (n - 1)  # correlation within a problem
    total = 1.0 / min(max(alike, 1e-3), 1.0 - 1e-3) - 1.0
    return min(bound, both_ends(mean * total, (1.0 - mean) * total, size))


def zero_variance(passes: int, n: int, size: int) -> float:
    """Share of the subsets of `size` <= n samples, `passes` of which passed, that agree."""
    return (math.comb(passes, size) + math.comb(n - passes, size)) / math.comb(n, size)


def both_ends(a: float, b: float, size: int) -> float:
    """E[p^size + (1 - p)^size] for p of a Beta(a, b) distribution."""
    from scipy.special import betaln  # takes its time to import, and few runs ask

    ends = betaln([a + size, a], [b, b + size]) - betaln(a, b)
    return float(np.exp(ends).sum())


def of_disk(s: Session, found: Sampled, step: int) -> Check:
    """Room for the checkpoints that are kept, and for rows as long as those of these samples."""
    made, rollouts = plan(s), found.rollouts
    prompts = [s.encoder.render(group.problem) for group in rollouts.groups]
    rows = [len(dumps(row)) + 1 for row in sample_rows(0, rollouts, prompts, None, None)]
    files = s.run.checkpoints_dir.rglob("*")
    held = sum(path.stat().st_size for path in files if path.is_file())
    saved, written = room(made, sum(rows) / len(rows), step / max(1, made.steps), held)
    free = shutil.disk_usage(s.run.disk).free / MIB
    return judged(
        "disk-space",
        "disk-full",
        free >= saved + written,
        f"{saved + written:,.0f} MiB: {made.kept} checkpoints kept and one being written of "
        f"{made.checkpoint_mb:,.1f} MiB each, by the number of trained weights; samples "
        f"{written:,.0f} MiB, as long as those of the preflight; refused without room for the "
        "checkpoints",
        f"{free:,.0f} MiB free",
        "a run that fills the disk stops in the middle, at its last checkpoint",
        refuses=free < saved,
    )


def of_base(s: Session, found: Sampled, able: Capability | None) -> Iterator[Check]:
    """All statistics of reward and base."""
    scores, cfg, grader = found.rollouts.scores_S, s.cfg, s.grader
    solved, few = reference_problems(s)
    yield from _atoms(scores, grader.scale)
    compared_PG = filtered_by(cfg, found.rewards, found.reward_PG)
    yield _filter(found.rewards, compared_PG, cfg.algo.filter)
    yield _components(scores, s.calibration, cfg)
    yield _capable(able)
    yield _cap(reference_lengths(s, solved), cfg)
    yield _form(s, few)
    yield _ends(found.rollouts)
    yield _swapped(s.calibration.swapped, grader.scale, has_tests(cfg.reward))


def _filter(rewards: Rewards, value_PG: Tensor, rule: str) -> Check:
    """The filter leaves something to train on."""
    n = rewards.score_PG.numel()
    left = int(kept(rule, value_PG, rewards.scored_PG).sum())
    return judged(
        "filter-keeps",
        "zero-signal-groups",
        left > 0 if rule else None,
        f"a sample that passes algo.filter; refused from {MANY} samples on",
        f"{left} of {n}" if rule else "no filter",
        "a filter that nothing passes empties step after step, and nothing is trained",
        refuses=n >= MANY,
    )


def _atoms(scores: Sequence[Score], scale: tuple[float, float]) -> Iterator[Check]:
    """The reward takes many values, or only its extremes."""
    totals = [round(x.total, 6) for x in scores if x.total is not None]
    if not totals:
        return
    counts = Counter(totals)
    branches = {round(x.total, 6): x.branch for x in scores if x.total is not None}
    ends = {0.0, min(totals), max(totals), *(round(x, 6) for x in scale)}
    inner = max(((n, v) for v, n in counts.items() if v not in ends), default=(0, 0.0))
    share = inner[0] / len(totals)
    top = ", ".join(f"{v:g} ({branches[v]}) {n}" for v, n in counts.most_common(5))
    flat = len(counts) == 1
    yield judged(
        "reward-varies",
        "reward-floor",
        not flat,
        f"more than one value; refused from {MANY} samples on",
        f"{len(counts)} values in {len(totals)} samples",
        "a reward that is always the same teaches nothing",
        refuses=flat and len(totals) >= MANY,
    )
    yield judged(
        "reward-distribution",
        "reward-bug",
        share <= ATOM_WARN,
        f"at most {ATOM_WARN:.0%} at one value between the extremes; refused above "
        f"{ATOM_REFUSE:.0%}",
        f"{share:.0%}; the most frequent: {top}",
        "most samples at one value in between: a branch that pays the same whatever was done",
        ATOM_WARN,
        share > ATOM_REFUSE,
    )


def _components(scores: Sequence[Score], known: Calibration, cfg: RunConfig) -> Check:
    """Each component with a weight has more than one value over samples and known answers."""
    weights = {c.name: c.weight for c in components_of(cfg.reward)}
    seen = [*scores, *known.right, *known.wrong, *known.swapped]
    names = sorted({name for x in seen for name in x.components})
    dead = [
        name
        for name in names
        if weights.get(name, 1.0) > 0
        and name != "penalty"
        and len({round(x.components[name], 9) for x in seen if name in x.components}) == 1
    ]
    return judged(
        "components-vary",
        "dead-component",
        not dead if names else None,
        "each component differs between samples, right answers and wrong ones; refused where "
        f"there are right answers and {MANY} samples",
        "all do" if not dead else f"constant: {', '.join(dead)}",
        "a component that never pays, or always, is not measuring what it is for",
        refuses=bool(dead and known.right) and len(scores) >= MANY,
    )


def _capable(seen: Capability | None) -> Check:
    return judged(
        "base-capability",
        "zero-signal-groups",
        None if seen is None else seen.mixed >= MIXED_WARN,
        f"{MIXED_WARN:.0%} of the problems sometimes solved; never refused",
        "no tests were run" if seen is None else seen.text(),
        "problems that are always or never solved teach nothing",
        MIXED_WARN,
        False,
    )


def _cap(lengths: Sequence[int], cfg: RunConfig) -> Check:
    """Right answers fit below the generation limit."""
    longest = cfg.rollout.max_tokens
    high = float(np.percentile(lengths, 95)) if lengths else 0.0
    over = sum(n > longest for n in lengths) / max(1, len(lengths))
    return judged(
        "answers-fit",
        "completion-cap",
        high <= CAP_WARN * longest if lengths else None,
        f"95% of the references within {CAP_WARN:.0%} of {longest} tokens; "
        + (f"refused when {CAP_REFUSE:.0%} do not fit" if has_tests(cfg.reward) else UNTESTED),
        "no references" if not lengths else f"{high:.0f} tokens; {over:.0%} do not fit",
        "a cap below the answers decides the reward by length",
        CAP_WARN,
        over >= CAP_REFUSE and bool(lengths) and has_tests(cfg.reward),
    )


def _form(s: Session, few: Sequence[Problem]) -> Check:
    """Reference solutions are likely text for the base, in the form in which it is asked."""
    limit, plain = math.log(len(s.policy.tokenizer)) + 3.0, None
    seen = mean_nll(s, s.encoder, few)
    if s.encoder.chat:
        never = s.cfg.prompt.model_copy(update={"chat": "never", "template_args": {}})
        encoder = PromptEncoder(s.encoder.tokenizer, never)
        plain = mean_nll(s, encoder, [p for p in few if not p.messages])
    beside = "" if plain is None else f"; {plain:.2f} without the chat template"
    better = seen is not None and plain is not None and plain < seen - 0.5
    return judged(
        "reference-nll",
        "template-or-eos",
        None if seen is None else seen <= SURPRISING and not better,
        f"at most {SURPRISING:g} nat a token, chat no worse than plain text by 0.5; refused above "
        f"{limit:.1f}",
        "no references that fit" if seen is None else f"{seen:.2f} nat a token{beside}",
        "right answers are unlikely in this form: template, end marker or language is not the "
        "model's",
        SURPRISING,
        seen is not None and seen > limit,
    )


def _ends(rollouts: Rollouts) -> Check:
    """Completions end by themselves."""
    samples = rollouts.samples_S
    cut = sum(x.finish == "length" for x in samples) / len(samples)
    return judged(
        "completions-end",
        "completion-cap",
        cut < 1.0,
        "fewer than all cut at the limit; never refused",
        f"{cut:.0%} cut",
        "no completion ends by itself: the end token is not learned, or the limit is too low",
        refuses=False,
    )


def _swapped(scores: Sequence[Score], scale: tuple[float, float], tests: bool) -> Check:
    """A right answer to another problem earns next to nothing."""
    totals = [x.total for x in scores if x.total is not None]
    low, high = scale
    share = (float(np.mean(totals)) - low) / (high - low) if totals else 0.0
    limit = f"refused above {SWAPPED_REFUSE:.0%}" if tests else UNTESTED
    return judged(
        "swapped-answers",
        "reward-bug",
        share <= SWAPPED_WARN if totals else None,
        f"another problem's solution earns at most {SWAPPED_WARN:.0%} of full marks; {limit}",
        f"{share:.0%} over {len(totals)} pairs" if totals else "no references",
        "a reward that does not look at the problem pays for form",
        SWAPPED_WARN,
        tests and share > SWAPPED_REFUSE,
    )

"""The words that people use for metrics, and the columns of a log that they can mean.

A word means its canonical metrics and every column whose source name fits; a column's own name
always means that column. Left out: options of the run (`claims_known` speaks of them).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pawl.doctor.claims_figures import LONGEST
from pawl.logs.log import Log, Series

# words -> canonical metrics, and what the source's names look like; the first that fits wins
TERMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r"best[- ]of[- ](?:n|\d+)(?: reward)?", ("reward/best_of_n",), r"best_of"),
    (r"(?:frac\w*|fraction of|share of)?[ _]*(?:reward_)?zero[_ -](?:reward[_ -])?(?:std|variance)"
     r"(?: fraction| groups)?|groups?(?: that)? (?:with|produc\w+|have|has|carry|carr\w+|yield\w*) "
     r"(?:zero|no) (?:advantage|gradient|signal|variance|spread)",
     ("group/zero_std_frac",), r"zero_std"),
    (r"coefficient of variation|\bCV\b", ("cv",), ""),
    (r"rewards? \(?(?:std|standard deviation|variance|spread)\)?|reward_std|std(?:ev)? of (?:the )?"
     r"rewards?|variance of (?:the )?rewards?", ("reward/within_std", "reward/spread",
     "reward/std"), r"reward.*std|std.*reward"),
    (r"chosen(?: rewards?| mean| score)?", ("preference/chosen_reward",),
     r"(?<!log)chosen_?(mean|r)"),
    (r"rejected(?: rewards?| mean| score)?", ("preference/rejected_reward",),
     r"rejected_?(mean|r)"),
    (r"(?:reward |score )?(?:difference|margin|gap)s?", ("preference/margin",), r"margin"),
    (r"(?:eval\w*|held-?out|validation|test|probe) (?:preference )?accuracy",
     ("eval/preference_accuracy", "eval/pass_at_1"), r"eval.*accuracy"),
    (r"(?:eval\w*|held-?out|validation|test) rewards?", ("eval/reward_mean",), r"eval.*reward"),
    (r"(?:eval\w*|held-?out|validation|test) loss", ("eval/loss",), r"eval.*loss"),
    (r"preference accuracy|(?:ranking|pairwise) accuracy",
     ("preference/accuracy", "eval/preference_accuracy"), r"preference_accuracy|accurac"),
    (r"pass@1|pass_at_1|pass rate", ("eval/pass_at_1", "verifier/pass_frac"), r"pass"),
    (r"\baccuracy", ("preference/accuracy", "eval/preference_accuracy", "eval/pass_at_1"),
     r"accuracy"),
    (r"(?:value|critic)(?: function)? loss", ("value/loss",), r"value_loss|vf_loss"),
    (r"explained variance", ("value/explained_variance",), r"explained_var"),
    (r"(?:ppo|policy|training|train|average|mean|total|gradient)?[ _]?\bloss(?:es)?\b",
     ("loss/total",), r"^(train/)?loss$|ppo_loss"),
    (r"clip(?:ping)?[_ ](?:frac\w*|ratio)", ("policy/clip_frac",), r"clip_?(frac|ratio)"),
    (r"\bKL(?: divergence| distance)?\b(?![ _](?:penalty|coef\w*|weight|loss weight))",
     ("policy/kl_ref", "policy/kl_ref_sequence"), r"(^|[/_])kl$|kl_mean|mean_kl"),
    (r"\bentropy", ("policy/entropy",), r"entropy"),
    (r"grad(?:ient)?s?[ _-]?(?:norms?|magnitude)|\bgrad\b", ("optim/grad_norm",), r"grad_norm"),
    (r"gradients?(?= (?:explo|vanish|spik))|(?:explod|vanish)\w+ gradients?", ("optim/grad_norm",),
     r"grad_norm"),
    (r"learning[ _]rates?|\blr\b", ("optim/lr",), r"learning_rate|(^|/)lr$"),
    (r"truncat\w*(?: rate| ratio| fraction)?|clipped[_ ]ratio|cut off",
     ("length/truncated_frac",), r"clipped_ratio|truncat"),
    (r"(?:mean |average |response |completion |output )+lengths?", ("length/mean",),
     r"mean_length"),
    (r"\b(?:time|minutes|duration)\b(?: per epoch| per step)?", ("time/step_s",),
     r"minutes|(^|[/_])time|runtime|duration|seconds"),
    (r"(?:code |sample |output )?(?:diversity|similarity)", ("group/distinct_frac",),
     r"similarity|diversity|distinct"),
    (r"(?:average |mean |avg |train(?:ing)? )*rewards?\b(?! (?:model|function|signal|structure|"
     r"shaping|bug|hack|normali|clip|threshold|branch|bonus|component|mean\b))(?:[ _]\(?mean\)?)?",
     ("reward/mean",), r"^(train/)?reward(_mean)?$"),
)  # fmt: skip
COMPILED = tuple((re.compile(words, re.I), names, source) for words, names, source in TERMS)


@dataclass(frozen=True, slots=True)
class Term:
    """A mention of a metric. name: canonical, logged or not; series: the columns it can mean."""

    name: str
    start: int
    end: int
    series: tuple[Series, ...]
    text: str


def terms(text: str, log: Log) -> list[Term]:
    """The metrics that a text speaks of, from left to right, none inside another."""
    text = text[:LONGEST]
    found = list[Term]()
    taken = [False] * len(text)

    def add(m: re.Match[str], name: str, series: tuple[Series, ...]) -> None:
        if m.end() > m.start() and not any(taken[m.start() : m.end()]):
            taken[m.start() : m.end()] = [True] * (m.end() - m.start())
            found.append(Term(name, m.start(), m.end(), series, m[0]))

    own = [*log.series.values(), *log.unknown.values()]
    for one in sorted(own, key=lambda s: -len(s.source)):
        if len(one.source) > 3:
            for m in re.finditer(rf"(?<![\w/]){re.escape(one.source)}(?![\w/])", text, re.I):
                if "_" in one.source or "/" in one.source or text[m.end() : m.end() + 1] == "=":
                    add(m, one.name, (one,))
    for pattern, names, source in COMPILED:
        for m in pattern.finditer(text):
            series = _columns(log, names, source)
            logged = [s.name for s in series if s.name in names]
            add(m, logged[0] if logged else names[0], series)
    return sorted(found, key=lambda t: t.start)


def _columns(log: Log, names: Sequence[str], source: str) -> tuple[Series, ...]:
    """The log's columns under these canonical names, then those whose source name fits."""
    first = [log.series[name] for name in names if name in log.series]
    fits = re.compile(source, re.I) if source else None
    rest = [
        one
        for one in (*log.series.values(), *log.unknown.values())
        if fits is not None and fits.search(one.source) and one not in first
    ]
    return (*first, *rest)

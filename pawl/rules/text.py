"""Rules about texts: endings, repetition, gibberish, and what a length is counted in.

Codes D506 to D511. Left out: lengths over time (`length`), rewards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pawl.rules.completions import Text, circles, gibberish, texts
from pawl.rules.rule import Findings, found, rule
from pawl.rules.signals import Signals

SOME = 0.2  # share of samples that makes a finding
READ = 200  # newest samples that are read


def _judged(s: Signals, judge: Callable[[str], bool]) -> tuple[list[Text], float]:
    """The newest completions that are judged so, and their share; 0 of fewer than ten."""
    rows = texts(s)[-READ:]
    hits = [row for row in rows if judge(row.text)]
    return hits, len(hits) / len(rows) if len(rows) >= 10 else 0.0


@rule("D506", "endings-missing", "length/eos_frac", points=10, kinds=("policy",))
def endings_missing(s: Signals) -> Findings:
    """Completions do not end by themselves.

    What: the share that ends with an end token falls from above one half to below a fifth, or is
    2% or less from first to last.
    Why it matters: a text without an end runs to the limit; every token after the answer is noise
    that costs time and enters the loss.
    Evidence needed: the share of completions that end.
    Traps: a limit below the answers leaves no room to end: then the reward decides, and a rising
    one is health. Stop strings end texts without an end token.
    Fix: see that padding is not the end token and that the end token is part of the loss.
    Source: padding with the end token masks it (N+ details, Huang et al. 2024).
    Causes: completion-cap (a limit below the answers leaves no room), template-or-eos (the end
    token is not learned, or unlearned).
    """
    first, now = s.early("length/eos_frac"), s.late("length/eos_frac")
    fell = first.value > 0.5 and now.value < 0.2
    never = float(s.values("length/eos_frac").max()) <= 0.02
    cut_N = s.values("length/truncated_frac")
    stopped = never and len(cut_N) and float(np.mean(cut_N[-20:])) < 0.5  # by stop strings
    if stopped or not (fell or never):
        return
    if s.better:
        yield found(
            "info unusual",
            f"{now.value:.0%} of the completions end by themselves and {s.goal} gets better: the "
            "answer comes before the limit",
            series=("length/eos_frac", s.goal),
        )
        return
    yield found(
        "critical fault" if fell else "warning fault",
        f"{now.value:.0%} of the completions end by themselves"
        + (f", {first.value:.0%} did at the start" if fell else ", from the first step on"),
        causes={"template-or-eos": 0.7 if fell else 0.6, "completion-cap": 0.2 if fell else 0.5},
        fix="the end token stands in the loss mask of a finished completion exactly once",
        series=("length/eos_frac", "length/truncated_frac"),
    )


@rule("D507", "repetition", "length/repetition_frac|samples", kinds=("policy",))
def repetition(s: Signals) -> Findings:
    """Completions repeat themselves.

    What: over a fifth of the recent completions repeat themselves, by the log's own measure or in
    its samples (they compress to a fifth, and over half of their four-word runs came before).
    Why it matters: runaway texts fill the limit and the batch; rewards that leave them part of a
    positive score teach more of it.
    Evidence needed: a repetition metric, or samples.
    Traps: tables and lists of data repeat in healthy runs: a rising goal metric makes this a note.
    Fix: go back before the rise; give runaway texts no reward; see that texts can end.
    Source: degeneration (Holtzman et al. 2020).
    Causes: policy-collapsed (one phrase over and over), reward-bug (a runaway text may still be
    rewarded), template-or-eos (texts that cannot end repeat themselves).
    """
    hits, seen = _judged(s, circles)
    name = "length/repetition_frac"
    logged, t = s.has(name), s.trend(name)
    share = max(seen, s.late(name).value) if logged else seen
    if share <= SOME:
        return
    critical = s.worse or t.direction == "up" or share > 0.5
    yield found(
        "info unusual" if s.better else "critical fault" if critical else "warning fault",
        f"{share:.0%} of the recent completions repeat themselves"
        + (f" while {s.goal} gets better" if s.better else ""),
        *((f"share: {t.words}",) if logged else ()),
        *((f"one of them ends: {hits[-1].text[-60:]!a}",) if hits else ()),
        causes={"policy-collapsed": 0.6, "template-or-eos": 0.4, "reward-bug": 0.3},
        series=(name, "length/truncated_frac"),
        at="samples" if hits else "",
    )


@rule("D508", "gibberish", "samples|policy/trainer_logp_mean", kinds=("policy",))
def nonsense(s: Signals) -> Findings:
    """Completions are no text any more.

    What: over a fifth of the sampled texts hold broken characters, four or more scripts, or words
    without end; or the mean log-prob of a token falls below -2.5 from above -1.5.
    Why it matters: what is explored is noise; rewards that remain are chance.
    Evidence needed: samples, or the mean log-prob of the sampled tokens.
    Traps: a base model at temperature 1 starts near -1; other languages than English are no noise.
    Fix: lower the entropy bonus and the learning rate, go back before the change.
    Source: entropy and gradients surge before such a crash (verl issue 1051).
    Causes: lr-too-high (updates of that size leave no language), sampler-mismatch (log-probs of
    another distribution train towards noise).
    """
    hits, share = _judged(s, gibberish)
    name = "policy/trainer_logp_mean"
    first, now = (s.early(name).value, s.late(name).value) if s.has(name) else (0.0, 0.0)
    if share <= SOME and not (first > -1.5 and now < -2.5):
        return
    yield found(
        "warning fault" if s.better else "critical fault",
        f"{share:.0%} of the sampled completions are no text"
        if share > SOME
        else f"the tokens' mean log-prob fell from {first:.2f} to {now:.2f}",
        *((f"one of them: {hits[-1].text[:60]!a}",) if hits else ()),
        causes={"lr-too-high": 0.6, "sampler-mismatch": 0.4},
        series=(name, "policy/entropy"),
        at="samples" if hits else "",
    )


@rule("D509", "length-unit", "length/mean")
def length_unit(s: Signals) -> Findings:
    """Lengths are not counted in tokens, although limits are.

    What: the logged length exceeds the limit in tokens, or fits the characters of the samples and
    not their tokens.
    Why it matters: a length penalty or a runaway test in characters against a limit in tokens
    fires three to five times too early.
    Evidence needed: the limit, or samples with token counts.
    Traps: the limit may stand for prompt and completion together, the length for the prompt too.
    Fix: count tokens wherever a limit is in tokens.
    Source: definition of a token limit.
    Causes: none.
    """
    now = s.late("length/mean").value
    limit = s.option("rollout.max_tokens")
    pairs = [(len(row.text), row.tokens) for row in texts(s)[-READ:] if row.tokens]
    letters, tokens = np.mean(pairs, axis=0) if len(pairs) >= 10 else (0.0, 0.0)
    fits = tokens > 0 and abs(now - letters) < 0.15 * letters and now > 1.5 * tokens
    over = f"the limit is {limit or 0:g} tokens"
    if fits or (limit is not None and 0 < 1.05 * limit < now):
        yield found(
            "warning nothing",
            f"a length of {now:.4g} is no count of tokens: "
            + (f"samples have {tokens:.4g} tokens and {letters:.4g} characters" if fits else over),
            fix="the longest completion of a step has as many tokens as the limit allows, or fewer",
        )


@rule("D510", "end-token-cut", "length/eos_frac", "length/truncated_frac", points=3, proof="real")
def end_token_cut(s: Signals) -> Findings:
    """Completions end before the limit, and none of them with its end token.

    What: the cut share is below a fifth and at most 2% of the completions end with an end token.
    Why it matters: an end token that is not part of a sample is never trained: the policy unlearns
    to stop.
    Evidence needed: the shares of cut completions and of those that end with an end token.
    Traps: stop strings end texts without it in healthy runs: where they may be set this is a note.
    Fix: keep the sampled end token in the sample, its log-prob and its mask.
    Source: missing-EOS details of N+ (Huang et al. 2024).
    Causes: template-or-eos (the end token is cut off and never trained).
    """
    ends, cut = s.values("length/eos_frac"), s.values("length/truncated_frac")
    if float(ends.max()) > 0.02 or float(cut.mean()) > 0.2:
        return
    known = s.log.library == "pawl" and bool(s.log.config) and not s.log.config.get("rollout.stop")
    yield found(
        "critical fault" if known else "warning nothing",
        f"{1 - cut.mean():.0%} of the completions end before the limit, {ends.mean():.0%} with an "
        "end token" + ("" if known else ": stop strings do this, or the end token is cut off"),
        causes={"template-or-eos": 0.9},
        fix="the last token of a finished sample is among the model's end tokens",
        early=known,
    )


@rule("D511", "prompts-end-like-answers", "length/prompt_eos_frac", proof="real")
def prompts_closed(s: Signals) -> Findings:
    """Prompts end with a token that ends completions.

    What: over 1% of the recent prompts have an end token as their last one.
    Why it matters: the policy is asked to go on after its own end, where no text of its training
    ever went on: it begins far below what it can do, and learns a position that nobody will use.
    Evidence needed: the last token of prompts, as trained on; text alone does not show it.
    Traps: a template may close the user's turn with the same token: then the assistant's header
    follows it, and is the prompt's last.
    Fix: tokenise prompts without special tokens at their end, or add the generation prompt.
    Source: add_generation_prompt of chat templates; tokenizers that append an end token.
    Causes: template-or-eos (the prompt is closed before the answer begins).
    """
    now = s.late("length/prompt_eos_frac")
    if now.value > 0.01:
        yield found(
            "critical fault",
            f"{now.value:.0%} of the prompts end with a token that ends completions",
            causes={"template-or-eos": 0.95},
            fix="the last token of ten encoded prompts is no end token",
            series=("length/prompt_eos_frac", "reward/mean"),
            early=True,
        )

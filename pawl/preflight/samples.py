"""Exact invariants of what is sampled and scored: from one measurement to one `Check` each.

They hold for any healthy run whatever its data: a violation refuses the run unless the config
overrides it by name. Left out: measuring (`probe_batch.py`), the update (`update.py`), and what is
only likely (`check_base.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.models.policy import Policy
from pawl.preflight.probe_batch import ComputedAdvantages, Sampled
from pawl.rollout.engine import Capabilities, SamplingParams
from pawl.types import Group, Score

CHANCE = 6.0  # standard deviations of the number of groups without two different members
REPEAT_FULL, REPEAT_HALF = 1e-6, 1e-2  # largest difference of two equal forwards, nat
ALONE_FULL, ALONE_HALF = 1e-3, 1.0  # largest |log-prob among others - alone|, nat


def judged(
    name: str,
    cause: str,
    passed: bool | None,
    expected: str,
    observed: str,
    meaning: str,
    tolerance: float = 0.0,
) -> Check:
    """A check of the whole run that refuses when it fails."""
    return Check(name, "", expected, observed, passed, meaning, tolerance, cause)


def of_scores(found: Sampled, made: ComputedAdvantages, limit: float) -> list[Check]:
    """Scores that cannot be had, and what is made of them."""
    scores = found.rollouts.scores_S
    lost = [x.reason for x in scores if x.status == "missing"]
    odd = [x for x in scores if (x.total is None) != (x.status == "missing")]
    numbers = [x.total for x in scores if x.total is not None]
    return [
        judged(
            "scores-finite",
            "non-finite",
            all(math.isfinite(x) for x in numbers),
            "finite numbers",
            f"{sum(not math.isfinite(x) for x in numbers)} of {len(numbers)} are not",
            "a NaN in one reward becomes a NaN in every weight",
        ),
        judged(
            "scores-present",
            "judge-outage",
            len(lost) <= limit * len(scores),
            f"at most {limit:.0%} missing",
            f"{len(lost)} of {len(scores)} missing" + (f": {lost[0]}" if lost else ""),
            "a run whose scores cannot be had learns nothing",
            limit,
        ),
        judged(
            "errors-are-missing",
            "error-as-reward",
            _errors_are_missing(found.unjudgeable, made) and not odd,
            "no number for what could not be scored; no advantage, no place in the loss",
            _shown_hole(found.unjudgeable, made, len(odd)),
            "an error that is paid teaches the policy to cause errors",
        ),
    ]


def _errors_are_missing(unjudgeable: Score | None, made: ComputedAdvantages) -> bool:
    paid = unjudgeable is not None and unjudgeable.total is not None
    return not (paid or made.hole_known or made.hole_advantage or not made.hole_masked)


def _shown_hole(unjudgeable: Score | None, made: ComputedAdvantages, odd: int) -> str:
    seen = "not tried" if unjudgeable is None else f"{unjudgeable.status} {unjudgeable.total}"
    known = "known" if made.hole_known else "unknown"
    return (
        f"unjudgeable problem: {seen}; a missing score is {known} to the trainer, advantage "
        f"{made.hole_advantage:g}; {odd} scores contradict their status"
    )


def of_reward(found: Sampled) -> list[Check]:
    """The reward gives one number for one completion, and sees tokens as tokens."""
    unsteady = sum(a != b for _, a, b in found.rescored)
    samples = {(x.group, x.member): x for x in found.rollouts.samples_S}
    wrong = [
        (key, c.n_tokens, len(samples[key].tokens))
        for key, c in found.given.items()
        if key in samples
        and (c.n_tokens, c.finish, c.text)
        != (len(samples[key].tokens), samples[key].finish, samples[key].text)
    ]
    seen = f"{len(wrong)} of {len(samples)} differ"
    if wrong:
        seen += f"; the first: {wrong[0][1]} for {wrong[0][2]} tokens"
    return [
        judged(
            "reward-deterministic",
            "reward-bug",
            unsteady == 0,
            "the same score twice for the same completion",
            f"{unsteady} of {len(found.rescored)} differ",
            "a reward that rolls dice is noise in every advantage",
        ),
        judged(
            "reward-units",
            "reward-bug",
            not wrong,
            "text, end and length in tokens as sampled",
            seen,
            "a length in other units pays or punishes the wrong completions",
        ),
    ]


def of_groups(
    found: Sampled, made: ComputedAdvantages, cfg: RunConfig, prompts: Sequence[tuple[int, ...]]
) -> list[Check]:
    """Rows of a group share a prompt, differ as draws do, and keep their own score and advantage.

    prompts: the tokens of each group's problem, encoded anew.
    """
    groups, g = found.rollouts.groups, cfg.rollout.group_size
    strangers = [
        x.problem_id
        for i, group in enumerate(groups)
        for m, x in enumerate(group.samples)
        if (x.problem_id, x.group, x.member) != (group.problem.id, i, m)
        or group.prompt.tokens != prompts[i]
    ]
    strangers += [group.problem.id for group in groups if len(group.samples) != g]
    moved = sum(a == b and a != was for was, a, b in found.rescored)
    return [
        judged(
            "group-rows",
            "group-integrity",
            not strangers,
            f"{g} completions of one prompt in each group",
            f"{len(strangers)} rows belong elsewhere",
            "a baseline over other prompts is no baseline",
        ),
        judged(
            "scores-in-place",
            "group-integrity",
            moved == 0,
            "every score at its own completion",
            f"{moved} of {len(found.rescored)} rescored completions had another's score",
            "a score at another completion rewards at random",
        ),
        _advantage_order(made, g),
        _distinct(groups, cfg.rollout.temperature),
    ]


def _advantage_order(made: ComputedAdvantages, g: int) -> Check:
    """Within a group a higher reward never has the lower advantage, and some have a higher one."""
    wrong = pairs = higher = 0
    for start in range(0, len(made.reward_S), g):
        rows = range(start, min(start + g, len(made.reward_S)))
        for i in rows:
            for j in rows:
                if made.known_S[i] and made.known_S[j] and made.reward_S[i] > made.reward_S[j]:
                    pairs += 1
                    wrong += not made.advantage_S[i] >= made.advantage_S[j] - 1e-9
                    higher += made.advantage_S[i] > made.advantage_S[j]
    finite = all(math.isfinite(x) for x in made.advantage_S)
    cause = "group-integrity" if finite else "non-finite"
    return judged(
        "advantage-order",
        cause,
        finite and not wrong and (higher > 0 or not pairs) if pairs or not finite else None,
        "a better sample of a group has the higher advantage",
        f"{wrong} of {pairs} pairs the other way round" if finite else "advantages are not finite",
        "with rows exchanged or a sign turned the run learns what fails",
    )


def _distinct(groups: Sequence[Group], temperature: float) -> Check:
    """Groups all of one completion, against how many the policy itself makes likely."""
    alike, likely, spread = 0, 0.0, 0.0
    for group in groups:
        alike += len({x.tokens for x in group.samples}) == 1
        first = group.samples[0]
        chance = math.exp(min(0.0, math.fsum(first.logps)) * (len(group.samples) - 1))
        likely, spread = likely + chance, spread + chance * (1 - chance)
    limit = likely + CHANCE * math.sqrt(spread) + 0.05 * len(groups)
    return judged(
        "draws-differ",
        "group-integrity",
        alike <= limit,
        f"at most {limit:.1f} of {len(groups)} groups of one completion",
        f"{alike}",
        f"members drawn with one stream, or without temperature ({temperature:g} is set), tie",
        CHANCE,
    )


def of_text(
    found: Sampled, policy: Policy, cfg: RunConfig, prompts: Sequence[tuple[int, ...]], bos: int
) -> list[Check]:
    """Prompts begin once and stay open; completions end as the policy ends them.

    bos: id of the tokenizer's BOS, -1 for none.
    """
    ends = set(policy.eos_ids)
    doubled = sum(p[:2] == (bos, bos) for p in prompts)
    closed = sum(p[-1] in ends and policy.tokenizer.eos_token_id == p[-1] for p in prompts)
    samples = found.rollouts.samples_S
    cut = [x for x in samples if x.finish == "stop" and not cfg.rollout.stop]
    lost = sum(x.tokens[-1] not in ends for x in cut)
    beyond = sum(any(t in ends for t in x.tokens[:-1]) for x in samples)
    length = sum(x.finish == "length" and len(x.tokens) != cfg.rollout.max_tokens for x in samples)
    return [
        judged(
            "prompt-form",
            "template-or-eos",
            not doubled and not (closed and not _chat_closes(policy)),
            "one BOS at most, no EOS at the end",
            f"{doubled} with two BOS, {closed} ending in EOS, of {len(prompts)}",
            "the model reads text in a form that it was not trained on",
        ),
        judged(
            "pad-is-not-eos",
            "template-or-eos",
            policy.pad_id not in ends,
            "a pad token of its own",
            f"pad {policy.pad_id}, EOS {sorted(ends)}",
            "a pad that ends text is masked away with the EOS, and completions never end",
        ),
        judged(
            "eos-is-trained",
            "template-or-eos",
            not (lost or beyond or length),
            "a finished completion ends in its EOS, which counts as a token; nothing follows it",
            f"of {len(samples)}: {lost} without it, {beyond} going on, {length} of odd length",
            "an EOS outside the loss is never learned",
        ),
    ]


def _chat_closes(policy: Policy) -> bool:
    """Whether a chat template itself ends prompts with the EOS (some do, between turns)."""
    return bool(getattr(policy.tokenizer, "chat_template", None))


def of_engine(able: Capabilities, params: SamplingParams) -> list[Check]:
    """The engine can do what the run asks of it, and what it cannot is said."""
    replays = able.replay or not params.truncates
    return [
        judged(
            "engine-replays",
            "sampler-mismatch",
            replays if params.truncates else None,
            "what each token was drawn from, under top-p and top-k",
            "no truncation" if not params.truncates else "said" if replays else "not said",
            "the trainer would score another distribution than was sampled",
        ),
        Check(
            "engine-streams",
            "",
            "samples that depend on seed, step, problem and member alone; never refused",
            "they do" if able.exact_streams else "they do not",
            able.exact_streams,
            "a resume draws other samples than an uninterrupted run would have",
            0.0,
            "noise-only",
            False,
        ),
    ]


def of_rows(found: Sampled, fp32: bool, exact: bool) -> list[Check]:
    """A forward repeats, and nothing depends on which rows stand beside a row.

    exact: whether the engine gives the same samples whatever stands beside them.
    """
    differ = sum(a.tokens != b.tokens for a, b in found.alone) if exact else 0
    allowed = 0.02 * len(found.alone) if fp32 else 0.5 * len(found.alone)
    gap = ALONE_FULL if fp32 else ALONE_HALF
    repeats = found.repeat_gap <= (REPEAT_FULL if fp32 else REPEAT_HALF)
    alike = differ <= allowed and found.alone_gap <= gap
    return [
        judged(
            "forward-repeats",
            "sampler-mismatch",
            repeats,
            "the same log-probs from the same rows",
            f"they differ by {found.repeat_gap:.2g}",
            "dropout, or another source of chance, is on in the trainer's forward",
            REPEAT_FULL if fp32 else REPEAT_HALF,
        ),
        judged(
            "alone-or-batched",
            "padding-side",
            alike if repeats else None,
            f"the same completions, log-probs within {gap:g}",
            f"{differ} of {len(found.alone)} differ, log-probs by {found.alone_gap:.2g}",
            "padding on the wrong side, positions or masks leak between rows",
            gap,
        ),
    ]

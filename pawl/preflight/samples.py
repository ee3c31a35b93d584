"""Exact invariants of what is sampled and scored: groups as in a step, and one `Check` for each.

The groups are sampled, scored and turned into advantages as the loop does it. Sampling has streams
of its own and no global random number is drawn, so a run goes on as if there had been none. The
invariants hold for any healthy run whatever its data: a violation refuses the run unless the config
overrides it by name. Shapes: P problems, G group members, S samples, T tokens. Left out: the update
(`update.py`), and what is only likely (`base.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pawl.algo import mismatch
from pawl.algo.shaping import Spread
from pawl.checks import Check
from pawl.errors import PawlError
from pawl.models.logprobs import token_logprobs
from pawl.models.special import turn_end
from pawl.rewards.pay import pay
from pawl.train.batch import Rewards, compute_advantages, rewards_of, shaped_rewards
from pawl.train.data import draw
from pawl.train.logprob_pass import BatchLogprobs, log_prob_pass, whole
from pawl.train.progress import Progress
from pawl.train.rollouts import Payment, Rollouts, collect, completion_of, joined, payment_of
from pawl.train.session import Session
from pawl.types import Case, Group, Score

STEP = -1  # the streams of no training step and of no evaluation
SAMPLES, PROMPTS = 128, 32  # at most: the wiring faults are seen with as many
RESCORED = 4  # members of two groups that are scored twice more
CHANCE = 6.0  # standard deviations of the number of groups without two different members
REPEAT_FULL, REPEAT_HALF = 1e-6, 1e-2  # largest difference of two equal forwards, nat
ALONE_FULL, ALONE_HALF = 1e-3, 1.0  # largest |log-prob among others - alone|, nat
HALF_MEAN, HALF_MAX = 0.05, 1.0  # |trainer - sampler| in bf16 or fp16, nat; exp(0.05) = 1.05
FULL_MEAN, FULL_MAX = 1e-5, 1e-3  # the same in fp32
SURPRISE_Z = 6.0  # standard errors; by chance about once in 5e8 runs


def judged(
    name: str,
    cause: str,
    passed: bool | None,
    expected: str,
    observed: str,
    meaning: str,
    tolerance: float = 0.0,
    refuses: bool = True,
    problem: str = "",
) -> Check:
    """A check of the whole run, or of one problem, that refuses the run when it fails."""
    row = (name, problem, expected, observed, passed, meaning, tolerance, cause, refuses)
    return Check(*row)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Groups as the loop collects them, and what the trainer makes of them.

    logprobs: of the loop's pass over them. advantage_PG: of each sample's last token. rescored:
    totals of (the batch, scored again, and again) of some samples; unjudgeable: the score of a
    problem that nobody can judge, None where no tests run.
    """

    rollouts: Rollouts
    logprobs: BatchLogprobs
    rewards: Rewards
    reward_PG: Tensor
    advantage_PG: Tensor
    rescored: list[tuple[float | None, float | None, float | None]]
    unjudgeable: Score | None


def sample(s: Session, progress: Progress) -> Sampled:
    """Sample and score what training draws next, at most PROMPTS problems and SAMPLES completions.

    They are scored by the curriculum's stage, some twice more.
    """
    g, stage = s.cfg.rollout.group_size, progress.stage
    n = max(2, min(PROMPTS, SAMPLES // g, len(s.train)))
    places = draw(progress.prompts_by_stage[stage], n, s.pools[stage], s.cfg.seed)
    drawn = [(s.train[i], stream) for i, stream in places]
    how, payment = (g, s.params, s.cfg.seed, STEP), payment_of(s, stage)
    rollouts, at_once = Rollouts((), (), 0.0, 0.0), s.cfg.rollout.prompts
    for start in range(0, n, at_once):  # no more at once than in a step
        part = drawn[start : start + at_once]
        found = collect(s.engine, s.grader, s.encoder, part, *how, payment, start)
        rollouts = joined(rollouts, found)
    lost = next((x for x in rollouts.samples_S if x.finish == "error"), None)
    if lost is not None:
        hint = "see what the engine reports; nothing was trained"
        raise PawlError(f"the engine failed: {lost.error}", "rollout.engine", hint)
    logprobs = logprobs_of(s, rollouts.groups, progress.state.kl_coef)
    rewards = rewards_of(rollouts, g)
    reward_PG, advantage_ST, _ = advantages(s, logprobs, rewards)
    ends_S = torch.tensor([len(x.tokens) - 1 for x in rollouts.samples_S])
    advantage_S = advantage_ST.cpu().gather(1, ends_S[:, None])[:, 0]
    scored = rescore(s, rollouts, payment)
    return Sampled(rollouts, logprobs, rewards, reward_PG, advantage_S.view(-1, g), *scored)


def logprobs_of(s: Session, groups: Sequence[Group], kl_coef: float) -> BatchLogprobs:
    """The loop's log-prob pass, with no more samples in one forward than training has."""
    r = s.cfg.rollout
    rows = s.cfg.train.micro_batch or r.prompts // s.cfg.algo.minibatches * r.group_size
    return log_prob_pass(s.policy, groups, s.params.temperature, 1, rows, kl_coef > 0)


def advantages(
    s: Session, logprobs: BatchLogprobs, rewards: Rewards
) -> tuple[Tensor, Tensor, Tensor]:
    """The loop's own way from scores to (reward_PG, advantage_ST, mask_ST) of all groups."""
    reward_PG = shaped_rewards(s.cfg, rewards, Spread(), {})[0]
    given = (s.cfg.algo, logprobs, reward_PG, rewards.scored_PG, 0.0)
    return reward_PG, *compute_advantages(*given)


def rescore(
    s: Session, rollouts: Rollouts, payment: Payment
) -> tuple[list[tuple[float | None, float | None, float | None]], Score | None]:
    """Score members of two groups twice more without the cache, and a problem nobody can judge."""
    g, totals = s.cfg.rollout.group_size, [x.total for x in rollouts.scores_S]
    spread = sorted(range(len(rollouts.groups)), key=lambda i: -len(set(totals[i * g :][:g])))
    chosen = sorted(spread[:2])
    whole = s.grader.whole_group or payment.reward.missing != "sample"
    n = g if whole else min(g, RESCORED)
    groups = [
        (rollouts.groups[i].problem, [completion_of(x) for x in rollouts.groups[i].samples[:n]])
        for i in chosen
    ]
    rows = s.grader.measure(groups + groups, fresh=True)
    scores = [
        pay(problem, completions, own, payment.reward, payment.stage)
        for (problem, completions), own in zip(groups + groups, rows, strict=True)
    ]
    found = [
        (totals[i * g + m], once[m].total, again[m].total)
        for i, once, again in zip(chosen, scores, scores[len(chosen) :], strict=False)
        for m in range(n)
    ]
    if not s.grader.has_verdicts:
        return found, None
    problem, completions = groups[0]
    called = problem.task.entry_point or "f"  # printed text may be any, an expected value not
    code = replace(problem.task, entry_point=called, cases=(Case("(", "("),))
    broken = replace(problem, id=f"{problem.id}/unjudgeable", code=code)
    return found, s.grader.score([(broken, completions[:1])], fresh=True)[0][0]


def of_scores(s: Session, found: Sampled) -> Iterator[Check]:
    """Scores that cannot be had, and what is made of them."""
    scores, limit = found.rollouts.scores_S, s.cfg.reward.max_missing_frac
    lost = [x.lost or x.reason for x in scores if x.lost or x.status == "missing"]
    numbers = [x.total for x in scores if x.total is not None]
    odd = sum(not math.isfinite(x) for x in numbers)
    yield judged(
        "scores-finite",
        "non-finite",
        not odd,
        "finite numbers",
        f"{odd} of {len(numbers)} are not",
        "a NaN in one reward becomes a NaN in every weight",
    )
    yield judged(
        "scores-present",
        "judge-outage",
        len(lost) <= limit * len(scores),
        f"at most {limit:.0%} missing",
        f"{len(lost)} of {len(scores)} missing" + (f": {lost[0]}" if lost else ""),
        "a run whose scores cannot be had learns nothing",
        limit,
    )
    yield _errors_are_missing(s, found)


def _errors_are_missing(s: Session, found: Sampled) -> Check:
    """Neither what nobody can judge nor a score that is taken away becomes a number."""
    scores, broken = found.rollouts.scores_S, found.unjudgeable
    odd = sum((x.total is None) != (x.status == "missing") for x in scores)
    gone = Score("missing", None, None, "missing", reason="preflight takes this score away")
    less = replace(found.rollouts, scores_S=(gone, *scores[1:]))
    hole = rewards_of(less, s.cfg.rollout.group_size)
    _, advantage_ST, mask_ST = advantages(s, found.logprobs, hole)
    known, advantage = bool(hole.scored_PG[0, 0]), float(advantage_ST[0].abs().max())
    scored = broken is not None and broken.total is not None
    seen = "not tried" if broken is None else f"{broken.status} {broken.total}"
    return judged(
        "errors-are-missing",
        "error-as-reward",
        not (odd or scored or known or advantage or mask_ST[0].any()),
        "no number for what could not be scored; no advantage, no place in the loss",
        f"unjudgeable problem: {seen}; a missing score is {'known' if known else 'unknown'} to the "
        f"trainer, advantage {advantage:g}; {odd} scores contradict their status",
        "an error that is rewarded teaches the policy to cause errors",
    )


def of_reward(found: Sampled) -> Iterator[Check]:
    """The reward gives one number for one completion, and sees tokens as tokens."""
    unsteady = sum(a != b for _, a, b in found.rescored)
    samples, g = found.rollouts.samples_S, len(found.reward_PG[0])
    pairs = [(x, found.rollouts.given_S[x.group * g + x.member]) for x in samples]
    wrong = [
        f"{c.n_tokens} for {len(x.tokens)} tokens"
        for x, c in pairs
        if (c.n_tokens, c.finish, c.text) != (len(x.tokens), x.finish, x.text)
    ]
    seen = f"{len(wrong)} of {len(samples)} differ"
    yield judged(
        "reward-deterministic",
        "reward-bug",
        unsteady == 0,
        "the same score twice for the same completion",
        f"{unsteady} of {len(found.rescored)} differ",
        "a reward that rolls dice is noise in every advantage",
    )
    yield judged(
        "reward-units",
        "reward-bug",
        not wrong,
        "text, end and length in tokens as sampled",
        seen + (f"; the first: {wrong[0]}" if wrong else ""),
        "a length in other units pays or punishes the wrong completions",
    )


def of_groups(s: Session, found: Sampled, prompts: Sequence[tuple[int, ...]]) -> Iterator[Check]:
    """Rows of a group share a prompt, differ as draws do, and keep their own score and advantage.

    prompts: the tokens of each group's problem, encoded anew.
    """
    groups, g = found.rollouts.groups, s.cfg.rollout.group_size
    strangers = [
        x.problem_id
        for i, group in enumerate(groups)
        for m, x in enumerate(group.samples)
        if (x.problem_id, x.group, x.member) != (group.problem.id, i, m)
        or group.prompt.tokens != prompts[i]
    ]
    strangers += [group.problem.id for group in groups if len(group.samples) != g]
    moved = sum(a == b and a != was for was, a, b in found.rescored)
    yield judged(
        "group-rows",
        "group-integrity",
        not strangers,
        f"{g} completions of one prompt in each group",
        f"{len(strangers)} rows belong elsewhere",
        "a baseline over other prompts is no baseline",
    )
    yield judged(
        "scores-in-place",
        "group-integrity",
        moved == 0,
        "every score at its own completion",
        f"{moved} of {len(found.rescored)} rescored completions had another's score",
        "a score at another completion rewards at random",
    )
    yield _advantage_order(found)
    yield _distinct(groups, s.cfg.rollout.temperature)


def _advantage_order(found: Sampled) -> Check:
    """Within a group a higher reward never has the lower advantage, and some have a higher one."""
    known_PG, reward_PG = found.rewards.scored_PG, found.reward_PG
    better_PGG = reward_PG[:, :, None] > reward_PG[:, None]
    better_PGG &= known_PG[:, :, None] & known_PG[:, None]
    gap_N = (found.advantage_PG[:, :, None] - found.advantage_PG[:, None])[better_PGG]
    pairs, wrong = len(gap_N), int((gap_N < -1e-9).sum())
    finite = bool(found.advantage_PG.isfinite().all())
    return judged(
        "advantage-order",
        "group-integrity" if finite else "non-finite",
        finite and not wrong and bool(not pairs or gap_N.max() > 0)
        if pairs or not finite
        else None,
        "a better sample of a group has the higher advantage",
        f"{wrong} of {pairs} pairs the other way round" if finite else "advantages are not finite",
        "with rows exchanged or a sign turned the run learns what fails",
    )


def _distinct(groups: Sequence[Group], temperature: float) -> Check:
    """Groups all of one completion, against how many the policy itself makes likely."""
    alike = sum(len({x.tokens for x in group.samples}) == 1 for group in groups)
    firsts = [(group.samples[0], len(group.samples) - 1) for group in groups]
    chances = [math.exp(min(0.0, math.fsum(x.logps)) * others) for x, others in firsts]
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    limit = sum(chances) + CHANCE * spread + 0.05 * len(groups)
    return judged(
        "draws-differ",
        "group-integrity",
        alike <= limit,
        f"at most {limit:.1f} of {len(groups)} groups of one completion",
        f"{alike}",
        "members are equal that were drawn with one stream or without temperature "
        f"({temperature:g} is set)",
        CHANCE,
    )


def of_text(s: Session, found: Sampled, prompts: Sequence[tuple[int, ...]]) -> Iterator[Check]:
    """Prompts begin once and stay open; completions end as the policy ends them."""
    policy, ends = s.policy, set(s.policy.eos_ids)
    # some chat templates end prompts with the EOS themselves, between turns
    closes = getattr(policy.tokenizer, "chat_template", None)
    form = s.encoder.form([group.problem for group in found.rollouts.groups])
    closed = sum(p[-1] in ends and policy.tokenizer.eos_token_id == p[-1] for p in prompts)
    samples = found.rollouts.samples_S
    cut = [x for x in samples if x.finish == "stop" and not s.cfg.rollout.stop]
    lost = sum(x.tokens[-1] not in ends for x in cut)
    beyond = sum(any(t in ends for t in x.tokens[:-1]) for x in samples)
    length = [len(x.tokens) for x in samples if x.finish == "length"]
    uneven = sum(n != s.cfg.rollout.max_tokens for n in length)
    yield judged(
        "prompt-form",
        "template-or-eos",
        not (form.doubled or form.unopened) and bool(not closed or closes),
        "one BOS where the tokenizer has one, no EOS at the end; a missing BOS is never refused",
        f"{form.doubled} with two BOS, {form.unopened} without it, {closed} ending in EOS, of "
        f"{len(prompts)}",
        "the model reads text in a form that it was not trained on",
        refuses=bool(form.doubled or (closed and not closes)),
    )
    yield judged(
        "messages-rendered",
        "template-or-eos",
        not (form.systems or form.users) if s.encoder.chat else None,
        "every prompt holds its system message and its last user message; refused for the latter",
        f"{form.systems} without the one, {form.users} without the other, of {len(prompts)}"
        if s.encoder.chat
        else "no chat template in use",
        "the chat template drops what the model is to read",
        refuses=bool(form.users),
        problem=form.first,
    )
    yield judged(
        "pad-is-not-eos",
        "template-or-eos",
        policy.pad_id not in ends,
        "a pad token of its own",
        f"pad {policy.pad_id}, EOS {sorted(ends)}",
        "a pad that ends text is masked away with the EOS, and completions never end",
    )
    yield turn_ends(s)
    yield judged(
        "eos-is-trained",
        "template-or-eos",
        not (lost or beyond or uneven),
        "a finished completion ends in its EOS, which counts as a token; nothing follows it",
        f"of {len(samples)}: {lost} without it, {beyond} going on, {uneven} of odd length",
        "an EOS outside the loss is never learned",
    )


def turn_ends(s: Session) -> Check:
    """A completion ends where the chat template ends an answer."""
    chat = s.encoder.chat
    after, name = turn_end(s.policy.tokenizer, s.encoder.arguments) if chat else ("", "")
    token = s.policy.tokenizer.convert_tokens_to_ids(name) if name else None
    ends = token in s.policy.eos_ids or any(text in after for text in s.cfg.rollout.stop)
    others = ", ".join(map(str, s.policy.tokenizer.convert_ids_to_tokens([*s.policy.eos_ids])))
    return judged(
        "turn-ends",
        "template-or-eos",
        ends if name else None,
        "the token with which the chat template ends an answer ends a completion; never refused",
        f"it ends with {name}, completions with {others}" if name else "no such token",
        f"answers run on past their end; set rollout.stop=['{name}'], or "
        "prompt.chat=never for a base model",
        refuses=False,
    )


def of_engine(s: Session) -> Iterator[Check]:
    """The engine can do what the run asks of it, and what it cannot is said."""
    able, params = s.engine.capabilities, s.params
    yield judged(
        "engine-replays",
        "sampler-mismatch",
        able.replay if params.truncates else None,
        "what each token was drawn from, under top-p and top-k",
        ("said" if able.replay else "not said") if params.truncates else "no truncation",
        "the trainer would score another distribution than was sampled",
    )
    yield judged(
        "engine-streams",
        "noise-only",
        able.exact_streams,
        "samples that depend on seed, step, problem and member alone; never refused",
        "they do" if able.exact_streams else "they do not",
        "a resume draws other samples than an uninterrupted run would have",
        refuses=False,
    )


def of_rows(s: Session, found: Sampled, half: bool) -> Iterator[Check]:
    """A forward repeats, and nothing depends on which rows stand beside a row."""
    differ, n = drawn_alone(s, found.rollouts.groups)
    if not s.engine.capabilities.exact_streams:
        differ = 0
    repeat_gap, alone_gap = forward_gaps(s, found.rollouts.groups)
    most, gap = (REPEAT_HALF, ALONE_HALF) if half else (REPEAT_FULL, ALONE_FULL)
    repeats = repeat_gap <= most
    alike = differ <= (0.5 if half else 0.02) * n and alone_gap <= gap
    yield judged(
        "forward-repeats",
        "sampler-mismatch",
        repeats,
        "the same log-probs from the same rows",
        f"they differ by {repeat_gap:.2g}",
        "dropout, or another source of chance, is on in the trainer's forward",
        most,
    )
    yield judged(
        "alone-or-batched",
        "padding-side",
        alike if repeats else None,
        f"the same completions, log-probs within {gap:g}",
        f"{differ} of {n} differ, log-probs by {alone_gap:.2g}",
        "padding on the wrong side, positions or masks leak between rows",
        gap,
    )


def drawn_alone(s: Session, groups: Sequence[Group]) -> tuple[int, int]:
    """(samples that differ when the shortest and the longest prompt stand alone, samples)."""
    sizes = [len(group.prompt.tokens) for group in groups]
    differ = n = 0
    for index in {sizes.index(min(sizes)), sizes.index(max(sizes))}:
        group = groups[index]
        where = (len(group.samples), s.params, s.cfg.seed, STEP)
        alone = {x.member: x.tokens for x in s.engine.generate([group.prompt], *where)}
        differ += sum(x.tokens != alone[x.member] for x in group.samples)
        n += len(group.samples)
    return differ, n


@torch.no_grad()
def forward_gaps(s: Session, groups: Sequence[Group]) -> tuple[float, float]:
    """Largest difference of log-probs (between two forwards of two rows, to each row alone)."""
    rows = [replace(group, samples=(x,)) for group in groups for x in group.samples]
    rows.sort(key=lambda row: len(row.prompt.tokens) + len(row.samples[0].tokens))
    pair = [rows[0], rows[-1]]

    def logps(of: Sequence[Group]) -> Tensor:
        return token_logprobs(s.policy, of, s.params.temperature).logp_ST

    both_ST, again_ST = logps(pair), logps(pair)
    own = [logps([row])[0] for row in pair]
    alone = [(both_ST[i, : len(a)] - a).abs().max() for i, a in enumerate(own)]
    return float((both_ST - again_ST).abs().max()), float(max(alone))


def of_mask(found: Sampled) -> Check:
    """The loss covers what was sampled and nothing else."""
    n, tokens = sum(len(x.tokens) for x in found.rollouts.samples_S), found.logprobs.tokens
    return judged(
        "loss-mask",
        "loss-covers-prompt",
        tokens == n,
        f"{n} sampled tokens in the loss",
        f"{tokens}",
        "prompt or padding tokens in the loss train the policy to write prompts"
        if tokens
        else "without a token in the loss nothing is trained",
    )


def of_policy(found: Sampled, half: bool) -> Iterator[Check]:
    """Sampler and trainer are one distribution; every number is finite."""
    logprobs, n = found.logprobs, sum(len(x.tokens) for x in found.rollouts.samples_S)
    mean, peak = (HALF_MEAN, HALF_MAX) if half else (FULL_MEAN, FULL_MAX)
    mask_ST = whole([m.mask_ST for m in logprobs.micros]).bool()
    logp_ST = whole([m.old_logp_ST for m in logprobs.micros])
    entropy_ST = whole([m.entropy_ST for m in logprobs.micros])
    nonfinite = int((~logp_ST.isfinite()).sum() + (~entropy_ST.isfinite()).sum())
    drift, z = mismatch.nll_minus_entropy(logp_ST, entropy_ST, mask_ST)
    drift, z = drift * logprobs.tokens / len(mask_ST), z or 0.0
    seen = logprobs.sampler_diff / n
    yield judged(
        "logprobs-finite",
        "non-finite",
        nonfinite == 0,
        "finite log-probs and entropies",
        f"{nonfinite} are not",
        "a NaN in one token becomes a NaN in every weight",
    )
    yield judged(
        "nll-minus-entropy",
        "sampler-mismatch",
        abs(z) <= SURPRISE_Z if math.isfinite(z) else None,
        f"0, within {SURPRISE_Z:g} standard errors",
        f"{drift:+.3g} nat a completion, {z:+.1f} standard errors",
        "samples are not drawn from the policy that is trained: another temperature, top-p, "
        "top-k or penalty in the sampler",
        SURPRISE_Z,
    )
    yield judged(
        "sampler-logprobs",
        "sampler-mismatch",
        seen <= mean and logprobs.sampler_diff_max <= peak,
        f"|trainer - sampler| at most {mean:g} on average, {peak:g} anywhere",
        f"{seen:.2g} and {logprobs.sampler_diff_max:.2g}",
        "trainer and sampler must mean the same policy",
        mean,
    )

"""Step records and sample rows: from rollouts, scores and update statistics to named numbers.

Every name is catalogued in `pawl.metrics`. Left out: what depends on machine and clock (`host.py`),
differences within groups (`diversity.py`), wiring (`mismatch.py`), writing (`pawl.store`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pawl.rewards.pay import COMPONENTS
from pawl.store.read import column, count
from pawl.train.batch import TrainBatch
from pawl.train.rollouts import Rollouts
from pawl.train.update import UpdateStats
from pawl.types import Group, Score

Record = dict[str, object]
SCORED = (
    *("total", "status", "verdict", "branch", "components"),
    *("reason", "reading", "passed_cases", "n_cases"),
)
EPOCH_MEANS = {"within_std": "reward/within_std"} | {
    name: f"group/{name}"
    for name in ("distinct_renamed_frac", "program_distance", "effective_number")
}
LIMITS = ("timeout", "memory", "output")


def reward_metrics(
    scores_S: Sequence[Score], paid_S: Sequence[float | None], group_size: int, lowest: float = 0.0
) -> Record:
    """reward/*, group/* and verifier/* of one step; a figure without data is None.

    paid_S: the rewards as training saw them. lowest: total of the reward's scale.
    """
    groups = [scores_S[i : i + group_size] for i in range(0, len(scores_S), group_size)]
    known = [s for s in scores_S if s.total is not None]
    totals = [[s.total for s in g if s.total is not None] for g in groups]
    totals = [t for t in totals if t]
    means = [float(np.mean(t)) for t in totals]
    bests = [max(t) for t in totals]
    everything = [x for t in totals for x in t]
    judged = judged_in(scores_S)
    passes = [[s.passed for s in judged_in(g)] for g in groups]
    passes = [p for p in passes if p]
    ties = [tie(g) for g in groups if any(s.total is not None for s in g)]
    record: Record = {
        "reward/mean": _mean(everything),
        "reward/mean_se": standard_error(means) if means else None,
        "reward/mean_low": _mean([lowest if s.total is None else s.total for s in scores_S]),
        "reward/trained_mean": _mean([r for r in paid_S if r is not None]),
        "reward/std": float(np.std(everything, ddof=1)) if len(everything) > 1 else None,
        "reward/within_std": _mean([float(np.std(t, ddof=1)) for t in totals if len(t) > 1]),
        "reward/between_std": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "reward/within_share": within_share(totals),
        "reward/best_of_n": _mean(bests),
        "reward/best_of_n_se": standard_error(bests) if bests else None,
        "group/zero_std_frac": _mean([max(t) == min(t) for t in totals]),
        "group/tied_wrong_frac": _mean([w == "wrong" for w in ties]),
        "group/tied_right_frac": _mean([w == "right" for w in ties]),
        "group/tied_partial_frac": _mean([w == "partial" for w in ties]),
        "group/all_wrong_frac": _mean([not any(p) for p in passes]),
        "group/all_right_frac": _mean([all(p) for p in passes]),
        "group/mixed_frac": _mean([any(p) and not all(p) for p in passes]),
        "verifier/pass_frac": _mean([s.passed for s in judged]),
        "verifier/compile_frac": _mean([s.verdict != "compile" for s in judged]),
        "verifier/exception_frac": _mean([s.verdict == "exception" for s in judged]),
        "verifier/limit_frac": _mean([s.verdict in LIMITS for s in judged]),
        "verifier/missing_frac": 1.0 - len(known) / len(scores_S),
    }
    for name in sorted({n for s in known for n in s.components}):
        values = [
            [s.components[name] for s in g if s.total is not None and name in s.components]
            for g in groups
        ]
        group = "reward" if name in COMPONENTS else "component"
        record[f"{group}/{name}"] = _mean([x for v in values for x in v])
        if group == "component":  # tells members of a group apart, or only groups?
            level = [v[0] if max(v) == min(v) else float(np.mean(v)) for v in values if v]
            record[f"within/{name}"] = _mean([_std(v) for v in values if len(v) > 1])
            record[f"between/{name}"] = _std(level) if len(level) > 1 else None
    return record


def teacher_metrics(scores_S: Sequence[Score], group_size: int) -> Record:
    """judge/teacher_* of one step: grades beside those of the references; nothing without any.

    The ratio is one of means: the mean of ratios is ruled by the lowest grades of references.
    """
    groups = [scores_S[i : i + group_size] for i in range(0, len(scores_S), group_size)]
    pairs = [[s.teacher for s in g if s.teacher is not None] for g in groups]
    pairs = [p for p in pairs if p]
    if not pairs:
        return {}
    own = [math.fsum(a for a, _ in p) / len(p) for p in pairs]
    teacher = [math.fsum(b for _, b in p) / len(p) for p in pairs]
    gaps = [a - b for a, b in zip(own, teacher, strict=True)]
    return {
        "judge/teacher_score": _mean(teacher),
        "judge/teacher_gap": _mean(gaps),
        "judge/teacher_gap_se": standard_error(gaps),
        "judge/teacher_ratio": math.fsum(own) / total if (total := math.fsum(teacher)) else None,
    }


def judged_in(scores: Sequence[Score]) -> list[Score]:
    """The scored ones on which tests were run."""
    return [s for s in scores if s.total is not None and s.verdict is not None]


def _std(values: Sequence[float]) -> float:
    """Standard deviation (n - 1); of equal values exactly 0, whatever rounding makes of it."""
    return 0.0 if max(values) == min(values) else float(np.std(values, ddof=1))


def mix_metrics(scores_S: Sequence[Score], sets_P: Sequence[str], sets: Sequence[str]) -> Record:
    """mix_*/NAME of one step for each set of a mix; sets_P names the set of each group."""
    g = len(scores_S) // len(sets_P)
    record: Record = {}
    for name in sets:
        places = [i for i, own in enumerate(sets_P) if own == name]
        known = [s for i in places for s in scores_S[i * g : (i + 1) * g] if s.total is not None]
        record[f"mix_share/{name}"] = len(places) / len(sets_P)
        record[f"mix_reward/{name}"] = _mean([s.total for s in known if s.total is not None])
        record[f"mix_pass/{name}"] = _mean([s.passed for s in known if s.verdict is not None])
    return record


def within_share(totals: Sequence[Sequence[float]]) -> float | None:
    """Squared deviations from the group means / those from the mean of all; None without any."""
    everything = np.concatenate([np.empty(0), *totals])
    spread = float(np.square(everything - everything.mean()).sum()) if len(everything) else 0.0
    inside = math.fsum(float(np.square(np.asarray(t) - np.mean(t)).sum()) for t in totals)
    return min(1.0, inside / spread) if spread else None


def tie(scores_G: Sequence[Score]) -> str:
    """ "wrong" (all 0 or less), "right" (all pass) or "partial" for equal rewards, else ""."""
    known = [s for s in scores_G if s.total is not None]
    if len({s.total for s in known}) > 1:
        return ""
    if all(s.passed for s in known):
        return "right"
    return "partial" if (known[0].total or 0.0) > 0 else "wrong"


def length_metrics(groups: Sequence[Group], eos_ids: Sequence[int]) -> Record:
    """length/*; eos_ids: the tokens that end a completion, and must not end a prompt."""
    samples = [sample for group in groups for sample in group.samples]
    lengths = [len(sample.tokens) for sample in samples]
    prompts = [group.prompt.tokens for group in groups]
    return {
        "length/mean": _mean(lengths),
        "length/max": max(lengths),
        "length/truncated_frac": _mean([s.finish == "length" for s in samples]),
        "length/eos_frac": _mean([bool(s.tokens) and s.tokens[-1] in eos_ids for s in samples]),
        "length/prompt_mean": _mean([len(tokens) for tokens in prompts]),
        "length/prompt_eos_frac": _mean([tokens[-1] in eos_ids for tokens in prompts]),
    }


def update_metrics(batch: TrainBatch, stats: UpdateStats) -> Record:
    """policy/*, loss/* and optim/* of one step; None for a step without an update."""
    sums, passed = batch.logprobs, max(1, stats.passed)
    tokens, samples = max(1, sums.tokens), max(1, len(batch.trained_S))
    record: Record = {
        "policy/entropy": sums.entropy / tokens,
        "policy/kl_ref": None if sums.kl_ref is None else sums.kl_ref / tokens,
        "policy/kl_ref_sequence": None if sums.kl_seq is None else sums.kl_seq / samples,
        "policy/kl_coef": batch.kl_coef,
        "policy/kl_old": stats.k3_old,
        "policy/ratio_mean": stats.ratio / passed,
        "policy/ratio_max_first_pass": stats.ratio_max,
        "policy/sampler_diff_mean": sums.sampler_diff / tokens,
        "policy/sampler_diff_max": sums.sampler_diff_max,
        "policy/clip_frac": stats.clipped / passed,
        "loss/total": stats.loss,
        "optim/grad_norm": _mean(stats.grad_norms),
        "optim/update_norm": stats.moved.norm,
        "optim/update_ratio": stats.moved.ratio,
        "optim/unchanged_frac": stats.moved.unchanged,
    }
    return record if sums.tokens else dict.fromkeys(record) | {"policy/kl_coef": batch.kl_coef}


def epoch_metrics(records: Sequence[Record], evals: Sequence[Record]) -> Record:
    """epoch/* over the step records of one epoch.

    evals: every record with a held-out figure up to now; the gain is the newest one's success
    against the newest from before the epoch, None when there are not two.
    """
    samples = sum(count(r, "batch_samples") for r in records)
    first = count(records[0], "step")
    before = column([r for r in evals if count(r, "step") < first], "eval/success")
    inside = column([r for r in evals if count(r, "step") >= first], "eval/success")
    gain = inside[-1] - before[-1] if before and inside else None
    return {
        "epoch/reward_mean": _mean(column(records, "reward/mean")),
        "epoch/reward_mean_se": _combined_se(column(records, "reward/mean_se")),
        "epoch/best_of_n": _mean(column(records, "reward/best_of_n")),
        "epoch/best_of_n_se": _combined_se(column(records, "reward/best_of_n_se")),
        **{f"epoch/{own}": _mean(column(records, name)) for own, name in EPOCH_MEANS.items()},
        "epoch/loss": _mean(column(records, "loss/total")),
        "epoch/samples": samples,
        "epoch/tokens": sum(count(r, "batch_tokens") for r in records),
        "epoch/gain_per_1000_samples": None if gain is None else gain / samples * 1000,
    }


def sample_rows(
    step: int,
    rollouts: Rollouts,
    prompts: Sequence[str],
    advantages: Sequence[float] | None,
    rewards: Sequence[float | None] | None,
    trainer_logps: Sequence[float | None] | None = None,
) -> list[Record]:
    """One row for each completion, in (group, member) order; nothing is left out.

    advantages, rewards: as trained on; None in evaluations. trainer_logps: sums of the log-prob
    pass, None where a sample was not in it.
    """
    pairs = zip(rollouts.samples_S, rollouts.scores_S, strict=True)
    return [
        {
            "step": step,
            "problem_id": sample.problem_id,
            "difficulty": rollouts.groups[sample.group].problem.difficulty,
            "group": sample.group,
            "member": sample.member,
            "prompt": prompts[sample.group],
            "text": sample.text,
            "tokens": list(sample.tokens),
            "n_tokens": len(sample.tokens),
            "logps_sum": math.fsum(sample.logps),
            "trainer_logps_sum": None if trainer_logps is None else trainer_logps[i],
            "finish": sample.finish,
            "weight_version": sample.weight_version,
            **({"kept": [id_ranges(ids) for ids in sample.kept]} if sample.kept else {}),
            "advantage": None if advantages is None else advantages[i],
            "reward": None if rewards is None else rewards[i],
            "score": score_row(score),
            "host": score_host(score),
        }
        for i, (sample, score) in enumerate(pairs)
    ]


def score_host(score: Score) -> Record:
    """What a score owes to this machine, and whether a simulated judge gave it."""
    facts: Record = {n: getattr(score, n) for n in ("tier", "time_ms", "cached", "warm")}
    return facts | ({"simulated": True} if score.usage.get("simulated") else {})


def id_ranges(ids: Sequence[int]) -> str:
    """Ascending ids as text, runs of neighbours as ranges: "3 7-9 14"."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return " ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def score_row(score: Score) -> Record:
    """The part of a score that is a function of config and seed."""
    row: Record = {name: getattr(score, name) for name in SCORED}
    row |= {"reward_stage": score.reward_stage} if score.reward_stage else {}
    row |= {"lost": score.lost} if score.lost else {}
    return row | ({"teacher": score.teacher} if score.teacher else {})


def standard_error(values: Sequence[float]) -> float:
    """Standard deviation (n - 1) / sqrt(n); 0 for one value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _combined_se(errors: Sequence[float]) -> float | None:
    return math.sqrt(math.fsum(e * e for e in errors)) / len(errors) if errors else None

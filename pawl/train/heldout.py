"""The run's own held-out evaluation: at start and end in full, in between on a probe.

Rows of every evaluation completion go to samples/eval-*.jsonl; the start is read back from there
on resume, so that gains stay paired. Left out: the figures themselves (`evaluate.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pawl.errors import PawlError
from pawl.train.evaluate import (
    Interval,
    Outcome,
    eval_metrics,
    mean_success,
    outcome,
    paired_gain,
    pass_at_k,
    run_evaluation,
    sampling_params,
    stage,
)
from pawl.train.record import Record, sample_rows
from pawl.train.rollouts import require_scored
from pawl.train.session import Session
from pawl.train.success import PASS, Success
from pawl.types import Problem, Score

SETS = ("held_out", "greedy", "families")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One evaluation. stages counts the sampled completions of the held-out problems."""

    outcomes: list[Outcome]
    greedy: list[Outcome]
    families: list[Outcome]
    stages: Counter[str]


def evaluate(s: Session, step: int, full: bool) -> HeldOut:
    """Evaluate now and keep every completion. full: all problems, greedy and held-out families."""
    s.display.phase("evaluating")
    cfg = s.cfg.eval
    problems = s.held_out if full or not cfg.probe else s.held_out[: cfg.probe]
    parts = {"held_out": (problems, False)}
    if full:
        parts |= {"greedy": (problems, True), "families": (s.families, False)}
    rows: list[Record] = []
    for name, (members, greedy) in parts.items():
        if not members:
            continue
        params = sampling_params(cfg, s.cfg.rollout, greedy)
        rollouts = run_evaluation(
            s.engine, s.grader, s.encoder, members, cfg.samples, params, cfg.seed, s.cfg.reward
        )
        require_scored(rollouts.scores_S, s.cfg.reward.max_missing_frac, str(s.run.path))
        prompts = [s.encoder.render(p) for p in members]
        rows += [r | {"set": name} for r in sample_rows(step, rollouts, prompts, None, None)]
    (s.run.path / "samples" / f"eval-{step:06d}.jsonl").unlink(missing_ok=True)
    s.run.append_samples(step, rows, kind="eval")
    found = from_rows(rows, [*s.held_out, *s.families], s.success)
    require_success(found.outcomes, rows, s.success)
    return found


def require_success(
    outcomes: Sequence[Outcome], rows: Sequence[Mapping[str, object]], success: Success
) -> None:
    """Raise PawlError when no score holds what eval.success names."""
    if any(o.values for o in outcomes) or not any(o.rewards for o in outcomes):
        return
    if success.name == PASS:
        what = "success is `pass`, and no test judges these completions"
        raise PawlError(what, "eval.success", "use auto, reward or a component's name")
    scores = [row["score"] for row in rows]
    names = {name for score in scores if isinstance(score, dict) for name in score["components"]}
    hint = f"the components are: {', '.join(sorted(names)) or 'none'}; or pass, reward, auto"
    raise PawlError(f"no score has a component {success.name!r}", "eval.success", hint)


def from_rows(rows: Sequence[Record], problems: Sequence[Problem], success: Success) -> HeldOut:
    """Rebuild an evaluation from its sample rows, in the order in which they were written."""
    by_id = {p.id: p for p in problems}
    grouped: dict[str, dict[str, list[Score]]] = {name: {} for name in SETS}
    stages: Counter[str] = Counter()
    for row in rows:
        score = Score(**row["score"])  # type: ignore[arg-type]  # rows hold what score_row wrote
        name, problem_id = str(row["set"]), str(row["problem_id"])
        grouped[name].setdefault(problem_id, []).append(score)
        if name == "held_out":
            stages[stage(score, str(row["finish"]))] += 1
    counted = {n: [outcome(by_id[i], s, success) for i, s in g.items()] for n, g in grouped.items()}
    return HeldOut(counted["held_out"], counted["greedy"], counted["families"], stages)


def metrics(now: HeldOut, start: HeldOut, success: Success) -> Record:
    """eval/* of a step record; greedy and families only where they were evaluated."""
    record: Record = dict(eval_metrics(now.outcomes, start.outcomes, success))
    for outcomes, level, passing in (
        (now.greedy, "eval/greedy_success", "eval/greedy_pass_at_1"),
        (now.families, "eval/families_success", "eval/families_pass_at_1"),
    ):
        if outcomes:
            figure = mean_success(outcomes, success)
            record[level] = figure.value if figure else None
            passed = pass_at_k(outcomes, 1)
            record |= {passing: passed.value} if passed else {}
    return record


def table(before: HeldOut, after: HeldOut, sampling: str, success: Success) -> list[str]:
    """Lines of the before/after table: figures with 95% intervals, then failure stages."""
    lines = [f"held-out evaluation, {sampling}, 95% intervals, paired"]
    lines.append(f"  {'':34}{'before':>20}{'after':>20}   gain")
    what = success.label
    rows: list[tuple[str, list[Outcome], list[Outcome], int]] = [
        (f"{what}, sampled", before.outcomes, after.outcomes, 1)
    ]
    k = max((o.judged for o in after.outcomes), default=1)
    if k > 1:
        rows.append((f"pass@{k}, sampled", before.outcomes, after.outcomes, k))
    rows.append((f"{what}, greedy", before.greedy, after.greedy, 1))
    rows.append((f"{what}, held-out families", before.families, after.families, 1))
    for level in sorted({o.difficulty for o in after.outcomes if o.difficulty}):
        pick = [[o for o in part.outcomes if o.difficulty == level] for part in (before, after)]
        rows.append((f"{what}, {level}", pick[0], pick[1], 1))
    for label, old, new, at in rows:
        old = _same(old, new)
        a, b = _figure(old, at, success), _figure(new, at, success)
        if a is None or b is None:
            continue
        gain = paired_gain(old, new, success) if at == 1 else None
        shown = f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" if gain else ""
        lines.append(f"  {label + f' (n={b.n})':34}{_show(a):>20}{_show(b):>20}   {shown}")
    total_a, total_b = sum(before.stages.values()), sum(after.stages.values())
    for name in sorted(set(before.stages) | set(after.stages), key=lambda n: -before.stages[n]):
        a_share, b_share = before.stages[name] / total_a, after.stages[name] / total_b
        lines.append(f"  {'samples that end in: ' + name:34}{a_share:>20.1%}{b_share:>20.1%}")
    return lines


def _figure(outcomes: list[Outcome], k: int, success: Success) -> Interval | None:
    """pass@k, or the mean success where that is something else."""
    if k > 1 or success.name == PASS:
        return pass_at_k(outcomes, k)
    return mean_success(outcomes, success)


def summary(before: HeldOut, after: HeldOut, success: Success) -> str:
    """`held-out pass@1: 0.18 -> 0.61 (+0.43, n=200)`, or what is missing."""
    old = _same(before.outcomes, after.outcomes)
    a, b = mean_success(old, success), mean_success(after.outcomes, success)
    gain = paired_gain(before.outcomes, after.outcomes, success)
    name = f"held-out {success.label}"
    if a is None or b is None or gain is None:
        return f"{name}: missing (no scored sample)"
    return f"{name}: {a.value:.2f} -> {b.value:.2f} ({gain.value:+.2f}, n={gain.n})"


def _same(before: list[Outcome], after: list[Outcome]) -> list[Outcome]:
    ids = {o.problem_id for o in after}
    return [o for o in before if o.problem_id in ids]


def _show(x: Interval) -> str:
    return f"{x.value:.2f} [{x.low:.2f}, {x.high:.2f}]"

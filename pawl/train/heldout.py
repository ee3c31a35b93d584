"""Evaluation: of any problems, and a run's own held-out one, in full at start and end.

Samples of an evaluation use their own RNG streams (step 0 of eval.seed; training steps start at 1),
the same before and after, so that a gain is paired. A run's rows go to samples/eval-*.jsonl; the
start is read back from there on resume. Left out: the figures themselves (`evaluate.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.models.text import PromptEncoder
from pawl.rewards.grader import Grader, held_out_reward
from pawl.rollout.engine import Engine
from pawl.store.samples import stage
from pawl.train.evaluate import (
    Interval,
    Outcome,
    eval_metrics,
    mean_success,
    outcome,
    paired_gain,
    pass_at_k,
    sampling_params,
)
from pawl.train.record import Record, sample_rows
from pawl.train.rollouts import Payment, collect, require_scored
from pawl.train.session import Session
from pawl.train.success import PASS, Success
from pawl.types import Problem, Score

SETS = ("held_out", "greedy", "families")
EVAL_STEP = 0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One evaluation. stages counts the sampled completions of the held-out problems."""

    outcomes: list[Outcome]
    greedy: list[Outcome]
    families: list[Outcome]
    stages: Counter[str]


def rows_of(
    engine: Engine,
    grader: Grader,
    encoder: PromptEncoder,
    cfg: RunConfig,
    parts: Mapping[str, tuple[Sequence[Problem], bool]],
    step: int,
    where: str,
) -> list[Record]:
    """Sample, measure and pay cfg.eval.samples completions of each problem; a row for each.

    parts: by name of a set: problems, maybe none, and whether greedily, with one completion each.
    """
    rows: list[Record] = []
    for name, (problems, greedy) in parts.items():
        if not problems:
            continue
        params = sampling_params(cfg.eval, cfg.rollout, greedy)
        drawn, n = [(p, 0) for p in problems], cfg.eval.samples if params.temperature else 1
        how = (n, params, cfg.eval.seed, EVAL_STEP, Payment(held_out_reward(cfg)))
        rollouts = collect(engine, grader, encoder, drawn, *how)
        require_scored(rollouts.scores_S, cfg.reward.max_missing_frac, where)
        prompts = [encoder.render(p) for p in problems]
        rows += [r | {"set": name} for r in sample_rows(step, rollouts, prompts, None, None)]
    return rows


def evaluate(s: Session, step: int, full: bool) -> HeldOut:
    """Evaluate now and keep every completion. full: all problems, greedy and held-out families."""
    s.display.phase("evaluating")
    cfg = s.cfg.eval
    problems = s.held_out if full or not cfg.probe else s.held_out[: cfg.probe]
    parts = {"held_out": (problems, False)}
    parts |= {"greedy": (problems, True), "families": (s.families, False)} if full else {}
    rows = rows_of(s.engine, s.grader, s.encoder, s.cfg, parts, step, str(s.run.path))
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
            stages[stage(row)] += 1
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


def table(before: HeldOut, after: HeldOut, sampling: str, success: Success) -> Iterator[str]:
    """Lines of the before/after table: figures with 95% intervals, then failure stages."""
    yield f"held-out evaluation, {sampling}, 95% intervals, paired"
    yield f"  {'':34}{'before':>20}{'after':>20}   gain"
    what, ends = success.label, (before.outcomes, after.outcomes)
    k = max((o.judged for o in after.outcomes), default=1)
    rows = [(f"{what}, sampled", *ends, 1)]
    rows += [(f"pass@{k}, sampled", *ends, k)] if k > 1 else []
    rows.append((f"{what}, greedy", before.greedy, after.greedy, 1))
    rows.append((f"{what}, held-out families", before.families, after.families, 1))
    for level in sorted({o.difficulty for o in after.outcomes if o.difficulty}):
        old, new = ([o for o in part if o.difficulty == level] for part in ends)
        rows.append((f"{what}, {level}", old, new, 1))
    for label, old, new, at in rows:
        a, b = (_figure(part, at, success) for part in (_same(old, new), new))
        if a is None or b is None:
            continue
        gain = paired_gain(old, new, success) if at == 1 else None
        shown = f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" if gain else ""
        yield f"  {label + f' (n={b.n})':34}{_show(a):>20}{_show(b):>20}   {shown}"
    was, now = before.stages, after.stages
    for name in sorted(set(was) | set(now), key=lambda n: -was[n]):
        shares = (was[name] / was.total(), now[name] / now.total())
        yield "  {:34}{:>20.1%}{:>20.1%}".format(f"samples that end in: {name}", *shares)


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

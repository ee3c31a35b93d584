"""The reward function: measurements of a group in, one `Score` for each completion out.

The only place where a reward is computed, and pure: weights, stages of a curriculum, gates, caps,
penalties, rewards relative to the group, and what becomes of a completion that could not be
measured. Left out: measuring (the scorers), loading rewards (`grader.py`), what training makes of
a score (`pawl.algo.shaping`).

The code reward is a weighted sum of stages, end marker + types + compile + tests, by the weights of
`reward.stages`. The other stages count in full only where all tests pass: without behaviour above
the best constant answer they stay below half of one test's worth and below a tenth of all, from
there on they grow with the share of tests. So no stub is rewarded, yet progress within them is
still a signal. What defines no entry point earns nothing. Penalties multiply and can only lower. A
mix is the sum over components of min(weight * value, cap); one with `gate: pass` counts only where
all tests pass, and beside the code reward it stays below one test's worth, so that no bonus
outweighs a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pawl.sandbox.extract import ends_with, final_answer
from pawl.sandbox.verify import best_constant
from pawl.types import Completion, Measurement, Problem, Score

if TYPE_CHECKING:  # candidates' tests run with the standard library alone
    from pawl.config.options import ComponentConfig, RewardConfig

STAGES = ("end_marker", "types", "compile", "tests")
COMPONENTS = (*STAGES, "penalty")  # of the code reward
TOTAL = "total"  # the value of a user's reward that counts; also the component of a reward alone
CAP_SHARE = 0.5  # of one test's worth, for answers without behaviour
CEILING = 0.1  # the most for them where a set has few tests
BELOW = 0.99  # a bonus earns at most this share of one test's worth
TO_TEACHER = ("difference", "ratio")  # values beside the judge's grade of the reference

Row = Mapping[str, Measurement]  # by component


def pay(
    problem: Problem,
    completions: Sequence[Completion],
    rows: Sequence[Row],
    cfg: RewardConfig,
    stage: str = "",
) -> list[Score]:
    """One Score for each member of a group, in order.

    rows: what the scorers of all components found of each completion; a reward without components
    has the one component `total`. cfg: with the weights of the curriculum's stage, whose name is
    `stage`, where one is on. A missing component makes its sample missing, and with
    reward.missing = group the whole group; with common it leaves the sums of the whole group.
    """
    assert len(completions) == len(rows), "a row for each completion"
    if cfg.components and cfg.missing == "common":
        scores = _common(problem, completions, rows, cfg)
    elif cfg.components:
        scores = _mixes(problem, completions, rows, cfg)
    else:
        pairs = zip(completions, rows, strict=True)
        scores = [_alone(problem, c, row[TOTAL], cfg) for c, row in pairs]
    lost = next((s for s in scores if s.status == "missing"), None)
    if lost is not None and cfg.missing == "group":
        why = f"another member of its group is missing: {lost.reason}"
        scores = [s if s.status == "missing" else _without_total(s, why) for s in scores]
    return [replace(s, reward_stage=stage) if s.total is not None else s for s in scores]


def _alone(
    problem: Problem, completion: Completion, found: Measurement, cfg: RewardConfig
) -> Score:
    """The score of a reward without components."""
    if cfg.use == "code":
        return staged(problem, completion, found, cfg)
    if found.status == "missing":
        return _missing(found)
    parts = {name: value for name, value in found.values.items() if name != TOTAL}
    named = parts or {cfg.use.rpartition(":")[2] or TOTAL: found.values[TOTAL]}
    return _measured(found, found.values[TOTAL], "user", named)


# ---- the code reward -----------------------------------------------------------------------------


def staged(
    problem: Problem, completion: Completion, found: Measurement, cfg: RewardConfig
) -> Score:
    """The code reward of a measurement of the sandbox.

    Range of total: 0 .. 1; 1 exactly for a pass in full form. `components.penalty` is the share
    that was taken off at the end.
    """
    if found.status == "missing":
        return _missing(found)
    rejected = found.verdict == "rejected"
    marked = not rejected and ends_with(completion.text, cfg.end_marker)
    parts = {"end_marker": float(marked)} | {name: found.values[name] for name in STAGES[1:]}
    weights = _weights(cfg)
    form = sum(weights[name] * parts[name] for name in STAGES[:3]) if parts["types"] > 0 else 0.0
    most = 1.0 - weights["tests"]
    least = stub_cap(problem, cfg) / most if most > 0 else 0.0  # share of the form credit
    tests = parts["tests"]
    total = form * (least + (1.0 - least) * tests) + weights["tests"] * tests
    branch = "pass" if found.verdict == "pass" else "tests" if tests > 0 else "capped"
    branch = branch if total > 0 else "none"
    factor, why = _penalty(completion, cfg)
    if why and total > 0:
        branch = f"penalty:{why}"
    parts["penalty"] = 1.0 - factor
    return _measured(found, round(min(1.0, total * factor), 12), branch, parts)


def stub_cap(problem: Problem, cfg: RewardConfig) -> float:
    """Most that an answer without behaviour above the best constant can earn, 0 .. 1."""
    return min(CAP_SHARE * worth_of_a_test(problem, cfg), CEILING, 1.0 - _weights(cfg)["tests"])


def worth_of_a_test(problem: Problem, cfg: RewardConfig) -> float:
    """What one more test adds to an answer of full form that passes some, without its form."""
    task = problem.task
    hidden = sum(not case.shown for case in task.cases)
    tests = _weights(cfg)["tests"]
    return tests / max(1, hidden - best_constant(task, problem.where or problem.id))


def _weights(cfg: RewardConfig) -> dict[str, float]:
    """The four weights; without an end marker the other three share its part."""
    weights = {name: float(getattr(cfg.stages, name)) for name in STAGES}
    if not cfg.end_marker:
        weights["end_marker"] = 0.0
        rest = sum(weights.values())
        weights = {name: value / rest for name, value in weights.items()} if rest else weights
    return weights


def _penalty(completion: Completion, cfg: RewardConfig) -> tuple[float, str]:
    """(factor 0 .. 1, name): cut at the token limit without an end, or too few lines."""
    factor, why = 1.0, ""
    text = completion.text
    if completion.finish == "length" and not ends_with(text, cfg.end_marker):
        factor, why = factor * cfg.runaway_multiplier, "runaway"
    if cfg.min_lines and _lines(text, cfg.end_marker) < cfg.min_lines:
        factor, why = factor * cfg.short_multiplier, why or "short"
    return factor, why


def _lines(text: str, end_marker: str) -> int:
    """Lines of the final answer that say something, up to the end marker."""
    said = final_answer(text)
    said = said.split(end_marker)[0] if end_marker else said
    return sum(bool(line.strip()) for line in said.splitlines())


# ---- mixes ---------------------------------------------------------------------------------------


def full_marks(cfg: RewardConfig, tops: Mapping[str, float] | None = None) -> float:
    """What a right answer must earn: the code component's share, else all components at their top.

    tops: highest value of a component's scale where it is not 1.
    """
    known = tops or {}
    if not cfg.components:
        return known.get(TOTAL, 1.0)
    code = [c for c in cfg.components if c.use == "code" and c.weight > 0]
    return sum(min(c.weight * known.get(c.name, 1.0), c.cap) for c in (code or cfg.components))


def _mixes(
    problem: Problem, completions: Sequence[Completion], rows: Sequence[Row], cfg: RewardConfig
) -> list[Score]:
    """The scores of a group under a mix."""
    alone = [
        (part, cfg.model_copy(update={"components": (), "use": part.use}))
        for part in cfg.components
    ]
    members = [
        {
            p.name: _with_teacher(p, row[p.name], _alone(problem, c, row[p.name], one))
            for p, one in alone
        }
        for c, row in zip(completions, rows, strict=True)
    ]
    columns = [_relative(part, [m[part.name] for m in members]) for part in cfg.components]
    names = [part.name for part in cfg.components]
    return [
        _mixed(problem, row, parts, dict(zip(names, values, strict=True)), cfg)
        for row, parts, *values in zip(rows, members, *columns, strict=True)
    ]


def _common(
    problem: Problem, completions: Sequence[Completion], rows: Sequence[Row], cfg: RewardConfig
) -> list[Score]:
    """The scores of a group by the components that all its members have: the others leave it.

    Tests never leave, for they gate. Whoever lacks them is missing, as is whoever lacks everything,
    and takes nothing from the others. Where nothing is left that weighs, all are missing.
    """
    tests = [c.name for c in cfg.components if c.use == "code"]
    there = [
        row
        for row in rows
        if all(row[name].status != "missing" for name in tests)
        and any(m.status != "missing" for m in row.values())
    ]
    lost = {n for row in there for n, m in row.items() if m.status == "missing"}
    left = tuple(c for c in cfg.components if c.name not in lost)
    if not any(c.weight > 0 for c in left):
        why = f"no component is common to its group: {', '.join(sorted(lost))} left"
        scores = _mixes(problem, completions, rows, cfg)
        return [s if s.status == "missing" else _without_total(s, why) for s in scores]
    scores = _mixes(problem, completions, rows, cfg.model_copy(update={"components": left}))
    found: list[Score] = []
    for score, row in zip(scores, rows, strict=True):
        why = next((row[n].reason for n in sorted(lost) if row[n].status == "missing"), "")
        branch = "-".join([score.branch, *sorted(lost)])
        found.append(score if score.total is None else replace(score, branch=branch, lost=why))
    return found


def _with_teacher(part: ComponentConfig, found: Measurement, score: Score) -> Score:
    """A component's score, missing where it is paid beside a grade that is not there."""
    if part.relative not in TO_TEACHER or score.total is None or score.teacher is not None:
        return score
    why = found.baseline.reason if found.baseline is not None else "not asked for"
    return _without_total(score, f"the judge's grade of the reference is missing: {why}")


def _relative(part: ComponentConfig, scores: Sequence[Score]) -> list[float]:
    """The values of a component that its weight multiplies, 0 where missing.

    relative = mean takes the mean of the group's known members off; rank gives each member's place
    among them from 0 to 1, equal ones sharing the mean of their places, a single one 0.5.
    difference takes the judge's grade of the reference off; ratio divides by it, or by the floor.
    """
    known = [s.total for s in scores if s.total is not None]
    if part.relative == "none" or not known:
        return [s.total or 0.0 for s in scores]
    if part.relative in TO_TEACHER:
        pairs = [s.teacher or (0.0, 0.0) for s in scores]
        if part.relative == "difference":
            return [own - teacher for own, teacher in pairs]
        return [own / max(teacher, part.floor) for own, teacher in pairs]
    if part.relative == "mean":
        mean = sum(known) / len(known)
        return [0.0 if s.total is None else s.total - mean for s in scores]

    def rank(value: float) -> float:
        below, equal = sum(x < value for x in known), sum(x == value for x in known)
        return (below + (equal - 1) / 2) / (len(known) - 1) if len(known) > 1 else 0.5

    return [0.0 if s.total is None else rank(s.total) for s in scores]


def _mixed(
    problem: Problem,
    row: Row,
    parts: Mapping[str, Score],
    values: Mapping[str, float],
    cfg: RewardConfig,
) -> Score:
    """One completion's total and branch from the scores of all its components."""
    configs = cfg.components
    # The code reward judges, else a user's own tests.
    judging = min(configs, key=lambda c: (c.use != "code", parts[c.name].verdict is None))
    judge, time_ms = parts[judging.name], sum(m.time_ms for m in row.values())
    usage = _sum([m.usage for m in row.values()])
    lost = next((s for s in parts.values() if s.status == "missing"), None)
    if lost is not None:
        return replace(lost, tier=lost.tier or judge.tier, time_ms=time_ms, usage=usage)
    total, paid = 0.0, list[str]()
    components = dict(judge.components) if judging.use == "code" else {}
    for part in configs:
        earned = 0.0
        if part.gate != "pass" or judge.verdict == "pass":
            earned = min(part.weight * values[part.name], part.cap)
            if is_bonus(part, configs):
                earned = min(earned, BELOW * full_marks(cfg) * worth_of_a_test(problem, cfg))
        total += earned
        if earned > 0 and part.name != judging.name:
            paid.append(part.name)
        score = parts[part.name]
        if part.use != "code":
            named = {n: value for n, value in row[part.name].values.items() if n != TOTAL}
            components |= {f"{part.name}_{n}": value for n, value in named.items()}
        assert score.total is not None, "a scored Score has a total"
        components[part.name] = score.total
    branch = "+".join([judge.branch, *paid])
    teacher = next((s.teacher for s in parts.values() if s.teacher is not None), None)
    judge = replace(judge, time_ms=time_ms, usage=usage, teacher=teacher)
    return replace(judge, total=total, branch=branch, components=components)


def _sum(usages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What several scorers took, by name."""
    names = dict.fromkeys(name for usage in usages for name in usage)
    return {name: sum(usage.get(name, 0.0) for usage in usages) for name in names}


def is_bonus(part: ComponentConfig, parts: Sequence[ComponentConfig]) -> bool:
    """A component gated by correctness beside the code reward."""
    return part.use != "code" and part.gate == "pass" and any(c.use == "code" for c in parts)


# ---- scores --------------------------------------------------------------------------------------


_COUNTS = ("passed_cases", "n_cases", "reading")
_FACTS = ("verdict", "reason", "tier", "time_ms", "cached", "warm", "usage")


def _measured(found: Measurement, total: float, branch: str, components: dict[str, float]) -> Score:
    """A scored Score with the facts of its measurement."""
    facts = {name: getattr(found, name) for name in (*_FACTS, *_COUNTS)}
    if found.baseline is not None and found.baseline.status == "measured":
        facts["teacher"] = (found.values[TOTAL], found.baseline.values[TOTAL])
    return Score("scored", total, branch=branch, components=components, **facts)


def _missing(found: Measurement) -> Score:
    """A score that could not be computed: never a number."""
    facts = {name: getattr(found, name) for name in _FACTS}
    return Score("missing", None, branch="missing", **facts)


def _without_total(score: Score, why: str) -> Score:
    """The same completion without a reward."""
    return replace(score, status="missing", total=None, branch="missing", reason=why)

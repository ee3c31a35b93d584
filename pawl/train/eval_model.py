"""`pawl eval`: how good a model or a run's checkpoint is on a problem set, with intervals.

Doubles as the base-capability test: beside success (pass@k where tests run, the reward elsewhere)
it states the share of problems that are sometimes solved, which is what a group-relative estimator
can learn from. The sampling stands beside every figure. Left out: training, and the paired
comparison that a run makes by itself.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import torch

from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.models.export import run_policy
from pawl.models.limits import require_model, require_positions
from pawl.models.policy import load_policy
from pawl.models.text import PromptEncoder, read_template
from pawl.problems.load import Prepared, prepare
from pawl.rewards.grader import Grader, has_tests, held_out_reward, open_rewards
from pawl.store.display import Display
from pawl.store.files import dumps, write_atomic
from pawl.store.manifest import date_of
from pawl.store.read import is_run, read_run, run_and_steps
from pawl.store.samples import stage_of
from pawl.train.data import chosen
from pawl.train.evaluate import Interval, mean_success, outcome, pass_at_k, sampling_params
from pawl.train.heldout import EVAL_STEP, HeldOut, from_rows, rows_of
from pawl.train.progress import host_of
from pawl.train.rollouts import require_scored
from pawl.train.session import opened_engine
from pawl.train.success import PASS, Success, success_of
from pawl.train.teacher import lacking, opened_judge, require_judge, require_references
from pawl.types import Completion, Problem

REFERENCES = "references"  # in place of a model: the problems' own


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What was evaluated, how it was sampled, and every figure with its 95% interval.

    success: what counts as such. greedy, sampled, by_difficulty, families: its means; pass_at:
    pass@k, empty where no tests run.
    """

    model: str
    problems: str
    sampling: dict[str, object]
    success: str
    greedy: Interval | None
    sampled: Interval | None
    pass_at: dict[int, Interval]
    by_difficulty: dict[str, Interval]
    families: Interval | None
    sometimes_solved: float | None
    stages: Counter[str]
    missing: int
    simulated: bool

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"stages": dict(self.stages)}

    def text(self) -> str:
        """For a terminal."""
        how = ", ".join(f"{k} {v}" for k, v in self.sampling.items())
        what = "pass@1" if self.success == PASS else self.success
        lines = [f"{self.model} on {self.problems}", f"sampling: {how}; 95% intervals"]
        figures = [(f"{what}, greedy", self.greedy)]
        if self.success != PASS:
            figures.append((f"{what}, sampled", self.sampled))
        figures += [(f"pass@{k}, sampled", v) for k, v in self.pass_at.items()]
        figures += [(f"{what}, held-out families", self.families)]
        figures += [(f"{what}, {level}", v) for level, v in self.by_difficulty.items()]
        for label, x in figures:
            if x is not None:
                lines.append(f"  {label:28} {x.value:.3f} [{x.low:.3f}, {x.high:.3f}]  n={x.n}")
        if self.sometimes_solved is not None:
            lines.append(f"  {'sometimes solved (0 < p < 1)':28} {self.sometimes_solved:.3f}")
        total = sum(self.stages.values())
        for name, count in self.stages.most_common():
            lines.append(f"  {'samples that end in: ' + name:28} {count / total:.1%}")
        if self.simulated:
            lines.append("  the teacher was simulated")
        if self.missing:
            lines.append(f"  {self.missing} scores are missing and stand in no figure")
        return "\n".join(lines)


def evaluate_model(
    model: str,
    cfg: RunConfig,
    split: str,
    display: Display,
    pass_rates: Path | None = None,
    function: Callable[..., object] | None = None,
) -> EvalReport:
    """Evaluate `model` (bundled, folder, hub name, or a run as in `pawl export`) on cfg's problems.

    `references` in its place stands for the problems' own references, without a model.

    split: held_out (with held-out families apart) or train. cfg.eval holds problems, samples, seed
    and sampling; 0 problems takes all. pass_rates: a JSONL file to write the problems to, each with
    its measured `pass_rate`, for `problems.filter`. function: a callable in place of reward.use.
    Raises PawlError for a split without problems.
    """
    torch.set_num_threads(cfg.train.threads or os.cpu_count() or 1)
    own = cfg.model.model_copy(update={"path": model})
    if pass_rates is not None and not pass_rates.absolute().parent.is_dir():
        raise PawlError(f"no folder {pass_rates.parent} to write to", "--pass-rates")
    if cfg.prompt.template:
        read_template(cfg.prompt.template)
    require_judge(cfg)
    cfg = cfg.model_copy(update={"reward": held_out_reward(cfg)})
    if model == REFERENCES:
        return _of_references(cfg, split, display, pass_rates, function)
    rewards = open_rewards(cfg.reward, function)
    policy = run_policy(model)
    if policy is None:
        require_positions(require_model(own), cfg)
    data = prepare(cfg.problems, cfg.seed, tested=has_tests(cfg.reward))
    if policy is None:
        policy = load_policy(own, cfg.seed)
    problems, families = _asked(data, cfg, split)
    require_references(cfg, [*problems, *families])
    run, _ = run_and_steps(model)
    today = date_of(read_run(run)) if is_run(run) else ""
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt, today)
    engine = opened_engine(policy, cfg, display)
    engine.sync_weights(policy, 0)

    with (
        opened_judge(cfg, f"eval {uuid4().hex}", display) as judge,
        Grader(cfg.reward, cfg.sandbox, None, function, rewards, judge) as grader,
    ):
        success = success_of(cfg, grader)
        how = (engine, grader, encoder, cfg)
        display.phase("greedy")
        rows = rows_of(*how, {"greedy": (problems, True)}, EVAL_STEP, model)
        display.phase("sampling")
        parts = {"held_out": (problems, False), "families": (families, False)}
        rows += rows_of(*how, parts, EVAL_STEP, model)
    found = from_rows(rows, [*problems, *families], success)
    if pass_rates is not None:
        write_pass_rates(pass_rates, [*problems, *families], found, success)
    simulated = any("simulated" in host_of(row) for row in rows)
    return _report(model, data.train.name, cfg, success, found, simulated)


def _asked(
    data: Prepared, cfg: RunConfig, split: str
) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """The problems of a split, and the held-out families apart; raises PawlError for none."""
    pool_of = {"held_out": data.held_out, "train": data.train}
    problems = chosen(pool_of[split], cfg.eval.problems, cfg.eval.seed)
    if not problems:
        hint = "choose --split train, or set problems.held_out_frac"
        raise PawlError(f"the set has no {split} problems", data.train.name, hint)
    apart = data.held_out_families if split == "held_out" else ()
    return problems, chosen(apart, cfg.eval.problems, cfg.eval.seed)


def _of_references(
    cfg: RunConfig,
    split: str,
    display: Display,
    pass_rates: Path | None,
    function: Callable[..., object] | None,
) -> EvalReport:
    """What the problems' references earn, one answer each, without a model.

    `cfg` pays as held-out evaluation does. Raises PawlError for problems without a reference.
    """
    rewards = open_rewards(cfg.reward, function)
    data = prepare(cfg.problems, cfg.seed, tested=has_tests(cfg.reward))
    problems, families = _asked(data, cfg, split)
    lacking([*problems, *families], data.train.name, "take them out, or evaluate a model")
    with (
        opened_judge(cfg, f"eval {uuid4().hex}", display) as judge,
        Grader(cfg.reward, cfg.sandbox, None, function, rewards, judge) as grader,
    ):
        success = success_of(cfg, grader)
        display.phase(REFERENCES)
        asked = [*problems, *families]
        scores = [s for (s,) in grader.score([(p, [_reference(p, cfg)]) for p in asked])]
    require_scored(scores, cfg.reward.max_missing_frac, data.train.name)
    counted = [outcome(p, [s], success) for p, s in zip(asked, scores, strict=True)]
    stages = Counter(stage_of(s.status, s.verdict, s.reason, "stop") for s in scores)
    found = HeldOut(counted[: len(problems)], [], counted[len(problems) :], stages)
    if pass_rates is not None:
        write_pass_rates(pass_rates, asked, found, success)
    simulated = any(s.usage.get("simulated") for s in scores)
    report = _report(REFERENCES, data.train.name, cfg, success, found, simulated)
    return replace(report, sampling={"answers": REFERENCES}, sometimes_solved=None)


def _reference(problem: Problem, cfg: RunConfig) -> Completion:
    """The reference as an answer."""
    marker = cfg.reward.end_marker if problem.code is not None else ""
    return Completion(problem.id, f"{problem.reference}\n{marker}".strip())


def write_pass_rates(
    path: Path, problems: Sequence[Problem], found: HeldOut, success: Success
) -> None:
    """Write each problem that was scored with its pass rate, in Pawl's own layout.

    The rate is the mean success as a share of its scale. Raises PawlError where that has no ends.
    """
    rates, width = dict[str, float](), success.high - success.low
    for o in [*found.outcomes, *found.families]:
        if o.values and math.isfinite(width):
            rates[o.problem_id] = min(1.0, max(0.0, (o.success - success.low) / width))
    if not rates:
        what = f"{success.name} has no scale of which a pass rate is a share"
        raise PawlError(what, "--pass-rates", "use a reward that runs tests or declares its scale")
    rows = [row_of(replace(p, pass_rate=rates[p.id])) for p in problems if p.id in rates]
    write_atomic(path, "".join(dumps(row) + "\n" for row in rows))


def row_of(problem: Problem) -> dict[str, object]:
    """A problem as a row that `open_problems` reads back; what it does not state is left out."""
    row = asdict(problem)
    code, metadata = row.pop("code"), row.pop("metadata")
    row.pop("where")
    row = metadata | row | (code or {})
    if code and not code["entry_point"]:
        row["cases"] = [case | {"type": "stdin"} for case in code["cases"]]
    return {name: value for name, value in row.items() if value not in ("", None, (), [])}


def _report(
    model: str, name: str, cfg: RunConfig, success: Success, found: HeldOut, simulated: bool
) -> EvalReport:
    sampled, everything = found.outcomes, [*found.greedy, *found.outcomes, *found.families]
    levels = sorted({o.difficulty for o in sampled if o.difficulty})
    by_level = {
        lv: mean_success([o for o in sampled if o.difficulty == lv], success) for lv in levels
    }
    at = {k: pass_at_k(sampled, k) for k in (1, 2, 4, 8, 16, 32, 64) if k <= cfg.eval.samples}
    known = [o for o in sampled if o.judged]
    mixed = sum(0 < o.passes < o.judged for o in known) / len(known) if known else None
    params = sampling_params(cfg.eval, cfg.rollout, greedy=False)
    sampling: dict[str, object] = {"samples": cfg.eval.samples, "seed": cfg.eval.seed}
    return EvalReport(
        model=model,
        problems=name,
        sampling=sampling | asdict(params),
        success=success.name,
        greedy=mean_success(found.greedy, success),
        sampled=mean_success(sampled, success),
        pass_at={k: v for k, v in at.items() if v is not None},
        by_difficulty={lv: v for lv, v in by_level.items() if v is not None},
        families=mean_success(found.families, success),
        sometimes_solved=mixed if cfg.eval.samples > 1 else None,
        stages=found.stages,
        missing=sum(o.missing for o in everything),
        simulated=simulated,
    )

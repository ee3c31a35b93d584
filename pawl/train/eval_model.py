"""`pawl eval`: how good a model or a run's checkpoint is on a problem set, with intervals.

Doubles as the base-capability test: beside pass@1 and pass@k it states the share of problems that
are sometimes solved, which is what a group-relative estimator can learn from. The sampling stands
beside every figure. Left out: training, and the paired comparison that a run makes by itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.models.export import run_policy
from pawl.models.policy import load_policy
from pawl.models.text import PromptEncoder
from pawl.problems.load import prepare
from pawl.rewards.pool import ScorerPool
from pawl.rollout.select import make_engine
from pawl.store.display import Display
from pawl.store.files import dumps, write_atomic
from pawl.train.data import chosen
from pawl.train.evaluate import (
    Interval,
    Outcome,
    pass_at_k,
    run_evaluation,
    sampling_params,
    stages,
)
from pawl.train.rollouts import require_scored
from pawl.train.session import longest_row
from pawl.types import Problem


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What was evaluated, how it was sampled, and every figure with its 95% interval."""

    model: str
    problems: str
    sampling: dict[str, object]
    greedy: Interval | None
    pass_at: dict[int, Interval]
    by_difficulty: dict[str, Interval]
    families: Interval | None
    sometimes_solved: float | None
    stages: Counter[str]
    missing: int

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"stages": dict(self.stages)}

    def text(self) -> str:
        """For a terminal."""
        how = ", ".join(f"{k} {v}" for k, v in self.sampling.items())
        lines = [f"{self.model} on {self.problems}", f"sampling: {how}; 95% intervals"]
        figures = [("pass@1, greedy", self.greedy)]
        figures += [(f"pass@{k}, sampled", v) for k, v in self.pass_at.items()]
        figures += [("pass@1, held-out families", self.families)]
        figures += [(f"pass@1, {level}", v) for level, v in self.by_difficulty.items()]
        for label, x in figures:
            if x is not None:
                lines.append(f"  {label:28} {x.value:.3f} [{x.low:.3f}, {x.high:.3f}]  n={x.n}")
        if self.sometimes_solved is not None:
            lines.append(f"  {'sometimes solved (0 < p < 1)':28} {self.sometimes_solved:.3f}")
        total = sum(self.stages.values())
        for name, count in self.stages.most_common():
            lines.append(f"  {'samples that end in: ' + name:28} {count / total:.1%}")
        if self.missing:
            lines.append(f"  {self.missing} scores are missing and stand in no figure")
        return "\n".join(lines)


def evaluate_model(
    model: str, cfg: RunConfig, split: str, display: Display, pass_rates: Path | None = None
) -> EvalReport:
    """Evaluate `model` (bundled, folder, hub name, or a run as in `pawl export`) on cfg's problems.

    split: held_out (with held-out families apart) or train. cfg.eval holds problems, samples, seed
    and sampling; 0 problems takes all. pass_rates: a JSONL file to write the problems to, each with
    its measured `pass_rate`, for `problems.filter`. Raises PawlError for a split without problems.
    """
    torch.set_num_threads(cfg.train.threads or os.cpu_count() or 1)
    policy = run_policy(model)
    if policy is None:
        policy = load_policy(cfg.model.model_copy(update={"path": model}), cfg.seed)
    data = prepare(cfg.problems, cfg.seed)
    pool_of = {"held_out": data.held_out, "train": data.train}
    problems = chosen(pool_of[split], cfg.eval.problems, cfg.eval.seed)
    apart = data.held_out_families if split == "held_out" else ()
    families = chosen(apart, cfg.eval.problems, cfg.eval.seed)
    if not problems:
        hint = "choose --split train, or set problems.held_out_frac"
        raise PawlError(f"the set has no {split} problems", data.train.name, hint)
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt)
    engine, note = make_engine(policy, cfg.rollout.engine, cfg.rollout.batch, longest_row(cfg))
    engine.sync_weights(policy, 0)
    if note:
        display.note(note)

    with ScorerPool(cfg.reward, cfg.sandbox, None, cfg.sandbox.workers) as pool:

        def run(part: Sequence[Problem], greedy: bool) -> tuple[list[Outcome], Counter[str]]:
            params = sampling_params(cfg.eval, cfg.rollout, greedy)
            outcomes, rollouts = run_evaluation(
                engine, pool, encoder, part, cfg.eval.samples, params, cfg.eval.seed
            )
            require_scored(rollouts.scores_S, cfg.reward.max_missing_frac, model)
            return outcomes, stages(rollouts)

        display.phase("greedy")
        greedy, _ = run(problems, True)
        display.phase("sampling")
        sampled, ended = run(problems, False)
        others = run(families, False)[0] if families else []
    if pass_rates is not None:
        write_pass_rates(pass_rates, [*problems, *families], [*sampled, *others])
    return _report(model, data.train.name, cfg, greedy, sampled, others, ended)


def write_pass_rates(path: Path, problems: Sequence[Problem], outcomes: Sequence[Outcome]) -> None:
    """Write each problem that was scored with its pass rate, in Pawl's own layout."""
    rates = {o.problem_id: o.rate for o in outcomes if o.n}
    rows = [asdict(replace(p, pass_rate=rates[p.id], where="")) for p in problems if p.id in rates]
    write_atomic(path, "".join(dumps(row) + "\n" for row in rows))


def _report(
    model: str,
    name: str,
    cfg: RunConfig,
    greedy: list[Outcome],
    sampled: list[Outcome],
    apart: list[Outcome],
    ended: Counter[str],
) -> EvalReport:
    levels = sorted({o.difficulty for o in sampled if o.difficulty})
    by_level = {lv: pass_at_k([o for o in sampled if o.difficulty == lv], 1) for lv in levels}
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= cfg.eval.samples]
    at = {k: pass_at_k(sampled, k) for k in ks}
    known = [o for o in sampled if o.n]
    mixed = sum(0 < o.passes < o.n for o in known) / len(known) if known else None
    params = sampling_params(cfg.eval, cfg.rollout, greedy=False)
    sampling: dict[str, object] = {"samples": cfg.eval.samples, "seed": cfg.eval.seed}
    return EvalReport(
        model=model,
        problems=name,
        sampling=sampling | asdict(params),
        greedy=pass_at_k(greedy, 1),
        pass_at={k: v for k, v in at.items() if v is not None},
        by_difficulty={lv: v for lv, v in by_level.items() if v is not None},
        families=pass_at_k(apart, 1) if apart else None,
        sometimes_solved=mixed if cfg.eval.samples > 1 else None,
        stages=ended,
        missing=sum(o.missing for o in [*greedy, *sampled, *apart]),
    )

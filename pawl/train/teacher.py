"""The judge of a run, opened where a component of the reward is graded by a teacher model.

Its ledger of attempts and verdicts stands in the user's cache folder and is shared by all runs:
what one of them asked, no other pays for again. Left out: the judge itself (`pawl.judge`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pawl.checks import overridden, require_passed
from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.rewards.grader import JUDGE, components_of, has_judge, has_tests, held_out_reward
from pawl.rewards.pay import TO_TEACHER
from pawl.store.display import Display
from pawl.store.run import RunFolder
from pawl.types import Problem

if TYPE_CHECKING:
    from pawl.judge.scorer import JudgeScorer

LEDGER = "judge.sqlite"


def ledger_path() -> Path:
    """Where attempts and verdicts of all runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "pawl" / LEDGER


def grades_references(cfg: RunConfig) -> bool:
    """Whether the judge grades the problems' references too."""
    beside = any(c.relative in TO_TEACHER for c in cfg.reward.components)
    return has_judge(cfg.reward) and (cfg.judge.baseline or beside)


def require_references(
    cfg: RunConfig, problems: Iterable[Problem], held_out: Iterable[Problem] = ()
) -> None:
    """Raise PawlError for problems without the reference that the judge is to grade.

    held_out: those that it is shown where eval.judge is on.
    """
    if not grades_references(cfg):
        return
    hint = "take them out, or compare with the group: relative: mean or rank"
    lacking(chain(problems, held_out if cfg.eval.judge else ()), "reward.components", hint)


def lacking(problems: Iterable[Problem], where: str, hint: str) -> None:
    """Raise PawlError when problems have no reference: how many, and the first."""
    lost = [p.where or p.id for p in problems if not p.reference.strip()]
    if lost:
        some = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        raise PawlError(f"{len(lost)} problems have no reference to grade: {some}", where, hint)


def require_judge(cfg: RunConfig) -> None:
    """Raise PawlError for a judge without a model or not to be reached, and for an evaluation that
    lacks its judge.
    """
    if grades_references(cfg) and cfg.judge.mode == "pairwise":
        hint = "judge.mode: listwise or pointwise"
        raise PawlError("a judge of pairs cannot grade a reference alone", "judge.mode", hint)
    if has_judge(cfg.reward) and not cfg.judge.model:
        hint = "its name at the provider, or the folder of a local one"
        raise PawlError("judge.model must be named for a reward that uses a judge", "judge", hint)
    if has_judge(cfg.reward) and cfg.judge.api != "local":
        from pawl.judge.access import endpoint

        endpoint(cfg.judge)  # terms, address and key, before any work
    rest = components_of(held_out_reward(cfg))
    lost = {c.name for c in components_of(cfg.reward)} - {c.name for c in rest}
    if cfg.eval.success in lost or (not cfg.eval.judge and rest[0].use == JUDGE):
        what = "held-out evaluation without the judge has nothing else to go by"
        hint = "add {name: tests, use: code, weight: 0} and eval.success: pass, or eval.judge: true"
        raise PawlError(what, "eval.judge", hint)


def ledger_name(run: RunFolder, cfg: RunConfig) -> str:
    """The name by which a run's attempts are counted, drawn once and kept in run.json."""
    name = run.facts().get("ledger")
    if has_judge(cfg.reward) and not isinstance(name, str):
        name = uuid4().hex
        run.update(ledger=name)
    return str(name or "")


def prove_judge(cfg: RunConfig, run: RunFolder, problem: Problem) -> None:
    """Prove the wiring of the judge, and record it. Raises PawlError when a check refuses the run.

    problem: one of the run's.
    """
    if not has_judge(cfg.reward):
        return
    from pawl.judge.wiring import prove_wiring

    tested = problem if has_tests(cfg.reward) else None
    names = (ledger_name(run, cfg), ledger_name(run, cfg))
    rows = overridden(prove_wiring(cfg.judge, cfg.reward, tested, names), cfg.train.override)
    run.preflight([asdict(row) for row in rows])
    require_passed(rows)


@contextmanager
def opened_judge(cfg: RunConfig, run: str, display: Display) -> Iterator[JudgeScorer | None]:
    """The judge that the reward asks for, None for one that asks none; says who it is.

    run: by which name its attempts are counted, for the budget. Raises PawlError for a judge that
    cannot be had.
    """
    if not has_judge(cfg.reward):
        yield None
        return
    from pawl.judge.scorer import JudgeScorer  # and with it a client, which few runs need

    forward = None
    if cfg.judge.api == "local":
        from pawl.models.judge import LevelReader

        forward = LevelReader(cfg.judge.model, cfg.judge.revision, cfg.judge.device)
    asked = cfg.judge.model_copy(update={"baseline": grades_references(cfg)})
    for part in (c for c in cfg.reward.components if c.relative == "ratio"):
        note = f"{part.name} is a ratio: a problem whose reference the judge grades low counts most"
        display.note(note)
    with JudgeScorer(asked, ledger_path(), run, forward) as judge:
        facts = judge.describe()
        simulated = ", simulated" if facts["simulated"] else ""
        display.note(f"judge: {facts['judge']}, rubric {facts['rubric']}{simulated}")
        try:
            yield judge
        finally:
            display.note(_bill(judge.describe()))


def _bill(facts: Mapping[str, object]) -> str:
    """What a run's judge cost so far, in a line."""
    attempts = facts["attempts"]
    assert isinstance(attempts, dict), "by kind"
    counted = f"{sum(attempts.values())} requests, {facts['tokens']} tokens"
    return f"judge: {counted}, ${float(str(facts['usd'])):.4f} by the table of prices"

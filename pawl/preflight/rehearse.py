"""`pawl check CONFIG`: everything that a run does before its second step, in a throw-away folder.

Opens the session as training does (data, model, prompts, sandbox, calibration), runs the preflight,
takes one real step, and estimates time, memory and disk from it. Left out: held-out evaluation,
whose time is estimated from that step's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.preflight.prove import prove
from pawl.problems.sources import Unreachable
from pawl.store.display import Display
from pawl.store.files import read_lines
from pawl.store.run import RunFolder
from pawl.train.loop import train_step
from pawl.train.plan import Estimate, Plan, estimate, plan
from pawl.train.progress import Progress
from pawl.train.session import open_session
from pawl.train.step import record_step


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was found before the second step. rows: of preflight.jsonl; refusal: why the run would
    not start; estimate: None when there was no step to measure.
    """

    rows: list[dict[str, Any]]
    unchecked: list[Check]
    plan: Plan
    advice: list[str]
    estimate: Estimate | None
    refusal: PawlError | None


def rehearse(
    cfg: RunConfig,
    run: RunFolder,
    display: Display,
    price: float | None = None,
    reward: Callable[..., object] | None = None,
) -> Rehearsal:
    """One step of `cfg` in `run`; raises PawlError for what refuses it before the preflight.

    A data set that the hub does not give now is replaced by a starter set, and a check says so.
    price: of one hour of this machine, in any currency. reward: a callable in place of reward.use.
    """
    unchecked: list[Check] = []
    with ExitStack() as stack:
        try:
            s = stack.enter_context(open_session(cfg, run, display, reward))
        except Unreachable as error:
            cfg, unchecked = stand_in(cfg, error)
            s = stack.enter_context(open_session(cfg, run, display, reward))
        progress = Progress.of(cfg)
        made = plan(s)
        try:
            advice = prove(s, progress)
        except PawlError as e:
            return Rehearsal(proved(run), unchecked, made, [], None, e)
        display.phase("one step")
        record = record_step(s, progress, train_step(s, progress))
        rows = sum(f.stat().st_size for f in (run.path / "samples").glob("step-*.jsonl"))
        needs = estimate(made, record, rows, price)
        return Rehearsal(proved(run), unchecked, made, advice, needs, None)


def proved(run: RunFolder) -> list[dict[str, Any]]:
    """The checks that were made so far, as they stand in the run folder."""
    return list(read_lines(run.path / "preflight.jsonl"))


def stand_in(cfg: RunConfig, error: Unreachable) -> tuple[RunConfig, list[Check]]:
    """The config with a starter set in place of an unreachable one, and a check that says so.

    It stands in for a whole mix, and without the curriculum: it has no measured pass rates.
    """
    name = "starter-python" if cfg.problems.lang == "python" else "starter-ocaml"
    seen = f"unreachable; {name} stood in"
    meaning = "problems, prompt lengths and the number of steps were those of the stand-in"
    check = Check("data set", "", error.where, seen, None, meaning)
    problems = cfg.problems.model_copy(update={"train": name, "mix": ()})
    return cfg.model_copy(update={"problems": problems, "curriculum": ()}), [check]
